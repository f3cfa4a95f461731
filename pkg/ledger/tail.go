package ledger

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Tail tells of every message that is stored from now on and matches a filter, by subject alone, until ctx ends. It is for
// whoever only wants to look again: after a lost connection some subjects may not be told. It returns problem.NotNow when
// the broker does not answer.
func (l *Ledger) Tail(ctx context.Context, stream string, filters []string, handle func(subject string)) error {
	how := jetstream.OrderedConsumerConfig{FilterSubjects: filters, DeliverPolicy: jetstream.DeliverNewPolicy}
	return l.heads(ctx, stream, how, func(m jetstream.Msg) { handle(m.Subject()) })
}

// Heads tells of every message that is stored from a sequence on and of every one that comes, in order and without its body,
// until ctx ends. It returns problem.NotNow when the broker does not answer; from then on it carries on by itself after a lost
// connection.
func (l *Ledger) Heads(ctx context.Context, stream, filter string, from uint64, handle func(Record)) error {
	how := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1),
	}
	return l.heads(ctx, stream, how, func(m jetstream.Msg) {
		if r, err := l.delivered(m); err == nil {
			handle(r)
		}
	})
}

func (l *Ledger) heads(ctx context.Context, stream string, how jetstream.OrderedConsumerConfig, handle func(jetstream.Msg)) error {
	if err := l.Healthy(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	how.HeadersOnly, how.InactiveThreshold = true, tailIdle
	consumer, err := l.js.OrderedConsumer(bounded, stream, how)
	if err != nil {
		return unavailable(err)
	}
	consuming, err := consumer.Consume(handle)
	if err != nil {
		return unavailable(err)
	}
	context.AfterFunc(ctx, func() {
		consuming.Stop()
		l.deleteTail(stream, consumer)
	})
	return nil
}

// tailIdle is how long the broker keeps the consumer of a process that died.
const tailIdle = 30 * time.Second

// deleteTail gives the consumer's place free at once. A stream takes a thousand, and the services' own are among them: pages that
// are opened and closed again and again would use them up.
func (l *Ledger) deleteTail(stream string, consumer jetstream.Consumer) {
	info := consumer.CachedInfo()
	if info == nil { // being made anew; it goes by itself
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	if err := l.js.DeleteConsumer(ctx, stream, info.Name); err != nil {
		l.log.Debug("a consumer that nobody needs stays for a while", "stream", stream, "error", err)
	}
}
