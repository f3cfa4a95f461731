package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/coalesce"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/problem"
)

// Headers of message schedules, written by hand: the client's helper cuts the instant to whole seconds and fires early.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	headerScheduler      = "Nats-Scheduler"
	headerScheduleNext   = "Nats-Schedule-Next"
)

// Error codes of nats-server that decide what becomes of a publish, or of a start.
const (
	codeSubjectsOverlap           = 10065
	codeWrongLastSequence         = 10071
	codeWrongLastSequenceConstant = 10164
	codeNoCluster                 = 10074
	codeBatchDuplicate            = 10201
	codeBatchesInFlight           = 10210
)

// Message is one message to be published.
type Message struct {
	Subject string
	Header  map[string][]string
	Data    []byte

	expect  *expectation
	guarded bool
	patient bool
	yields  bool
}

type expectation struct {
	filter   string
	sequence uint64
}

// Fact makes the message that publishes an event. Its id is the event's, scoped to Usher.
func Fact(subject string, e events.Event) (Message, error) {
	header, data, err := events.Encode(e)
	if err != nil {
		return Message{}, fmt.Errorf("ledger: encode %s: %w", e.Type, err)
	}
	header[nats.MsgIdHdr] = []string{e.ID}
	return Message{Subject: subject, Header: header, Data: data}, nil
}

// Timer makes the message that keeps a timer on subject: at that instant the server publishes e on target.
// A later timer on the same subject replaces it.
func Timer(subject, target string, at time.Time, e events.Event) (Message, error) {
	m, err := Fact(subject, e)
	if err != nil {
		return Message{}, err
	}
	m.Header[headerSchedule] = []string{"@at " + at.UTC().Format(time.RFC3339Nano)}
	m.Header[headerScheduleTarget] = []string{target}
	return m, nil
}

// Expecting makes the publish conditional: the last sequence on filter must be sequence, 0 for "nothing yet". A message has
// one condition: this one takes the place of any other, and of Guarded.
func (m Message) Expecting(filter string, sequence uint64) Message {
	m.expect, m.guarded = &expectation{filter: filter, sequence: sequence}, false
	delete(m.Header, jetstream.ExpectedLastSubjSeqSubjHeader)
	m.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(sequence, 10)}
	if filter != m.Subject {
		m.Header[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{filter}
	}
	return m
}

// Guarded allows the message to be stored after the first of its unit instead of together with it, where that is
// quicker, on condition that the first is then still the last on its subject: between the two, somebody who finds the
// first alone may take its place, and this message is then refused.
func (m Message) Guarded() Message {
	m.guarded = true
	return m
}

// Patient lets messages that somebody waits for be stored first, under load.
func (m Message) Patient() Message {
	m.patient = true
	return m
}

// Yielding is Patient for a message whose caller waits as well, for many of them at once: its time is bounded like others'.
func (m Message) Yielding() Message {
	m.yields = true
	return m
}

// Stopping makes the publish stop a timer: both happen, or neither.
func (m Message) Stopping(timer string) Message {
	m.Header[headerScheduler] = []string{timer}
	m.Header[headerScheduleNext] = []string{"purge"}
	return m
}

// Publish stores the messages of one unit, all or none (but see Guarded), and gives the sequence of the last. Units of
// concurrent callers share atomic batches, yet each has its own result. It returns ErrConflict or ErrDuplicate when this
// unit was refused, problem.TooLarge for a message over the broker's limit, and problem.NotNow when the broker did not
// answer: the unit may then have been stored.
func (l *Ledger) Publish(ctx context.Context, stream string, unit ...Message) (uint64, error) {
	r := l.PublishAll(ctx, stream, [][]Message{unit})[0]
	return r.Value, r.Err
}

