// Package admission is the one set of rules for every door: HTTP, console, CSV and bus hand their requests in here, and
// what it admits is in the ledger when it answers.
package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
	"github.com/usherhq/usher/pkg/telemetry"
)

// Grace is how long after the deadline the expiry timer fires. The deadline itself is enforced by every reader to the
// instant; the timer waits until no accept that was begun before the deadline can still be under way, because the
// outcome of such a one would stop whatever timer the address has by then.
const Grace = 5 * time.Second

// Request is what a door hands in.
type Request struct {
	events.InvitationRequested
	// ID is the invitation's id where the door knows it beforehand, so that a repeat is the same invitation;
	// empty for a new one.
	ID string
	// Unsaid is the door's word that it has just looked and nothing was published under ID. Then the address is claimed first,
	// and looked again once nobody else can say anything under ID any more. Without it that is a condition of the publish, which
	// costs as much as ten.
	Unsaid bool
	// Key is the API key the request came with; nil for the bus.
	Key *apikeys.Key
	// Source is the CloudEvents source of the event ("/usher/api").
	Source string
	// Causation is the id of the event that led to this one, where one did.
	Causation string
}

// Admission holds what the rules look at.
type Admission struct {
	Ledger       *ledger.Ledger
	Roster       *roster.Roster
	Suppressions *suppressions.List
	Keys         *apikeys.Keys
	// TTL is the instance's default time to answer.
	TTL time.Duration
}

// Verdict is what one request of several came to: a record, or a *problem.Error.
type Verdict struct {
	Record invitation.Record
	Err    error
}

// Admit checks a request and, where it passes, publishes the invitation. A request whose ID was admitted before gives
// that invitation again. What it refuses is a *problem.Error.
func (a *Admission) Admit(ctx context.Context, r Request) (invitation.Record, error) {
	v := a.AdmitAll(ctx, []Request{r})[0]
	return v.Record, v.Err
}

// Check tells whether a request passes the rules as things are now, and publishes nothing: nil, or the *problem.Error that
// Admit would return for it. Whether an invitation of the address is open already only Admit can say.
func (a *Admission) Check(ctx context.Context, r Request) error {
	_, err := a.check(ctx, r)
	return err
}

// CheckAll is Check for many at once, one answer a request, in order. It looks as well whether an invitation of the
// address is open now; what it lets pass Admit may still refuse, when things have changed by then.
func (a *Admission) CheckAll(ctx context.Context, requests []Request) []error {
	answers := make([]error, len(requests))
	at := map[string][]int{} // claim subject to the requests for it
	for i, r := range requests {
		d, err := a.check(ctx, r)
		if err != nil {
			answers[i] = err
			continue
		}
		at[d.claim()] = append(at[d.claim()], i)
	}
	if len(at) == 0 {
		return answers
	}
	open, err := a.Ledger.LastOf(ctx, events.StreamInvitations, slices.Collect(maps.Keys(at))...)
	if err != nil {
		for _, i := range slices.Concat(slices.Collect(maps.Values(at))...) {
			answers[i] = err
		}
		return answers
	}
	for _, claim := range open {
		timer, err := claim.Event()
		due, ok := timer.Data.(*events.InvitationExpiryDue)
		if err != nil || !ok || !a.Ledger.Now().Before(due.ExpiresAt) {
			continue
		}
		for _, i := range at[claim.Subject] {
			answers[i] = alreadyInvited(timer.Subject)
		}
	}
	return answers
}

// few is how many requests at once are as good as single ones.
const few = 10

// AdmitAll is Admit for many at once: one verdict a request, in order. One refusal never touches the others.
func (a *Admission) AdmitAll(ctx context.Context, requests []Request) []Verdict {
	verdicts := make([]Verdict, len(requests))
	drafts := make([]*draft, len(requests))
	var units [][]ledger.Message
	var at []int
	first := map[string]int{} // claim subject to the first request for it
	for i, r := range requests {
		d, err := a.check(ctx, r)
		if err != nil {
			verdicts[i].Err = err
			continue
		}
		drafts[i] = d
		if _, twice := first[d.claim()]; twice {
			continue
		}
		first[d.claim()] = i
		if d.unsaid {
			sequence, err := a.claimFirst(ctx, d)
			verdicts[i] = a.settle(ctx, d, sequence, err)
			continue
		}
		unit, err := d.unit(0)
		if err != nil {
			verdicts[i].Err = err
			continue
		}
		units, at = append(units, unit), append(at, i)
	}
	if len(units) > few { // single invitations go first
		for _, unit := range units {
			unit[0] = unit[0].Yielding()
		}
	}
	failpoint.Here(failpoint.AdmissionJudged)
	results := a.Ledger.PublishAll(ctx, events.StreamInvitations, units)
	failpoint.Here(failpoint.AdmissionPublished)
	for j, result := range results {
		verdicts[at[j]] = a.settle(ctx, drafts[at[j]], result.Value, result.Err)
	}
	for i, d := range drafts { // the same address again within one call
		if d != nil && first[d.claim()] != i {
			verdicts[i] = twice(verdicts[first[d.claim()]])
		}
	}
	return verdicts
}

