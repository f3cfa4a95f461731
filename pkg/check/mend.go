package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/redisdb"
)

// source is the CloudEvents source of what a repair publishes.
const source = "/usher/check"

// mending is how a disagreement is mended: at most one of the fields.
type mending struct {
	// change rewrites a record with its index entry, unless it changed since.
	change *redisdb.Change
	// token is put into the index.
	token *redisdb.Token
	// act does whatever else.
	act func(context.Context) error
	// counted makes an organization's counts what its indexes hold, which also follows any other repair of its views.
	counted bool
}

func (m mending) possible() bool {
	return m.change != nil || m.token != nil || m.act != nil || m.counted
}

func mendable(found map[key]finding) bool {
	for _, f := range found {
		if f.mend.possible() {
			return true
		}
	}
	return false
}

// How much is mended at once.
const (
	mendTokens     = 500
	mendSideBySide = 8
)

// mend mends what has one right answer. What it touches is conditional on being as it was seen, so what changed meanwhile
// stays as it is now.
func (c *Checker) mend(ctx context.Context, found map[key]finding) error {
	changes := map[string][]redisdb.Change{}
	var tokens []redisdb.Token
	counted := map[string]bool{}
	var acts errgroup.Group
	acts.SetLimit(mendSideBySide)
	for k, f := range found {
		switch m := f.mend; {
		case m.change != nil:
			changes[k.org] = append(changes[k.org], *m.change)
			counted[k.org] = true
		case m.token != nil:
			tokens = append(tokens, *m.token)
		case m.act != nil:
			acts.Go(func() error { return m.act(ctx) })
			counted[k.org] = counted[k.org] || f.Kind == IndexMissing || f.Kind == IndexOrphan || f.Kind == IndexUnlisted || f.Kind == IndexEmpty
		case m.counted:
			counted[k.org] = true
		}
	}
	err := acts.Wait()
	for start := 0; start < len(tokens) && err == nil; start += mendTokens {
		err = c.Redis.PutTokens(ctx, tokens[start:min(start+mendTokens, len(tokens))])
	}
	for org := range maps.Keys(changes) {
		if err == nil {
			_, err = c.Redis.Apply(ctx, org, changes[org]) // a conflict is a change that came meanwhile
		}
	}
	for org, touched := range counted {
		if touched && err == nil {
			_, _, err = c.Redis.Tally(ctx, org, true)
		}
	}
	if err != nil {
		return fmt.Errorf("check: repair: %w", err)
	}
	return nil
}

// handAgain gives an event of INVITATIONS to its worker once more, by the way that dead letters take.
func (c *Checker) handAgain(ctx context.Context, sequence uint64, worker string) error {
	stored, err := c.Ledger.At(ctx, events.StreamInvitations, sequence)
	if err != nil {
		return err
	}
	m := ledger.Message{Subject: events.RedriveSubject(worker), Header: map[string][]string{}, Data: stored.Data}
	for name, values := range stored.Header {
		if !strings.HasPrefix(strings.ToLower(name), "nats-") {
			m.Header[name] = values
		}
	}
	at := decimal(sequence)
	for name, value := range map[string]string{
		bus.DeadReason: "check", bus.DeadSubject: stored.Subject, bus.DeadStream: events.StreamInvitations, bus.DeadSequence: at,
		bus.DeadStored: stored.Time.UTC().Format(time.RFC3339Nano), "Nats-Msg-Id": "check-again-" + worker + "-" + at,
	} {
		m.Header[name] = []string{value}
	}
	_, err = c.Ledger.Publish(ctx, events.StreamDeadLetters, m)
	return unlessDone(err)
}

// unlessDone makes nothing of a publish that somebody else was quicker with: the next look tells whether it was enough.
func unlessDone(err error) error {
	if errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrDuplicate) {
		return nil
	}
	return err
}

// timing sets an expiry timer where there is none, or in the place of the one at sequence held.
func (l *look) timing(r *invitation.Record, held uint64) mending {
	record := *r
	return mending{act: func(ctx context.Context) error {
		m, err := admission.ExpiryTimer(l.cause(&record, "expiry"), record.Organization, record.Request.Person, record.Deadline)
		if err != nil {
			return err
		}
		if held != 0 {
			if err := l.note(ctx, noteTimer+decimal(held)); err != nil {
				return err
			}
		}
		claim := events.ClaimSubject(record.Organization, record.Request.Person)
		return l.set(ctx, m.Expecting(claim, held))
	}}
}

// reminding sets a reminder's timer where there is none.
func (l *look) reminding(r invitation.Record, number int, due time.Time) mending {
	return mending{act: func(ctx context.Context) error {
		m, err := admission.ReminderTimer(l.cause(&r, "reminder"), r.Organization, number, due)
		if err != nil {
			return err
		}
		return l.set(ctx, m.Expecting(events.ReminderTimerSubject(r.Organization, r.ID), 0))
	}}
}

// cause stands for the event that a timer follows from.
func (l *look) cause(r *invitation.Record, what string) events.Event {
	return events.Event{
		ID: events.DerivedEventID("check", what, r.ID, l.now.String()), Source: source, Subject: r.ID, Time: l.now, CorrelationID: r.ID,
	}
}

// set publishes a timer and notes it: once it is gone, nothing else in the stream tells that it was there.
func (l *look) set(ctx context.Context, timer ledger.Message) error {
	sequence, err := l.Ledger.Publish(ctx, events.StreamInvitations, timer)
	if err != nil {
		return unlessDone(err)
	}
	return l.note(ctx, noteTimer+decimal(sequence))
}

// stopping takes a timer away that is still the one at that sequence.
func (l *look) stopping(subject string, sequence uint64) mending {
	return mending{act: func(ctx context.Context) error {
		if err := l.note(ctx, noteTimer+decimal(sequence)); err != nil {
			return err
		}
		if err := l.Ledger.StopTimer(ctx, subject, sequence); err != nil {
			return err
		}
		l.read.stopped(subject)
		return nil
	}}
}

// announce tells the acceptance worker once more that a deadline may have passed. It looks at ledger and clock itself.
func (l *look) announce(ctx context.Context, r invitation.Record) error {
	due := l.cause(&r, "overdue")
	due.Type, due.Data = events.TypeInvitationExpiryDue, &events.InvitationExpiryDue{Invitation: r.ID, ExpiresAt: r.Deadline}
	m, err := ledger.Fact(events.InvitationSubject(r.Organization, r.ID, events.FactExpiryDue), due)
	if err != nil {
		return err
	}
	_, err = l.Ledger.Publish(ctx, events.StreamInvitations, m)
	return unlessDone(err)
}
