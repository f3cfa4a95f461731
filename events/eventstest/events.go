// Package eventstest helps programs that publish or hear Usher's events to test themselves: ready-made valid events, and
// matchers that need nothing but the testing package.
//
//	request := eventstest.Requested(eventstest.With(func(r *events.InvitationRequested) { r.Role = "admin" }))
//	eventstest.Check(t, heard, eventstest.Is(events.TypeInvitationAccepted), eventstest.About(eventstest.Invitation))
package eventstest

import (
	"time"

	"github.com/usherhq/usher/events"
)

// What the ready-made events speak of. Each is fixed, so that a test can name it.
const (
	Organization  = "acme"
	App           = "crm"
	Invitation    = "inv_01kjpy44hvfs2thgytv7y5vzap"
	Person        = "mfrggzdfmztwq2lkmvwg43tpoa"
	InviterPerson = "pbyxe3dlnfxgo4ttoq2gs5dinf"
	Email         = "new.person@example.org"
	Name          = "Nia Newcomer"
	Inviter       = "owner@example.org"
	InviterName   = "Olu Owner"
	Role          = "member"
	Note          = "Looking forward to working with you."
	RedirectURL   = "https://app.example.org/welcome?from=usher&plan=team"
)

// Now is when the ready-made events happened.
var Now = time.Date(2026, time.March, 2, 9, 30, 0, 123456789, time.UTC)

// Deadline is when the ready-made invitation ends.
var Deadline = Now.Add(168 * time.Hour)

// Of makes a valid event of any of Usher's types, with every field filled. It panics on a type that is none.
func Of(t events.Type, options ...Option) events.Event {
	build, ok := bodies[t]
	if !ok {
		panic("eventstest: " + string(t) + " is not a type of Usher's")
	}
	data := build()
	e := events.Event{
		ID:            events.DerivedEventID("eventstest", string(t)),
		Source:        source(t),
		Type:          t,
		Subject:       subject(data),
		Time:          Now,
		CorrelationID: Invitation,
		CausationID:   events.DerivedEventID("eventstest", "cause", string(t)),
		TraceParent:   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		TraceState:    "vendor=a1,other=b2",
		Data:          data,
	}
	for _, option := range options {
		option(&e)
	}
	return e
}

// subject is what an event about this body is about.
func subject(data events.Data) string {
	switch data.(type) {
	case *events.MembershipProvisioned, *events.MembershipRoleChanged, *events.MembershipRemoved:
		return Person
	}
	return Invitation
}

// source is who publishes a type; where it is more than one, the more usual.
func source(t events.Type) string {
	switch t {
	case events.TypeInvitationSent, events.TypeInvitationReminded, events.TypeInvitationNoticed:
		return "/usher/mailer"
	case events.TypeInvitationExpired, events.TypeMembershipProvisioned:
		return "/usher/acceptance"
	}
	return "/usher/api"
}

// Requested makes the request that an upstream app publishes.
func Requested(options ...Option) events.Event {
	return Of(events.TypeInvitationRequested, append([]Option{asRequest}, options...)...)
}

// Admitted makes the same event as admission writes it into the ledger.
func Admitted(options ...Option) events.Event {
	return Of(events.TypeInvitationRequested, options...)
}

// asRequest leaves what an app fills in.
func asRequest(e *events.Event) {
	r := e.Data.(*events.InvitationRequested)
	e.Data = &events.InvitationRequested{
		Organization: r.Organization, Email: r.Email, Role: r.Role, Inviter: r.Inviter, Name: r.Name, Locale: r.Locale,
		ExpiresIn: r.ExpiresIn, Metadata: r.Metadata, RedirectURL: r.RedirectURL, SendAnyway: r.SendAnyway, Note: r.Note,
	}
	e.ID, e.Source, e.Subject = "order-4711", "/"+App, ""
	e.CorrelationID, e.CausationID = "", ""
}

// Accepted makes the event that tells that the invitee said yes.
func Accepted(options ...Option) events.Event {
	return Of(events.TypeInvitationAccepted, options...)
}

// Rejected makes the event that tells an app that its request was refused.
func Rejected(options ...Option) events.Event {
	return Of(events.TypeInvitationRejected, options...)
}

// Provisioned makes the event that tells that a person became a member.
func Provisioned(options ...Option) events.Event {
	return Of(events.TypeMembershipProvisioned, options...)
}

// Option changes a ready-made event.
type Option func(*events.Event)

// With changes the body. It panics where D is not the body of the event: With(func(r *events.InvitationRequested) {…}).
func With[D events.Data](change func(D)) Option {
	return func(e *events.Event) { change(e.Data.(D)) }
}

// ID names the event.
func ID(id string) Option { return func(e *events.Event) { e.ID = id } }

// Source names who published it.
func Source(source string) Option { return func(e *events.Event) { e.Source = source } }

// CausedBy makes it the consequence of another event.
func CausedBy(cause events.Event) Option {
	return func(e *events.Event) { e.CausationID, e.CorrelationID = cause.ID, cause.CorrelationID }
}
