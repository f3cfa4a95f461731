package bus

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
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
	DeadAgainOf    = "Usher-Dead-Again-Of"   // the dead letter that it was before, where it was handed to its worker again

	deadPrefix = "usher-dead-" // of all of them, in any case
)

// Headers of what was done about a dead letter.
const (
	ActBy   = "Usher-Act-By"   // who did it
	ActAt   = "Usher-Act-At"   // when, RFC 3339
	ActNote = "Usher-Act-Note" // why, in their words

	actPrefix = "Usher-Act-"
)

// GivenUp tells what is put down about a message that will not be handed out again.
type GivenUp struct {
	// Reason is a stable word; Detail a sentence that may be shown, or empty.
	Reason, Detail string
	// Subject, Stream and Sequence are where the message was stored, Stored is when.
	Subject, Stream string
	Sequence        uint64
	Stored          time.Time
	Deliveries      int
	At              time.Time
	// Before is the dead letter that the message had been handed out again from; 0 for none.
	Before uint64
}

// Letter gives the headers of the dead letter of a message whose own headers are given. Those of the server are not among
// them, and what is said of an earlier letter gives way, but for what that one was in the beginning.
func (g GivenUp) Letter(original nats.Header) nats.Header {
	letter := Handed(original)
	if g.Before == 0 { // what a message says of itself is no finding
		maps.DeleteFunc(letter, func(name string, _ []string) bool { return hasPrefixFold(name, deadPrefix) })
	}
	if id := original.Get(nats.MsgIdHdr); id != "" && g.Before == 0 {
		letter.Set(DeadMessageID, id)
	}
	letter.Del(DeadDetail)
	for name, value := range map[string]string{
		DeadReason: OneLine(g.Reason), DeadDetail: OneLine(scrub(g.Detail)), DeadSubject: g.Subject, DeadStream: g.Stream,
		DeadSequence: number(g.Sequence), DeadStored: instant(g.Stored), DeadDeliveries: strconv.Itoa(g.Deliveries),
		DeadAt: instant(g.At), DeadAgainOf: number(g.Before),
	} {
		if value != "" {
			letter[name] = []string{value}
		}
	}
	return letter
}

// Handed gives the headers with which a dead letter is handed to its worker again, and those of any message that is published
// once more: without the server's, which a stream refuses or obeys, and without what was done about it before.
func Handed(stored nats.Header) nats.Header {
	h := make(nats.Header, len(stored)+10)
	for name, values := range stored {
		if !reserved(name) && !hasPrefixFold(name, actPrefix) {
			h[name] = values
		}
	}
	return h
}

// Restored is the message that a dead letter was: where it was stored, and when. It has no subject where the message was gone
// before it could be kept. ok is false for headers of anything else.
func Restored(letter nats.Header) (g GivenUp, ok bool) {
	sequence, err := strconv.ParseUint(letter.Get(DeadSequence), 10, 64)
	if err != nil {
		return GivenUp{}, false
	}
	g = GivenUp{
		Reason: letter.Get(DeadReason), Detail: letter.Get(DeadDetail),
		Subject: letter.Get(DeadSubject), Stream: letter.Get(DeadStream), Sequence: sequence,
	}
	// What a header does not say stays zero: the letter is shown and handed on all the same.
	g.Stored, _ = time.Parse(time.RFC3339Nano, letter.Get(DeadStored))
	g.At, _ = time.Parse(time.RFC3339Nano, letter.Get(DeadAt))
	g.Deliveries, _ = strconv.Atoi(letter.Get(DeadDeliveries))
	g.Before, _ = strconv.ParseUint(letter.Get(DeadAgainOf), 10, 64)
	return g, true
}

// number and instant write what is known, and nothing for what is not.
func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

const mostDetail = 300

// OneLine makes a text fit for a header.
func OneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > mostDetail {
		s = strings.ToValidUTF8(s[:mostDetail], "") + "…"
	}
	return s
}
