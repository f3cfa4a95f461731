package ledger

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// Tail tells of every message that is stored from now on and matches a filter, by subject alone, until ctx ends. It is for
// whoever only wants to look again: after a lost connection some subjects may not be told. It returns problem.NotNow when
// the broker does not answer.
func (l *Ledger) Tail(ctx context.Context, stream string, filters []string, handle func(subject string)) error {
	return l.heads(ctx, stream, filters, jetstream.DeliverNewPolicy, func(m jetstream.Msg) { handle(m.Subject()) })
}

// Heads tells of every message that is stored and of every one that comes, in order and without its body, until ctx ends. It
// returns problem.NotNow when the broker does not answer; from then on it carries on by itself after a lost connection.
func (l *Ledger) Heads(ctx context.Context, stream, filter string, handle func(Record)) error {
	return l.heads(ctx, stream, []string{filter}, jetstream.DeliverAllPolicy, func(m jetstream.Msg) {
		if r, err := delivered(m); err == nil {
			handle(r)
		}
	})
}

func (l *Ledger) heads(ctx context.Context, stream string, filters []string, from jetstream.DeliverPolicy, handle func(jetstream.Msg)) error {
	if err := l.Healthy(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	consumer, err := l.js.OrderedConsumer(bounded, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: filters, DeliverPolicy: from, HeadersOnly: true,
	})
	if err != nil {
		return unavailable(err)
	}
	consuming, err := consumer.Consume(handle)
	if err != nil {
		return unavailable(err)
	}
	context.AfterFunc(ctx, consuming.Stop)
	return nil
}
