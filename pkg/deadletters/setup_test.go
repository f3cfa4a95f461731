package deadletters

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/ledger"
)

// soon is how long a test waits for what should come at once. Long, because many tests share few cores.
const soon = 30 * time.Second

// office is a ledger with one worker, named admission, that gives up what it is not told is mended, and a clerk.
type office struct {
	*testing.T
	broker  *brokertest.Broker
	ledger  *ledger.Ledger
	box     *Box
	metrics *prometheus.Registry
	mended  atomic.Bool
	silent  atomic.Bool // the worker settles nothing
	handled handled
	log     logBuffer
}

// handled is how often each original was handled well, by its sequence.
type handled struct {
	mu    sync.Mutex
	times map[uint64]int
}

func (h *handled) add(sequence uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.times == nil {
		h.times = map[uint64]int{}
	}
	h.times[sequence]++
}

func (h *handled) of(sequence uint64) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.times[sequence]
}

func setup(t *testing.T) *office {
	t.Helper()
	broker := brokertest.Run(t, brokertest.Lazy())
	conn := broker.Conn(t)
	o := &office{T: t, broker: broker, metrics: prometheus.NewRegistry()}
	logger := slog.New(slog.NewTextHandler(&o.log, nil))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(o.log.String())
		}
	})
	l, err := ledger.Open(t.Context(), conn, ledger.Options{Durable: ledger.Durability{Declared: true}, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	o.ledger, o.box = l, New(l)
	letters, err := bus.NewPublisher(conn)
	require.NoError(t, err)
	router, err := bus.NewRouter(bus.RouterOptions{Conn: conn, DeadLetters: letters, Logger: logger, Redrives: true, CloseGrace: time.Second})
	require.NoError(t, err)
	router.Handle("admission", bus.Subscription{
		Stream: events.StreamRequests, Durable: "admission", Filters: []string{events.RootRequests + ".*"},
		AckWait: time.Second, RetryMin: 10 * time.Millisecond, RetryMax: 10 * time.Millisecond,
	}, o.admit)
	clerk := NewClerk(l, logger, o.metrics)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { require.NoError(t, router.Run(ctx)) })
	running.Go(func() { require.NoError(t, clerk.Run(ctx)) })
	t.Cleanup(func() { cancel(); running.Wait() })
	<-router.Running()
	return o
}

func (o *office) admit(_ context.Context, m *bus.Received) error {
	switch {
	case o.silent.Load():
		return errors.New("not now")
	case !o.mended.Load():
		return bus.Never("broken", errors.New("not yet"))
	}
	o.handled.add(m.Sequence)
	return nil
}

// ask publishes a request of an organization on requests.<app>.
func (o *office) ask(app, org string) uint64 {
	o.Helper()
	m, err := ledger.Fact(events.RequestSubject(app), events.Event{
		ID: events.NewEventID(), Source: "/" + app, Time: time.Now(),
		Data: &events.InvitationRequested{Organization: org, Email: "new.person@example.org", Role: "member", Inviter: "owner@example.org"},
	})
	require.NoError(o, err)
	sequence, err := o.ledger.Publish(o.Context(), events.StreamRequests, m)
	require.NoError(o, err)
	return sequence
}

// list gives the letters that match.
func (o *office) list(f Filter) []*Letter {
	o.Helper()
	letters, err := o.box.List(o.Context(), f)
	require.NoError(o, err)
	return letters
}

// wait waits until so many letters match.
func (o *office) wait(n int, f Filter) []*Letter {
	o.Helper()
	require.Eventually(o, func() bool { return len(o.list(f)) == n }, soon, 10*time.Millisecond, "%+v: not %d letters", f, n)
	return o.list(f)
}

func (o *office) find(sequence uint64) *Letter {
	o.Helper()
	l, err := o.box.Find(o.Context(), sequence)
	require.NoError(o, err)
	return l
}

// results collects what is reported.
type results []Result

func (r *results) add(one Result) { *r = append(*r, one) }

func (r *results) acted() (n int) {
	for _, one := range *r {
		if one.Acted {
			n++
		}
	}
	return n
}

func (o *office) redrive(order Order, letters ...*Letter) results {
	o.Helper()
	var got results
	require.NoError(o, o.box.Redrive(o.Context(), letters, order, got.add))
	return got
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
