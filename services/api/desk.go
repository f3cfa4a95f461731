package api

import (
	"context"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/proofs"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/views"
)

// desk implements console.Desk: the same operations as HTTP's, done by a signed-in member with that member's authority and
// no other.
type desk struct{ s *Service }

// As implements console.Desk.
func (d desk) As(ctx context.Context, email string) (context.Context, string, error) {
	who, err := address.Parse(email)
	if err != nil {
		return ctx, "", problem.New(problem.Forbidden, "The account has no address that Usher knows people by.")
	}
	person := address.Person(d.s.Ledger.PersonKey(), who.Canonical)
	return context.WithValue(ctx, callerKey{}, caller{actor: who.Stored, person: person}), person, nil
}

// Person implements console.Desk.
func (d desk) Person(email string) (string, bool) {
	who, err := address.Parse(email)
	if err != nil {
		return "", false
	}
	return address.Person(d.s.Ledger.PersonKey(), who.Canonical), true
}

// Invitations implements console.Desk.
func (d desk) Invitations(ctx context.Context, org string, q views.Query) (views.Page, error) {
	return d.s.listed(ctx, org, q)
}

// Invitation implements console.Desk.
func (d desk) Invitation(ctx context.Context, org, id string) (invitation.Record, error) {
	record, _, err := d.s.whole(ctx, id)
	return d.within(org, record, err)
}

// within hides an invitation of another organization than the one whose page this is.
func (d desk) within(org string, record invitation.Record, err error) (invitation.Record, error) {
	if err == nil && record.Organization != org {
		return invitation.Record{}, problem.New(problem.NotFound, "There is no such invitation.")
	}
	return record, err
}

// owned checks that an invitation is the organization's and the caller's to manage, before anything is done to it.
func (d desk) owned(ctx context.Context, org, id string) error {
	if err := d.s.ready(); err != nil {
		return err
	}
	record, _, err := d.s.find(ctx, id)
	_, err = d.within(org, record, err)
	return err
}

// Deliveries implements console.Desk.
func (d desk) Deliveries(ctx context.Context, org string, ids []string) (map[string]events.Delivery, error) {
	found := map[string]events.Delivery{}
	if len(ids) == 0 {
		return found, nil
	}
	filters := make([]string, 0, 2*len(ids))
	for _, id := range ids {
		filters = append(filters, events.InvitationSubject(org, id, events.FactBounced), events.InvitationSubject(org, id, events.FactDeferred))
	}
	records, err := d.s.Ledger.LastOf(ctx, events.StreamInvitations, filters...)
	if err != nil {
		return nil, err
	}
	for _, stored := range records {
		e, err := stored.Event()
		if err != nil {
			continue
		}
		switch data := e.Data.(type) {
		case *events.InvitationBounced:
			found[data.Invitation] = data.Delivery
		case *events.InvitationDeferred:
			if _, bounced := found[data.Invitation]; !bounced {
				found[data.Invitation] = data.Delivery
			}
		}
	}
	return found, nil
}

// History implements console.Desk.
func (d desk) History(ctx context.Context, record invitation.Record, add func(events.Event)) error {
	return d.s.history(ctx, record, func(stored ledger.Record, e events.Event) {
		if e.Time.IsZero() {
			e.Time = stored.Time
		}
		add(e)
	})
}

// Check implements console.Desk.
func (d desk) Check(ctx context.Context, asked events.InvitationRequested) error {
	request, err := d.s.request(ctx, asked, 0)
	if err == nil {
		err = d.s.admission.Check(ctx, request)
	}
	return err
}

// Invite implements console.Desk. The ids follow from the form and what is asked for, so that a form that arrives twice
// invites once.
func (d desk) Invite(ctx context.Context, form string, asked []events.InvitationRequested) []admission.Verdict {
	verdicts := make([]admission.Verdict, len(asked))
	if err := d.s.ready(); err != nil {
		for i := range verdicts {
			verdicts[i].Err = err
		}
		return verdicts
	}
	var requests []admission.Request
	var at []int
	for i := range asked {
		request, err := d.s.request(ctx, asked[i], 0)
		if err != nil {
			verdicts[i].Err = err
			continue
		}
		canonical, err := address.Canonical(asked[i].Email)
		if err == nil {
			request.ID = events.DerivedInvitationID("console", callerOf(ctx).person, form, asked[i].Organization, canonical, asked[i].Role)
		}
		requests, at = append(requests, request), append(at, i)
	}
	var admitted []invitation.Record
	for j, verdict := range d.s.admission.AdmitAll(ctx, requests) {
		if verdicts[at[j]] = verdict; verdict.Err == nil {
			admitted = append(admitted, verdict.Record)
		}
	}
	d.s.Views.Learn(ctx, admitted...)
	return verdicts
}

