package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/refusal"
)

// MaxClockOff is how far this process's clock may be from the broker's. Deadlines are decided by the one and announced by the
// other, so beyond it nothing is decided at all.
const MaxClockOff = 5 * time.Second

const (
	// clockRight is where a clock that was wrong counts as right again: well within, so that it is not both in turns.
	clockRight = MaxClockOff / 2
	// clockStep is a jump of the clock that is no correction in passing. The broker is then asked before anything is decided.
	clockStep = time.Second
	// glanceEvery is how often the clock is held against the time that this process has run, which costs nothing.
	glanceEvery = 100 * time.Millisecond
	// compareEvery and compareSoon are how often it is held against the broker's: while it is right, and while it is not.
	compareEvery, compareSoon = 5 * time.Second, time.Second
)

// clockRules is the promise of the clock; the subject is how far it is ahead of the broker's.
var clockRules = []refusal.Rule[time.Duration]{{
	Setting: "clock", When: "more than 5 s from the broker's, at start or at any time later; later, nothing is decided until it is right again",
	Says: "this machine's clock is %s %s the broker's, and may be %s from it: deadlines would be decided wrongly; set both by NTP",
	Broken: func(off time.Duration) refusal.Values {
		return refusal.If(off.Abs() > MaxClockOff, clockValues(off)...)
	},
}}

func clockValues(off time.Duration) refusal.Values {
	where := "ahead of"
	if off < 0 {
		where = "behind"
	}
	return refusal.Values{off.Abs().Round(100 * time.Millisecond), where, MaxClockOff}
}

// watchedClock is the process's clock, held against the broker's by one goroutine. Everybody else reads the verdict.
type watchedClock struct {
	clock  clock.Clock
	steady func() time.Duration
	broker func(context.Context) (time.Time, error)

	wrong atomic.Int64 // by how much it is ahead of the broker's (behind: less than 0), nanoseconds; 0: right
}

// compare asks the broker for its time and gives how far this clock is ahead of it, at the least: the broker looked at its
// clock at some instant while it was asked, so however long that took, a right clock is never found wrong.
func (w *watchedClock) compare(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	before := w.clock()
	theirs, err := w.broker(ctx)
	after := w.clock()
	switch {
	case err != nil:
		return 0, unavailable(err)
	case theirs.Before(before):
		return before.Sub(theirs), nil
	case theirs.After(after):
		return after.Sub(theirs), nil
	}
	return 0, nil
}

// judge takes in how far the clock is ahead.
func (w *watchedClock) judge(off time.Duration) {
	if off.Abs() > MaxClockOff || w.wrong.Load() != 0 && off.Abs() > clockRight {
		w.wrong.Store(int64(off))
	} else {
		w.wrong.Store(0)
	}
}

// jumped takes in by how much the clock was set, before the broker is asked: a clock that it makes wrong is wrong at once,
// one that it may have put right is not right yet.
func (w *watchedClock) jumped(by time.Duration) {
	if off := time.Duration(w.wrong.Load()) + by; off.Abs() > MaxClockOff {
		w.wrong.Store(int64(off))
	}
}

// healthy returns problem.NotNow while the clock is wrong.
func (w *watchedClock) healthy() error {
	off := time.Duration(w.wrong.Load())
	if off == 0 {
		return nil
	}
	return &problem.Error{
		Code: problem.NotNow, RetryAfter: 2 * time.Second,
		Detail: "The clocks of this machine and of the broker differ, so nothing is decided now; nothing was lost, try again shortly.",
		Cause:  clockError(off),
	}
}

func clockError(off time.Duration) error {
	return fmt.Errorf("ledger: "+clockRules[0].Says, clockValues(off)...)
}

// glance is the clock beside the time that the process has run.
type glance struct {
	wall   time.Time
	steady time.Duration
}

func (w *watchedClock) glance() glance { return glance{w.clock().Round(0), w.steady()} }

// jump is by how much the clock was set since an earlier glance.
func (g glance) jump(earlier glance) time.Duration {
	return g.wall.Sub(earlier.wall) - (g.steady - earlier.steady)
}

// watch looks after the clock until ctx ends, and calls changed whenever the verdict is another. last is when the clock was
// looked at before.
func (w *watchedClock) watch(ctx context.Context, last glance, changed func()) {
	tick := time.NewTicker(glanceEvery)
	defer tick.Stop()
	due := last.steady + compareEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := w.glance()
		jump := now.jump(last)
		last = now
		if jump.Abs() <= clockStep && now.steady < due {
			continue
		}
		was := w.wrong.Load() != 0
		w.jumped(jump)
		off, err := w.compare(ctx)
		if err == nil {
			w.judge(off)
		}
		is := w.wrong.Load() != 0
		if was != is {
			changed()
		}
		if due = now.steady + compareEvery; err != nil || is {
			due = now.steady + compareSoon
		}
	}
}

// checkClock refuses a clock that is wrong, and looks after it from then on.
func (l *Ledger) checkClock(ctx context.Context) error {
	if l.options.ClockIsMoved {
		return nil
	}
	now := l.watched.glance()
	off, err := l.watched.compare(ctx)
	if err != nil {
		return err
	}
	if clockRules[0].Broken(off) != nil {
		return clockError(off)
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.unwatch = stop
	go l.watched.watch(watching, now, l.clockChanged)
	return nil
}

func (l *Ledger) clockChanged() {
	if err := l.watched.healthy(); err != nil {
		l.log.Error("the clock is wrong: nothing is decided", "error", err)
		return
	}
	l.log.Info("the clock is right again")
}

// brokersTime asks the broker what time it is.
func (l *Ledger) brokersTime(ctx context.Context) (time.Time, error) {
	stream, err := l.js.Stream(ctx, events.StreamInvitations)
	if err != nil {
		return time.Time{}, err
	}
	at := stream.CachedInfo().TimeStamp
	if at.IsZero() {
		return at, errors.New("the broker does not tell its time")
	}
	return at, nil
}
