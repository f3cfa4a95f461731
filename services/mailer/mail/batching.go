package mail

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/failpoint"
)

// MaxBatch is how many mails may travel together.
const MaxBatch = 1000

// ErrClosed is the cause of the *Later that Batching.Send returns after Close.
var ErrClosed = errors.New("mail: no longer sending")

// errWaited is why a mail came back that nobody had time for.
var errWaited = errors.New("mail: waited too long for its turn")

// BatchingOptions tune a Batching.
type BatchingOptions struct {
	// Parallel is how many calls to the provider may be under way at once (default 64).
	Parallel int
	// PerLetter is how many of them may carry the same letter (default 2). While that many are under way, further mails
	// with the letter wait and leave together.
	PerLetter int
	// Rate is how many mails may leave in a second; 0 means no limit.
	Rate int
	// Patience is how long a mail may wait for its turn, and again for the rate (default 5 s). Then it comes back as *Later,
	// so that its caller looks again whether it is still wanted: no mail leaves later than twice this after it was Looked at.
	Patience time.Duration
	// Clock tells the time (default clock.System).
	Clock clock.Clock
}

// Batching collects the mails of many callers and hands them to a Sender, without a timer: a lone mail leaves at once,
// and mails with the same letter that come while it is under way leave together after it. Letters take turns, so that a
// thousand mails of one organization don't hold up the one of another. (This is why it is no coalesce.Batcher: with one
// queue, a call that hangs would hold up whatever was gathered with it.)
//
// It also stands still when the provider says so: see Held.
type Batching struct {
	sender  Sender
	o       BatchingOptions
	limiter *rate.Limiter
	size    int // the largest batch
	hold    hold

	mu      sync.Mutex
	queues  map[*Letter]*queue
	turns   []*queue // with mails that may leave now, in the order of their turn
	running int
	closed  bool
	workers sync.WaitGroup
}

// queue is what waits for one letter's turn.
type queue struct {
	letter  *Letter // nil for a mail that travels alone
	calls   []call
	running int
	inTurns bool
}

type call struct {
	mail   Mail
	answer chan Result
	looked time.Time
	// taken is set by whoever comes first: the turn that sends the mail, or the caller that withdraws it.
	taken *atomic.Bool
}

// NewBatching makes a Batching before sender. Close ends it.
func NewBatching(sender Sender, o BatchingOptions) *Batching {
	if o.Parallel == 0 {
		o.Parallel = 64
	}
	if o.PerLetter == 0 {
		o.PerLetter = 2
	}
	if o.Patience == 0 {
		o.Patience = 5 * time.Second
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	b := &Batching{sender: sender, o: o, size: MaxBatch, queues: make(map[*Letter]*queue)}
	b.hold.clock = o.Clock
	if o.Rate > 0 {
		b.size = min(MaxBatch, o.Rate)
		b.limiter = rate.NewLimiter(rate.Limit(o.Rate), b.size)
	}
	return b
}

// Send hands one mail in and waits for what becomes of it: the provider's id, or *Permanent, *Later, *Paused or *Unknown.
// When ctx ends while the mail still waits it is withdrawn and the error is *Later; after that it may leave, and the error
// is *Unknown.
func (b *Batching) Send(ctx context.Context, m Mail) (string, error) {
	c := call{mail: m, answer: make(chan Result, 1), looked: m.Looked, taken: new(atomic.Bool)}
	if c.looked.IsZero() {
		c.looked = b.o.Clock()
	}
	if err := b.enter(c); err != nil {
		return "", err
	}
	select {
	case r := <-c.answer:
		return r.ID, r.Err
	case <-ctx.Done():
	}
	if c.taken.CompareAndSwap(false, true) {
		return "", &Later{Cause: context.Cause(ctx)}
	}
	return "", &Unknown{Cause: context.Cause(ctx)}
}

// Waiting tells how many mails wait for their turn.
func (b *Batching) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, q := range b.queues {
		n += len(q.calls)
	}
	for _, q := range b.turns {
		if q.letter == nil { // travels alone, and stands in no queue
			n += len(q.calls)
		}
	}
	return n
}

// Close lets what was handed in finish and refuses what comes later.
func (b *Batching) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.workers.Wait()
}

