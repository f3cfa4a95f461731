package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/components/metrics"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/telemetry"
)

// Received is one event as a handler gets it.
type Received struct {
	Event events.Event
	// Subject is what it was published on, Sequence its place in the stream, Time when it was stored there.
	Subject  string
	Sequence uint64
	Time     time.Time
	// Delivered is how often the message was handed out, this time included.
	Delivered int
	// Waiting is how many messages the broker had still to hand out when it handed out this one.
	Waiting uint64
	// Header and Body are the message as it was stored.
	Header map[string][]string
	Body   []byte
}

// Again reports whether the message was handed out before: it may be done already, in part or whole.
func (m *Received) Again() bool {
	return m.Delivered > 1 || len(m.Header[DeadSequence]) > 0
}

// Handler handles one event. What it returns decides what becomes of the message; see verdict.go. It runs concurrently
// with itself. Its context ends with the Timeout, and some grace after the Router was told to stop.
type Handler func(ctx context.Context, m *Received) error

// RouterOptions of NewRouter. Conn and DeadLetters are required.
type RouterOptions struct {
	Conn *nats.Conn
	// DeadLetters takes what cannot be handled. The Router never closes it.
	DeadLetters message.Publisher
	Logger      *slog.Logger
	// Registerer gets the metrics; nil for none. Routers that share a registry need a label each
	// (prometheus.WrapRegistererWith).
	Registerer prometheus.Registerer
	// TracerProvider makes a span of each message; nil or no-op for none.
	TracerProvider trace.TracerProvider
	Clock          clock.Clock
	// CloseGrace is how long a stop waits for running handlers (default 25 s).
	CloseGrace time.Duration
	// Arrived is told of every message, before it is handled, where it is stored; nil for nobody.
	Arrived func(stream string, sequence uint64)
	// Redrives has every handler listen for dead letters of its own that are put where events.RedriveFilter or
	// events.RedriveSubject hear them.
	Redrives bool
	// MostLetters bounds the bytes that dead letters take (default 1 GiB). Where they are reached, messages that cannot be
	// handled wait in their own stream until an operator has made room.
	MostLetters uint64
}

// Router runs handlers over Watermill's router.
type Router struct {
	options    RouterOptions
	router     *message.Router
	subscriber *Subscriber
	letters    *letterbox
	plans      map[string]Subscription
	meters     *meters
	durations  message.HandlerMiddleware // nil without a registerer
	tracer     trace.Tracer              // nil when tracing is off
}