// claimFirst publishes a draft in two steps, and looks in between whether it was said before. Somebody else may have said it, and
// it may have ended, since the door looked: that frees the address, so that the claim alone does not tell.
func (a *Admission) claimFirst(ctx context.Context, d *draft) (uint64, error) {
	unit, err := d.unit(0)
	if err != nil {
		return 0, err
	}
	timer, requested := unit[0], unit[1]
	claimed, err := a.Ledger.Publish(ctx, events.StreamInvitations, timer)
	if err != nil {
		return 0, err
	}
	_, err = a.Ledger.Last(ctx, events.StreamInvitations, requested.Subject)
	if err == nil {
		return 0, errors.Join(ledger.ErrConflict, a.Ledger.StopTimer(ctx, d.claim(), claimed))
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return 0, err // the next who wants the address finds a claim that nothing followed, and takes it over
	}
	return a.Ledger.Publish(ctx, events.StreamInvitations, requested.Expecting(d.claim(), claimed))
}

func twice(firstOne Verdict) Verdict {
	if firstOne.Err != nil {
		return Verdict{Err: firstOne.Err}
	}
	return Verdict{Err: alreadyInvited(firstOne.Record.ID)}
}

// draft is a request that passed the rules.
type draft struct {
	event   events.Event
	request *events.InvitationRequested
	again   bool // the id was known beforehand: it may be there already
	unsaid  bool // but was not a moment ago
}

func (d *draft) claim() string {
	return events.ClaimSubject(d.request.Organization, d.request.Person)
}

func (a *Admission) check(ctx context.Context, r Request) (*draft, error) {
	data := r.InvitationRequested // a copy
	if err := fields(&data, a.Roster.Roles()); err != nil {
		return nil, err
	}
	if r.Key != nil && !r.Key.May(data.Organization) {
		return nil, problem.New(problem.Forbidden, "This API key does not work for that organization.")
	}
	org, err := a.Roster.Organization(ctx, data.Organization)
	if err != nil {
		return nil, err
	}
	to, err := address.Parse(data.Email)
	if err != nil {
		return nil, problem.Fields(events.FieldError{Location: "email", Message: err.Error()})
	}
	data.Email, data.Person = to.Stored, a.person(to)
	if err := a.authority(ctx, &data, r.Key); err != nil {
		return nil, err
	}
	if m, ok := a.Roster.Member(data.Organization, data.Person); ok {
		return nil, &problem.Error{Code: problem.AlreadyMember, Other: data.Person,
			Detail: fmt.Sprintf("That address is a member already, as %s.", m.Role)}
	}
	if s, ok := a.Suppressions.Get(data.Person); ok && !data.SendAnyway {
		return nil, problem.New(problem.Suppressed, "That address is not written to: %s since %s. Set send_anyway to invite it all the same.",
			s.Reason, s.Since.Format(time.DateOnly))
	}
	if err := Redirect(data.RedirectURL, org.Policy.RedirectHosts); err != nil {
		return nil, err
	}
	if data.Note != "" && !org.Policy.PersonalNotes {
		return nil, problem.Fields(events.FieldError{Location: "note", Message: "is not allowed in this organization"})
	}
	ttl, err := a.ttl(data.ExpiresIn, org)
	if err != nil {
		return nil, err
	}
	now := a.Ledger.Now()
	data.ExpiresIn, data.ExpiresAt = "", now.Add(ttl).Truncate(time.Millisecond)
	data.Invitation = r.ID
	if r.ID == "" {
		data.Invitation = events.NewInvitationID()
	}
	e := events.Event{
		ID: events.NewEventID(), Source: r.Source, Type: events.TypeInvitationRequested, Subject: data.Invitation, Time: now,
		CorrelationID: data.Invitation, CausationID: r.Causation, Data: &data,
	}
	telemetry.Inject(ctx, &e)
	return &draft{event: e, request: &data, again: r.ID != "", unsaid: r.Unsaid}, nil
}

func (a *Admission) person(to address.Address) string {
	return address.Person(a.Ledger.PersonKey(), to.Canonical)
}

