package bus

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/problem"
)

// conclude turns the outcome of a message into the answer to the broker. It hands no error on, so that an error is logged
// once and Watermill's router has nothing left to decide.
func (h *handler) conclude(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		growStack()
		d := deliveryOf(m)
		defer d.nak(0) // nothing left without an answer, whatever happens here
		h.meters.begin(d)
		_, err := next(m)
		v := h.judge(d, err)
		h.meters.end(v)
		switch v.kind {
		case verdictDone, verdictDead:
			d.ack()
		default:
			d.nak(v.after)
		}
		return nil, nil
	}
}

// judge decides, and puts down in the log or the dead letters what is not simply done.
func (h *handler) judge(d *delivery, err error) verdict {
	if err == nil {
		err = h.noteDone(d)
	}
	if err == nil {
		return verdict{kind: verdictDone}
	}
	if d.subscription.working.Err() != nil { // our doing: no reason to give the message up
		return verdict{kind: verdictRetry}
	}
	v := h.plan.judge(err, d.deliveries, h.router.options.Clock().Sub(d.stored))
	if v.kind == verdictDead {
		return h.bury(d, v, err)
	}
	h.logRetry(d, v, err)
	failpoint.Here(failpoint.BusRetrying)
	return v
}

// growStack makes room for what a handler calls. Watermill starts a goroutine for every message, and growing its stack on the
// way down, again and again with all frames to copy, took a sixth of the time a message costs.
//
//go:noinline
func growStack() byte {
	var room [10 << 10]byte
	return room[len(os.Args)%len(room)]
}

// bury publishes the dead letter. While that fails the message stays alive: it is tried again, and lost never.
func (h *handler) bury(d *delivery, v verdict, cause error) verdict {
	failpoint.Here(failpoint.BusBurying)
	err := h.router.letters.room()
	if err == nil {
		err = h.publishLetter(d, v.reason, cause)
	}
	if err != nil {
		if skipped, ok := h.unburied.pass(h.router.options.Clock()); ok {
			h.log.Error("a dead letter could not be stored; its message will be tried again", append(about(d), "not_logged", skipped, "error", err)...)
		}
		return verdict{kind: verdictRetry, after: h.plan.backoff(d.deliveries)}
	}
	failpoint.Here(failpoint.BusBuried)
	if skipped, ok := h.buried.pass(h.router.options.Clock()); ok {
		h.log.Error("message given up", append(about(d), "reason", v.reason, "not_logged", skipped, "error", scrubbed(cause))...)
	}
	return v
}

// publishLetter stores the dead letter once: a crash between it and the ack repeats it, however much later.
func (h *handler) publishLetter(d *delivery, reason string, cause error) error {
	given := GivenUp{
		Reason: reason, Detail: detailOf(cause), Subject: d.subject, Stream: d.stream, Sequence: d.sequence, Stored: d.happened,
		Deliveries: d.deliveries, At: h.router.options.Clock(), Before: d.letter,
	}
	uuid, metadata := decodeHeader(given.Letter(d.raw.Header))
	letter := message.NewMessage(uuid, d.raw.Data)
	letter.Metadata = metadata
	metadata[MetadataMessageID] = strings.Join([]string{"dead", h.name, d.handed.stream, strconv.FormatUint(d.handed.sequence, 10)}, ".")
	metadata[MetadataExpected] = "0"
	return onceEnough(h.router.options.DeadLetters.Publish(events.DeadLetterSubject(h.name, d.handed.stream, d.handed.sequence), letter))
}

// noteDone puts down that what was handed out again from a dead letter is handled, unless something else was done about the
// letter meanwhile: then that counts.
func (h *handler) noteDone(d *delivery) error {
	if d.letter == 0 {
		return nil
	}
	note := message.NewMessage("", nil)
	note.Metadata = message.Metadata{
		ActBy: h.name, ActAt: instant(h.router.options.Clock()),
		MetadataMessageID:  strings.Join([]string{"done", h.name, strconv.FormatUint(d.handed.sequence, 10)}, "."),
		MetadataExpected:   strconv.FormatUint(d.handed.sequence, 10),
		MetadataExpectedOn: events.DeadActsFilter(h.name, d.letter),
	}
	return onceEnough(h.router.options.DeadLetters.Publish(events.DeadActSubject(h.name, events.DeadDone, d.letter), note))
}

// onceEnough takes "somebody was there before" for done: it was this very message, or one that makes it needless.
func onceEnough(err error) error {
	if errors.Is(err, ErrUnexpected) {
		return nil
	}
	return err
}

// detailOf is the sentence that may be shown, but for addresses in it. An error of unknown origin has none: nobody knows what its text holds.
func detailOf(err error) string {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return p.Detail
	}
	if errors.Is(err, events.ErrMalformed) || errors.Is(err, events.ErrUnknownType) {
		return err.Error()
	}
	return ""
}

var addressLike = regexp.MustCompile(`[^\s"'<>(),;:\[\]]+@[^\s"'<>(),;:\[\]]+`)

// scrub takes out what looks like an address.
func scrub(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	return addressLike.ReplaceAllString(s, "(address)")
}

// scrubbed is an error's text for the log. A panic's stack is in it.
func scrubbed(err error) string { return scrub(err.Error()) }

func about(d *delivery) []any {
	return []any{"subject", d.subject, "stream", d.stream, "sequence", d.sequence, "deliveries", d.deliveries}
}

// logRetry reports a failed try; of the many in an outage one a second, but panics always.
func (h *handler) logRetry(d *delivery, v verdict, err error) {
	_, panicked := errors.AsType[middleware.RecoveredPanicError](err)
	level := slog.LevelWarn
	if panicked {
		level = slog.LevelError
	}
	skipped, ok := h.quiet.pass(h.router.options.Clock())
	if !ok && !panicked {
		return
	}
	h.log.Log(context.Background(), level, "message will be tried again",
		append(about(d), "after", v.after, "not_logged", skipped, "error", scrubbed(err))...)
}

// throttle lets one thing a second pass, and counts the others.
type throttle struct {
	next    atomic.Int64 // when the next may pass, unix nanoseconds
	skipped atomic.Int64
}

func (t *throttle) pass(now time.Time) (skipped int64, ok bool) {
	next := t.next.Load()
	if now.UnixNano() < next || !t.next.CompareAndSwap(next, now.Add(time.Second).UnixNano()) {
		t.skipped.Add(1)
		return 0, false
	}
	return t.skipped.Swap(0), true
}
