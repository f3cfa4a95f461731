package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/problem"
)

func TestHandlerGetsTheEventAndWhereItStands(t *testing.T) {
	t.Parallel()
	h := setup(t)
	got := make(chan *Received, 1)
	h.run(plan(), func(_ context.Context, m *Received) error { got <- m; return nil })
	h.publish("evt-1")

	m := next(t, got)
	require.Equal(t, "evt-1", m.Event.ID)
	require.Equal(t, "acme", m.Event.Data.(*events.InvitationRequested).Organization)
	require.Equal(t, testSubject, m.Subject)
	require.EqualValues(t, 1, m.Sequence)
	require.Equal(t, 1, m.Delivered)
	require.WithinDuration(t, time.Now(), m.Time, time.Minute)
	require.Contains(t, string(m.Body), "acme")
	h.settled("worker")
}

func TestUndecodableMessageIsADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	h.run(plan(), func(context.Context, *Received) error { t.Error("handled"); return nil })
	bodies := map[string]string{
		"":                       ReasonMalformed,
		"{":                      ReasonMalformed,
		`{"organization":7}`:     ReasonMalformed,
		"\xff\x00":               ReasonMalformed,
		strings.Repeat("[", 1e5): ReasonMalformed,
	}
	n := uint64(0)
	for body, reason := range bodies {
		n++
		h.publishRaw(&nats.Msg{Subject: testSubject, Data: []byte(body)})
		letter := h.deadLetter(n)
		require.Equal(t, reason, letter.Header.Get(DeadReason))
		require.Equal(t, "1", letter.Header.Get(DeadDeliveries))
		require.Equal(t, body, string(letter.Data))
	}
	h.publishRaw(&nats.Msg{Subject: testSubject, Data: []byte("{}"), Header: nats.Header{"ce-type": {"com.example.other.v1"}}})
	require.Equal(t, ReasonUnknownType, h.deadLetter(n+1).Header.Get(DeadReason))
	h.settled("worker")
}

func TestDeadLetterKeepsTheMessageAndSaysWhy(t *testing.T) {
	t.Parallel()
	h := setup(t)
	h.run(plan(), func(context.Context, *Received) error {
		return problem.New(problem.RoleTooHigh, "the role of ann@example.org is lower")
	})
	header, body, err := events.Encode(request("evt-1"))
	require.NoError(t, err)
	header["X-Mixed-Case"] = []string{"one", "two"}
	header["Nats-Msg-Id"] = []string{"crm-17"}
	h.publishRaw(&nats.Msg{Subject: testSubject, Header: header, Data: body})

	letter := h.deadLetter(1)
	require.Equal(t, "deadletters.worker.letter."+testStream+".1", letter.Subject)
	require.Equal(t, "role-too-high", letter.Header.Get(DeadReason))
	require.Equal(t, "the role of (address) is lower", letter.Header.Get(DeadDetail))
	require.Equal(t, testSubject, letter.Header.Get(DeadSubject))
	require.Equal(t, testStream, letter.Header.Get(DeadStream))
	require.Equal(t, "1", letter.Header.Get(DeadSequence))
	require.Equal(t, "1", letter.Header.Get(DeadDeliveries))
	require.Equal(t, "crm-17", letter.Header.Get(DeadMessageID))
	_, err = time.Parse(time.RFC3339Nano, letter.Header.Get(DeadAt))
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two"}, letter.Header.Values("X-Mixed-Case"))
	require.Equal(t, body, letter.Data)
	again, err := events.Decode(letter.Header, letter.Data, letter.Subject)
	require.NoError(t, err)
	require.Equal(t, "evt-1", again.ID)
	require.NotContains(t, h.log.String(), "@")
}