// PublishAll is Publish for many units at once: one result a unit, in order.
func (l *Ledger) PublishAll(ctx context.Context, stream string, units [][]Message) []coalesce.Result[uint64] {
	results := make([]coalesce.Result[uint64], len(units))
	var fit [][]Message
	var at []int
	for i, unit := range units {
		if results[i].Err = l.publishable(unit); results[i].Err == nil {
			fit, at = append(fit, unit), append(at, i)
		}
	}
	if len(fit) > 0 && !fit[0][0].patient { // a broker that says nothing holds up whoever is behind, once for each try before
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, answerTimeout)
		defer cancel()
	}
	for i, r := range l.publishers[stream].DoAll(ctx, fit) {
		if errors.Is(r.Err, coalesce.ErrClosed) || errors.Is(r.Err, context.DeadlineExceeded) || errors.Is(r.Err, context.Canceled) {
			r.Err = problem.Unavailable("The ledger", r.Err)
		}
		results[at[i]] = r
	}
	return results
}

func (l *Ledger) publishable(unit []Message) error {
	for _, m := range unit {
		if int64(len(m.Data)) > l.nc.MaxPayload()-16<<10 { // headers count too
			return problem.New(problem.TooLarge, "the message is larger than the broker takes")
		}
	}
	return l.Healthy()
}

// commit publishes units together. Units that expect the same filter would refuse each other within one batch, so the
// later ones wait for the next.
func (l *Ledger) commit(stream string, units [][]Message) []coalesce.Result[uint64] {
	results := make([]coalesce.Result[uint64], len(units))
	claimed := map[string]bool{}
	var now, later []int
	for i, unit := range units {
		if collides(unit, claimed) {
			later = append(later, i)
		} else {
			now = append(now, i)
		}
	}
	l.commitApart(stream, units, now, results)
	if len(later) > 0 {
		failpoint.Here(failpoint.LedgerApart)
		rest := make([][]Message, len(later))
		for i, at := range later {
			rest[i] = units[at]
		}
		for i, r := range l.commit(stream, rest) {
			results[later[i]] = r
		}
	}
	return results
}

func collides(unit []Message, claimed map[string]bool) bool {
	for _, m := range unit {
		if m.expect != nil && claimed[m.expect.filter] {
			return true
		}
	}
	for _, m := range unit {
		if m.expect != nil {
			claimed[m.expect.filter] = true
		}
	}
	return false
}

// commitApart stores the units at the given places: a few side by side, many as one batch. A refused batch stored
// nothing, so the units whose expectation does not hold are told so and the others tried again; where no such unit is
// found (a duplicate id, a race) the batch is halved until the refused unit stands alone. A unit never fails because of
// its neighbours.
func (l *Ledger) commitApart(stream string, units [][]Message, at []int, results []coalesce.Result[uint64]) {
	batch := make([][]Message, len(at))
	messages := 0
	for i, place := range at {
		batch[i] = units[place]
		messages += len(units[place])
	}
	if messages <= sideBySide {
		var storing sync.WaitGroup
		for _, place := range at {
			storing.Go(func() {
				sequence, err := l.storeAlone(units[place])
				results[place] = coalesce.Result[uint64]{Value: sequence, Err: verdict(err)}
			})
		}
		storing.Wait()
		return
	}
	first, err := l.storeBatch(batch)
	switch {
	case err == nil:
		for _, place := range at {
			first += uint64(len(units[place]))
			results[place].Value = first - 1
		}
	case len(at) > 1 && refused(err):
		failpoint.Here(failpoint.LedgerBatchRefused)
		held := l.holding(stream, batch)
		var rest []int
		for i, place := range at {
			if held[i] {
				rest = append(rest, place)
			} else {
				results[place].Err = ErrConflict
			}
		}
		if len(rest) == len(at) {
			half := len(rest) / 2
			l.commitApart(stream, units, rest[:half], results)
			failpoint.Here(failpoint.LedgerHalved)
			rest = rest[half:]
		}
		if len(rest) > 0 {
			l.commitApart(stream, units, rest, results)
		}
	default:
		for _, place := range at {
			results[place].Err = verdict(err)
		}
	}
}

