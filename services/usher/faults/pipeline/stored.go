package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
)

// Stored is one message of a stream as the broker has it.
type Stored struct {
	Subject  string
	Sequence uint64
	At       time.Time
	Data     []byte
	Event    events.Event
}

// Stored reads a whole stream, oldest first, from the broker itself and not by way of any of Usher's readers. What is no
// event of Usher's is left out.
func (p *Pipeline) Stored(ctx context.Context, stream string) ([]Stored, error) {
	var all []Stored
	err := p.each(ctx, stream, func(m jetstream.Msg, told *jetstream.MsgMetadata) {
		if e, err := events.Decode(m.Headers(), m.Data(), m.Subject()); err == nil {
			all = append(all, Stored{Subject: m.Subject(), Sequence: told.Sequence.Stream, At: told.Timestamp, Data: m.Data(), Event: e})
		}
	})
	return all, err
}

// each goes through a stream, oldest first.
func (p *Pipeline) each(ctx context.Context, stream string, visit func(jetstream.Msg, *jetstream.MsgMetadata)) error {
	consumer, err := p.JetStream.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	for left := consumer.CachedInfo().NumPending; left > 0; {
		batch, err := consumer.Fetch(int(min(left, 5000)))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			told, err := m.Metadata()
			if err != nil {
				return err
			}
			left = told.NumPending
			visit(m, told)
		}
		if err := batch.Error(); err != nil {
			return err
		}
	}
	return nil
}

// DeadLetters counts the messages that were given up, by worker and reason. One that was given up twice is one.
func (p *Pipeline) DeadLetters(ctx context.Context) (map[string]int, error) {
	counts, known := map[string]int{}, map[string]bool{}
	err := p.each(ctx, events.StreamDeadLetters, func(m jetstream.Msg, _ *jetstream.MsgMetadata) {
		what := m.Subject() + " " + m.Headers().Get(bus.DeadReason)
		one := what + " " + m.Headers().Get(bus.DeadSequence)
		if !known[one] {
			known[one] = true
			counts[what]++
		}
	})
	return counts, err
}

// Quiet waits until no consumer has anything left to do, twice in a row, and nothing was stored in between.
func (p *Pipeline) Quiet(ctx context.Context) error {
	var before uint64
	return Until(ctx, "quiet", func() (bool, error) {
		busy, last, err := p.busy(ctx)
		same := last == before && !busy
		before = last
		if busy || err != nil {
			before = 0
		}
		return same, err
	})
}

func (p *Pipeline) busy(ctx context.Context) (busy bool, last uint64, err error) {
	for _, name := range []string{events.StreamInvitations, events.StreamMemberships, events.StreamRequests} {
		stream, err := p.JetStream.Stream(ctx, name)
		if err != nil {
			return true, 0, err
		}
		last += stream.CachedInfo().State.LastSeq
		consumers := stream.ListConsumers(ctx)
		for c := range consumers.Info() {
			if c.Config.Durable != "" && (c.NumPending > 0 || c.NumAckPending > 0) {
				busy = true
			}
		}
		if err := consumers.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return true, 0, err
		}
	}
	return busy, last, nil
}