// authority checks that the inviter may grant the role, and writes down who the inviter is. Without a member as inviter,
// it is the API key's own authority; the bus has none of its own.
func (a *Admission) authority(ctx context.Context, data *events.InvitationRequested, key *apikeys.Key) error {
	if data.Inviter == "" {
		if key == nil {
			return problem.Fields(events.FieldError{Location: "inviter", Message: "is needed: the address of the member who invites"})
		}
		data.Inviter, data.InviterPerson, data.InviterName = key.ID, "", ""
		return nil
	}
	inviter, err := address.Parse(data.Inviter)
	if err != nil {
		return problem.Fields(events.FieldError{Location: "inviter", Message: err.Error()})
	}
	data.Inviter, data.InviterPerson = inviter.Stored, a.person(inviter)
	m, ok, err := a.Roster.Authority(ctx, data.Organization, data.InviterPerson)
	if err != nil {
		return err
	}
	data.InviterName = m.Name
	return Granting(a.Roster.Roles(), m.Role, ok, data.Role)
}

// Granting is the rule of authority: only owners and admins invite, and nobody grants above their own role.
func Granting(roles roster.Roles, own string, member bool, wanted string) error {
	if !member || !roles.MayInvite(own) {
		return problem.New(problem.NoAuthority, "The inviter is not an owner or admin of this organization.")
	}
	if !roles.MayGrant(own, wanted) {
		return problem.New(problem.RoleTooHigh, "The inviter is %s and cannot grant %s.", own, wanted)
	}
	return nil
}

func (a *Admission) ttl(asked string, org roster.Organization) (time.Duration, error) {
	if asked == "" {
		asked = org.Policy.InvitationTTL
	}
	if asked == "" {
		return a.TTL, nil
	}
	ttl, err := time.ParseDuration(asked)
	if err != nil || ttl < invitation.MinTTL || ttl > invitation.MaxTTL {
		return 0, problem.Fields(events.FieldError{Location: "expires_in",
			Message: fmt.Sprintf("must be a duration from %s to %s, like \"168h\"", short(invitation.MinTTL), short(invitation.MaxTTL))})
	}
	return ttl, nil
}

func short(d time.Duration) string {
	if d < time.Hour {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%dh", d/time.Hour)
}

// ReminderAfter tells how long after the request the n-th reminder is due; false where there is none.
func ReminderAfter(p roster.Policy, n int) (time.Duration, bool) {
	if n < 1 || n > len(p.ReminderAfter) {
		return 0, false
	}
	d, err := time.ParseDuration(p.ReminderAfter[n-1])
	return d, err == nil && d > 0
}

// unit is what the draft publishes: the timer that is the claim on the address (expecting that nobody else has it, or
// that it is the stale one at sequence held), and last the request. Where the id was known beforehand, nothing may have
// been said of it yet.
func (d *draft) unit(held uint64) ([]ledger.Message, error) {
	org, id := d.request.Organization, d.request.Invitation
	requested, err := ledger.Fact(events.InvitationSubject(org, id, events.FactRequested), d.event)
	if err != nil {
		return nil, err
	}
	timer, err := ExpiryTimer(d.event, org, d.request.Person, d.request.ExpiresAt)
	if err != nil {
		return nil, err
	}
	if requested = requested.Succeeding(held); d.again {
		requested = requested.Expecting(events.InvitationFilter(org, id), 0)
	} else {
		requested = requested.Guarded()
	}
	return []ledger.Message{timer.Expecting(d.claim(), held), requested}, nil
}

// ExpiryTimer makes the timer of an invitation's deadline, which is also the claim on the address. cause is the event
// that set the deadline.
func ExpiryTimer(cause events.Event, org, person string, deadline time.Time) (ledger.Message, error) {
	id := cause.Subject
	due := follow(cause, events.TypeInvitationExpiryDue, &events.InvitationExpiryDue{Invitation: id, ExpiresAt: deadline})
	return ledger.Timer(events.ClaimSubject(org, person), events.InvitationSubject(org, id, events.FactExpiryDue), deadline.Add(Grace), due)
}

// ReminderTimer makes the timer of an invitation's n-th reminder.
func ReminderTimer(cause events.Event, org string, n int, due time.Time) (ledger.Message, error) {
	id := cause.Subject
	e := follow(cause, events.TypeInvitationReminderDue, &events.InvitationReminderDue{Invitation: id, Number: n})
	return ledger.Timer(events.ReminderTimerSubject(org, id), events.InvitationSubject(org, id, events.FactReminderDue), due, e)
}

func follow(cause events.Event, t events.Type, data events.Data) events.Event {
	return events.Event{
		ID: events.DerivedEventID("timer", cause.ID, string(t)), Source: cause.Source, Type: t, Subject: cause.Subject, Time: cause.Time,
		CorrelationID: cause.CorrelationID, CausationID: cause.ID, TraceParent: cause.TraceParent, TraceState: cause.TraceState, Data: data,
	}
}

// settle turns the result of publishing a draft into a verdict. A lost claim is looked at: it may be this very
// invitation from before, one that is open, or one that has ended and only stands in the way.
func (a *Admission) settle(ctx context.Context, d *draft, sequence uint64, err error) Verdict {
	for range 4 {
		if err == nil {
			return Verdict{Record: d.record(sequence)}
		}
		if !errors.Is(err, ledger.ErrConflict) && !errors.Is(err, ledger.ErrDuplicate) {
			return Verdict{Err: err}
		}
		if d.again {
			before, loadErr := invitation.Load(ctx, a.Ledger, d.request.Organization, d.request.Invitation)
			if loadErr == nil && before.Request == nil {
				return Verdict{Err: problem.New(problem.Ended, "This very request was rejected before.")}
			}
			if loadErr == nil {
				return Verdict{Record: before}
			}
			if !errors.Is(loadErr, ledger.ErrNotFound) {
				return Verdict{Err: loadErr}
			}
		}
		var unit []ledger.Message
		if unit, err = a.retake(ctx, d); err != nil {
			if p := problem.As(err); p.Code == problem.AlreadyInvited && p.Other == d.request.Invitation {
				err = ledger.ErrConflict // a repeat of this very request was quicker, just now: look again
				continue
			}
			return Verdict{Err: err}
		}
		failpoint.Here(failpoint.AdmissionRetaking)
		sequence, err = a.Ledger.Publish(ctx, events.StreamInvitations, unit...)
	}
	return Verdict{Err: problem.Again("That address is being invited by others at the same time; try again.")}
}

// retake looks at who holds the claim, and makes the unit that takes it over where the holder has ended.
func (a *Admission) retake(ctx context.Context, d *draft) ([]ledger.Message, error) {
	claim, err := a.Ledger.Last(ctx, events.StreamInvitations, d.claim())
	if errors.Is(err, ledger.ErrNotFound) {
		return d.unit(0)
	}
	if err != nil {
		return nil, err
	}
	timer, err := claim.Event()
	if err != nil {
		return nil, problem.Unavailable("The claim on that address", err)
	}
	holder, err := invitation.Load(ctx, a.Ledger, d.request.Organization, timer.Subject)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return nil, err
	}
	if err == nil && holder.StatusAt(a.Ledger.Now()) == invitation.Pending {
		return nil, alreadyInvited(holder.ID)
	}
	unit, unitErr := d.unit(claim.Sequence)
	if unitErr != nil || holder.Outcome != "" {
		return unit, unitErr
	}
	// The holder may be just about to say what it claimed the address for: a request, or a later deadline. The claim's
	// sequence does not tell, so that goes into the condition too. That nothing was said of this invitation yet need not be
	// one any more: whoever says something of it takes the claim first.
	requested := &unit[len(unit)-1]
	if err != nil {
		*requested = requested.Expecting(events.InvitationSubject(d.request.Organization, timer.Subject, events.FactRequested), 0)
		return unit, nil
	}
	*requested = requested.Expecting(events.InvitationSubject(holder.Organization, holder.ID, events.FactResend), holder.ResentSeq())
	end, err := Expiry(holder, d.event)
	return append([]ledger.Message{end}, unit...), err
}

