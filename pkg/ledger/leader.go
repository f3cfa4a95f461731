package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Of a replicated stream any replica answers a direct get, and one that lags behind, or was parted from the others, answers
// with what was true before. Somebody who was told that an invitation is revoked would see a mail leave all the same, and an
// acceptance would be taken for none. So where streams have replicas, the stream's leader is asked how far the stream is, and
// an answer that does not go that far is asked for again. With one replica there is nobody who could lag.

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
		newest, err := fromLeader(ctx, l.nc, stream, ">")
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
		select {
		case <-time.After(lagPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
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