func TestADeadLetterIsKeptOnceThoughItsAckWasLost(t *testing.T) {
	t.Parallel()
	h := setup(t)
	dead, err := h.js.Stream(h.context(), events.StreamDeadLetters)
	require.NoError(t, err)
	config := dead.CachedInfo().Config
	config.Duplicates = 100 * time.Millisecond
	_, err = h.js.UpdateStream(h.context(), config)
	require.NoError(t, err)
	r := h.router()
	r.Handle("worker", plan(), nil)
	d := &delivery{
		raw: &nats.Msg{Subject: testSubject}, subject: testSubject, stream: testStream, sequence: 7, deliveries: 1,
		handed: place{testStream, 7},
	}
	w := &handler{name: "worker", plan: plan(), router: r, log: h.logger}
	bury := func() {
		require.Equal(t, verdictDead, w.bury(d, verdict{kind: verdictDead, reason: "r"}, errors.New("e")).kind)
	}
	bury()
	h.forgotten()
	bury() // after a crash between dead letter and ack, and after the stream has forgotten the letter's id
	require.EqualValues(t, 3, h.deadLetters(), "the letter, and the two that showed that its id was forgotten")
}

// forgotten waits until the dead letters' stream no longer knows the message ids that it has seen so far: it forgets in order.
func (h *harness) forgotten() {
	h.t.Helper()
	publish := func() bool {
		ack, err := h.js.Publish(h.context(), events.RootDeadLetters+".test", nil, jetstream.WithMsgID("later"))
		return err == nil && !ack.Duplicate
	}
	require.True(h.t, publish())
	require.Eventually(h.t, publish, soon, 10*time.Millisecond)
}

func TestMessageLivesOnWhileItsDeadLetterCannotBeStored(t *testing.T) {
	t.Parallel()
	h := setup(t)
	down := &failing{Publisher: mustPublisher(t, h.nc)}
	down.failures.Store(3)
	h.run(plan(), func(context.Context, *Received) error { return Never("no", nil) },
		func(o *RouterOptions) { o.DeadLetters = down })
	h.publish("evt-1")
	require.Equal(t, "4", h.deadLetter(1).Header.Get(DeadDeliveries))
	h.settled("worker")
	require.EqualValues(t, 1, h.deadLetters())
}

type failing struct {
	message.Publisher
	failures atomic.Int64
}

func (f *failing) Publish(topic string, messages ...*message.Message) error {
	if f.failures.Add(-1) >= 0 {
		return errors.New("the stream is full")
	}
	return f.Publisher.Publish(topic, messages...)
}

func TestPlainErrorIsTriedAgainWithGrowingDelay(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.RetryMin, s.RetryMax = 100*time.Millisecond, 400*time.Millisecond
	at := make(chan time.Time, 10)
	h.run(s, func(_ context.Context, m *Received) error {
		at <- time.Now()
		if m.Delivered < 4 {
			return errors.New("not yet")
		}
		return nil
	})
	h.publish("evt-1")
	last := next(t, at)
	for _, least := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		this := next(t, at)
		require.GreaterOrEqual(t, this.Sub(last), least-5*time.Millisecond)
		last = this
	}
	h.settled("worker")
	require.Zero(t, h.deadLetters())
}

func TestLaterWaitsAsLongAsItSays(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.RetryMin, s.RetryMax = time.Hour, time.Hour
	at := make(chan time.Time, 10)
	h.run(s, func(_ context.Context, m *Received) error {
		at <- time.Now()
		switch m.Delivered {
		case 1:
			return Later(0, errors.New("at once"))
		case 2:
			return Later(500*time.Millisecond, errors.New("the provider said so"))
		default:
			return nil
		}
	})
	h.publish("evt-1")
	next(t, at)
	second := next(t, at) // at once: it would be an hour otherwise
	require.GreaterOrEqual(t, next(t, at).Sub(second), 495*time.Millisecond)
	h.settled("worker")
}

func TestNeverIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	h := setup(t)
	var tries atomic.Int64
	h.run(plan(), func(context.Context, *Received) error {
		tries.Add(1)
		return fmt.Errorf("wrapped: %w", Never("not-for-us", errors.New("address ann@example.org")))
	})
	h.publish("evt-1")
	letter := h.deadLetter(1)
	require.Equal(t, "not-for-us", letter.Header.Get(DeadReason))
	require.Empty(t, letter.Header.Get(DeadDetail), "nobody knows what an error's text holds")
	h.settled("worker")
	require.EqualValues(t, 1, tries.Load())
	require.NotContains(t, h.log.String(), "@")
}

