package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/problem"
)

// Following tells how Follow reads.
type Following struct {
	Stream  string
	Durable string
	Filters []string
	// Batch is the most records one call gets (default 500).
	Batch int
	// Linger is how long a record may wait for others to be handled with (default: not at all).
	Linger time.Duration
}

// Follow hands every stored and coming message to handle, in batches as they pile up, and acknowledges a batch once
// handle returned nil. A failed batch is handed out again after a second. Processes that follow under the same durable
// name share the work. A lost consumer is made anew. Follow returns when ctx ends, after the running batch.
func (l *Ledger) Follow(ctx context.Context, f Following, handle func(context.Context, []Record) error) error {
	if f.Batch == 0 {
		f.Batch = 500
	}
	for ctx.Err() == nil {
		err := l.follow(ctx, f, handle)
		if ctx.Err() != nil {
			return nil
		}
		l.log.Error("following the ledger was interrupted", "durable", f.Durable, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (l *Ledger) follow(ctx context.Context, f Following, handle func(context.Context, []Record) error) error {
	if err := l.checkConsumer(ctx, f); err != nil {
		return err
	}
	consumer, err := l.js.CreateOrUpdateConsumer(ctx, f.Stream, jetstream.ConsumerConfig{
		Durable: f.Durable, FilterSubjects: f.Filters, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: 30 * time.Second, MaxAckPending: 4 * f.Batch, MaxDeliver: -1,
	})
	if err != nil {
		return unavailable(err)
	}
	arrived := make(chan jetstream.Msg, f.Batch)
	lost := make(chan error, 1)
	consuming, err := consumer.Consume(func(m jetstream.Msg) { arrived <- m },
		jetstream.PullMaxMessages(2*f.Batch),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) {
				select {
				case lost <- err:
				default:
				}
			}
		}))
	if err != nil {
		return unavailable(err)
	}
	defer func() {
		consuming.Stop()
		for { // let a callback that waits for room go; what it brought is redelivered
			select {
			case <-arrived:
			case <-consuming.Closed():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-lost:
			return err
		case first := <-arrived:
			l.handBatch(ctx, f.gather(ctx, first, arrived), handle)
		}
	}
}

// checkConsumer refuses one that is there already and promises too little.
func (l *Ledger) checkConsumer(ctx context.Context, f Following) error {
	have, err := l.js.Consumer(ctx, f.Stream, f.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil
	case err != nil:
		return unavailable(err)
	}
	return weaker("consumer "+f.Durable, ConsumerDifferences(have.CachedInfo().Config, l.options.Replicas))
}

// gather adds to the first message what is there, and what comes while it may wait.
func (f Following) gather(ctx context.Context, first jetstream.Msg, arrived <-chan jetstream.Msg) []jetstream.Msg {
	batch := []jetstream.Msg{first}
	over := time.NewTimer(f.Linger)
	defer over.Stop()
	for len(batch) < f.Batch {
		select {
		case m := <-arrived:
			batch = append(batch, m)
			continue
		default:
		}
		select {
		case m := <-arrived:
			batch = append(batch, m)
		case <-over.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

func (l *Ledger) handBatch(ctx context.Context, batch []jetstream.Msg, handle func(context.Context, []Record) error) {
	records := make([]Record, 0, len(batch))
	for _, m := range batch {
		if r, err := l.delivered(m); err == nil {
			records = append(records, r)
		}
	}
	// The batch is finished even when ctx ends meanwhile: half a batch would only be done again.
	if err := handle(context.WithoutCancel(ctx), records); err != nil {
		l.log.Error("a batch of the ledger could not be handled and comes again", "error", err, "records", len(records))
		for _, m := range batch {
			_ = m.NakWithDelay(time.Second) // where this fails, the ack wait runs out
		}
		return
	}
	failpoint.Here(failpoint.FollowHandled)
	for _, m := range batch {
		_ = m.Ack() // where this is lost, the batch comes again and is recognised
		failpoint.Here(failpoint.FollowAcking)
	}
}

func (l *Ledger) delivered(m jetstream.Msg) (Record, error) {
	meta, err := m.Metadata()
	if err != nil {
		return Record{}, err
	}
	l.Saw(meta.Stream, meta.Sequence.Stream)
	return Record{Subject: m.Subject(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp, Header: m.Headers(), Data: m.Data()}, nil
}

// Backlog is how many stored messages a durable consumer has not finished with; 0 where there is no such consumer yet.
func (l *Ledger) Backlog(ctx context.Context, stream, durable string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	consumer, err := l.js.Consumer(ctx, stream, durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, unavailable(err)
	}
	have := consumer.CachedInfo()
	return have.NumPending + uint64(have.NumAckPending), nil
}

// Watch hands the last message of every subject that matches filter to handle, then every coming one, in order, until
// ctx ends. It returns once all that was stored when it began has been handed over, or with problem.NotNow.
func (l *Ledger) Watch(ctx context.Context, stream, filter string, handle func(Record)) error {
	consumer, err := l.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		return unavailable(err)
	}
	current := make(chan struct{})
	pending := consumer.CachedInfo().NumPending
	seen := uint64(0)
	if pending == 0 {
		close(current)
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		if r, err := l.delivered(m); err == nil {
			handle(r)
		}
		if seen++; seen == pending {
			close(current)
		}
	})
	if err != nil {
		return unavailable(err)
	}
	context.AfterFunc(ctx, consuming.Stop)
	select {
	case <-current:
		return nil
	case <-ctx.Done():
		return problem.Unavailable("The ledger", context.Cause(ctx))
	}
}
