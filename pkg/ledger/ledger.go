// Package ledger is the pipeline's memory: the JetStream streams in which every decision is one conditional publish.
//
// It provisions the streams and refuses weaker ones, publishes facts so that concurrent calls share the cost of the disk,
// keeps timers, and reads back what was said. Nothing in it knows about mail, Redis or HTTP.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/coalesce"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/problem"
)

var (
	// ErrConflict is returned by Publish when an expectation did not hold: somebody else was there before.
	// A caller that may itself have been there before (a retry) reads the last message and compares ids.
	ErrConflict = errors.New("ledger: expected last sequence differs")
	// ErrDuplicate is returned by Publish when the stream has seen the message's id within its duplicate window.
	ErrDuplicate = errors.New("ledger: message id was seen before")
	// ErrNotFound is returned by reads when nothing matches.
	ErrNotFound = errors.New("ledger: nothing there")
)

// Sizes and times of the ledger's traffic.
const (
	maxBatch       = 1000               // the server's limit for one atomic batch
	sideBySide     = 16                 // messages that are stored as quickly one by one (a sync each) as together (a batch has a store of its own)
	publishTimeout = 4 * time.Second    // then the outcome is unknown and the caller is told "not now"
	answerTimeout  = 2 * publishTimeout // for whoever waits behind others; patient messages have all the time there is
	readTimeout    = 5 * time.Second
	readBatch      = 256 // filters in one read; the server's limit is 1024 subjects
)

// Options of Open.
type Options struct {
	// Replicas of every stream and bucket: 1 embedded, 3 in a cluster.
	Replicas int
	// MaxAge is how long the ledger remembers (default 400 days); longer than any invitation may live.
	MaxAge time.Duration
	// Durable is how the server's promise to sync always is known.
	Durable Durability
	Logger  *slog.Logger
	Clock   clock.Clock
	// ClockIsMoved says that Clock is moved on purpose, so that it is not held against the broker's: for tests of what happens
	// in days. Without it, a clock that is more than MaxClockOff away is refused at Open, and later makes Healthy say no.
	ClockIsMoved bool
}

// Ledger reads and writes the streams.
type Ledger struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	options Options
	clock   clock.Clock
	log     *slog.Logger
	watched watchedClock
	unwatch func() // ends the watch over the clock

	publishers map[string]*coalesce.Batcher[[]Message, uint64] // by stream
	facts      *coalesce.Batcher[factsQuery, []Record]
	reader     *reader
	unread     func() error // ends the reader
	personKey  []byte
	handles    sync.Map // stream name to jetstream.Stream
	sight      sync.Map // stream name to *atomic.Uint64: how far this process knows it to be
}

// Open checks the server and the streams, creates what is missing, and starts the publishers. The connection stays the
// caller's. It refuses, with the exact difference, a server that is too old or syncs lazily, a stream that exists with weaker
// settings, and a clock that is far from the broker's; what is down is problem.NotNow.
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Ledger, error) {
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.MaxAge == 0 {
		o.MaxAge = 400 * 24 * time.Hour
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(publishTimeout))
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{nc: nc, js: js, options: o, clock: o.Clock, log: o.Logger, unwatch: func() {}}
	l.watched = watchedClock{clock: o.Clock, steady: clock.Steady, broker: l.brokersTime}
	if err := checkServer(ctx, nc, o.Durable); err != nil {
		return nil, err
	}
	if err := l.provision(ctx); err != nil {
		return nil, err
	}
	if l.personKey, err = l.ensurePersonKey(ctx); err != nil {
		return nil, err
	}
	failpoint.Here(failpoint.StartPersonKey)
	if l.reader, l.unread, err = newReader(nc); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if err := l.checkClock(ctx); err != nil {
		return nil, errors.Join(err, l.unread())
	}
	l.start()
	return l, nil
}

func (l *Ledger) start() {
	l.publishers = map[string]*coalesce.Batcher[[]Message, uint64]{}
	for _, stream := range []string{events.StreamRequests, events.StreamInvitations, events.StreamMemberships, events.StreamDeadLetters} {
		l.publishers[stream] = coalesce.New(coalesce.Options[[]Message]{
			Limit: maxBatch, Parallel: 2, // one is on its way while the broker stores the other
			Weigh:   func(unit []Message) int { return len(unit) },
			Patient: func(unit []Message) bool { return unit[0].patient || unit[0].yields },
		}, func(units [][]Message) []coalesce.Result[uint64] { return l.commit(stream, units) })
	}
	l.facts = coalesce.New(coalesce.Options[factsQuery]{
		Limit: readBatch, Parallel: 2, Weigh: func(q factsQuery) int { return len(q.filters) },
	}, l.readFacts)
}

// Close lets publishes and reads that were begun finish, and refuses later ones.
func (l *Ledger) Close() {
	for _, p := range l.publishers {
		p.Close()
	}
	l.facts.Close()
	l.unwatch()
	_ = l.unread() // fails where the connection is closed already
}

// JetStream is the client the ledger works through, for the bus.
func (l *Ledger) JetStream() jetstream.JetStream { return l.js }

// PersonKey is the key of the keyed hash that stands for an address in subjects. It was made once, when the ledger was.
func (l *Ledger) PersonKey() []byte { return l.personKey }

// Now is the present instant by the ledger's clock. What follows from it alone, like that a deadline has passed, holds where
// Healthy says afterwards that the clock is right.
func (l *Ledger) Now() time.Time { return l.watched.now() }

// Healthy returns problem.NotNow while there is no connection to the broker, or the clock is too far from the broker's for
// anything to be decided by it. It asks nobody.
func (l *Ledger) Healthy() error {
	if !l.nc.IsConnected() {
		return problem.Unavailable("The ledger", fmt.Errorf("nats connection is %s", l.nc.Status()))
	}
	return l.watched.healthy()
}

// Ping asks every stream whether it answers and is still as it was made: a deleted or weakened stream is an error.
func (l *Ledger) Ping(ctx context.Context) error {
	if err := l.Healthy(); err != nil {
		return err
	}
	for _, want := range l.streams() {
		if err := l.checkStream(ctx, want); err != nil {
			return err
		}
	}
	return nil
}
