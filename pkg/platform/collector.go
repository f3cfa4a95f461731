package platform

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How the garbage collector is tuned. Sizes are bytes.
const (
	// tuneEvery is how often it is looked at.
	tuneEvery = 5 * time.Second
	// headroom is how far the heap of a service may grow, at least, before the collector runs.
	headroom = 48 << 20
	// leastPercent and mostPercent bound that growth in proportion to what is in use: Go's default, and four times it.
	leastPercent, mostPercent = 100, 400
	// restful is the most that a process at rest allocates between two looks.
	restful = 8 << 20
)

// openCollector tunes Go's garbage collector. Left alone it runs whenever the heap has doubled. A service keeps a few
// megabytes and allocates hundreds a second, so a quarter of its time at full load was spent on collecting; it gets some
// headroom. With the broker in the process too, the heap is large enough by itself. GOGC in the environment is the
// operator's word and stays.
func (p *Platform) openCollector(ctx context.Context, o Options) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	var r rest
	look := func() {
		if o.Broker == nil {
			debug.SetGCPercent(growth(read("/gc/heap/live:bytes")))
		}
		r.look()
	}
	tuning, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.onClose(func() error { stop(); return nil })
	go func() {
		tick := time.NewTicker(tuneEvery)
		defer tick.Stop()
		for look(); ; look() {
			select {
			case <-tick.C:
			case <-tuning.Done():
				return
			}
		}
	}()
	return nil
}

// growth is the percentage by which a heap with so many bytes in use may grow.
func growth(live uint64) int {
	return int(min(max(headroom*100/max(live, 1), leastPercent), mostPercent))
}

// rest gives memory back to the system once there is nothing to do: by itself Go keeps much of what a burst of work took.
type rest struct {
	allocated uint64
	looks     int // since there was something to do
}

func (r *rest) look() {
	allocated := read("/gc/heap/allocs:bytes")
	if r.looks++; allocated-r.allocated > restful {
		r.looks = 0
	}
	r.allocated = allocated
	switch time.Duration(r.looks) * tuneEvery {
	case 15 * time.Second, 150 * time.Second: // an embedded broker lets go of its last caches after two minutes
		debug.FreeOSMemory()
	}
}

func read(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
