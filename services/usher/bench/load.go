package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// load is a stream of requests.
type load struct {
	addr        string
	connections int
	// write appends the n-th request to dst; check judges its answer.
	write func(dst []byte, n int) []byte
	check func(n int, status int, body []byte) error
}

// answers is what a load came to.
type answers struct {
	n         int
	latencies []time.Duration
	sent      []time.Time // of a paced load: when each request was due to leave
	began     time.Time
	took      time.Duration // from the first request to the last answer
}

// full sends requests as fast as the connections are answered, until there were most of them or the time is over.
func (l load) full(ctx context.Context, most int, during time.Duration) (answers, error) {
	var next atomic.Int64
	began := time.Now()
	a, err := l.spread(ctx, func() (int, time.Time, bool) {
		n := int(next.Add(1)) - 1
		now := time.Now()
		return n, now, n < most && (during == 0 || now.Sub(began) < during)
	})
	a.began = began
	return a, err
}

// paced sends requests at a steady rate, whether or not earlier ones were answered. A request that finds no free
// connection waits, and its wait counts.
func (l load) paced(ctx context.Context, rate int, during time.Duration) (answers, error) {
	total := int(float64(rate) * during.Seconds())
	type due struct {
		n  int
		at time.Time
	}
	sent, queue := make([]time.Time, total), make(chan due, total)
	began := time.Now()
	go func() {
		defer close(queue)
		for n := range total {
			time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate))))
			sent[n] = time.Now()
			queue <- due{n, sent[n]}
		}
	}()
	a, err := l.spread(ctx, func() (int, time.Time, bool) {
		d, ok := <-queue
		return d.n, d.at, ok
	})
	a.began, a.sent = began, sent
	return a, err
}

// spread works off what next gives out, on all connections, and stops at the first wrong answer.
func (l load) spread(ctx context.Context, next func() (n int, at time.Time, ok bool)) (answers, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var all answers
	var workers sync.WaitGroup
	began := time.Now()
	for range l.connections {
		workers.Go(func() {
			mine, err := l.work(ctx, next)
			if err != nil {
				cancel(err)
			}
			mu.Lock()
			all.latencies = append(all.latencies, mine...)
			mu.Unlock()
		})
	}
	workers.Wait()
	all.n, all.took = len(all.latencies), time.Since(began)
	return all, context.Cause(ctx)
}

func (l load) work(ctx context.Context, next func() (int, time.Time, bool)) ([]time.Duration, error) {
	c, err := dial(l.addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var latencies []time.Duration
	var buffer []byte
	for ctx.Err() == nil {
		n, at, ok := next()
		if !ok {
			break
		}
		buffer = l.write(buffer[:0], n)
		status, body, err := c.do(buffer)
		if err != nil {
			return latencies, fmt.Errorf("request %d: %w", n, err)
		}
		latencies = append(latencies, time.Since(at))
		if err := l.check(n, status, body); err != nil {
			return latencies, fmt.Errorf("request %d: %w", n, err)
		}
	}
	return latencies, nil
}

// expect is a check for one status.
func expect(want int) func(int, int, []byte) error {
	return func(_ int, status int, body []byte) error {
		if status != want {
			return fmt.Errorf("answered %d: %.300s", status, body)
		}
		return nil
	}
}
