// Package redeem is the one way in which a link is looked up, accepted or declined, whichever door the invitee came by.
package redeem

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/telemetry"
)

// Invitee tells whether the person is known.
const (
	New      = "new"
	Existing = "existing"
)

// source is the CloudEvents source of what is published here: every door is the API's.
const source = "/usher/api"

// maxName is how many runes a person's name may have.
const maxName = 200

// Redeemer opens links.
type Redeemer struct {
	Ledger *ledger.Ledger
	Roster *roster.Roster
	Keys   *apikeys.Keys
	Links  *links.Ring
	Redis  *redisdb.DB
	// Admission lets in what a renewal asks for.
	Admission *admission.Admission
	// Authority is the instance's policy for inviters who lost theirs: roster.AuthorityBlock or roster.AuthorityLower.
	Authority string
	// Learned is told what was just published, so that the next list shows it.
	Learned func(context.Context, invitation.Record)
}

// Preview is what the holder of a link may see.
type Preview struct {
	Record       invitation.Record
	Organization roster.Organization
	// Email is masked.
	Email string
	// Invitee is New or Existing.
	Invitee string
	Status  invitation.Status
}

// Continue is where the invitee goes on to after joining; empty for nowhere. The organization's list is looked at as it is
// now, so that a host which left it is left by older invitations too.
func (p Preview) Continue() string {
	if p.Record.Request == nil || admission.Redirect(p.Record.Request.RedirectURL, p.Organization.Policy.RedirectHosts) != nil {
		return ""
	}
	return p.Record.Request.RedirectURL
}

// Success is the answer to an accept: the same for the first and for every later one.
type Success struct {
	Preview
	Membership invitation.Membership
}

// opened is a link that leads somewhere.
type opened struct {
	record invitation.Record
	claim  links.Claim
}

// open verifies a token and reads its invitation. A forged token is refused before any store is asked; a miss in Redis
// falls back to the ledger.
func (r *Redeemer) open(ctx context.Context, token string) (opened, error) {
	unknown := problem.New(problem.NotFound, "This link leads nowhere.")
	claim, err := r.Links.Verify(links.PurposeInvite, token)
	if err != nil {
		return opened{}, unknown
	}
	hash := links.Hash(token)
	reference, hit, err := r.Redis.Token(ctx, hash)
	if err != nil {
		return opened{}, err
	}
	failpoint.Here(failpoint.LinkFound)
	var record invitation.Record
	if hit && reference.Invitation == claim.Invitation {
		record, err = invitation.Standing(ctx, r.Ledger, reference.Organization, claim.Invitation)
	} else {
		record, err = invitation.Find(ctx, r.Ledger, claim.Invitation)
	}
	missing := errors.Is(err, ledger.ErrNotFound) || err == nil && (record.Request == nil || claim.Generation > record.Generation)
	switch {
	case missing && hit && r.Ledger.Replicated():
		// Who made the link knew of it: whoever answered is a leader that was parted from the others and does not know yet.
		return opened{}, problem.Unavailable("The ledger", errors.New("it does not know what Redis knows"))
	case missing:
		return opened{}, unknown
	case err != nil:
		return opened{}, err
	}
	if record.Outcome == invitation.Accepted { // it may have been refused for good since
		if record, err = invitation.WithRefusal(ctx, r.Ledger, record); err != nil {
			return opened{}, err
		}
	}
	if !hit && claim.Generation == record.Generation {
		_ = r.Redis.PutToken(ctx, redisdb.Token{ // an index entry: where it fails, the next miss falls back again
			Hash: hash, Organization: record.Organization, Invitation: record.ID, ExpiresAt: record.Deadline,
		})
	}
	return opened{record: record, claim: claim}, nil
}

// ended is the refusal for a link that can no longer be answered, nil while it can.
func (r *Redeemer) ended(o opened) *problem.Error {
	switch o.record.StatusAt(r.Ledger.Now()) {
	case invitation.Accepted:
		return problem.New(problem.Accepted, "The invitation was accepted.")
	case invitation.Declined:
		return problem.New(problem.Declined, "The invitation was declined.")
	case invitation.Revoked:
		return problem.New(problem.Revoked, "The invitation was taken back.")
	case invitation.Expired:
		if err := r.Ledger.Healthy(); err != nil { // by a wrong clock every deadline may have passed
			return problem.As(err)
		}
		return problem.New(problem.Expired, "The invitation expired on %s.", o.record.Deadline.Format(time.RFC1123))
	case invitation.Rejected:
		return problem.New(problem.NotFound, "This link leads nowhere.")
	}
	if o.claim.Generation < o.record.Generation {
		return problem.New(problem.Replaced, "A newer e-mail was sent; please use the link in that one.")
	}
	return nil
}

