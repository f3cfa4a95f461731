// Package invitation says what is known of one invitation: a fold of its events that comes out the same in any order
// and with any repetition, so that ledger reads, views and replays share it.
package invitation

import (
	"time"

	"github.com/usherhq/usher/events"
)

// How long an invitation may stay open.
const (
	MinTTL = 5 * time.Minute
	MaxTTL = 365 * 24 * time.Hour
)

// firstGeneration is that of the link an invitation begins with.
const firstGeneration = 1

// Status is where an invitation stands.
type Status string

// The statuses. All but Pending are final.
const (
	Pending  Status = "pending"
	Accepted Status = "accepted"
	Declined Status = "declined"
	Revoked  Status = "revoked"
	Expired  Status = "expired"
	Rejected Status = "rejected"
)

// Statuses lists every status.
var Statuses = []Status{Pending, Accepted, Declined, Revoked, Expired, Rejected}

// Delivery is how far the newest mail got.
type Delivery string

// The delivery states, in the order in which a later one overrides an earlier one of the same mail.
const (
	Queued     Delivery = "queued"
	Sent       Delivery = "sent"
	Deferred   Delivery = "deferred"
	Delivered  Delivery = "delivered"
	Bounced    Delivery = "bounced"
	Complained Delivery = "complained"
)

// Deliveries lists every delivery state, weakest first.
var Deliveries = []Delivery{Queued, Sent, Deferred, Delivered, Bounced, Complained}

func rank(d Delivery) int {
	for i, known := range Deliveries {
		if d == known {
			return i
		}
	}
	return -1
}

// Membership is what became of an accepted invitation.
type Membership string

// The membership states.
const (
	MembershipNone         Membership = "none"
	MembershipProvisioning Membership = "provisioning"
	MembershipActive       Membership = "active"
	MembershipRefused      Membership = "refused"
)

// Record is what the events of one invitation add up to. The zero value with an id is the empty fold.
type Record struct {
	ID           string `json:"id"`
	Organization string `json:"org"`

	// Request is the event that made the invitation; nil while only later ones were seen.
	Request *events.InvitationRequested `json:"req,omitempty"`
	// Requested is its ledger sequence, which orders lists; RequestedAt when it was made.
	Requested   uint64    `json:"seq,omitempty"`
	RequestedAt time.Time `json:"at,omitzero"`
	// Correlation is the correlation id all events of the invitation share.
	Correlation string `json:"corr,omitempty"`
	// TraceParent and TraceState are the trace that the invitation began in (W3C Trace Context); empty where none was kept.
	TraceParent string `json:"tp,omitempty"`
	TraceState  string `json:"ts,omitempty"`

	// Deadline is the newest deadline, said at sequence DeadlineSeq; Generation the link generation that came with it.
	Deadline    time.Time `json:"exp,omitzero"`
	DeadlineSeq uint64    `json:"expseq,omitempty"`
	Generation  int       `json:"gen,omitempty"`

	// Outcome is how it ended, at sequence OutcomeSeq: of several, the first.
	Outcome    Status    `json:"out,omitempty"`
	OutcomeSeq uint64    `json:"outseq,omitempty"`
	EndedAt    time.Time `json:"end,omitzero"`
	// AcceptedBy is the person hash that accepted, Reason the code or words that came with the outcome.
	AcceptedBy string `json:"by,omitempty"`
	Reason     string `json:"why,omitempty"`

	// Mail is how far the mail asked for at sequence Intent got.
	Mail   Delivery `json:"mail,omitempty"`
	Intent uint64   `json:"int,omitempty"`
	// SentIntent is the newest intent that the provider took, Reminders how many reminders went out.
	SentIntent uint64 `json:"sent,omitempty"`
	Reminders  int    `json:"rem,omitempty"`

	// Provisioned is true once the membership exists, Refused once it was refused for good.
	Provisioned bool `json:"prov,omitempty"`
	Refused     bool `json:"ref,omitempty"`

	// RenewalAskedAt is when the invitee last asked for a new link, after the deadline; said at sequence RenewalSeq.
	// Renewed is true where the answer was a new invitation, and not a word to the inviter.
	RenewalAskedAt time.Time `json:"renat,omitzero"`
	RenewalSeq     uint64    `json:"renseq,omitempty"`
	Renewed        bool      `json:"renewed,omitempty"`

	// OpenedAt is when the link was first followed in a browser.
	OpenedAt time.Time `json:"opened,omitzero"`
}

