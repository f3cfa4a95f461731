package mail

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/usherhq/usher/pkg/clock"
)

const (
	// pauseFor is how long to stand still when the provider refuses everybody.
	pauseFor = 30 * time.Second
	// patience is how many calls in a row may fail before standing still.
	patience = 3
	// firstPause and longestPause bound the growing pauses of a provider that keeps failing.
	firstPause   = time.Second
	longestPause = time.Minute
)

// hold keeps calls back while the provider can't or doesn't want to take mails. It opens by itself: when the time is over
// one call goes ahead, and the others follow if it succeeds.
type hold struct {
	clock clock.Clock

	mu       sync.Mutex
	until    time.Time
	reason   error
	epoch    int  // counts pauses, so that calls which began before one don't lengthen it
	failures int  // calls in a row that failed in this epoch
	pauses   int  // pauses in a row without a success between them
	probing  bool // the one call that goes ahead is under way
}

// Held reports until when nothing is handed to the provider, and why: *Paused needs somebody to act. The time is zero
// when mails flow.
func (b *Batching) Held() (until time.Time, reason error) {
	b.hold.mu.Lock()
	defer b.hold.mu.Unlock()
	return b.hold.until, b.hold.reason
}

// begin asks to make a call. It returns the epoch to give to end, or the error for all mails of the call.
func (h *hold) begin() (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until.IsZero() {
		return h.epoch, nil
	}
	wait := h.until.Sub(h.clock())
	if wait <= 0 && !h.probing {
		h.probing = true
		return h.epoch, nil
	}
	return 0, keptBack(h.reason, max(wait, time.Second))
}

// keptBack is the error of a mail that was not even tried. The waits are spread, so that those who come back don't do so
// all at once.
func keptBack(reason error, wait time.Duration) error {
	wait += rand.N(wait / 4)
	if p, ok := errors.AsType[*Paused](reason); ok {
		return &Paused{Code: p.Code, Reason: p.Reason, After: wait}
	}
	return &Later{After: wait, Cause: reason}
}

// end tells what became of a call.
func (h *hold) end(epoch int, results []Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if epoch != h.epoch {
		return // began before the pause that is on now
	}
	err := failure(results)
	if err == nil {
		h.until, h.reason, h.failures, h.pauses, h.probing = time.Time{}, nil, 0, 0, false
		return
	}
	h.failures++
	if wait := h.wait(err); wait > 0 {
		h.until, h.reason, h.failures, h.probing = h.clock().Add(wait), err, 0, false
		h.epoch++
		h.pauses++
	}
}

// failure is what a call's results say about the provider: nil when it took or refused mails for their own sake.
func failure(results []Result) error {
	for _, r := range results {
		if _, permanent := errors.AsType[*Permanent](r.Err); r.Err != nil && !permanent {
			return r.Err
		}
	}
	return nil
}

// wait is how long to stand still after a failed call; 0 to go on.
func (h *hold) wait(err error) time.Duration {
	if p, ok := errors.AsType[*Paused](err); ok {
		return max(p.After, pauseFor)
	}
	if l, ok := errors.AsType[*Later](err); ok && l.After > 0 {
		return l.After
	}
	if h.failures < patience && !h.probing {
		return 0
	}
	wait := min(firstPause<<min(h.pauses, 10), longestPause)
	return wait/2 + rand.N(wait/2)
}
