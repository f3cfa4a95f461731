package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/coalesce"
	"github.com/usherhq/usher/pkg/problem"
)

// Record is one stored message.
type Record struct {
	Subject  string
	Sequence uint64
	// Time is when the server stored it.
	Time   time.Time
	Header map[string][]string
	Data   []byte
}

// Event decodes the record.
func (r Record) Event() (events.Event, error) { return events.Decode(r.Header, r.Data, r.Subject) }

// Last gives the last message that matches filter (wildcards allowed), or ErrNotFound.
func (l *Ledger) Last(ctx context.Context, stream, filter string) (Record, error) {
	if err := l.Healthy(); err != nil {
		return Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if l.Replicated() {
		r, err := l.newest(ctx, stream)
		if err == nil && filter != ">" {
			r, err = fromLeader(ctx, l.nc, stream, filter)
		}
		if errors.Is(err, ErrNotFound) {
			return r, err
		}
		return r, unavailableOrNil(err)
	}
	s, err := l.handle(ctx, stream)
	if err != nil {
		return Record{}, err
	}
	raw, err := s.GetLastMsgForSubject(ctx, filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Record{}, ErrNotFound
	}
	if err != nil {
		return Record{}, unavailable(err)
	}
	return record(raw), nil
}

// At gives the message that is stored at a sequence, or ErrNotFound where it is gone or never was.
func (l *Ledger) At(ctx context.Context, stream string, sequence uint64) (Record, error) {
	if err := l.Healthy(); err != nil {
		return Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s, err := l.handle(ctx, stream)
	if err != nil {
		return Record{}, err
	}
	raw, err := s.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Record{}, ErrNotFound
	}
	if err != nil {
		return Record{}, unavailable(err)
	}
	return record(raw), nil
}

// Remove takes the message at a sequence out of a stream for good. One that is not there is fine.
func (l *Ledger) Remove(ctx context.Context, stream string, sequence uint64) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s, err := l.handle(ctx, stream)
	if err != nil {
		return err
	}
	if err := s.DeleteMsg(ctx, sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return unavailable(err)
	}
	return nil
}

// Heard lists what the consumers of a stream listen to: their filters.
func (l *Ledger) Heard(ctx context.Context, stream string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s, err := l.handle(ctx, stream)
	if err != nil {
		return nil, err
	}
	var filters []string
	consumers := s.ListConsumers(ctx)
	for c := range consumers.Info() {
		filters = append(filters, c.Config.FilterSubjects...)
		if c.Config.FilterSubject != "" {
			filters = append(filters, c.Config.FilterSubject)
		}
	}
	if err := consumers.Err(); err != nil {
		return nil, unavailable(err)
	}
	return filters, nil
}

// handle is the stream without asking the server about it: a direct get needs only its name.
func (l *Ledger) handle(ctx context.Context, stream string) (jetstream.Stream, error) {
	if s, ok := l.handles.Load(stream); ok {
		return s.(jetstream.Stream), nil
	}
	s, err := l.js.Stream(ctx, stream)
	if err != nil {
		return nil, unavailable(err)
	}
	l.handles.Store(stream, s)
	return s, nil
}

func record(raw *jetstream.RawStreamMsg) Record {
	return Record{Subject: raw.Subject, Sequence: raw.Sequence, Time: raw.Time, Header: raw.Header, Data: raw.Data}
}

// LastOf gives the last message of every subject that matches any of the filters (at most 1024 subjects).
// No match is no error.
func (l *Ledger) LastOf(ctx context.Context, stream string, filters ...string) ([]Record, error) {
	if err := l.Healthy(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if l.Replicated() {
		records, err := l.lastOfReplicated(ctx, stream, filters)
		return records, unavailableOrNil(err)
	}
	records, _, err := l.reader.get(ctx, stream, directGet{MultiLast: filters})
	return records, unavailableOrNil(err)
}

// Replicated reports whether streams have replicas, of which one may lag behind another.
func (l *Ledger) Replicated() bool { return l.options.Replicas > 1 }

// factsQuery asks for the last message of each filter of one invitation.
type factsQuery struct {
	prefix  string // "invitations.<org>.<id>."
	filters []string
}

// Facts gives the last message on each of the named facts of one invitation ("requested", "outcome.*", …), in no
// particular order; a fact that was never published is not among them. Concurrent callers share one request.
func (l *Ledger) Facts(ctx context.Context, org, id string, facts ...string) ([]Record, error) {
	if err := l.Healthy(); err != nil {
		return nil, err
	}
	q := factsQuery{prefix: events.InvitationSubject(org, id, ""), filters: make([]string, len(facts))}
	for i, f := range facts {
		q.filters[i] = q.prefix + f
	}
	records, err := l.facts.Do(ctx, q)
	if errors.Is(err, coalesce.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil, problem.Unavailable("The ledger", err)
	}
	return records, err
}

func (l *Ledger) readFacts(queries []factsQuery) []coalesce.Result[[]Record] {
	results := make([]coalesce.Result[[]Record], len(queries))
	asked := map[string]bool{}
	var filters []string
	for _, q := range queries {
		for _, f := range q.filters {
			if !asked[f] {
				asked[f] = true
				filters = append(filters, f)
			}
		}
	}
	records, err := l.LastOf(context.Background(), events.StreamInvitations, filters...)
	byInvitation := map[string][]Record{}
	for _, r := range records {
		byInvitation[invitationPrefix(r.Subject)] = append(byInvitation[invitationPrefix(r.Subject)], r)
	}
	for i, q := range queries {
		results[i] = coalesce.Result[[]Record]{Value: byInvitation[q.prefix], Err: err}
	}
	return results
}

// invitationPrefix cuts a subject after its third token.
func invitationPrefix(subject string) string {
	end := 0
	for range 3 {
		dot := strings.IndexByte(subject[end:], '.')
		if dot < 0 {
			return subject
		}
		end += dot + 1
	}
	return subject[:end]
}

// Scan gives every stored message that matches filter, oldest first, beginning at sequence from. An empty filter means
// all of the stream: the broker then need not count, for every page, how many subjects match.
func (l *Ledger) Scan(ctx context.Context, stream, filter string, from uint64) iter.Seq2[Record, error] {
	const page = 500
	return func(yield func(Record, error) bool) {
		next := max(from, 1)
		for {
			records, err := l.page(ctx, stream, filter, next, page)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
			if len(records) < page {
				return
			}
			next = records[len(records)-1].Sequence + 1
		}
	}
}

func (l *Ledger) page(ctx context.Context, stream, filter string, from uint64, size int) ([]Record, error) {
	if err := l.Healthy(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	records, _, err := l.reader.get(ctx, stream, directGet{Sequence: from, NextBy: filter, Batch: size})
	if err != nil && !errors.Is(err, errMissing) {
		return nil, unavailable(err)
	}
	return records, nil
}

// State tells how far a stream goes.
type State struct {
	FirstSequence, LastSequence, Messages, Bytes uint64
}

// State asks the server how far a stream goes.
func (l *Ledger) State(ctx context.Context, stream string) (State, error) {
	s, err := l.js.Stream(ctx, stream)
	if err != nil {
		return State{}, fmt.Errorf("ledger: stream %s: %w", stream, unavailable(err))
	}
	have := s.CachedInfo().State
	return State{FirstSequence: have.FirstSeq, LastSequence: have.LastSeq, Messages: have.Msgs, Bytes: have.Bytes}, nil
}