// Apply adds one event that was stored at that sequence and instant. Instants are the event's own, so that whoever published
// it and whoever reads it later tell the same; that of storing stands in where the event has none. Events that say nothing
// about an invitation's state (timers, refused accepts) change nothing.
func (r *Record) Apply(e events.Event, sequence uint64, stored time.Time) {
	if !e.Time.IsZero() {
		stored = e.Time
	}
	if r.Correlation == "" {
		r.Correlation = e.CorrelationID
	}
	switch d := e.Data.(type) {
	case *events.InvitationRequested:
		r.Request, r.Requested, r.RequestedAt = d, sequence, stored
		r.TraceParent, r.TraceState = e.TraceParent, e.TraceState
		r.deadline(sequence, d.ExpiresAt, firstGeneration)
		r.mail(sequence, Queued)
	case *events.InvitationResendRequested:
		r.deadline(sequence, d.ExpiresAt, d.Generation)
		r.mail(sequence, Queued)
	case *events.InvitationSent:
		r.SentIntent = max(r.SentIntent, d.Intent)
		r.mail(d.Intent, Sent)
	case *events.InvitationReminded:
		r.Reminders = max(r.Reminders, d.Number)
	case *events.InvitationDelivered:
		r.mail(d.Intent, Delivered)
	case *events.InvitationDeferred:
		r.mail(d.Intent, Deferred)
	case *events.InvitationBounced:
		r.mail(d.Intent, Bounced)
	case *events.InvitationComplained:
		r.mail(d.Intent, Complained)
	case *events.InvitationAccepted:
		if r.outcome(Accepted, sequence, stored, "") {
			r.AcceptedBy = d.Person
		}
	case *events.InvitationDeclined:
		r.outcome(Declined, sequence, stored, d.Reason)
	case *events.InvitationRevoked:
		r.outcome(Revoked, sequence, stored, d.Reason)
	case *events.InvitationExpired:
		r.outcome(Expired, sequence, stored, "")
	case *events.InvitationRejected:
		r.outcome(Rejected, sequence, stored, d.Reason)
	case *events.InvitationAcceptRefused:
		if d.Final {
			r.Refused, r.Reason = true, d.Reason
		}
	case *events.InvitationOpened:
		r.opened(stored)
	case *events.InvitationRenewalAsked:
		r.renewal(sequence, stored, d.Renewed)
	case *events.MembershipProvisioned:
		r.Provisioned = true
	}
}

func (r *Record) opened(at time.Time) {
	if r.OpenedAt.IsZero() || at.Before(r.OpenedAt) {
		r.OpenedAt = at
	}
}

func (r *Record) renewal(sequence uint64, at time.Time, renewed bool) {
	if sequence >= r.RenewalSeq {
		r.RenewalAskedAt, r.RenewalSeq, r.Renewed = at, sequence, renewed
	}
}

func (r *Record) deadline(sequence uint64, at time.Time, generation int) {
	if sequence >= r.DeadlineSeq {
		r.Deadline, r.DeadlineSeq, r.Generation = at, sequence, generation
	}
}

// mail moves delivery on: a newer intent starts over, the same intent only gets further.
func (r *Record) mail(intent uint64, state Delivery) {
	if intent > r.Intent || intent == r.Intent && rank(state) > rank(r.Mail) {
		r.Intent, r.Mail = intent, state
	}
}

func (r *Record) outcome(s Status, sequence uint64, stored time.Time, reason string) bool {
	if r.OutcomeSeq != 0 && r.OutcomeSeq <= sequence {
		return false
	}
	r.Outcome, r.OutcomeSeq, r.EndedAt, r.AcceptedBy = s, sequence, stored, ""
	if !r.Refused {
		r.Reason = reason
	}
	return true
}

// Merge adds what another fold of the same invitation knows.
func (r *Record) Merge(o Record) {
	if r.Correlation == "" {
		r.Correlation = o.Correlation
	}
	if r.Request == nil {
		r.Request, r.Requested, r.RequestedAt = o.Request, o.Requested, o.RequestedAt
		r.TraceParent, r.TraceState = o.TraceParent, o.TraceState
	}
	if o.DeadlineSeq > 0 {
		r.deadline(o.DeadlineSeq, o.Deadline, o.Generation)
	}
	if o.Mail != "" {
		r.mail(o.Intent, o.Mail)
	}
	r.SentIntent, r.Reminders = max(r.SentIntent, o.SentIntent), max(r.Reminders, o.Reminders)
	if o.Refused {
		r.Refused, r.Reason = true, o.Reason
	}
	if o.OutcomeSeq > 0 && r.outcome(o.Outcome, o.OutcomeSeq, o.EndedAt, o.Reason) {
		r.AcceptedBy = o.AcceptedBy
	}
	r.Provisioned = r.Provisioned || o.Provisioned
	if !o.OpenedAt.IsZero() {
		r.opened(o.OpenedAt)
	}
	if o.RenewalSeq > 0 {
		r.renewal(o.RenewalSeq, o.RenewalAskedAt, o.Renewed)
	}
}

// StatusAt is where the invitation stands at that instant: past its deadline it is expired whether or not that was
// announced yet.
func (r *Record) StatusAt(now time.Time) Status {
	switch {
	case r.Outcome != "":
		return r.Outcome
	case !r.Deadline.IsZero() && !now.Before(r.Deadline):
		return Expired
	}
	return Pending
}

// ResentSeq is the ledger sequence of the last resend; 0 where there was none.
func (r *Record) ResentSeq() uint64 {
	if r.DeadlineSeq == r.Requested {
		return 0
	}
	return r.DeadlineSeq
}

// MembershipState is what became of the acceptance.
func (r *Record) MembershipState() Membership {
	switch {
	case r.Provisioned:
		return MembershipActive
	case r.Refused:
		return MembershipRefused
	case r.Outcome == Accepted:
		return MembershipProvisioning
	}
	return MembershipNone
}

// DeliveryState is how far the newest mail got.
func (r *Record) DeliveryState() Delivery {
	if r.Mail == "" {
		return Queued
	}
	return r.Mail
}
