package bus

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
)

// delivery is one message while it is ours: from its arrival until the broker was told what became of it.
type delivery struct {
	raw        *nats.Msg
	message    *message.Message
	cancel     context.CancelFunc
	subject    string
	stream     string
	sequence   uint64
	deliveries int
	waiting    uint64 // behind it, when it was handed out
	stored     time.Time
	happened   time.Time // when the original was stored, for a dead letter that is redriven; stored otherwise
	letter     uint64    // the dead letter that this is, where it is redriven; 0 otherwise
	handed     place     // where the message itself is stored: for what is redriven, not where its original was

	subscription *subscription
	settled      atomic.Bool

	// received is the decoded message, once the router's chain has come to it.
	received *Received
}

// place is where a message is stored.
type place struct {
	stream   string
	sequence uint64
}

// The answers to a delivery.
var (
	answerAck      = []byte("+ACK")
	answerNak      = []byte("-NAK")
	answerProgress = []byte("+WPI")
)

// nakAfter asks for the message again, at once or after a delay.
func nakAfter(d time.Duration) []byte {
	if d <= 0 {
		return answerNak
	}
	return append(strconv.AppendInt([]byte(`-NAK {"delay": `), int64(d), 10), '}')
}

func (s *subscription) newDelivery(raw *nats.Msg) (*delivery, error) {
	told, err := raw.Metadata()
	if err != nil {
		return nil, err
	}
	d := &delivery{
		subscription: s, raw: raw, subject: raw.Subject, stream: told.Stream, sequence: told.Sequence.Stream,
		deliveries: int(told.NumDelivered), waiting: told.NumPending, stored: told.Timestamp,
	}
	d.happened, d.handed = d.stored, place{d.stream, d.sequence}
	d.restore()
	ctx, cancel := s.working, func() {}
	if s.direct { // a handler's chain reads the raw message, and ends its context itself
		d.message = message.NewMessage(raw.Header.Get(headerID), raw.Data)
	} else {
		uuid, metadata := decodeHeader(raw.Header)
		d.describe(metadata)
		d.message = message.NewMessage(uuid, raw.Data)
		d.message.Metadata = metadata
		ctx, cancel = context.WithCancel(ctx)
	}
	d.cancel = cancel
	d.message.SetContext(context.WithValue(ctx, deliveryKey{}, d))
	return d, nil
}

// restore makes a dead letter that is redriven what it was: its handler sees the original subject and sequence, and so
// recognises what it had done already. Its age and its deliveries begin anew.
func (d *delivery) restore() {
	if !strings.HasPrefix(d.subject, events.RootDeadLetters+".") {
		return
	}
	was, ok := Restored(d.raw.Header)
	if !ok || was.Subject == "" {
		return // not one of ours; it will not decode as anything
	}
	_, _, letter, _ := events.SplitDeadAct(d.subject) // 0 for what is no dead letter
	d.letter, d.subject, d.stream, d.sequence = letter, was.Subject, was.Stream, was.Sequence
	if !was.Stored.IsZero() {
		d.happened = was.Stored
	}
}

// wait tells the broker what the message came to, for subscribers that say so by Ack and Nack.
func (d *delivery) wait() {
	select {
	case <-d.message.Acked():
		d.ack()
	case <-d.message.Nacked():
		d.nak(d.subscription.backoff(d.deliveries))
	case <-d.subscription.working.Done():
		d.nak(0)
	}
}

// ack ends the delivery: the message is done. Of several calls of ack and nak the first counts.
func (d *delivery) ack() {
	failpoint.Here(failpoint.BusHandled)
	d.settle(answerAck, d.subscription.Confirm)
}

// nak ends the delivery: the message is wanted again, after a delay or at once.
func (d *delivery) nak(after time.Duration) { d.settle(nakAfter(after), false) }

func (d *delivery) settle(body []byte, confirm bool) {
	if d.settled.Swap(true) {
		return
	}
	if err := d.answer(body, confirm); err != nil {
		d.subscription.log.Warn("the broker may not know what became of a message: it may come again",
			"subject", d.subject, "sequence", d.sequence, "error", err)
	}
	failpoint.Here(failpoint.BusAnswered)
	d.cancel()
	d.subscription.release(d)
}

func (d *delivery) answer(body []byte, confirm bool) error {
	nc := d.subscription.nc
	if confirm {
		_, err := nc.Request(d.raw.Reply, body, callTimeout)
		return err
	}
	return nc.Publish(d.raw.Reply, body)
}

type deliveryKey struct{}

// deliveryOf finds the delivery behind a message that a Subscriber of this package emitted.
func deliveryOf(m *message.Message) *delivery {
	d, _ := m.Context().Value(deliveryKey{}).(*delivery)
	return d
}

// holding is the set of deliveries that are ours.
type holding struct {
	mu  sync.Mutex
	set map[*delivery]struct{}
}

func newHolding(size int) *holding { return &holding{set: make(map[*delivery]struct{}, size)} }

func (h *holding) add(d *delivery) {
	h.mu.Lock()
	h.set[d] = struct{}{}
	h.mu.Unlock()
}

func (h *holding) remove(d *delivery) {
	h.mu.Lock()
	delete(h.set, d)
	h.mu.Unlock()
}

func (h *holding) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.set)
}

func (h *holding) all() []*delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.set))
}