func TestAnErrorThatStaysIsADeadLetterAfterMaxDeliver(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.MaxDeliver = 3
	h.run(s, func(context.Context, *Received) error { return errors.New("always") })
	h.publish("evt-1")
	letter := h.deadLetter(1)
	require.Equal(t, ReasonExhausted, letter.Header.Get(DeadReason))
	require.Equal(t, "3", letter.Header.Get(DeadDeliveries))
}

func TestPanicIsIsolatedTriedAgainAndInTheEndADeadLetter(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.MaxDeliver = 2
	var good atomic.Int64
	h.run(s, func(_ context.Context, m *Received) error {
		if m.Event.ID == "evt-0" {
			var nobody *Received
			_ = nobody.Subject
		}
		good.Add(1)
		return nil
	})
	h.publish(ids(0, 10)...)
	letter := h.deadLetter(1)
	require.Equal(t, ReasonExhausted, letter.Header.Get(DeadReason))
	require.Equal(t, "2", letter.Header.Get(DeadDeliveries))
	h.settled("worker")
	require.EqualValues(t, 9, good.Load())
	require.Contains(t, h.log.String(), "router_test.go", "the panic's stack is in the log")
}

func TestJudgement(t *testing.T) {
	t.Parallel()
	s := Subscription{MaxDeliver: 3, Patience: time.Hour}.withDefaults()
	passing := problem.Unavailable("Redis", errors.New("down"))
	for _, c := range []struct {
		name       string
		err        error
		deliveries int
		age        time.Duration
		want       verdict
	}{
		{"plain", errors.New("x"), 1, 0, verdict{kind: verdictRetry, after: time.Second}},
		{"plain doubles", errors.New("x"), 2, 0, verdict{kind: verdictRetry, after: 2 * time.Second}},
		{"plain is given up", errors.New("x"), 3, 0, verdict{kind: verdictDead, reason: ReasonExhausted}},
		{"later", Later(7*time.Second, nil), 2, 0, verdict{kind: verdictLater, after: 7 * time.Second}},
		{"later is patient", Later(7*time.Second, nil), 99, time.Minute, verdict{kind: verdictLater, after: time.Minute}},
		{"later for long", Later(2*time.Hour, nil), 99, time.Minute, verdict{kind: verdictLater, after: 2 * time.Hour}},
		{"later is given up when old", Later(time.Second, nil), 3, 2 * time.Hour, verdict{kind: verdictDead, reason: ReasonOverdue}},
		{"old is no reason by itself", Later(time.Second, nil), 2, 2 * time.Hour, verdict{kind: verdictLater, after: time.Second}},
		{"never", Never("why", nil), 1, 0, verdict{kind: verdictDead, reason: "why"}},
		{"problem", problem.New(problem.Suppressed, "no"), 1, 0, verdict{kind: verdictDead, reason: "suppressed"}},
		{"passing problem", passing, 1, 0, verdict{kind: verdictLater, after: 2 * time.Second}},
		{"passing problem grows", passing, 5, time.Minute, verdict{kind: verdictLater, after: time.Minute}},
		{"passing problem, wrapped", fmt.Errorf("claim: %w", passing), 1, 0, verdict{kind: verdictLater, after: 2 * time.Second}},
		{"later wins over the problem inside", Later(time.Minute, problem.New(problem.Forbidden, "")), 1, 0, verdict{kind: verdictLater, after: time.Minute}},
	} {
		require.Equal(t, c.want, s.judge(c.err, c.deliveries, c.age), c.name)
	}
	require.Equal(t, time.Minute, s.backoff(1<<40), "no overflow")
}

