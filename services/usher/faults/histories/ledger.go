package histories

import (
	"slices"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

// ledger is what the broker has, for what nobody was told.
type ledger struct {
	requests map[string]*events.InvitationRequested // by invitation
	byNumber map[string]*events.InvitationRequested // by what the client called it; replacements have none
	instead  map[string][]*events.InvitationRequested
	resends  map[string][]standing // by invitation: what each resend set
	ends     map[string]bool       // by what the client called it
}

func newLedger(stored []pipeline.Stored) *ledger {
	l := &ledger{
		requests: map[string]*events.InvitationRequested{}, byNumber: map[string]*events.InvitationRequested{},
		instead: map[string][]*events.InvitationRequested{}, resends: map[string][]standing{}, ends: map[string]bool{},
	}
	for _, s := range stored {
		switch d := s.Event.Data.(type) {
		case *events.InvitationRequested:
			l.requests[d.Invitation] = d
			if d.Replaces != "" { // it has the other's metadata, too
				l.instead[d.Replaces] = append(l.instead[d.Replaces], d)
			} else {
				l.byNumber[d.Metadata["number"]] = d
			}
		case *events.InvitationResendRequested:
			l.resends[d.Invitation] = append(l.resends[d.Invitation], standing{generation: d.Generation, deadline: d.ExpiresAt})
		case *events.InvitationAccepted:
			l.ends[d.Name] = true
		case *events.InvitationDeclined:
			l.ends[d.Reason] = true
		case *events.InvitationRevoked:
			l.ends[d.Reason] = true
		}
	}
	return l
}

// creation is the making of an invitation, by whatever op made it.
func (l *ledger) creation(by *op, invitation string, deadline time.Time) *op {
	return &op{
		what: invite, client: by.client, address: by.address, invitation: invitation, call: by.call, ret: by.ret,
		called: by.called, returned: by.returned, unknown: by.unknown, told: standing{outcome: pending, generation: 1, deadline: deadline},
	}
}

// deadline is that of an invitation when it was made.
func (l *ledger) deadline(invitation string) time.Time {
	if d, ok := l.requests[invitation]; ok {
		return d.ExpiresAt
	}
	return time.Time{}
}

// find completes an invite that was not answered, where it made an invitation.
func (l *ledger) find(o *op) bool {
	d, ok := l.byNumber[o.number]
	if ok {
		o.invitation, o.told = d.Invitation, standing{outcome: pending, generation: 1, deadline: d.ExpiresAt}
	}
	return ok
}

// happened reports whether something came of what was not answered, as far as the ledger tells: of accepts, declines, revokes
// and invites it does, of resends only that there was none of which nobody was told.
func (l *ledger) happened(o *op) bool {
	switch o.what {
	case invite:
		return l.find(o)
	case resend:
		o.maybe = l.resends[o.invitation]
		return len(o.maybe) > 0
	case lookup, show:
		return false
	}
	return l.ends[o.number]
}

// explain takes away what the answer to a resend was about: what is left nobody was told of.
func (l *ledger) explain(o *op) {
	if o.made != "" {
		l.instead[o.invitation] = slices.DeleteFunc(l.instead[o.invitation], func(d *events.InvitationRequested) bool { return d.Invitation == o.made })
		return
	}
	l.resends[o.invitation] = slices.DeleteFunc(l.resends[o.invitation], func(s standing) bool {
		return s.generation == o.told.generation && s.deadline.Equal(o.told.deadline)
	})
}

// replacement is the making of an invitation in the place of an expired one, by a resend that was not answered; nil where
// there is none. It is taken away.
func (l *ledger) replacement(o *op) *op {
	all := l.instead[o.invitation]
	if len(all) == 0 {
		return nil
	}
	l.instead[o.invitation] = all[1:]
	return l.creation(o, all[0].Invitation, all[0].ExpiresAt)
}
