package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// directGet is a request to a stream's direct get: the last message of each of many subjects, or the next so many of one.
type directGet struct {
	MultiLast []string `json:"multi_last,omitempty"`
	Sequence  uint64   `json:"seq,omitempty"`
	NextBy    string   `json:"next_by_subj,omitempty"` // empty: any
	Batch     int      `json:"batch,omitempty"`
}

// headerUpTo is how far the stream is with whoever answers, in the last word of an answer.
const headerUpTo = "Nats-UpTo-Sequence"

// reader makes direct gets whose answer is several messages. The answers to all of them come to one inbox that stays
// subscribed: an inbox for each request, as the client library has it, costs the broker more than the reading does,
// because it forgets its routes with every change of subscriptions, and costs this process half a megabyte of buffer.
type reader struct {
	nc    *nats.Conn
	inbox string // before a request's number

	mu      sync.Mutex
	last    uint64
	waiting map[string]*reading // by number
}

// reading is one request that is being answered.
type reading struct {
	records []Record
	upTo    uint64 // how far whoever answered was
	done    chan error
}

func newReader(nc *nats.Conn) (*reader, func() error, error) {
	r := &reader{nc: nc, inbox: nc.NewInbox() + ".", waiting: map[string]*reading{}}
	subscription, err := nc.Subscribe(r.inbox+"*", r.answered)
	if err != nil {
		return nil, nil, err
	}
	return r, subscription.Unsubscribe, nil
}

// get makes one request and waits for the end of its answer. upTo is the last sequence that whoever answered had, where
// something was found.
func (r *reader) get(ctx context.Context, stream string, what directGet) (records []Record, upTo uint64, err error) {
	body, err := json.Marshal(what)
	if err != nil {
		return nil, 0, err
	}
	number, answer := r.begin()
	defer r.end(number)
	if err := r.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, r.inbox+number, body); err != nil {
		return nil, 0, err
	}
	select {
	case err := <-answer.done:
		return answer.records, answer.upTo, err
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
}

func (r *reader) begin() (string, *reading) {
	answer := &reading{done: make(chan error, 1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	number := strconv.FormatUint(r.last, 36)
	r.waiting[number] = answer
	return number, answer
}

func (r *reader) end(number string) {
	r.mu.Lock()
	delete(r.waiting, number)
	r.mu.Unlock()
}

// answered takes in one message of an answer, or the broker's word that there are no more.
func (r *reader) answered(m *nats.Msg) {
	number := strings.TrimPrefix(m.Subject, r.inbox)
	r.mu.Lock()
	answer := r.waiting[number]
	r.mu.Unlock()
	if answer == nil { // given up
		return
	}
	if header(m, jetstream.SequenceHeader) == "" { // stored messages have one, whatever else their headers say
		r.end(number)
		answer.upTo, _ = strconv.ParseUint(header(m, headerUpTo), 10, 64) // 0 where it is not said
		answer.done <- ending(m)
		return
	}
	record, err := found(m)
	if err != nil {
		r.end(number)
		answer.done <- err
		return
	}
	answer.records = append(answer.records, record)
}

// errMissing: for a request by sequence there is nothing more, but of several subjects one could not be read.
var errMissing = errors.New("direct get: a message was not found")

// ending is what the broker's last word means: nil where the answer is complete.
func ending(m *nats.Msg) error {
	status, description := header(m, "Status"), header(m, "Description")
	switch {
	case status == "204", status == "404" && description == "No Results":
		return nil
	case status == "404":
		return errMissing
	case status == "503":
		return nats.ErrNoResponders
	}
	return fmt.Errorf("direct get: %s %s", status, description)
}

func found(m *nats.Msg) (Record, error) {
	sequence, err := strconv.ParseUint(header(m, jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return Record{}, fmt.Errorf("direct get: sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, header(m, jetstream.TimeStampHeaer))
	if err != nil {
		return Record{}, fmt.Errorf("direct get: time: %w", err)
	}
	return Record{Subject: header(m, jetstream.SubjectHeader), Sequence: sequence, Time: at, Header: m.Header, Data: m.Data}, nil
}

// header is the last value of a header: the broker appends its own to those that were stored.
func header(m *nats.Msg, name string) string {
	values := m.Header[name]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
