package ledger

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// Tail tells of every message that is stored from now on and matches a filter, by subject alone, until ctx ends. It is for
// whoever only wants to look again: after a lost connection some subjects may not be told. It returns problem.NotNow when
// the broker does not answer.
func (l *Ledger) Tail(ctx context.Context, stream string, filters []string, handle func(subject string)) error {
	if err := l.Healthy(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	consumer, err := l.js.OrderedConsumer(bounded, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: filters, DeliverPolicy: jetstream.DeliverNewPolicy, HeadersOnly: true,
	})
	if err != nil {
		return unavailable(err)
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) { handle(m.Subject()) })
	if err != nil {
		return unavailable(err)
	}
	context.AfterFunc(ctx, consuming.Stop)
	return nil
}
