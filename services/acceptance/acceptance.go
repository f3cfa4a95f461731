// Package acceptance turns accepted invitations into memberships, and deadlines that passed into expired invitations.
package acceptance

import (
	"context"
	"errors"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/deadletters"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
)

// source is the CloudEvents source of what this service publishes.
const source = "/usher/acceptance"

// Service is the acceptance worker.
type Service struct {
	*platform.Platform
	router *bus.Router
	clerk  *deadletters.Clerk
}

// New registers the worker's handlers.
func New(p *platform.Platform) (*Service, error) {
	router, err := p.Router("acceptance")
	if err != nil {
		return nil, err
	}
	s := &Service{Platform: p, router: router, clerk: deadletters.NewClerk(p.Ledger, p.Logger, p.Registry)}
	subscribe := func(durable, fact string, inFlight int) bus.Subscription {
		return bus.Subscription{
			Stream: events.StreamInvitations, Durable: durable, InFlight: inFlight,
			Filters: []string{events.InvitationSubject(events.AnyOrganization, "*", fact)},
		}
	}
	router.Handle("acceptance", subscribe("acceptance", events.FactAccepted, 512), s.accepted)
	router.Handle("expiry", subscribe("expiry", events.FactExpiryDue, 128), s.expiryDue)
	return s, nil
}

// Run works until ctx ends and running handlers have finished. The worker keeps the dead letters of all, too.
func (s *Service) Run(ctx context.Context) error {
	keeping, stop := context.WithCancel(ctx)
	defer stop()
	kept := make(chan error, 1)
	go func() { kept <- s.clerk.Run(keeping) }()
	err := s.router.Run(ctx)
	stop()
	return errors.Join(err, <-kept)
}

// Healthy returns an error while nothing is consumed.
func (s *Service) Healthy(context.Context) error { return s.router.Healthy() }

// accepted provisions the membership. What it gives comes from the record made when the invitation was issued; of the
// event it takes name and language alone, which are the invitee's to choose.
func (s *Service) accepted(ctx context.Context, m *bus.Received) error {
	said, ok := m.Event.Data.(*events.InvitationAccepted)
	org, id, _, known := events.SplitInvitation(m.Subject)
	if !ok || !known {
		return bus.Never("unexpected-event", errors.New("not an accepted invitation"))
	}
	failpoint.Here(failpoint.AcceptanceReceived)
	record, err := invitation.Standing(ctx, s.Ledger, org, id)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && record.Request == nil {
		return bus.Never("unknown-invitation", errors.New("there is no record of this invitation"))
	}
	if err != nil {
		return err
	}
	if record.OutcomeSeq != m.Sequence {
		return bus.Never("not-the-outcome", errors.New("another outcome of this invitation was first"))
	}
	failpoint.Here(failpoint.AcceptanceRead)
	role, err := s.role(ctx, record.Request)
	if problem.Is(err, problem.AuthorityLost) || problem.Is(err, problem.RoleGone) {
		return s.refuse(ctx, m, record, refusal(err))
	}
	if err != nil {
		return err
	}
	failpoint.Here(failpoint.AcceptanceDecided)
	return s.provision(ctx, m, record, role, said)
}

// role decides, by what the ledger says at this moment, which role the inviter can still give.
func (s *Service) role(ctx context.Context, q *events.InvitationRequested) (string, error) {
	if !s.Roster.Roles().Known(q.Role) {
		return "", problem.New(problem.RoleGone, "The role no longer exists.")
	}
	org, err := s.Roster.Organization(ctx, q.Organization)
	if err != nil {
		return "", err
	}
	policy := s.Settings.Authority
	if org.Policy.InviterLostAuthority != "" {
		policy = org.Policy.InviterLostAuthority
	}
	own, member := "", false
	if q.InviterPerson != "" {
		inviter, err := s.Roster.Current(ctx, q.Organization, q.InviterPerson)
		if err != nil {
			return "", err
		}
		if member = inviter.Membership != nil; member {
			own = inviter.Membership.Role
		}
	}
	return redeem.Grant(s.Roster.Roles(), s.Keys, q, own, member, policy)
}

func refusal(err error) string {
	if problem.Is(err, problem.RoleGone) {
		return events.RefusedRole
	}
	return events.RefusedAuthority
}

