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
	headroom = 64 << 20
	// leastPercent and mostPercent bound that growth in proportion to what is in use: Go's default, and eight times it.
	leastPercent, mostPercent = 100, 800
	// embeddedPercent is the growth where broker and Redis are in the process too, and memory is dearer than time.
	embeddedPercent = 50
	// restful is the most that a process at rest allocates between two looks.
	restful = 8 << 20
)

// openCollector tunes Go's garbage collector. Left alone it runs whenever the heap has doubled. A service keeps a few
// megabytes and allocates hundreds a second, so a quarter of its time at full load was spent on collecting; with an
// embedded broker and Redis it keeps very many, and twice that is too much. GOGC in the environment is the operator's
// word and stays.
func (p *Platform) openCollector(ctx context.Context, o Options) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	look := func() { debug.SetGCPercent(growth(read("/gc/heap/live:bytes"))) }
	if o.Broker != nil {
		debug.SetGCPercent(embeddedPercent)
		look = (&rest{}).look
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
	case 15 * time.Second, 150 * time.Second: // the broker lets go of its last caches after two minutes
		debug.FreeOSMemory()
	}
}

func read(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