// holding looks up which units' expectations still hold. Where it cannot tell, it says they all do.
func (l *Ledger) holding(stream string, units [][]Message) []bool {
	held := make([]bool, len(units))
	for i := range held {
		held[i] = true
	}
	for i, unit := range units {
		for _, m := range unit {
			if m.expect == nil {
				continue
			}
			last, err := l.Last(context.Background(), stream, m.expect.filter)
			if err == nil && last.Sequence != m.expect.sequence || errors.Is(err, ErrNotFound) && m.expect.sequence != 0 {
				held[i] = false
			}
		}
	}
	return held
}

// storeAlone publishes one unit by itself: a guarded one message by message, which is a sync each, any other of several
// messages as a batch, which is far more.
func (l *Ledger) storeAlone(unit []Message) (uint64, error) {
	for _, m := range unit[1:] {
		if !m.guarded {
			first, err := l.storeBatch([][]Message{unit})
			return first + uint64(len(unit)) - 1, err
		}
	}
	sequence, err := l.storeOne(unit[0])
	for i, guard := 1, sequence; i < len(unit) && err == nil; i++ {
		failpoint.Here(failpoint.LedgerGuarded)
		sequence, err = l.storeOne(unit[i].Expecting(unit[0].Subject, guard))
	}
	return sequence, err
}

func (l *Ledger) storeOne(m Message) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	for _, header := range []string{jetstreamext.BatchIDHeader, jetstreamext.BatchSeqHeader, jetstreamext.BatchCommitHeader} {
		delete(m.Header, header) // left over where a batch was halved down to this
	}
	failpoint.Here(failpoint.LedgerAloneStoring)
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	if err != nil {
		return 0, err
	}
	l.Saw(ack.Stream, ack.Sequence)
	failpoint.Here(failpoint.LedgerAloneStored)
	if ack.Duplicate {
		return 0, ErrDuplicate
	}
	return ack.Sequence, nil
}

// storeBatch publishes the units as one atomic batch and gives the sequence of its first message.
func (l *Ledger) storeBatch(units [][]Message) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	var batch []*nats.Msg
	for _, unit := range units {
		for _, m := range unit {
			batch = append(batch, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
		}
	}
	failpoint.Here(failpoint.LedgerBatchStoring)
	ack, err := jetstreamext.PublishMsgBatch(ctx, l.js, batch, jetstreamext.BatchFlowControl{AckTimeout: publishTimeout})
	if err != nil {
		return 0, err
	}
	l.Saw(ack.Stream, ack.Sequence)
	failpoint.Here(failpoint.LedgerBatchStored)
	return ack.Sequence - ack.BatchSize + 1, nil
}

// apiError is what the errors of both clients have in common.
type apiError interface {
	error
	APIError() *jetstream.APIError
}

func code(err error) (jetstream.ErrorCode, bool) {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode, true
	}
	if api, ok := errors.AsType[apiError](err); ok && api.APIError() != nil {
		return api.APIError().ErrorCode, true
	}
	return 0, false
}

// refused reports whether the server looked at the batch and said no, so that nothing of it was stored.
func refused(err error) bool {
	c, ok := code(err)
	return errors.Is(err, ErrDuplicate) || ok && c != codeBatchesInFlight
}

func verdict(err error) error {
	c, ok := code(err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrDuplicate), ok && c == codeBatchDuplicate:
		return ErrDuplicate
	case ok && (c == codeWrongLastSequence || c == codeWrongLastSequenceConstant):
		return ErrConflict
	}
	return unavailable(err)
}

// unavailable says "not now" and, because a publish without permission looks just like a time-out, names that too.
func unavailable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		strings.Contains(err.Error(), "no response from stream") {
		err = fmt.Errorf("%w (no answer: the stream has no leader, or this user may not publish there)", err)
	}
	return problem.Unavailable("The ledger", err)
}

func unavailableOrNil(err error) error {
	if err == nil {
		return nil
	}
	return unavailable(err)
}