// NewRouter makes a router without handlers. The connection stays the caller's.
func NewRouter(o RouterOptions) (*Router, error) {
	o.CloseGrace = orDefault(o.CloseGrace, 25*time.Second)
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.DeadLetters == nil {
		return nil, errors.New("bus: a router needs somewhere to put dead letters")
	}
	r := &Router{options: o, plans: map[string]Subscription{}}
	var err error
	r.subscriber, err = NewSubscriber(o.Conn, SubscriberOptions{Plan: r.plan, CloseGrace: o.CloseGrace, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	r.subscriber.direct = true
	r.letters = &letterbox{js: r.subscriber.js, most: orDefault(o.MostLetters, 1<<30), clock: o.Clock}
	// The subscriber enforces the grace. What the router waits beyond it is for handlers that ignore their context.
	r.router, err = message.NewRouter(message.RouterConfig{CloseTimeout: o.CloseGrace + 5*time.Second}, quiet{o.Logger})
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	return r, r.observe()
}

// observe prepares metrics and tracing, where they are wanted.
func (r *Router) observe() error {
	r.meters = newMeters(r)
	if r.options.Registerer != nil {
		if err := r.options.Registerer.Register(r.meters); err != nil {
			return fmt.Errorf("bus: metrics: %w", err)
		}
		builder := metrics.NewPrometheusMetricsBuilder(r.options.Registerer, "usher", "bus")
		r.durations = builder.NewRouterMiddleware().Middleware
	}
	if p := r.options.TracerProvider; p != nil {
		if _, off := p.(noop.TracerProvider); !off {
			r.tracer = p.Tracer("github.com/usherhq/usher/pkg/bus")
		}
	}
	return nil
}

func (r *Router) plan(name string) (Subscription, error) {
	s, ok := r.plans[name]
	if !ok {
		return Subscription{}, fmt.Errorf("there is no handler %s", name)
	}
	return s, nil
}

// Handle adds a handler, before Run. Its name is the one in logs, metrics and the subject of its dead letters; naming two
// the same panics.
func (r *Router) Handle(name string, s Subscription, fn Handler) {
	r.add(name, name, s, fn)
	if r.options.Redrives {
		s.Stream, s.Durable, s.InFlight = events.StreamDeadLetters, s.Durable+"-again", redriveInFlight
		s.Filters = []string{events.RedriveSubject(name), events.RedriveFilter(name)}
		r.add(name, name+"-again", s, fn)
	}
}

// redriveInFlight is small: redrives are rare, and each handler keeps a consumer for them.
const redriveInFlight = 8

// add adds the handler called name to what is consumed under topic.
func (r *Router) add(name, topic string, s Subscription, fn Handler) {
	s = s.withDefaults()
	r.plans[topic] = s
	h := &handler{name: name, plan: s, router: r, log: r.options.Logger.With("handler", topic), meters: r.meters.of(topic)}
	r.router.AddConsumerHandler(topic, topic, r.subscriber, func(m *message.Message) error {
		return fn(m.Context(), deliveryOf(m).received)
	}).AddMiddleware(h.chain()...)
}

// chain is everything that happens around a handler, from the outside in.
func (h *handler) chain() []message.HandlerMiddleware {
	chain := []message.HandlerMiddleware{
		h.conclude, // first, because it turns whatever comes out of the others into an answer to the broker, or a dead letter
		middleware.Recoverer,
		h.decode, // before tracing: the trace may be inside the body
	}
	if h.router.tracer != nil {
		chain = append(chain, h.trace)
	}
	chain = append(chain, middleware.Timeout(h.plan.Timeout))
	if h.router.durations != nil {
		chain = append(chain, h.router.durations) // last: the handler's own time
	}
	return chain
}

// Run consumes until ctx ends, then stops in two steps: no new messages; then running handlers finish and their acks are
// confirmed, up to the grace. It returns an error when a subscription cannot be started, or a handler would not end.
func (r *Router) Run(ctx context.Context) error {
	fetching, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.router.Run(fetching) }()
	select {
	case err := <-ended:
		return errors.Join(err, r.subscriber.Close())
	case <-ctx.Done():
	}
	stop()                      // first step; were it left to Close, Watermill would report an unforeseen end
	err := r.subscriber.Close() // second step, before Watermill's own: that one does not wait for acks
	select {
	case <-r.router.Running():
		return errors.Join(err, r.router.Close(), <-ended)
	case failed := <-ended: // it was still starting, and gave up because of this stop
		r.options.Logger.Debug("stopped during the start", "error", failed)
		return err
	}
}

// Running is closed once every handler consumes.
func (r *Router) Running() <-chan struct{} { return r.router.Running() }

// Healthy returns why a handler is not consuming, or nil.
func (r *Router) Healthy() error {
	if !r.router.IsRunning() {
		return errors.New("the router has not started")
	}
	return r.subscriber.Healthy()
}

// handler is one handler with what its chain needs.
type handler struct {
	name   string
	plan   Subscription
	router *Router
	log    *slog.Logger
	meters handlerMeters

	quiet, buried, unburied throttle // what is logged of tries, of letters and of those that could not be stored
}

// decode reads the event.
func (h *handler) decode(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		d := deliveryOf(m)
		if arrived := h.router.options.Arrived; arrived != nil {
			arrived(d.stream, d.sequence)
		}
		e, err := events.Decode(d.raw.Header, d.raw.Data, d.subject)
		if err != nil {
			return nil, unreadable(err)
		}
		d.received = &Received{
			Event: e, Subject: d.subject, Sequence: d.sequence, Time: d.happened, Delivered: d.deliveries, Waiting: d.waiting,
			Header: d.raw.Header, Body: d.raw.Data,
		}
		return next(m)
	}
}

// trace makes the handling part of the trace that the event came from.
func (h *handler) trace(next message.HandlerFunc) message.HandlerFunc {
	name := "handle " + h.name
	return func(m *message.Message) ([]*message.Message, error) {
		d := deliveryOf(m)
		ctx, span := h.router.tracer.Start(telemetry.Extract(m.Context(), &d.received.Event), name,
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
				attribute.String("messaging.system", "nats"),
				attribute.String("messaging.destination.name", d.subject),
				attribute.String("messaging.message.id", d.received.Event.ID),
				attribute.Int("messaging.delivery", d.deliveries),
			))
		defer span.End()
		m.SetContext(ctx)
		out, err := next(m)
		if err != nil {
			span.SetStatus(codes.Error, scrub(err.Error()))
		}
		return out, err
	}
}
