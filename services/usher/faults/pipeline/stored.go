package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
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
	consumer, err := p.JetStream.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	var all []Stored
	for left := consumer.CachedInfo().NumPending; left > 0; {
		batch, err := consumer.Fetch(int(min(left, 5000)))
		if err != nil {
			return nil, err
		}
		for m := range batch.Messages() {
			told, err := m.Metadata()
			if err != nil {
				return nil, err
			}
			left = told.NumPending
			if e, err := events.Decode(m.Headers(), m.Data(), m.Subject()); err == nil {
				all = append(all, Stored{Subject: m.Subject(), Sequence: told.Sequence.Stream, At: told.Timestamp, Data: m.Data(), Event: e})
			}
		}
		if err := batch.Error(); err != nil {
			return nil, err
		}
	}
	return all, nil
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
