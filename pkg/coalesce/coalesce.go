// Package coalesce turns many concurrent calls into few batched ones, without a timer: whoever calls while a batch is
// under way waits for the next, so a lone call is never delayed and a crowd shares the cost of one round trip.
package coalesce

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usherhq/usher/pkg/clock"
)

// ErrClosed is returned by Do after Close.
var ErrClosed = errors.New("coalesce: closed")

// Result is what one item of a batch came to.
type Result[R any] struct {
	Value R
	Err   error
}

// Flush handles one batch. It must answer with exactly one result an item, in order.
type Flush[T, R any] func(items []T) []Result[R]

// Batcher collects items and hands them to its flush function.
type Batcher[T, R any] struct {
	flush   Flush[T, R]
	weigh   func(T) int
	limit   int
	patient func(T) bool
	queue   chan call[T, R]
	behind  chan call[T, R] // the patient ones
	hasty   atomic.Int64    // when one that is not patient came last, by clock.Steady
	stop    chan struct{}
	stopped sync.Once
	workers sync.WaitGroup
}

type call[T, R any] struct {
	item   T
	answer chan Result[R]
}

// Options of a Batcher.
type Options[T any] struct {
	// Limit is the most weight one batch may have.
	Limit int
	// Parallel is how many batches may be under way at once (default 1).
	Parallel int
	// Queue is how many calls may wait before Do blocks (default 4096).
	Queue int
	// Weigh tells an item's weight (default 1 each). A heavier item than Limit travels alone.
	Weigh func(T) int
	// Patient tells which items let others go first (default none). While others come, an eighth of each batch is theirs, no
	// less, so that they are slowed down and never starved, and no more, so that no other waits for a large batch of them.
	Patient func(T) bool
}

// New starts a Batcher. Close ends it.
func New[T, R any](o Options[T], flush Flush[T, R]) *Batcher[T, R] {
	if o.Parallel == 0 {
		o.Parallel = 1
	}
	if o.Queue == 0 {
		o.Queue = 4096
	}
	if o.Weigh == nil {
		o.Weigh = func(T) int { return 1 }
	}
	if o.Patient == nil {
		o.Patient = func(T) bool { return false }
	}
	b := &Batcher[T, R]{
		flush: flush, weigh: o.Weigh, limit: o.Limit, patient: o.Patient,
		queue: make(chan call[T, R], o.Queue), behind: make(chan call[T, R], o.Queue), stop: make(chan struct{}),
	}
	b.hasty.Store(int64(clock.Steady() - calm))
	for range o.Parallel {
		b.workers.Go(b.work)
	}
	return b
}

// Do hands one item in and waits for its result. It returns ctx's error when ctx ends first: the item may then still be
// handled, so the outcome of such a call is unknown. It returns ErrClosed after Close.
func (b *Batcher[T, R]) Do(ctx context.Context, item T) (R, error) {
	answer, err := b.enter(ctx, item)
	if err != nil {
		var none R
		return none, err
	}
	return b.await(ctx, answer)
}

func (b *Batcher[T, R]) enter(ctx context.Context, item T) (chan Result[R], error) {
	select {
	case <-b.stop:
		return nil, ErrClosed
	default:
	}
	c := call[T, R]{item: item, answer: make(chan Result[R], 1)}
	queue := b.queue
	if b.patient(item) {
		queue = b.behind
	} else {
		b.hasty.Store(int64(clock.Steady()))
	}
	select {
	case queue <- c:
		return c.answer, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-b.stop:
		return nil, ErrClosed
	}
}

func (b *Batcher[T, R]) await(ctx context.Context, answer chan Result[R]) (R, error) {
	select {
	case r := <-answer:
		return r.Value, r.Err
	case <-ctx.Done():
		var none R
		return none, context.Cause(ctx)
	}
}

// DoAll hands several items in at once, so that they share batches, and gives their results in order. Errors are those
// of Do, item by item.
func (b *Batcher[T, R]) DoAll(ctx context.Context, items []T) []Result[R] {
	results := make([]Result[R], len(items))
	answers := make([]chan Result[R], len(items))
	for i, item := range items {
		answers[i], results[i].Err = b.enter(ctx, item)
	}
	for i, answer := range answers {
		if answer != nil {
			results[i].Value, results[i].Err = b.await(ctx, answer)
		}
	}
	return results
}

// Close lets what was handed in finish and refuses what comes later.
func (b *Batcher[T, R]) Close() {
	b.stopped.Do(func() { close(b.stop) })
	b.workers.Wait()
	for { // calls that slipped in between the workers' last look and now
		c, ok := b.waiting(load{share: b.limit})
		if !ok {
			return
		}
		c.answer <- Result[R]{Err: ErrClosed}
	}
}

func (b *Batcher[T, R]) work() {
	var held *call[T, R] // taken from a queue, but too heavy for the batch before
	for {
		first, ok := b.first(held)
		if !ok {
			return
		}
		held = nil
		calls := []call[T, R]{first}
		batch := load{share: b.share()}
		for b.add(&batch, first); batch.weight < b.limit; {
			c, ok := b.waiting(batch)
			if !ok {
				break
			}
			if b.add(&batch, c); batch.weight > b.limit {
				held = &c
				break
			}
			calls = append(calls, c)
		}
		b.answer(calls)
	}
}

// load is what a batch has come to.
type load struct {
	weight, patient int
	share           int // how much of it the patient may be
}

func (b *Batcher[T, R]) add(l *load, c call[T, R]) {
	weight := b.weigh(c.item)
	l.weight += weight
	if b.patient(c.item) {
		l.patient += weight
	}
}

// calm is how long the patient wait for others to come before they have whole batches for themselves.
const calm = time.Second

// share is how much of a batch may be patient ones now.
func (b *Batcher[T, R]) share() int {
	if clock.Steady()-time.Duration(b.hasty.Load()) < calm {
		return b.limit / 8
	}
	return b.limit
}

// first waits for the call that begins a batch. It reports false once all is done after Close.
func (b *Batcher[T, R]) first(held *call[T, R]) (call[T, R], bool) {
	if held != nil {
		return *held, true
	}
	if c, ok := b.waiting(load{share: b.limit}); ok {
		return c, true
	}
	select {
	case c := <-b.queue:
		return c, true
	case c := <-b.behind:
		return c, true
	case <-b.stop:
		return b.waiting(load{share: b.limit})
	}
}

// waiting takes the next call for a batch that has come to so much, if one is there.
func (b *Batcher[T, R]) waiting(batch load) (call[T, R], bool) {
	before, after := b.queue, b.behind
	if batch.patient >= batch.share {
		after = nil
	} else if batch.weight >= b.limit-b.limit/8 {
		before, after = after, before
	}
	select {
	case c := <-before:
		return c, true
	default:
	}
	select {
	case c := <-after:
		return c, true
	default:
		return call[T, R]{}, false
	}
}

func (b *Batcher[T, R]) answer(calls []call[T, R]) {
	items := make([]T, len(calls))
	for i, c := range calls {
		items[i] = c.item
	}
	for i, r := range b.flush(items) {
		calls[i].answer <- r
	}
}