func TestPoisonDoesNotBlockTheGoodOnes(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.InFlight = 16
	s.MaxDeliver = 1000
	var good atomic.Int64
	done := make(chan struct{})
	h.run(s, func(_ context.Context, m *Received) error {
		if strings.HasPrefix(m.Event.ID, "bad") {
			return errors.New("always")
		}
		if good.Add(1) == 1000 {
			close(done)
		}
		return nil
	})
	for i := range 100 { // many more than slots
		h.publish(fmt.Sprintf("bad-%d", i))
		h.publishRaw(&nats.Msg{Subject: testSubject, Data: []byte("{")})
		h.publish(ids(10*i, 10*i+10)...)
	}
	next(t, done)
	h.deadLetter(100)
}

func TestCleanStopLetsHandlersFinishAndKeepsTheirAcks(t *testing.T) {
	t.Parallel()
	h := setup(t)
	running, finish := make(chan struct{}), make(chan struct{})
	r, stop := h.run(plan(), func(ctx context.Context, _ *Received) error {
		running <- struct{}{}
		<-finish
		return ctx.Err() // still alive, though the router was told to stop
	})
	h.publish(ids(0, 3)...)
	for range 3 {
		next(t, running)
	}
	sub, stopped := only(r.subscriber), make(chan struct{})
	go func() { stop(); close(stopped) }()
	require.Eventually(t, func() bool { return errors.Is(sub.healthy(), ErrClosed) }, soon, time.Millisecond, "the first step")
	h.publish("evt-later") // not fetched any more
	nothing(t, running, 100*time.Millisecond)
	nothing(t, stopped, 0)
	close(finish)
	next(t, stopped)
	require.Equal(t, 1, h.unsettled("worker"), "the three are acked, the late one waits")

	again := make(chan string, 10)
	h.run(plan(), func(_ context.Context, m *Received) error { again <- m.Event.ID; return nil })
	require.Equal(t, "evt-later", next(t, again))
	h.settled("worker")
	require.Empty(t, again)
}

func TestStopGivesAMessageBackWhenTheGraceIsOver(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.MaxDeliver = 1 // the stop is no failure of the message: it must not become a dead letter
	running := make(chan struct{})
	cause := make(chan error, 1)
	_, stop := h.run(s, func(ctx context.Context, _ *Received) error {
		close(running)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return ctx.Err()
	}, func(o *RouterOptions) { o.CloseGrace = 50 * time.Millisecond })
	h.publish("evt-1")
	next(t, running)
	stop()
	require.ErrorIs(t, next(t, cause), errStopping)

	again := make(chan int, 1)
	h.run(s, func(_ context.Context, m *Received) error { again <- m.Delivered; return nil })
	require.Equal(t, 2, next(t, again))
	require.Zero(t, h.deadLetters())
}

func TestNoMoreThanInFlightAtOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.InFlight = 8
	h.publish(ids(0, 200)...)
	var now, most, done atomic.Int64
	all := make(chan struct{})
	full, finish := make(chan struct{}), make(chan struct{})
	r, _ := h.run(s, func(context.Context, *Received) error {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 8 && done.Load() == 0 { // concurrent: eight are with us before one is acked
			close(full)
		}
		<-finish
		now.Add(-1)
		if done.Add(1) == 200 {
			close(all)
		}
		return nil
	})
	next(t, full)
	require.Equal(t, 8, h.handedOut("worker"), "none waits in a buffer")

	// As around a reconnection: the broker serves a request that we have forgotten.
	sub := only(r.subscriber)
	require.NoError(t, h.nc.PublishRequest(requestPrefix+testStream+".worker", sub.inbox.Subject, []byte(`{"batch":20}`)))
	require.Eventually(t, func() bool { return h.handedOut("worker") == 28 }, soon, 5*time.Millisecond)
	close(finish)
	next(t, all)
	require.EqualValues(t, 8, most.Load())
}

func TestSlowHandlerKeepsItsMessage(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.AckWait = 2 * time.Second
	var runs atomic.Int64
	done := make(chan struct{}, 10)
	fn := func(ctx context.Context, _ *Received) error {
		runs.Add(1)
		_ = pause(ctx, 5*s.AckWait/2)
		done <- struct{}{}
		return nil
	}
	h.run(s, fn)
	h.run(s, fn) // somebody else who would get it
	h.publish("evt-1")
	next(t, done)
	h.settled("worker")
	require.EqualValues(t, 1, runs.Load())
}

