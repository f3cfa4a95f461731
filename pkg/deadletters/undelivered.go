package deadletters

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/ledger"
)

// Reasons of letters that no worker gave up. They come about where somebody changes a consumer by hand, or works on one.
const (
	ReasonExceeded   = "max-deliveries" // the consumer's limit of deliveries was reached, with nobody having settled it
	ReasonTerminated = "terminated"     // whoever had it told the broker never to hand it out again
)

// advisory is what the broker says about a message that it will not hand out again.
type advisory struct {
	Stream     string
	Consumer   string
	Sequence   uint64 `json:"stream_seq"`
	Deliveries int
	Reason     string
}

// followUndelivered makes dead letters of what the broker will not hand out again, until ctx ends. Processes share the work.
func (c *Clerk) followUndelivered(ctx context.Context) error {
	return c.ledger.Follow(ctx, ledger.Following{Stream: events.StreamUndelivered, Durable: "undelivered", Batch: 100}, c.bury)
}

func (c *Clerk) bury(ctx context.Context, advisories []ledger.Record) error {
	var units [][]ledger.Message
	for _, r := range advisories {
		m, ok, err := c.letterOf(ctx, r)
		if err != nil {
			return err
		}
		if ok {
			units = append(units, []ledger.Message{m})
		}
	}
	for _, r := range c.ledger.PublishAll(ctx, events.StreamDeadLetters, units) {
		if r.Err != nil && !errors.Is(r.Err, ledger.ErrConflict) && !errors.Is(r.Err, ledger.ErrDuplicate) { // it is there already
			return r.Err
		}
	}
	return nil
}

// letterOf makes the dead letter that an advisory is about. ok is false where there is none to be made.
func (c *Clerk) letterOf(ctx context.Context, r ledger.Record) (m ledger.Message, ok bool, err error) {
	var said advisory
	if err := json.Unmarshal(r.Data, &said); err != nil || said.Stream == "" || said.Consumer == "" || said.Sequence == 0 {
		c.log.Error("what the broker says about an undelivered message cannot be read", "subject", r.Subject, "sequence", r.Sequence)
		return m, false, nil
	}
	original, err := c.ledger.At(ctx, said.Stream, said.Sequence)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return m, false, err
	}
	given := bus.GivenUp{
		Reason: ReasonExceeded, Subject: original.Subject, Stream: said.Stream, Sequence: said.Sequence, Stored: original.Time,
		Deliveries: said.Deliveries, At: r.Time,
	}
	if strings.Contains(r.Subject, "."+events.AdvisoryTerminated+".") {
		given.Reason, given.Detail = ReasonTerminated, said.Reason
	}
	if err != nil {
		given.Detail = "The message itself is gone from its stream."
	}
	worker := said.Consumer
	if said.Stream == events.StreamDeadLetters {
		if worker, ok = restore(&given, original); !ok {
			return m, false, nil
		}
	}
	subject := events.DeadLetterSubject(worker, said.Stream, said.Sequence)
	c.log.Error("message given up by the broker", "subject", given.Subject, "stream", said.Stream, "sequence", said.Sequence,
		"consumer", said.Consumer, "deliveries", said.Deliveries, "reason", given.Reason)
	m = ledger.Message{Subject: subject, Header: given.Letter(original.Header), Data: original.Data}
	return m.Expecting(subject, 0), true, nil
}

// restore makes a letter that was handed to its worker again what it was. ok is false for anything else among the dead
// letters: letters about letters, for a consumer that somebody has there, would never come to an end.
func restore(given *bus.GivenUp, handed ledger.Record) (worker string, ok bool) {
	worker, act, letter, isAct := events.SplitDeadAct(handed.Subject)
	if !isAct {
		worker = strings.TrimSuffix(strings.TrimPrefix(handed.Subject, events.RootDeadLetters+"."), "."+string(events.DeadAgain))
	}
	again := isAct && act == events.DeadAgain || handed.Subject == events.RedriveSubject(worker)
	was, letterly := bus.Restored(handed.Header)
	if !again || !letterly {
		return "", false
	}
	given.Subject, given.Stream, given.Sequence, given.Stored, given.Before = was.Subject, was.Stream, was.Sequence, was.Stored, letter
	return worker, true
}
