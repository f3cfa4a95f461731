package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// rawRates measures what everything else stands on: the disk, and the bare broker on it.
func rawRates(ctx context.Context, b *bench) error {
	median, err := fsync(b.dir, b.raw)
	if err != nil {
		return err
	}
	b.add("fsync of 256 bytes, median", float64(median)/float64(time.Microsecond), "µs")
	dir, err := os.MkdirTemp(b.dir, "raw-")
	if err != nil {
		return err
	}
	broker, url, err := startBroker(ctx, b, dir)
	if err != nil {
		return err
	}
	defer broker.stop()
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "RAW", Subjects: []string{"raw.>"}, AllowAtomicPublish: true, AllowDirect: true})
	if err != nil {
		return err
	}
	for _, publishers := range []int{1, 64} {
		n, took, err := publishing(ctx, publishers, 1, b.raw, func(ctx context.Context, m []*nats.Msg) error {
			_, err := js.PublishMsg(ctx, m[0])
			return err
		})
		if err != nil {
			return err
		}
		b.perSecond(fmt.Sprintf("JetStream, plain publish, %d at once", publishers), n, took)
	}
	for _, size := range []int{10, 100, 1000} {
		n, took, err := publishing(ctx, 1, size, b.raw, func(ctx context.Context, m []*nats.Msg) error {
			_, err := jetstreamext.PublishMsgBatch(ctx, js, m, jetstreamext.BatchFlowControl{AckTimeout: 5 * time.Second})
			return err
		})
		if err != nil {
			return err
		}
		b.perSecond(fmt.Sprintf("JetStream, messages in atomic batches of %d", size), n, took)
	}
	return nil
}

// fsync is the median time of a small write that is on disk when it returns.
func fsync(dir string, during time.Duration) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	var each []time.Duration
	for began := time.Now(); time.Since(began) < during; {
		at := time.Now()
		if _, err := f.Write(make([]byte, 256)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		each = append(each, time.Since(at))
	}
	return quantile(each, 0.5), nil
}

// publishing counts the messages that publishers store while the time lasts, so many a call.
func publishing(ctx context.Context, publishers, size int, during time.Duration, publish func(context.Context, []*nats.Msg) error) (int, time.Duration, error) {
	var stored atomic.Int64
	var failed atomic.Pointer[error]
	var running sync.WaitGroup
	began := time.Now()
	for p := range publishers {
		running.Go(func() {
			for time.Since(began) < during && failed.Load() == nil {
				batch := make([]*nats.Msg, size)
				for i := range batch {
					batch[i] = &nats.Msg{Subject: fmt.Sprintf("raw.%d", p), Header: nats.Header{}, Data: make([]byte, 256)}
				}
				if err := publish(ctx, batch); err != nil {
					failed.Store(&err)
					return
				}
				stored.Add(int64(size))
			}
		})
	}
	running.Wait()
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	return int(stored.Load()), time.Since(began), nil
}