// provision publishes the membership where the person has none. Redelivery finds it done.
func (s *Service) provision(ctx context.Context, m *bus.Received, record invitation.Record, role string, said *events.InvitationAccepted) error {
	q := record.Request
	subject := events.MembershipSubject(q.Organization, q.Person)
	name := said.Name
	if name == "" {
		name = s.nameElsewhere(q)
	}
	provisioned := &events.MembershipProvisioned{Membership: events.Membership{
		Organization: q.Organization, Person: q.Person, Email: q.Email, Name: name, Locale: said.Locale, Role: role, Invitation: record.ID,
		JoinedAt: s.Ledger.Now(), Metadata: q.Metadata, By: by(q),
	}}
	expected := uint64(0) // most people come for the first time; who does not is read below
	for range 4 {
		message, err := ledger.Fact(subject, s.event(m, "provisioned", record, q.Person, provisioned))
		if err != nil {
			return err
		}
		sequence, err := s.Ledger.Publish(ctx, events.StreamMemberships, message.Expecting(subject, expected))
		if err == nil {
			failpoint.Here(failpoint.AcceptanceProvisioned)
			s.Roster.Learn(provisioned.Membership, sequence, false)
			return nil
		}
		if !errors.Is(err, ledger.ErrConflict) && !errors.Is(err, ledger.ErrDuplicate) {
			return err
		}
		have, err := s.Roster.Current(ctx, q.Organization, q.Person)
		switch {
		case err != nil:
			return err
		case have.Left != nil && (have.Left.Invitation == record.ID || have.At.After(m.Time)):
			return nil // provisioned by an earlier run and taken away since: a replay must not bring anybody back
		case have.Membership == nil:
			expected = have.Sequence
		case have.Membership.Invitation == record.ID:
			return nil
		default:
			return s.refuse(ctx, m, record, events.RefusedMember)
		}
	}
	return problem.Again("The membership is being changed by others.")
}

func by(q *events.InvitationRequested) string {
	if q.InviterPerson != "" {
		return q.InviterPerson
	}
	return q.Inviter
}

// nameElsewhere is how the person is called in another organization.
func (s *Service) nameElsewhere(q *events.InvitationRequested) string {
	for _, org := range s.Roster.Organizations(q.Person) {
		if m, ok := s.Roster.Member(org, q.Person); ok && m.Name != "" {
			return m.Name
		}
	}
	return q.Name
}

// refuse says in the ledger that the acceptance leads to no membership, and why.
func (s *Service) refuse(ctx context.Context, m *bus.Received, record invitation.Record, reason string) error {
	e := s.event(m, "refused", record, record.ID, &events.InvitationAcceptRefused{Invitation: record.ID, Reason: reason, Final: true})
	message, err := ledger.Fact(events.InvitationSubject(record.Organization, record.ID, events.FactRefused), e)
	if err != nil {
		return err
	}
	s.Logger.WarnContext(ctx, "an acceptance was refused", "invitation", record.ID, "reason", reason)
	failpoint.Here(failpoint.AcceptanceRefusing)
	return s.publish(ctx, message)
}

// expiryDue announces that a deadline passed. The timer is a hint: ledger and clock decide.
func (s *Service) expiryDue(ctx context.Context, m *bus.Received) error {
	due, ok := m.Event.Data.(*events.InvitationExpiryDue)
	org, id, _, known := events.SplitInvitation(m.Subject)
	if !ok || !known {
		return bus.Never("unexpected-event", errors.New("not a timer of an invitation"))
	}
	failpoint.Here(failpoint.ExpiryReceived)
	record, err := invitation.Standing(ctx, s.Ledger, org, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil // a claim whose invitation was never made: its publisher died in between
	}
	if err != nil || record.Outcome != "" {
		return err
	}
	if early := record.Deadline.Sub(s.Ledger.Now()); early > 0 {
		if record.Deadline.After(due.ExpiresAt) {
			return nil // the deadline was moved, and a timer of its own with it
		}
		return bus.Later(early+time.Second, errors.New("this clock is behind the broker's"))
	}
	message, err := admission.Expiry(record, s.event(m, "expired", record, id, due))
	if err != nil {
		return err
	}
	failpoint.Here(failpoint.ExpiryRead)
	return s.publish(ctx, message)
}

// publish stores one message; that it was stored before, or that another outcome was first, is fine.
func (s *Service) publish(ctx context.Context, message ledger.Message) error {
	_, err := s.Ledger.Publish(ctx, events.StreamInvitations, message)
	failpoint.Here(failpoint.AcceptanceTold)
	if errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrDuplicate) {
		return nil
	}
	return err
}

// event makes an event that follows from the one received; a second run makes the same one.
func (s *Service) event(m *bus.Received, what string, record invitation.Record, about string, data events.Data) events.Event {
	return events.Event{
		ID: events.DerivedEventID(what, record.ID, m.Event.ID), Source: source, Type: data.EventType(), Subject: about, Time: s.Ledger.Now(),
		CorrelationID: record.ID, CausationID: m.Event.ID, TraceParent: m.Event.TraceParent, TraceState: m.Event.TraceState, Data: data,
	}
}

// Running is closed once the handlers of the bus run.
func (s *Service) Running() <-chan struct{} { return s.router.Running() }
