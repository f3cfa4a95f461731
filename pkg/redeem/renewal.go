package redeem

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/telemetry"
)

const (
	// RenewalEvery is how long asking again for the same link is the same wish, which is answered as the first was.
	RenewalEvery = 24 * time.Hour
	// renewalsAnHour is how many wishes one organization's invitees have in an hour: each is a mail to somebody.
	renewalsAnHour = 100
)

// Renewal is the answer to somebody who asks for a new link.
type Renewal struct {
	Preview
	// Renewed is true where a new invitation is being mailed, to the address that the old one was for. Otherwise the
	// inviter is told of the wish.
	Renewed bool
}

// Renew asks for a new link in place of one whose time is over. Where the organization lets invitees renew by themselves
// and the rules admit it, that is a new invitation to the same address; otherwise the inviter decides. Asking again is the
// same wish. It returns problem.NotExpired for an open link, problem.Replaced where the address has a newer one,
// problem.AlreadyMember, problem.TooMany, and what Lookup and Accept return for a link that ended otherwise.
func (r *Redeemer) Renew(ctx context.Context, token string) (Renewal, error) {
	o, err := r.open(ctx, token)
	if err != nil {
		return Renewal{}, err
	}
	p, err := r.preview(ctx, o.record)
	if err != nil {
		return Renewal{}, err
	}
	answer := Renewal{Preview: p, Renewed: p.Record.Renewed}
	if end := r.ended(o); end == nil {
		return answer, problem.New(problem.NotExpired, "The invitation is still open; it can be answered.")
	} else if end.Code != problem.Expired {
		return answer, end
	}
	if _, ok := r.Roster.Member(p.Record.Organization, p.Record.Request.Person); ok {
		return answer, problem.New(problem.AlreadyMember, "You are a member already.")
	}
	if Asked(p.Record, r.Ledger.Now()) {
		return answer, nil
	}
	if err := r.mayRenew(ctx, p); err != nil {
		return answer, err
	}
	if answer.Renewed, err = r.renew(ctx, p); err != nil {
		return answer, err
	}
	failpoint.Here(failpoint.RenewAdmitted)
	return answer, r.asked(ctx, &answer.Record, answer.Renewed)
}

// Asked reports whether a new link was asked for so lately that asking again is the same wish.
func Asked(record invitation.Record, now time.Time) bool {
	return !record.RenewalAskedAt.IsZero() && now.Sub(record.RenewalAskedAt) < RenewalEvery
}

// mayRenew looks at what speaks against any new link: a newer invitation, an inviter who may no longer invite, and how many
// others ask.
func (r *Redeemer) mayRenew(ctx context.Context, p Preview) error {
	if err := r.newer(ctx, p.Record); err != nil {
		return err
	}
	if err := r.mayJoin(ctx, p); err != nil {
		return err
	}
	ok, wait, err := r.Redis.Take(ctx, redisdb.Limit{What: "renewals " + p.Record.Organization, Most: renewalsAnHour, Per: time.Hour})
	if err == nil && !ok {
		err = &problem.Error{Code: problem.TooMany, Detail: "Very many people of this organization ask for new links; please try later.", RetryAfter: wait}
	}
	return err
}

// newer returns problem.Replaced where another invitation of the address is open. The one that an interrupted try of this
// very wish has made is none.
func (r *Redeemer) newer(ctx context.Context, record invitation.Record) error {
	claim, err := r.Ledger.Last(ctx, events.StreamInvitations, events.ClaimSubject(record.Organization, record.Request.Person))
	if err == nil {
		var p Preview
		if p, err = r.claimed(ctx, claim, record.Request.Person); err == nil && p.Status == invitation.Pending && p.Record.ID != renewalID(record) {
			return replaced()
		}
	}
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	return err
}

func replaced() error {
	return problem.New(problem.Replaced, "A newer e-mail was sent; please use the link in that one.")
}

// renew makes the new invitation, where it may. A refusal that stays leaves the wish to the inviter.
func (r *Redeemer) renew(ctx context.Context, p Preview) (bool, error) {
	request, ok := r.renewal(p)
	if !ok {
		return false, nil
	}
	record, err := r.Admission.Admit(ctx, request)
	switch e := problem.As(err); {
	case err == nil:
		r.learned(ctx, record)
		return true, nil
	case e.Code == problem.AlreadyInvited:
		return false, replaced()
	case e.Code == problem.AlreadyMember || e.Passing():
		return false, err
	}
	return false, nil
}

// renewal is what the new invitation asks for: the old one again. Its id follows from the old one and the wish before this
// one, so that two clicks, or a second try after a crash, make the same invitation.
func (r *Redeemer) renewal(p Preview) (admission.Request, bool) {
	old, org := p.Record, p.Organization
	if !org.Policy.SelfServiceRenewal {
		return admission.Request{}, false
	}
	asked := *old.Request
	asked.ExpiresIn = old.Request.ExpiresAt.Sub(old.RequestedAt).Round(time.Minute).String()
	asked.SendAnyway, asked.Replaces, asked.Renewal = false, old.ID, true
	asked.RedirectURL = p.Continue()
	if !org.Policy.PersonalNotes {
		asked.Note = ""
	}
	request := admission.Request{Source: source, ID: renewalID(old), Causation: old.ID}
	if asked.InviterPerson == "" {
		key, ok := r.Keys.Find(asked.Inviter)
		if !ok {
			return request, false
		}
		request.Key, asked.Inviter = &key, ""
	}
	request.InvitationRequested = asked
	return request, true
}

func renewalID(old invitation.Record) string {
	return events.DerivedInvitationID("renewal", wish(old)...)
}

// wish names the next wish for a new link.
func wish(old invitation.Record) []string {
	return []string{old.ID, strconv.FormatUint(old.RenewalSeq, 10)}
}

// asked writes the wish into the ledger, once: of several who write the same one, all but the first find it there.
func (r *Redeemer) asked(ctx context.Context, record *invitation.Record, renewed bool) error {
	e := events.Event{
		ID: events.DerivedEventID("renewal", wish(*record)...), Source: source, Type: events.TypeInvitationRenewalAsked, Subject: record.ID,
		Time: r.Ledger.Now(), CorrelationID: record.ID, CausationID: record.ID,
		Data: &events.InvitationRenewalAsked{Invitation: record.ID, Renewed: renewed},
	}
	telemetry.Inject(ctx, &e)
	subject := events.InvitationSubject(record.Organization, record.ID, events.FactRenewal)
	m, err := ledger.Fact(subject, e)
	if err != nil {
		return err
	}
	sequence, err := r.Ledger.Publish(ctx, events.StreamInvitations, m.Expecting(subject, record.RenewalSeq))
	switch {
	case errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrDuplicate):
		return nil
	case err != nil:
		return err
	}
	record.Apply(e, sequence, e.Time)
	r.learned(ctx, *record)
	return nil
}

func (r *Redeemer) learned(ctx context.Context, record invitation.Record) {
	if r.Learned != nil {
		r.Learned(ctx, record)
	}
}
