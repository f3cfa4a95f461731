package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Subscription says what a handler hears and how much of it at once. Stream and Durable are required.
type Subscription struct {
	Stream string
	// Durable names the consumer; processes that use the same name share its messages.
	Durable string
	// Filters are the subjects to hear; none means all of the stream.
	Filters []string
	// Start is where a consumer that does not exist yet begins (default: at the stream's first message).
	Start jetstream.DeliverPolicy
	// InFlight is the most messages that are with this process at once, waiting or being handled (default 256).
	InFlight int
	// AckWait is how long the broker goes without a sign of life before it hands a message to somebody else (default 30 s). It
	// does not limit handlers: signs of life are sent for them.
	AckWait time.Duration
	// RetryMin and RetryMax bound the delay before a message is handed out again; it doubles with each delivery
	// (default 1 s and 1 min).
	RetryMin, RetryMax time.Duration
	// Confirm waits for the broker to confirm each ack, where a second run would be seen. Slots stay taken meanwhile.
	Confirm bool

	// Timeout ends the context of a handler that takes longer (default 1 min). This and all below are the Router's.
	Timeout time.Duration
	// MaxDeliver is how often a message that fails for no known reason is tried before it is a dead letter (default 20).
	MaxDeliver int
	// Patience is how long after it was stored a message may still wait for something to pass before it is a dead letter
	// (default 24 h), even after MaxDeliver tries.
	Patience time.Duration

	inspectEvery time.Duration // shorter in tests
}

func (s Subscription) withDefaults() Subscription {
	s.InFlight = orDefault(s.InFlight, 256)
	s.AckWait = orDefault(s.AckWait, 30*time.Second)
	s.RetryMin = orDefault(s.RetryMin, time.Second)
	s.RetryMax = orDefault(s.RetryMax, time.Minute)
	s.Timeout = orDefault(s.Timeout, time.Minute)
	s.MaxDeliver = orDefault(s.MaxDeliver, 20)
	s.Patience = orDefault(s.Patience, 24*time.Hour)
	s.inspectEvery = orDefault(s.inspectEvery, inspectEvery)
	return s
}

func orDefault[T comparable](value, standard T) T {
	var none T
	if value == none {
		return standard
	}
	return value
}

// backoff is the delay before the next try of a message that was handed out so often.
func (s Subscription) backoff(deliveries int) time.Duration {
	d := s.RetryMin
	for range deliveries - 1 {
		if d *= 2; d >= s.RetryMax {
			break
		}
	}
	return min(d, s.RetryMax)
}

// SubscriberOptions of NewSubscriber.
type SubscriberOptions struct {
	// Plan turns a topic into what to hear. Required.
	Plan func(topic string) (Subscription, error)
	// CloseGrace is how long Close waits for messages that are being handled (default 25 s).
	CloseGrace time.Duration
	Logger     *slog.Logger
}

// Subscriber is Watermill's Subscriber over JetStream: durable pull consumers.
//
// It emits messages without waiting for the ack of the one before, up to InFlight. Nack hands a message out again after a
// growing delay. The contexts of messages outlive that of Subscribe, so that a clean stop lets handlers finish.
type Subscriber struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	options SubscriberOptions
	direct  bool // see subscription

	mu            sync.Mutex
	closed        bool
	subscriptions map[*subscription]string // and their topics
}

// NewSubscriber subscribes over a connection that stays the caller's: Close leaves it open.
func NewSubscriber(nc *nats.Conn, o SubscriberOptions) (*Subscriber, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	o.CloseGrace = orDefault(o.CloseGrace, 25*time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Subscriber{nc: nc, js: js, options: o, subscriptions: map[*subscription]string{}}, nil
}

// Subscribe starts to consume. It creates the consumer where there is none, and fails when there is no such stream. The
// channel closes once ctx ends or Close is called. It returns ErrClosed after Close.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	plan, err := s.options.Plan(topic)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	sub := newSubscription(ctx, s, plan.withDefaults(), s.options.Logger.With("handler", topic))
	if err := sub.start(); err != nil {
		return nil, fmt.Errorf("subscribe %s: %w", topic, err)
	}
	s.subscriptions[sub] = topic
	go func() {
		<-sub.done
		s.mu.Lock()
		delete(s.subscriptions, sub)
		s.mu.Unlock()
	}()
	return sub.out, nil
}

// Close stops in two steps: no new messages; then it waits for what is being handled and its acks, up to the grace. What is
// not done by then has its context ended and goes back to the broker. The connection stays open.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	var running []*subscription
	for sub := range s.subscriptions {
		running = append(running, sub)
	}
	s.mu.Unlock()
	for _, sub := range running {
		sub.stop()
	}
	for _, sub := range running {
		<-sub.done
	}
	return nil
}

// Healthy returns why something that should be consumed is not, or nil.
func (s *Subscriber) Healthy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	var all []error
	for sub, topic := range s.subscriptions {
		if err := sub.healthy(); err != nil {
			all = append(all, fmt.Errorf("%s is not consuming: %w", topic, err))
		}
	}
	return errors.Join(all...)
}

// figures are what the broker last told about the consumers, by topic.
func (s *Subscriber) figures() map[string]figures {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]figures, len(s.subscriptions))
	for sub, topic := range s.subscriptions {
		all[topic] = sub.figures()
	}
	return all
}
