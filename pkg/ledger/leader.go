package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/pkg/clock"
)

// Of a replicated stream any replica answers a direct get, and one that lags behind, or was parted from the others, answers
// with what was true before. Somebody who was told that an invitation is revoked would see a mail leave all the same, and an
// acceptance would be taken for none. So where streams have replicas, the stream's leader is asked how far the stream is, and
// an answer that does not go that far is asked for again. A leader that was only just elected may not have come as far itself
// as what this process was handed or told already, and is asked again, too. With one replica there is nobody who could lag.

// codeNoMessage is the leader's word that nothing matches.
const codeNoMessage = 10037

// fromLeader gives the last message that matches filter as the stream's leader has it, or ErrNotFound.
func fromLeader(ctx context.Context, nc *nats.Conn, stream, filter string) (Record, error) {
	body, err := json.Marshal(map[string]string{"last_by_subj": filter})
	if err != nil {
		return Record{}, err
	}
	reply, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, body)
	if err != nil {
		return Record{}, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return Record{}, err
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == codeNoMessage:
		return Record{}, ErrNotFound
	case answer.Error != nil:
		return Record{}, answer.Error
	}
	m := answer.Message
	r := Record{Subject: m.Subject, Sequence: m.Sequence, Time: m.Time, Data: m.Data}
	if len(m.Header) > 0 {
		r.Header, err = nats.DecodeHeadersMsg(m.Header)
	}
	return r, err
}

// lagPause is how long a replica is given to catch up before it, or another, is asked again.
const lagPause = 5 * time.Millisecond

// lastOfReplicated is a direct get of the last messages that says nothing older than what the stream's leader had when it was
// asked. The last message of all is asked for beside the others: it shows how far whoever answers is.
func (l *Ledger) lastOfReplicated(ctx context.Context, stream string, filters []string) ([]Record, error) {
	for {
		newest, err := l.newest(ctx, stream)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		records, upTo, err := l.reader.get(ctx, stream, directGet{MultiLast: append(filters[:len(filters):len(filters)], newest.Subject)})
		if err != nil {
			return nil, err
		}
		if upTo >= newest.Sequence {
			return matching(records, newest.Subject, filters), nil
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(lagPause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Saw notes that a message of a stream was handed to this process, or that it was told of it: what it reads from then on goes
// that far at least.
func (l *Ledger) Saw(stream string, sequence uint64) {
	seen := l.seen(stream)
	for {
		before := seen.Load()
		if sequence <= before || seen.CompareAndSwap(before, sequence) {
			return
		}
	}
}

func (l *Ledger) seen(stream string) *atomic.Uint64 {
	seen, ok := l.sight.Load(stream)
	if !ok {
		seen, _ = l.sight.LoadOrStore(stream, new(atomic.Uint64))
	}
	return seen.(*atomic.Uint64)
}

// errBehind is returned where a stream's leader does not come as far as this process knows the stream to be.
var errBehind = errors.New("the stream's leader is behind what was handed out")

// newest gives the last message of a stream as its leader has it, once that has come as far as this process knows the stream to
// be. A leader that is not there by the end of readTimeout is of another stream under the same name, as after a restore: it is
// believed from then on.
func (l *Ledger) newest(ctx context.Context, stream string) (Record, error) {
	seen, began := l.seen(stream), clock.Steady()
	for {
		r, err := fromLeader(ctx, l.nc, stream, ">")
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Record{}, err
		}
		known := seen.Load()
		if r.Sequence >= known {
			return r, err
		}
		if clock.Steady()-began > readTimeout-time.Second {
			seen.CompareAndSwap(known, r.Sequence)
			return Record{}, errBehind
		}
		if err := pause(ctx); err != nil {
			return Record{}, err
		}
	}
}

// matching leaves out what was asked for beside the filters.
func matching(records []Record, beside string, filters []string) []Record {
	for _, f := range filters {
		if matches(f, beside) {
			return records
		}
	}
	return slices.DeleteFunc(records, func(r Record) bool { return r.Subject == beside })
}

// matches reports whether a subject matches a filter: * is one token, > is all that follow.
func matches(filter, subject string) bool {
	for {
		want, restWanted, moreWanted := strings.Cut(filter, ".")
		have, rest, more := strings.Cut(subject, ".")
		switch {
		case want == ">":
			return true
		case want != "*" && want != have, moreWanted != more:
			return false
		case !more:
			return true
		}
		filter, subject = restWanted, rest
	}
}