// Resend implements console.Desk.
func (d desk) Resend(ctx context.Context, org, id string, rotate, anyway bool) (invitation.Record, error) {
	if err := d.owned(ctx, org, id); err != nil {
		return invitation.Record{}, err
	}
	return d.s.mailAgain(ctx, id, resendBody{Rotate: rotate, SendAnyway: anyway})
}

// Readdress implements console.Desk.
func (d desk) Readdress(ctx context.Context, org, id, email string) (invitation.Record, error) {
	if err := d.s.ready(); err != nil {
		return invitation.Record{}, err
	}
	record, role, err := d.s.whole(ctx, id)
	if record, err = d.within(org, record, err); err == nil {
		err = d.s.mayTouch(role, record)
	}
	if err != nil {
		return record, err
	}
	if status := record.StatusAt(d.s.Ledger.Now()); !replaceable(record, status) {
		return record, hasEnded(status)
	}
	fresh, err := d.s.replace(ctx, record, replacement{email: email})
	if err == nil {
		d.s.Views.Learn(ctx, fresh)
	}
	return fresh, err
}

// Revoke implements console.Desk.
func (d desk) Revoke(ctx context.Context, org, id string) error {
	if err := d.owned(ctx, org, id); err != nil {
		return err
	}
	_, err := d.s.takeBack(ctx, id, "")
	return err
}

// ChangeRole implements console.Desk.
func (d desk) ChangeRole(ctx context.Context, org, person, role string) (events.Membership, error) {
	return d.s.changeRole(ctx, org, person, role)
}

// Remove implements console.Desk.
func (d desk) Remove(ctx context.Context, org, person string) (events.Membership, error) {
	return d.s.remove(ctx, org, person)
}

// Changes implements console.Desk.
func (d desk) Changes(ctx context.Context, org string, changed func()) error {
	told := func(string) { changed() }
	if err := d.s.Ledger.Tail(ctx, events.StreamInvitations, []string{events.InvitationSubject(org, "*", "*"), events.InvitationSubject(org, "*", "*.*")}, told); err != nil {
		return err
	}
	return d.s.Ledger.Tail(ctx, events.StreamMemberships, []string{events.MembershipSubject(org, "*")}, told)
}

// Organization implements console.Desk.
func (d desk) Organization(ctx context.Context, org string) (roster.Organization, error) {
	return d.s.Roster.Stored(ctx, org)
}

// ChangeOrganization implements console.Desk.
func (d desk) ChangeOrganization(ctx context.Context, org string, revision uint64, change func(*roster.Organization)) (roster.Organization, error) {
	stored, _, err := d.s.changeOrganization(ctx, org, revision, false, change)
	return stored, err
}

// CheckOrganization implements console.Desk.
func (d desk) CheckOrganization(o *roster.Organization) error {
	tidyOrganization(o)
	return checkOrganization(*o)
}

// SetLogo implements console.Desk.
func (d desk) SetLogo(ctx context.Context, org string, revision uint64, file []byte) (roster.Organization, error) {
	if len(file) == 0 {
		return d.s.nameLogo(ctx, org, revision, "")
	}
	return d.s.setLogo(ctx, org, revision, file)
}

// Letter implements console.Desk.
func (d desk) Letter(ctx context.Context, org, id string) (proofs.Proof, error) {
	if _, err := d.s.manages(ctx, org); err != nil {
		return proofs.Proof{}, err
	}
	return proofs.Ask(ctx, d.s.Conn, proofs.Wanted{
		Organization: roster.Organization{ID: org}, Person: callerOf(ctx).person, Invitation: id,
	})
}

// Proof implements console.Desk.
func (d desk) Proof(ctx context.Context, o roster.Organization, send bool) (proofs.Proof, error) {
	if err := d.s.mayPut(ctx, o.ID, false); err != nil {
		return proofs.Proof{}, err
	}
	return proofs.Ask(ctx, d.s.Conn, proofs.Wanted{Organization: o, Person: callerOf(ctx).person, Send: send})
}
