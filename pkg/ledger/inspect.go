package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
)

// headerSucceeds names the sequence of the timer that a unit took the place of. That timer leaves the stream, so without
// this nobody could tell later that what is missing there was a timer.
const headerSucceeds = "Usher-Succeeds"

// Succeeding notes which timer, by its sequence, the message's unit takes the place of; 0 for none.
func (m Message) Succeeding(timer uint64) Message {
	if timer != 0 {
		m.Header[headerSucceeds] = []string{strconv.FormatUint(timer, 10)}
	}
	return m
}

// DueAt is when a stored timer fires; false for what is no timer.
func (r Record) DueAt() (time.Time, bool) {
	text, ok := strings.CutPrefix(r.header(headerSchedule), "@at ")
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	return at, err == nil
}

// Stopped is the subject of the timer that went when the record was stored: an outcome stopped it, or it fired and this
// is what it said. Empty for none.
func (r Record) Stopped() string {
	if r.header(headerScheduleNext) != "purge" {
		return ""
	}
	return r.header(headerScheduler)
}

// Timers are the sequences of the expiry timers that a stored request or resend tells of: the one that was published with
// it, and the one whose place that took. 0 where it tells of none.
func (r Record) Timers() (own, before uint64) {
	before, _ = strconv.ParseUint(r.header(headerSucceeds), 10, 64)
	if _, _, guarded := events.SplitClaim(r.header(jetstream.ExpectedLastSubjSeqSubjHeader)); guarded {
		own, _ = strconv.ParseUint(r.header(jetstream.ExpectedLastSubjSeqHeader), 10, 64)
		return own, before
	}
	return r.Sequence - 1, before // both were one batch
}

func (r Record) header(name string) string {
	if values := r.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Consumer is how far one durable consumer of a stream has come.
type Consumer struct {
	Name string
	// Handled is the sequence up to which nothing is left to do.
	Handled uint64
	// Delivered is the highest sequence that was handed out.
	Delivered uint64
	// Pending is how many messages were never handed out, Unsettled how many were and are not done.
	Pending, Unsettled uint64
}

// Consumers lists a stream's durable consumers, by name.
func (l *Ledger) Consumers(ctx context.Context, stream string) (map[string]Consumer, error) {
	s, err := l.js.Stream(ctx, stream) // before the consumers: what they have handled by then was stored by then
	if err != nil {
		return nil, fmt.Errorf("ledger: stream %s: %w", stream, unavailable(err))
	}
	last := s.CachedInfo().State.LastSeq
	found := map[string]Consumer{}
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		if info.Config.Durable == "" {
			continue
		}
		c := Consumer{
			Name: info.Config.Durable, Handled: info.AckFloor.Stream, Delivered: info.Delivered.Stream,
			Pending: info.NumPending, Unsettled: uint64(info.NumAckPending),
		}
		if c.Pending == 0 && c.Unsettled == 0 { // what came after its last message is none of its business
			c.Handled = max(c.Handled, last)
		}
		found[c.Name] = c
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("ledger: consumers of %s: %w", stream, unavailable(err))
	}
	return found, nil
}

// StopTimer takes a timer away that is still the one of that sequence.
func (l *Ledger) StopTimer(ctx context.Context, subject string, sequence uint64) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	s, err := l.handle(ctx, events.StreamInvitations)
	if err != nil {
		return err
	}
	// Up to but without the sequence named: a newer timer of that subject stays.
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(sequence+1)); err != nil {
		return fmt.Errorf("ledger: stop timer: %w", unavailable(err))
	}
	return nil
}