func TestHandlerThatTakesTooLongHasItsContextEnded(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.Timeout = 50 * time.Millisecond
	got := make(chan error, 10)
	h.run(s, func(ctx context.Context, m *Received) error {
		if m.Delivered > 1 {
			return nil
		}
		<-ctx.Done()
		got <- ctx.Err()
		return ctx.Err()
	})
	h.publish("evt-1")
	require.ErrorIs(t, next(t, got), context.DeadlineExceeded)
	h.settled("worker")
}

func TestConfirmedAcksAskForAnAnswer(t *testing.T) {
	t.Parallel()
	h := setup(t)
	acks, err := h.broker.Conn(t).SubscribeSync("$JS.ACK." + testStream + ".worker.>")
	require.NoError(t, err)
	require.NoError(t, h.nc.Flush())
	s := plan()
	s.Confirm = true
	h.publish(ids(0, 300)...)
	var n atomic.Int64
	all := make(chan struct{})
	_, stop := h.run(s, func(context.Context, *Received) error {
		if n.Add(1) == 300 {
			close(all)
		}
		return nil
	})
	next(t, all)
	stop()
	require.Zero(t, h.unsettled("worker"))
	for range 300 {
		ack, err := acks.NextMsg(soon)
		require.NoError(t, err)
		require.NotEmpty(t, ack.Reply)
	}
}

func TestTwoHandlersOfOneRouterHearTheirOwn(t *testing.T) {
	t.Parallel()
	h := setup(t)
	r := h.router()
	heard := make(chan string, 10)
	for _, name := range []string{"crm", "erp"} {
		s := plan()
		s.Durable, s.Filters = name, []string{"requests." + name}
		r.Handle(name, s, func(_ context.Context, m *Received) error { heard <- name + " " + m.Subject; return nil })
	}
	h.start(r)
	header, body, err := events.Encode(request("evt-1"))
	require.NoError(t, err)
	h.publishRaw(&nats.Msg{Subject: "requests.erp", Header: header, Data: body})
	require.Equal(t, "erp requests.erp", next(t, heard))
	h.publishRaw(&nats.Msg{Subject: "requests.crm", Header: header, Data: body})
	require.Equal(t, "crm requests.crm", next(t, heard))
}

func TestRouterRefusesToStartWithoutItsStream(t *testing.T) {
	t.Parallel()
	h := setup(t)
	r := h.router()
	s := plan()
	s.Stream = "NOWHERE"
	r.Handle("worker", s, func(context.Context, *Received) error { return nil })
	require.ErrorIs(t, r.Run(h.context()), errStreamGone)
	_, err := h.js.Stream(h.context(), "NOWHERE")
	require.Error(t, err)
}