func (b *Batching) enter(c call) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return &Later{Cause: ErrClosed}
	}
	q := b.queueFor(c.mail)
	q.calls = append(q.calls, c)
	b.offer(q)
	b.start()
	return nil
}

func (b *Batching) queueFor(m Mail) *queue {
	if !m.Shareable() {
		return &queue{}
	}
	q := b.queues[m.Letter]
	if q == nil {
		q = &queue{letter: m.Letter}
		b.queues[m.Letter] = q
	}
	return q
}

// offer lines the queue up for a turn, if it has something to send and may.
func (b *Batching) offer(q *queue) {
	if !q.inTurns && len(q.calls) > 0 && q.running < b.o.PerLetter {
		q.inTurns = true
		b.turns = append(b.turns, q)
	}
}

// start gives turns while there is room.
func (b *Batching) start() {
	for b.running < b.o.Parallel && len(b.turns) > 0 {
		q := b.turns[0]
		b.turns = slices.Delete(b.turns, 0, 1)
		q.inTurns = false
		calls := q.take(b.size)
		q.running++
		b.running++
		b.workers.Go(func() { b.run(q, calls) })
		b.offer(q)
	}
}

// take removes the next batch from the queue. A second mail to an address waits: one call can't tell them apart.
func (q *queue) take(limit int) []call {
	if len(q.calls) == 1 {
		batch := q.calls
		q.calls = nil
		return batch
	}
	var batch, rest []call
	seen := make(map[string]bool, min(len(q.calls), limit))
	for i, c := range q.calls {
		if len(batch) == limit {
			rest = append(rest, q.calls[i:]...)
			break
		}
		if seen[c.mail.To] {
			rest = append(rest, c)
			continue
		}
		seen[c.mail.To] = true
		batch = append(batch, c)
	}
	q.calls = rest
	return batch
}

func (b *Batching) run(q *queue, calls []call) {
	b.answer(calls)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
	q.running--
	if q.running == 0 && len(q.calls) == 0 {
		delete(b.queues, q.letter)
	}
	b.offer(q)
	b.start()
}

// answer sends what is still to be sent of a batch, and tells every caller what became of its mail.
func (b *Batching) answer(calls []call) {
	calls = slices.DeleteFunc(calls, func(c call) bool { return !c.taken.CompareAndSwap(false, true) }) // withdrawn
	calls = b.sendBack(calls, b.o.Patience)
	err := b.waitForRate(len(calls))
	calls = b.sendBack(calls, 2*b.o.Patience) // looked at again at the last moment: this process may have stood still
	if len(calls) == 0 {
		return
	}
	var attempt int
	if err == nil {
		attempt, err = b.hold.begin()
	}
	if err != nil {
		for _, c := range calls {
			c.answer <- Result{Err: err}
		}
		return
	}
	mails := make([]Mail, len(calls))
	for i, c := range calls {
		mails[i] = c.mail
	}
	failpoint.Here(failpoint.MailerCalling)
	// The callers' contexts are not this call's: one that gives up must not take the others' mails along. The Sender
	// has a time limit of its own.
	results := b.sender.Send(context.Background(), mails)
	b.hold.end(attempt, results)
	for i, c := range calls {
		c.answer <- results[i]
	}
}

// sendBack answers *Later to the calls that have waited longer than limit, and gives the others.
func (b *Batching) sendBack(calls []call, limit time.Duration) []call {
	now := b.o.Clock()
	return slices.DeleteFunc(calls, func(c call) bool {
		late := now.Sub(c.looked) > limit
		if late {
			c.answer <- Result{Err: &Later{Cause: errWaited}}
		}
		return late
	})
}

// waitForRate waits until that many mails may leave. Where that takes longer than Patience it returns *Later at once.
func (b *Batching) waitForRate(mails int) error {
	if b.limiter == nil || mails == 0 {
		return nil
	}
	now := b.o.Clock()
	r := b.limiter.ReserveN(now, mails)
	if delay := r.DelayFrom(now); delay > b.o.Patience {
		r.CancelAt(now)
		return &Later{After: delay, Cause: errWaited}
	} else if delay > 0 {
		time.Sleep(delay)
	}
	return nil
}