// late is the refusal for whoever answered when another answer was first.
func (r *Redeemer) late(o opened) error {
	if end := r.ended(o); end != nil {
		return end
	}
	return problem.Again("The invitation is being answered by others at the same time; try again.")
}

// Lookup shows what a link is about, and changes nothing. It returns problem.NotFound for a link that leads nowhere and
// problem.Accepted, Declined, Revoked, Expired or Replaced for one that has ended; the preview is then given all the same.
func (r *Redeemer) Lookup(ctx context.Context, token string) (Preview, error) {
	o, err := r.open(ctx, token)
	if err != nil {
		return Preview{}, err
	}
	p, err := r.preview(ctx, o.record)
	if err != nil {
		return Preview{}, err
	}
	if end := r.ended(o); end != nil {
		return p, end
	}
	return p, nil
}

// Followed tells the ledger, once for each invitation, that somebody follows the link of an open invitation in a browser. It
// is an observation: it decides nothing, and where it cannot be stored it is left out.
func (r *Redeemer) Followed(ctx context.Context, p Preview) {
	record := p.Record
	e := events.Event{
		ID: events.DerivedEventID("opened", record.ID), Source: source, Type: events.TypeInvitationOpened,
		Subject: record.ID, Time: r.Ledger.Now(), CorrelationID: record.ID, CausationID: record.ID,
		Data: &events.InvitationOpened{Invitation: record.ID, Generation: record.Generation},
	}
	telemetry.Inject(ctx, &e)
	subject := events.InvitationSubject(record.Organization, record.ID, events.FactOpened)
	if m, err := ledger.Fact(subject, e); err == nil {
		_, _ = r.Ledger.Publish(ctx, events.StreamInvitations, m.Expecting(subject, 0))
	}
}

func (r *Redeemer) preview(ctx context.Context, record invitation.Record) (Preview, error) {
	org, err := r.Roster.Organization(ctx, record.Organization)
	if err != nil {
		return Preview{}, err
	}
	if record.StatusAt(r.Ledger.Now()) == invitation.Expired { // the page tells whether a new link was asked for
		if record, err = invitation.WithRenewal(ctx, r.Ledger, record); err != nil {
			return Preview{}, err
		}
	}
	p := Preview{
		Record: record, Organization: org, Email: address.Mask(record.Request.Email), Invitee: New,
		Status: record.StatusAt(r.Ledger.Now()),
	}
	if r.Roster.Known(record.Request.Person) {
		p.Invitee = Existing
	}
	return p, nil
}

// By is who answers.
type By struct {
	// Name is how a new person wants to be called.
	Name string
	// Locale is the BCP 47 language they want to be spoken to in; empty where they did not say.
	Locale string
	// Email is the verified address of whoever is signed in; empty where the link alone is the right to answer.
	Email string
}

// Accept says yes for the holder of the link. Accepting again gives the same success. It returns what Lookup returns,
// problem.Invalid for a missing name, problem.WrongAccount where somebody else is signed in, problem.AuthorityLost or
// problem.RoleGone.
func (r *Redeemer) Accept(ctx context.Context, token string, by By) (Success, error) {
	failpoint.Here(failpoint.AcceptAsked)
	o, err := r.open(ctx, token)
	if err != nil {
		return Success{}, err
	}
	return r.accept(ctx, o, by)
}