// Missing lists the sequences between a stream's first and last message at which nothing is stored, at most the first
// 100,000 of them.
func (l *Ledger) Missing(ctx context.Context, stream string) (State, []uint64, error) {
	s, err := l.js.Stream(ctx, stream)
	if err != nil {
		return State{}, nil, fmt.Errorf("ledger: stream %s: %w", stream, unavailable(err))
	}
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return State{}, nil, fmt.Errorf("ledger: stream %s: %w", stream, unavailable(err))
	}
	have := info.State
	missing := slices.DeleteFunc(have.Deleted, func(s uint64) bool { return s == 0 }) // what an empty stream names
	return State{FirstSequence: have.FirstSeq, LastSequence: have.LastSeq, Messages: have.Msgs}, missing, nil
}

// Replica is one copy of a stream.
type Replica struct {
	Name string
	// Leader is true for the copy that takes writes. Current is false for one that has fallen behind by Lag messages,
	// Offline true for one whose server is not there.
	Leader, Current, Offline bool
	Lag                      uint64
}

// Replicas lists the copies of a stream as its leader sees them; a single server has one, without a name.
func (l *Ledger) Replicas(ctx context.Context, stream string) ([]Replica, error) {
	s, err := l.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("ledger: stream %s: %w", stream, unavailable(err))
	}
	cluster := s.CachedInfo().Cluster
	if cluster == nil {
		return []Replica{{Leader: true, Current: true}}, nil
	}
	copies := []Replica{{Name: cluster.Leader, Leader: true, Current: true}}
	for _, r := range cluster.Replicas {
		copies = append(copies, Replica{Name: r.Name, Current: r.Current, Offline: r.Offline, Lag: r.Lag})
	}
	return copies, nil
}

// Replaces is the sequence whose place a stored timer took, as it was expected to be; 0 for none.
func (r Record) Replaces() uint64 {
	before, _ := strconv.ParseUint(r.header(jetstream.ExpectedLastSubjSeqHeader), 10, 64)
	return before
}

// Times and sizes of reading one copy.
const (
	copyTries   = 64
	copyBatch   = 1000
	copySilence = 5 * time.Second
	copyPause   = 20 * time.Millisecond
)

// ScanCopy hands over what one copy of a stream holds up to a sequence, oldest first: what that server's own disk says,
// which no other read tells. A consumer that is not replicated reads from the copy beside it, and the servers choose beside
// which, so it is made until it is there.
func (l *Ledger) ScanCopy(ctx context.Context, stream, server string, until uint64, take func(Record)) error {
	consumer, err := l.consumerOn(ctx, stream, server)
	if err != nil {
		return err
	}
	defer func() { _ = l.js.DeleteConsumer(context.WithoutCancel(ctx), stream, consumer.CachedInfo().Name) }()
	for early := 0; ; {
		batch, err := consumer.Fetch(copyBatch, jetstream.FetchMaxWait(copySilence))
		if err != nil {
			return unavailable(err)
		}
		got := 0
		for m := range batch.Messages() {
			r, err := l.delivered(m)
			if err != nil || r.Sequence > until {
				return err
			}
			take(r)
			got++
			if meta, _ := m.Metadata(); meta.NumPending == 0 {
				return nil
			}
		}
		if err := batch.Error(); errors.Is(err, nats.ErrNoResponders) && early < copyTries {
			early++ // the others were not told of it yet
			time.Sleep(copyPause)
			continue
		} else if err != nil {
			return unavailable(err)
		}
		if got == 0 {
			return nil
		}
	}
}

func (l *Ledger) consumerOn(ctx context.Context, stream, server string) (jetstream.Consumer, error) {
	for range copyTries {
		consumer, err := l.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			AckPolicy: jetstream.AckNonePolicy, Replicas: 1, MemoryStorage: true, InactiveThreshold: time.Minute,
		})
		if err != nil {
			return nil, unavailable(err)
		}
		info, err := consumer.Info(ctx)
		if err == nil && info.Cluster != nil && info.Cluster.Leader == server {
			return consumer, nil
		}
		_ = l.js.DeleteConsumer(ctx, stream, consumer.CachedInfo().Name)
	}
	return nil, fmt.Errorf("ledger: the copy of %s on %s cannot be read: %w", stream, server, unavailable(errors.New("no consumer was placed there")))
}