func TestAStopDuringTheStartDoesNotHang(t *testing.T) {
	t.Parallel()
	h := setup(t)
	for range 20 {
		r := h.router()
		for _, name := range []string{"one", "two", "three"} {
			s := plan()
			s.Durable = name
			r.Handle(name, s, func(context.Context, *Received) error { return nil })
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		cancel()
		require.NoError(t, next(t, ended))
	}
}

func TestTraceGoesOnInTheHandler(t *testing.T) {
	t.Parallel()
	h := setup(t)
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	inside := make(chan trace.SpanContext, 1)
	_, stop := h.run(plan(), func(ctx context.Context, _ *Received) error {
		inside <- trace.SpanContextFromContext(ctx)
		return problem.New(problem.Forbidden, "not ann@example.org")
	}, func(o *RouterOptions) { o.TracerProvider = provider })
	e := request("evt-1")
	e.TraceParent = "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"
	header, body, err := events.Encode(e)
	require.NoError(t, err)
	h.publishRaw(&nats.Msg{Subject: testSubject, Header: header, Data: body})

	span := next(t, inside)
	require.Equal(t, "0102030405060708090a0b0c0d0e0f10", span.TraceID().String())
	stop()
	ended := spans.Ended()
	require.Len(t, ended, 1)
	require.Equal(t, "handle worker", ended[0].Name())
	require.Equal(t, "0102030405060708", ended[0].Parent().SpanID().String())
	require.NotContains(t, fmt.Sprint(ended[0].Status(), ended[0].Attributes()), "@")
}

func TestTracingThatIsOffIsNotInTheChain(t *testing.T) {
	t.Parallel()
	h := setup(t)
	r := h.router(func(o *RouterOptions) { o.TracerProvider = noop.NewTracerProvider() })
	require.Nil(t, r.tracer)
}

func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	h := setup(t)
	registry := prometheus.NewRegistry()
	blocked, finish := make(chan struct{}), make(chan struct{})
	s := plan()
	s.InFlight = 4
	r, _ := h.run(s, func(_ context.Context, m *Received) error {
		switch {
		case m.Event.ID == "never":
			return Never("no", nil)
		case m.Event.ID == "again" && m.Delivered == 1:
			return errors.New("once")
		case strings.HasPrefix(m.Event.ID, "evt"):
			blocked <- struct{}{}
			<-finish
		}
		return nil
	}, func(o *RouterOptions) { o.Registerer = registry })
	h.publish("never", "again")
	h.settled("worker")
	h.publish(ids(0, 10)...)
	for range 4 {
		next(t, blocked)
	}
	value := func(name string, labels ...string) func() float64 {
		return func() float64 { return metric(t, registry, name, labels...) }
	}
	eventually(t, 1, value("usher_bus_handled_total", "done"))
	eventually(t, 1, value("usher_bus_handled_total", "dead"))
	eventually(t, 1, value("usher_bus_handled_total", "retry"))
	eventually(t, 1, value("usher_bus_redeliveries_total"))
	eventually(t, 4, value("usher_bus_in_flight"))
	eventually(t, 6, value("usher_bus_pending"))
	eventually(t, 4, value("usher_bus_unsettled"))
	eventually(t, 1, value("usher_bus_consuming"))
	require.Positive(t, value("usher_bus_oldest_seconds")())
	require.NoError(t, r.Healthy())
	go func() { // the six that follow
		for range 6 {
			<-blocked
		}
	}()
	close(finish)
	h.settled("worker")
	eventually(t, 0, value("usher_bus_oldest_seconds"))
	eventually(t, 0, value("usher_bus_pending"))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	for _, p := range problems {
		require.NotContains(t, p.Metric, "usher_bus_", p.Text)
	}
}

func eventually(t *testing.T, want float64, have func() float64) {
	t.Helper()
	require.Eventually(t, func() bool { return have() == want }, soon, 10*time.Millisecond)
}

// metric is the value of one metric that has the given label values beside the handler's name.
func metric(t *testing.T, g prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	families, err := g.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name || len(m.GetLabel()) != len(labels)+1 {
				continue
			}
			if len(labels) == 0 || m.GetLabel()[1].GetValue() == labels[0] {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

func TestNothingIsLeftRunningAfterAStop(t *testing.T) {
	h := setup(t)
	before := goleak.IgnoreCurrent()
	nc := h.broker.Conn(t)
	done := make(chan struct{})
	var n atomic.Int64
	_, stop := h.run(plan(), func(_ context.Context, m *Received) error {
		if m.Event.ID == "evt-0" && m.Delivered == 1 {
			return errors.New("again")
		}
		if n.Add(1) == 50 {
			close(done)
		}
		return nil
	}, func(o *RouterOptions) { o.Conn, o.DeadLetters = nc, mustPublisher(t, nc) })
	h.publish(ids(0, 50)...)
	next(t, done)
	stop()
	nc.Close()
	require.NoError(t, h.js.DeleteConsumer(h.context(), testStream, "worker")) // the embedded server runs goroutines for it
	goleak.VerifyNone(t, before)
}
