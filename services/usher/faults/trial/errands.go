package trial

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/usherhq/usher/pkg/failpoint"
)

// errand is traffic of one kind that goes on while processes are killed at a point: round after round, each with people of
// its own, who are judged like all others by what they were answered.
type errand struct {
	// to are the points that it leads past, by name.
	to []failpoint.Name
	// round is told again and again. It returns when its people have come to their ends.
	round func(ctx context.Context, t *traffic, n int)
	// side is how many rounds go on side by side (default 3), pause how long after one the next begins at the earliest (default
	// 100 ms), and most how many there are (default: as many as it takes).
	side, most int
	pause      time.Duration
	// arrange is done before anything happens.
	arrange func(ctx context.Context, t *traffic) error
	// first is a point at which processes are killed beforehand, and firstly how often: what they leave behind leads past the
	// point that it is about.
	first   failpoint.Name
	firstly int
	// rare tells that few come by: the first of them dies.
	rare bool
	// limit is how long to wait for the deaths (default 90 s), settling how long the system may take afterwards (default a minute).
	limit, settling time.Duration
	// signIn is true where people sign in to the console.
	signIn bool
}

// after is how many passes a process may live through at most, the deadly one included.
func (e *errand) after() int {
	if e.rare {
		return 1
	}
	return 3
}

// patience is how long to wait for enough deaths.
func (e *errand) patience() time.Duration { return cmp.Or(e.limit, 90*time.Second) }

// errands are all errands that lead past points which few come by.
var errands = slices.Concat(invitingErrands, mailErrands, deskErrands, slowErrands)

// everyday leads past all other points.
var everyday = &errand{round: tellAny}

// errandTo finds the errand that leads past a point.
func errandTo(point failpoint.Name) *errand {
	for _, e := range errands {
		if slices.Contains(e.to, point) {
			return e
		}
	}
	return everyday
}

// goOnErrands begins rounds until open ends, and lets each come to its end, or to that of ctx.
func (t *traffic) goOnErrands(open, ctx context.Context, e *errand) {
	var running sync.WaitGroup
	free := make(chan struct{}, cmp.Or(e.side, 3))
	for n := 0; e.most == 0 || n < e.most; n++ {
		select {
		case free <- struct{}{}:
		case <-open.Done():
		}
		if open.Err() != nil {
			break
		}
		running.Go(func() {
			e.round(ctx, t, n)
			<-free
		})
		wait(open, cmp.Or(e.pause, 100*time.Millisecond))
	}
	running.Wait()
}

// together tells one story about each of some people at the same time.
func together(some []*story, tell func(*story)) {
	var running sync.WaitGroup
	for _, s := range some {
		running.Go(func() { tell(s) })
	}
	running.Wait()
}

// newcomers are the stories of so many whom nobody knows yet.
func (t *traffic) newcomers(n int, door, end string) []*story {
	some := make([]*story, n)
	for i := range some {
		some[i] = t.newcomer(door, end)
	}
	return some
}

// tell tells a story from its beginning to its end.
func (t *traffic) tell(ctx context.Context, s *story) {
	if t.invite(ctx, s) {
		t.goOn(ctx, s)
	}
}

// tellAny tells a story of any kind.
func tellAny(ctx context.Context, t *traffic, n int) {
	s := t.newcomer([]string{doorHTTP, doorHTTP, doorBus}[n%3], ends[n%len(ends)])
	s.hasty = n%8 == 7
	t.tell(ctx, s)
}

// telling is a round of one story whose door and end are known.
func telling(door, end string) func(context.Context, *traffic, int) {
	return func(ctx context.Context, t *traffic, _ int) { t.tell(ctx, t.newcomer(door, end)) }
}

// invitedAndMailed invites somebody and waits for the mail.
func (t *traffic) invitedAndMailed(ctx context.Context, s *story) bool {
	if !t.invite(ctx, s) {
		return false
	}
	_, ok := t.mail(ctx, s, 0)
	return ok
}