func (r *Redeemer) accept(ctx context.Context, o opened, by By) (Success, error) {
	p, err := r.preview(ctx, o.record)
	if err != nil {
		return Success{}, err
	}
	if by.Email != "" && !r.Invites(p, by.Email) {
		r.refused(ctx, o.record, events.RefusedWrongAccount)
		return Success{}, problem.New(problem.WrongAccount, "The invitation is for another address than the one that is signed in.")
	}
	if o.record.Outcome == invitation.Accepted {
		return r.success(p)
	}
	if end := r.ended(o); end != nil {
		r.refused(ctx, o.record, refusals[end.Code])
		return Success{}, end
	}
	if err := r.mayJoin(ctx, p); err != nil {
		r.refused(ctx, o.record, refusals[problem.As(err).Code])
		return Success{}, err
	}
	name, err := r.name(p, by.Name)
	if err != nil {
		return Success{}, err
	}
	failpoint.Here(failpoint.AcceptChecked)
	won, err := r.end(ctx, &p.Record, events.FactAccepted, &events.InvitationAccepted{
		Invitation: o.record.ID, Generation: o.claim.Generation, Person: o.record.Request.Person, Name: name, Invitee: p.Invitee,
		Locale: locale(by.Locale),
	})
	if err != nil {
		return Success{}, err
	}
	failpoint.Here(failpoint.AcceptLearned)
	if !won && p.Record.Outcome != invitation.Accepted {
		return Success{}, r.late(opened{record: p.Record, claim: o.claim})
	}
	return r.success(p)
}

// locale is a language in its own spelling, or "" for what is none: a wish that cannot be read refuses nobody.
func locale(wish string) string {
	tag, err := language.Parse(wish)
	if wish == "" || err != nil || len(tag.String()) > events.MaxLocale {
		return ""
	}
	return tag.String()
}

// Invites reports whether an invitation is for the owner of a verified address.
func (r *Redeemer) Invites(p Preview, email string) bool {
	person, ok := r.person(email)
	return ok && p.Record.Request != nil && p.Record.Request.Person == person
}

func (r *Redeemer) person(email string) (string, bool) {
	a, err := address.Parse(email)
	if err != nil {
		return "", false
	}
	return address.Person(r.Ledger.PersonKey(), a.Canonical), true
}

// refusals names, for the event, why an accept was turned away.
var refusals = map[problem.Code]string{
	problem.Expired: events.RefusedExpired, problem.Revoked: events.RefusedRevoked, problem.Declined: events.RefusedDeclined,
	problem.Replaced: events.RefusedReplaced, problem.AuthorityLost: events.RefusedAuthority, problem.RoleGone: events.RefusedRole,
}

// mayJoin looks at the inviter's authority and the role as they are now. The acceptance worker looks again.
func (r *Redeemer) mayJoin(ctx context.Context, p Preview) error {
	q := p.Record.Request
	if !r.Roster.Roles().Known(q.Role) {
		return problem.New(problem.RoleGone, "The role %s no longer exists; please ask for a new invitation.", q.Role)
	}
	own, member := "", false
	if q.InviterPerson != "" {
		m, ok, err := r.Roster.Authority(ctx, q.Organization, q.InviterPerson)
		if err != nil {
			return err
		}
		own, member = m.Role, ok
	}
	_, err := Grant(r.Roster.Roles(), r.Keys, q, own, member, r.policy(p.Organization))
	return err
}

func (r *Redeemer) policy(o roster.Organization) string {
	if o.Policy.InviterLostAuthority != "" {
		return o.Policy.InviterLostAuthority
	}
	return r.Authority
}

// Grant decides which role an acceptance gives, by the inviter's role at this moment. It returns problem.AuthorityLost
// where the inviter may no longer grant and the policy does not lower.
func Grant(roles roster.Roles, keys *apikeys.Keys, q *events.InvitationRequested, own string, member bool, policy string) (string, error) {
	lost := problem.New(problem.AuthorityLost, "Whoever invited you may no longer do so; please ask for a new invitation.")
	if q.InviterPerson == "" {
		if !keys.Exists(q.Inviter) {
			return "", lost
		}
		return q.Role, nil
	}
	err := admission.Granting(roles, own, member, q.Role)
	switch {
	case err == nil:
		return q.Role, nil
	case problem.Is(err, problem.RoleTooHigh) && policy == roster.AuthorityLower:
		return own, nil
	}
	return "", lost
}

// What may be wrong with a name, as the message of the field error.
const (
	NameNeeded  = "is needed: how you want to be called"
	NamePlain   = "must be plain text"
	NameTooLong = "is too long"
)

func (r *Redeemer) name(p Preview, name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		name = p.Record.Request.Name
	}
	wrong := ""
	switch {
	case name == "" && p.Invitee == New:
		wrong = NameNeeded
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(c rune) bool { return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) }):
		wrong = NamePlain
	case utf8.RuneCountInString(name) > maxName:
		wrong = NameTooLong
	}
	if wrong != "" {
		return "", problem.Fields(events.FieldError{Location: "name", Message: wrong})
	}
	return name, nil
}

