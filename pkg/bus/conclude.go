package bus

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/problem"
)

// Headers that a dead letter has beside those of the message it was.
const (
	DeadReason     = "Usher-Dead-Reason"     // a stable word
	DeadDetail     = "Usher-Dead-Detail"     // a sentence, where there is one that may be shown
	DeadSubject    = "Usher-Dead-Subject"    // what the message was published on
	DeadStream     = "Usher-Dead-Stream"     // the stream that stored it
	DeadSequence   = "Usher-Dead-Sequence"   // its sequence there
	DeadStored     = "Usher-Dead-Stored"     // when it was stored there, RFC 3339
	DeadDeliveries = "Usher-Dead-Deliveries" // how often it was tried
	DeadAt         = "Usher-Dead-At"         // when it was given up, RFC 3339
	DeadMessageID  = "Usher-Dead-Message-Id" // its Nats-Msg-Id, where it had one

	deadPrefix = "usher-dead-" // of all of them, in any case
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
	letter := h.deadLetter(d, v.reason, cause)
	failpoint.Here(failpoint.BusBurying)
	if err := h.router.options.DeadLetters.Publish(events.DeadLetterSubject(h.name), letter); err != nil {
		h.log.Error("a dead letter could not be stored; its message will be tried again", append(about(d), "error", err)...)
		return verdict{kind: verdictRetry, after: h.plan.backoff(d.deliveries)}
	}
	failpoint.Here(failpoint.BusBuried)
	h.log.Error("message given up", append(about(d), "reason", v.reason, "error", scrubbed(cause))...)
	return v
}

func (h *handler) deadLetter(d *delivery, reason string, cause error) *message.Message {
	uuid, metadata := decodeHeader(d.raw.Header)
	maps.DeleteFunc(metadata, func(name, _ string) bool { return hasPrefixFold(name, deadPrefix) }) // what it says of itself is no finding
	letter := message.NewMessage(uuid, d.raw.Data)
	letter.Metadata = metadata
	metadata[DeadReason] = oneLine(reason)
	metadata[DeadSubject] = d.subject
	metadata[DeadStream] = d.stream
	metadata[DeadSequence] = strconv.FormatUint(d.sequence, 10)
	metadata[DeadStored] = d.happened.UTC().Format(time.RFC3339Nano)
	metadata[DeadDeliveries] = strconv.Itoa(d.deliveries)
	metadata[DeadAt] = h.router.options.Clock().UTC().Format(time.RFC3339Nano)
	if detail := detailOf(cause); detail != "" {
		metadata[DeadDetail] = detail
	}
	if id := d.raw.Header.Get(nats.MsgIdHdr); id != "" {
		metadata[DeadMessageID] = id
	}
	// A crash between the dead letter and the ack repeats the dead letter: the stream sees the same id and keeps one.
	metadata[MetadataMessageID] = strings.Join([]string{"dead", h.name, d.stream, metadata[DeadSequence]}, ".")
	return letter
}

// detailOf is the sentence that may be shown. An error of unknown origin has none: nobody knows what its text holds.
func detailOf(err error) string {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return oneLine(scrub(p.Detail))
	}
	if errors.Is(err, events.ErrMalformed) || errors.Is(err, events.ErrUnknownType) {
		return oneLine(scrub(err.Error()))
	}
	return ""
}

const mostDetail = 300

// oneLine makes a text fit for a header.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > mostDetail {
		s = strings.ToValidUTF8(s[:mostDetail], "") + "…"
	}
	return s
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
