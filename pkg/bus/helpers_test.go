package bus

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
)

// soon is how long a test waits for what should come at once. Long, because many tests share few cores.
const soon = 20 * time.Second

const (
	testStream  = events.StreamRequests
	testSubject = "requests.crm"
)

// harness is a broker with a stream to hear and one for dead letters.
type harness struct {
	t      testing.TB
	broker *brokertest.Broker
	nc     *nats.Conn
	js     jetstream.JetStream
	log    *logBuffer
	logger *slog.Logger
}

func setup(t *testing.T, opts ...brokertest.Option) *harness {
	t.Helper()
	broker := brokertest.Run(t, append(opts, brokertest.Lazy())...)
	h := newHarness(t, broker.Conn(t))
	h.broker = broker
	return h
}

func newHarness(t *testing.T, nc *nats.Conn) *harness {
	t.Helper()
	h := &harness{t: t, nc: nc, log: &logBuffer{}}
	h.js, _ = jetstream.New(h.nc)
	h.logger = slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.log.String())
		}
	})
	h.makeStream(testStream, "requests.*")
	h.makeStream(events.StreamDeadLetters, "deadletters.>")
	return h
}

func (h *harness) makeStream(name, subject string) {
	h.t.Helper()
	_, err := h.js.CreateStream(h.context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}})
	require.NoError(h.t, err)
}

func (h *harness) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	h.t.Cleanup(cancel)
	return ctx
}

// plan is a subscription with times short enough for tests.
func plan() Subscription {
	return Subscription{
		Stream: testStream, Durable: "worker", Filters: []string{"requests.*"}, AckWait: 5 * time.Second,
		RetryMin: 20 * time.Millisecond, RetryMax: 80 * time.Millisecond, inspectEvery: 50 * time.Millisecond,
	}
}

func (h *harness) router(change ...func(*RouterOptions)) *Router {
	h.t.Helper()
	o := RouterOptions{Conn: h.nc, DeadLetters: mustPublisher(h.t, h.nc), Logger: h.logger, CloseGrace: 5 * time.Second}
	for _, c := range change {
		c(&o)
	}
	r, err := NewRouter(o)
	require.NoError(h.t, err)
	return r
}

// run starts a router with one handler, named "worker"; the function it returns stops it and waits.
func (h *harness) run(s Subscription, fn Handler, change ...func(*RouterOptions)) (*Router, func()) {
	h.t.Helper()
	r := h.router(change...)
	r.Handle("worker", s, fn)
	return r, h.start(r)
}

func (h *harness) start(r *Router) (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	select {
	case <-r.Running():
	case err := <-ended:
		require.NoError(h.t, err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(h.t, <-ended)
	})
	h.t.Cleanup(stop)
	return stop
}

// publish stores one request, whose event id is the one given.
func (h *harness) publish(ids ...string) {
	h.t.Helper()
	for _, id := range ids {
		header, body, err := events.Encode(request(id))
		require.NoError(h.t, err)
		h.publishRaw(&nats.Msg{Subject: testSubject, Header: header, Data: body})
	}
}

func (h *harness) publishRaw(m *nats.Msg) {
	h.t.Helper()
	_, err := h.js.PublishMsg(h.context(), m)
	require.NoError(h.t, err)
}

func request(id string) events.Event {
	return events.Event{ID: id, Source: "/crm", Data: &events.InvitationRequested{
		Organization: "acme", Email: "new.person@example.org", Role: "member", Inviter: "owner@example.org",
	}}
}

func ids(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("evt-%d", i))
	}
	return all
}

// deadLetter waits for the n-th dead letter.
func (h *harness) deadLetter(n uint64) *jetstream.RawStreamMsg {
	h.t.Helper()
	stream, err := h.js.Stream(h.context(), events.StreamDeadLetters)
	require.NoError(h.t, err)
	var m *jetstream.RawStreamMsg
	require.Eventually(h.t, func() bool {
		m, err = stream.GetMsg(h.context(), n)
		return err == nil
	}, soon, 5*time.Millisecond, "no dead letter came")
	return m
}

func (h *harness) deadLetters() uint64 { return h.messages(events.StreamDeadLetters) }

func (h *harness) messages(stream string) uint64 {
	h.t.Helper()
	s, err := h.js.Stream(h.context(), stream)
	require.NoError(h.t, err)
	return s.CachedInfo().State.Msgs
}

// settled waits until the consumer has nothing left to hand out or to be told.
func (h *harness) settled(durable string) {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return h.unsettled(durable) == 0 }, soon, 5*time.Millisecond, "messages stay unsettled")
}

func (h *harness) unsettled(durable string) int {
	info := h.consumer(durable)
	return int(info.NumPending) + info.NumAckPending
}

// handedOut is how many messages the broker waits to hear about.
func (h *harness) handedOut(durable string) int { return h.consumer(durable).NumAckPending }

func (h *harness) consumer(durable string) *jetstream.ConsumerInfo {
	h.t.Helper()
	c, err := h.js.Consumer(h.context(), testStream, durable)
	require.NoError(h.t, err)
	return c.CachedInfo()
}

// only is the one subscription of a subscriber.
func only(s *Subscriber) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subscriptions {
		return sub
	}
	return nil
}

// next waits for a value.
func next[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(soon):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// nothing checks that no value comes for a while.
func nothing[T any](t testing.TB, c <-chan T, d time.Duration) {
	t.Helper()
	select {
	case v := <-c:
		require.FailNow(t, "something came", "%v", v)
	case <-time.After(d):
	}
}

func mustPublisher(t testing.TB, nc *nats.Conn) *Publisher {
	t.Helper()
	p, err := NewPublisher(nc)
	require.NoError(t, err)
	return p
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// logBuffer keeps what was logged.
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