func (r *Redeemer) success(p Preview) (Success, error) {
	p.Status = invitation.Accepted
	s := Success{Preview: p, Membership: invitation.MembershipProvisioning}
	if _, ok := r.Roster.Member(p.Record.Organization, p.Record.Request.Person); ok {
		s.Membership = invitation.MembershipActive
	}
	return s, nil
}

// Decline says no for the holder of the link. Declining again is the same success.
func (r *Redeemer) Decline(ctx context.Context, token, reason string) (Preview, error) {
	o, err := r.open(ctx, token)
	if err != nil {
		return Preview{}, err
	}
	return r.decline(ctx, o, reason)
}

func (r *Redeemer) decline(ctx context.Context, o opened, reason string) (Preview, error) {
	p, err := r.preview(ctx, o.record)
	if err != nil {
		return Preview{}, err
	}
	if end := r.ended(o); end != nil && end.Code != problem.Declined {
		return p, end
	}
	if o.record.Outcome != invitation.Declined {
		failpoint.Here(failpoint.DeclineChecked)
		won, err := r.end(ctx, &p.Record, events.FactDeclined, &events.InvitationDeclined{
			Invitation: o.record.ID, Generation: o.claim.Generation, Reason: reason,
		})
		if err != nil {
			return p, err
		}
		failpoint.Here(failpoint.DeclineLearned)
		if !won && p.Record.Outcome != invitation.Declined {
			return p, r.late(opened{record: p.Record, claim: o.claim})
		}
	}
	p.Status = invitation.Declined
	return p, nil
}

func (r *Redeemer) end(ctx context.Context, record *invitation.Record, fact string, data events.Data) (bool, error) {
	won, err := End(ctx, r.Ledger, record, fact, events.Event{
		Source: source, CausationID: record.ID, Data: data,
	})
	if err == nil && won {
		r.learned(ctx, *record)
	}
	return won, err
}

// End ends an invitation: it publishes an outcome that holds only where there is none yet, and stops the expiry timer in
// the same write. won is false where another outcome was first. Either way record says afterwards how it ended.
func End(ctx context.Context, l *ledger.Ledger, record *invitation.Record, fact string, e events.Event) (won bool, err error) {
	e.ID, e.Type, e.Subject, e.Time, e.CorrelationID = events.NewEventID(), e.Data.EventType(), record.ID, l.Now(), record.ID
	e.TraceParent, e.TraceState = record.TraceParent, record.TraceState
	ctx, done := telemetry.Join(ctx, &e, fact)
	defer done()
	telemetry.Inject(ctx, &e)
	m, err := ledger.Fact(events.InvitationSubject(record.Organization, record.ID, fact), e)
	if err != nil {
		return false, err
	}
	m = m.Expecting(events.OutcomeFilter(record.Organization, record.ID), 0)
	m = m.Stopping(events.ClaimSubject(record.Organization, record.Request.Person))
	sequence, err := l.Publish(ctx, events.StreamInvitations, m)
	if errors.Is(err, ledger.ErrConflict) {
		now, err := invitation.Load(ctx, l, record.Organization, record.ID)
		if err == nil {
			*record = now
		}
		return false, err
	}
	if err != nil {
		return false, err
	}
	failpoint.Here(failpoint.OutcomePublished)
	record.Apply(e, sequence, e.Time)
	return true, nil
}

// refused tells the ledger that a link holder was turned away. It is told once in a while for each reason, and its
// failing changes nothing for the invitee.
func (r *Redeemer) refused(ctx context.Context, record invitation.Record, reason string) {
	if reason == "" {
		return
	}
	slot := r.Ledger.Now().Truncate(refusedEvery).Format(time.RFC3339)
	e := events.Event{
		ID: events.DerivedEventID("refused", record.ID, reason, slot), Source: source, Type: events.TypeInvitationAcceptRefused,
		Subject: record.ID, Time: r.Ledger.Now(), CorrelationID: record.ID,
		Data: &events.InvitationAcceptRefused{Invitation: record.ID, Reason: reason},
	}
	telemetry.Inject(ctx, &e)
	m, err := ledger.Fact(events.InvitationSubject(record.Organization, record.ID, events.FactRefused), e)
	if err == nil {
		_, _ = r.Ledger.Publish(ctx, events.StreamInvitations, m)
	}
}

// refusedEvery bounds how often one reason is told of one invitation, however often its link is tried. It is within the
// ledger's duplicate window.
const refusedEvery = 10 * time.Second