// Expiry makes the message that ends an invitation whose deadline has passed. It stops no timer: by then the timer has
// fired, or belongs to a newer invitation of the same address.
func Expiry(r invitation.Record, cause events.Event) (ledger.Message, error) {
	e := events.Event{
		ID: events.DerivedEventID("expired", r.ID), Source: cause.Source, Type: events.TypeInvitationExpired, Subject: r.ID, Time: cause.Time,
		CorrelationID: r.ID, CausationID: cause.ID, TraceParent: cause.TraceParent, TraceState: cause.TraceState,
		Data: &events.InvitationExpired{Invitation: r.ID, ExpiresAt: r.Deadline},
	}
	m, err := ledger.Fact(events.InvitationSubject(r.Organization, r.ID, events.FactExpired), e)
	if err != nil {
		return m, err
	}
	return m.Expecting(events.OutcomeFilter(r.Organization, r.ID), 0), nil
}

func alreadyInvited(id string) error {
	return &problem.Error{Code: problem.AlreadyInvited, Other: id, Detail: "An invitation of that address to this organization is open: " + id + "."}
}

func (d *draft) record(sequence uint64) invitation.Record {
	r := invitation.Record{ID: d.request.Invitation, Organization: d.request.Organization}
	r.Apply(d.event, sequence, d.event.Time)
	return r
}

// Redirect checks that an address may be where an invitee goes on to: none at all, or one on a host that the organization
// lists. It returns problem.Invalid for any other.
func Redirect(target string, hosts []string) error {
	if target == "" {
		return nil
	}
	host, err := redirectHost(target)
	if err != nil {
		return problem.Fields(events.FieldError{Location: "redirect_url", Message: err.Error()})
	}
	if !slices.Contains(hosts, host) {
		return problem.Fields(events.FieldError{Location: "redirect_url", Message: "names a host that the organization's policy does not list"})
	}
	return nil
}
