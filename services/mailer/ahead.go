package mailer

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/google/uuid"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/ledger"
)

const (
	// longQueue is how many requests wait at the broker where the queue is long: half of what this process has in work.
	longQueue = inFlight / 2
	// aheadFor is how long requests are looked for ahead of the queue after it was last seen to be long.
	aheadFor = 10 * time.Second
	// aheadWorkers is how many of them are worked on at once, aheadWaiting how many wait for that at most.
	aheadWorkers, aheadWaiting = 16, 1024
	// aheadBurst is how many requests of an organization go ahead of the queue at once, aheadRate how many in a second after
	// that.
	aheadBurst, aheadRate = 20, 2
	// aheadTime bounds the work on one of them.
	aheadTime = 20 * time.Second
	// mostLanes is how many organizations are told apart; then all begin anew.
	mostLanes = 100_000
)

// ahead is the way past a long queue. The broker hands requests out in the order in which they were stored, so that one
// organization's hundred thousand would hold up everybody who comes after them. While the queue is long, this reads what is
// stored behind its head, by subject alone, and works on the first few requests of each organization. Nothing depends on it: what
// was done here the queue finds done when it comes to it, and what was left undone is done then.
type ahead struct {
	service *Service
	worker  string      // in claims: not the queue's, which must not take the claims of this for its own of an earlier life
	long    chan uint64 // the queue is long, and has come to this sequence
}

func newAhead(s *Service) *ahead {
	return &ahead{service: s, worker: uuid.NewString(), long: make(chan uint64, 1)}
}

// queueIsLong says that it is, at the message that was handed out from it.
func (a *ahead) queueIsLong(sequence uint64) {
	select {
	case a.long <- sequence:
	default: // it has been said
	}
}

// run looks ahead whenever the queue is long, until ctx ends and what was begun is done.
func (a *ahead) run(ctx context.Context) {
	seen := uint64(0) // how far it was looked before
	for {
		select {
		case <-ctx.Done():
			return
		case sequence := <-a.long:
			seen = a.look(ctx, max(seen, sequence))
		}
	}
}

// look looks at what is stored after a sequence until the queue is no longer long, and gives how far it came.
func (a *ahead) look(ctx context.Context, after uint64) uint64 {
	ctx, stop := context.WithCancel(ctx)
	scout := &scout{seen: after, waiting: make(chan uint64, aheadWaiting), lanes: map[string]*rate.Limiter{}}
	var working sync.WaitGroup
	for range aheadWorkers {
		working.Go(func() { a.work(ctx, scout.waiting) })
	}
	filter := events.InvitationSubject(events.AnyOrganization, "*", events.FactRequested)
	if err := a.service.Ledger.Heads(ctx, events.StreamInvitations, filter, after+1, scout.meet); err != nil {
		a.service.Logger.DebugContext(ctx, "the way past the queue cannot be seen now", "error", err)
	}
	over := time.NewTimer(aheadFor)
	for going := true; going; {
		select {
		case <-a.long:
			over.Reset(aheadFor)
		case <-over.C:
			going = false
		case <-ctx.Done():
			going = false
		}
	}
	stop()
	working.Wait()
	return scout.end()
}

// work takes what waits, until ctx ends.
func (a *ahead) work(ctx context.Context, waiting <-chan uint64) {
	for {
		select {
		case <-ctx.Done():
			return
		case sequence := <-waiting:
			if err := a.one(context.WithoutCancel(ctx), sequence); err != nil {
				a.service.Logger.DebugContext(ctx, "a request is left to the queue", "sequence", sequence, "error", err)
			}
		}
	}
}

// one works on the request at a sequence, as if it had been handed out before.
func (a *ahead) one(ctx context.Context, sequence uint64) error {
	ctx, cancel := context.WithTimeout(ctx, aheadTime)
	defer cancel()
	r, err := a.service.Ledger.At(ctx, events.StreamInvitations, sequence)
	if err != nil {
		return err
	}
	e, err := r.Event()
	if err != nil {
		return err // the queue makes a dead letter of it
	}
	return a.service.first(ctx, &bus.Received{
		Event: e, Subject: r.Subject, Sequence: r.Sequence, Time: r.Time, Delivered: 2, Header: r.Header, Body: r.Data,
	}, a.worker)
}

// scout chooses who goes ahead.
type scout struct {
	waiting chan uint64
	lanes   map[string]*rate.Limiter

	mu    sync.Mutex
	seen  uint64
	ended bool
}

// meet is told of one request after the other.
func (s *scout) meet(r ledger.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.seen = r.Sequence
	org, _, _, ok := events.SplitInvitation(r.Subject)
	if !ok || !s.lane(org).Allow() {
		return
	}
	select {
	case s.waiting <- r.Sequence:
	default: // more than can be done ahead of the queue
	}
}

func (s *scout) lane(org string) *rate.Limiter {
	if len(s.lanes) >= mostLanes {
		clear(s.lanes)
	}
	l := s.lanes[org]
	if l == nil {
		l = rate.NewLimiter(aheadRate, aheadBurst)
		s.lanes[org] = l
	}
	return l
}

// end is how far it came. Nothing is chosen any more.
func (s *scout) end() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.seen
}
