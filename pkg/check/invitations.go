package check

import (
	"context"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
)

// everyone goes over all invitations that the ledger said anything of.
func (l *look) everyone() iter.Seq[*account] { return maps.Values(l.read.accounts) }

// lookAtInvitations compares what the streams say of each invitation with each other, with timers, tokens and suppressions.
func (l *look) lookAtInvitations(ctx context.Context) error {
	l.checked["events"], l.checked["dead_letters"] = l.read.events, len(l.read.letters)
	orgs := map[string]bool{}
	for a := range l.everyone() {
		if a.record == nil {
			continue // of one whose publisher died before it asked, only a timer is left, which ends by itself
		}
		l.checked["invitations"]++
		r := a.fold()
		for _, o := range a.odd {
			l.tell(a, o.kind, mending{}, decimal(o.what), "%s", o.detail)
		}
		l.lookAtMembership(a, &r)
		if r.Request == nil {
			l.lookAtNobodys(a, &r)
			continue
		}
		orgs[r.Organization] = true
		l.lookAtEnd(a, &r)
		l.lookAtExpiry(a, &r)
		l.lookAtMail(a, &r)
		if err := l.lookAtReminder(ctx, a, &r); err != nil {
			return err
		}
	}
	return l.lookAtOrganizations(ctx, orgs)
}

// lookAtNobodys is about an invitation without a request.
func (l *look) lookAtNobodys(a *account, r *invitation.Record) {
	if r.Outcome == invitation.Rejected || l.aged(a) {
		return
	}
	if a.newest != 0 {
		l.tell(a, RequestMissing, mending{}, "", "the ledger has what happened to it up to sequence %d, and not the request: something was deleted or lost", a.newest)
	}
}

// agingStep is how exactly the broker forgets what is too old.
const agingStep = time.Hour

// aged reports whether the ledger may have forgotten by age where this invitation began.
func (l *look) aged(a *account) bool {
	if l.read.firstSequence <= 1 {
		return false
	}
	if a.newest == 0 { // only a membership is left
		return a.joined == nil || a.joined.at.Before(l.read.began)
	}
	return l.now.Sub(l.read.began) > l.MaxAge-agingStep
}

func (l *look) lookAtOrganizations(ctx context.Context, orgs map[string]bool) error {
	l.checked["organizations"] = len(orgs)
	for org := range orgs {
		_, err := l.Roster.Organization(ctx, org)
		if problem.Is(err, problem.UnknownOrganization) {
			l.tellOf(org, "", OrganizationGone, mending{}, "", "there are invitations to it, and no such organization")
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lookAtEnd looks whether an acceptance was in time.
func (l *look) lookAtEnd(a *account, r *invitation.Record) {
	if r.Outcome == invitation.Accepted && r.DeadlineSeq < r.OutcomeSeq && r.EndedAt.After(r.Deadline.Add(admission.Grace)) {
		l.tell(a, LateAcceptance, mending{}, "", "it was accepted at %s, after its deadline of %s", said(r.EndedAt), said(r.Deadline))
	}
}

// lookAtMembership compares the acceptance with what came of it.
func (l *look) lookAtMembership(a *account, r *invitation.Record) {
	if a.joined == nil {
		if r.Outcome == invitation.Accepted && !r.Refused && l.done(consumerAcceptance, r.OutcomeSeq) {
			l.tellUndone(a, MembershipMissing, r.OutcomeSeq, "acceptance", "it was accepted at "+said(r.EndedAt)+", and there is neither a membership nor a refusal")
		}
		return
	}
	l.checked["memberships"]++
	j := a.joined
	switch {
	case r.Outcome != invitation.Accepted && !l.aged(a):
		l.tell(a, MembershipUnasked, mending{}, "", "a membership at sequence %d comes of it, and it was never accepted", j.sequence)
	case r.Refused:
		l.tell(a, MembershipRefused, mending{}, "", "the acceptance was refused for good (%s), and there is a membership at sequence %d all the same", r.Reason, j.sequence)
	case j.times > 1 || j.again:
		l.tell(a, MembershipTwice, mending{}, "", "the person was made a member more than once by it, or was one already; the first counts")
	}
	if j.elsewhere != "" {
		l.tell(a, MembershipMisplaced, mending{}, "", "its membership is stored on %s, and says that it is of somebody else", j.elsewhere)
	}
	if q := r.Request; q != nil && !(j.of(q) && l.granted(q.Role, j.role)) {
		l.tell(a, MembershipDiffers, mending{}, "", "its membership at sequence %d is not of the person, address or role that were invited", j.sequence)
	}
}

// of reports whether a membership is of the person and address that were invited.
func (j *joined) of(q *events.InvitationRequested) bool {
	return j.person == maphash.String(seed, q.Person) && j.email == maphash.String(seed, q.Email)
}

// granted reports whether an invitation to a role may lead to that one: a lower one, where the inviter could not give more.
func (l *look) granted(invited, role string) bool {
	return invited == role || l.Roster.Roles().MayGrant(invited, role)
}

// tellUndone tells that a worker is past an event and did not do what it asks for. The event is handed to the worker again:
// what is to be done is the worker's to decide. Where the worker gave it up, that is the operator's to decide.
func (l *look) tellUndone(a *account, kind Kind, sequence uint64, worker, detail string) {
	if letter, dead := l.read.letters[sequence]; dead {
		l.tell(a, kind, mending{}, "", "%s: the event is dead letter %d (%s), to be redriven once the cause is mended", detail, letter.sequence, letter.reason)
		return
	}
	again := mending{act: func(ctx context.Context) error { return l.handAgain(ctx, sequence, worker) }}
	l.tell(a, kind, again, "", "%s; the event at sequence %d is to be handed to %s again", detail, sequence, worker)
}

// lookAtExpiry compares the deadline with its timer, which is also the claim on the address.
func (l *look) lookAtExpiry(a *account, r *invitation.Record) {
	claim := events.ClaimSubject(r.Organization, r.Request.Person)
	t, set := l.read.claims[claim]
	own := set && t.about == a
	due := r.Deadline.Add(admission.Grace)
	switch {
	case own && l.now.Sub(t.at) > l.Settle:
		l.tell(a, TimerOverdue, mending{}, "expiry", "its expiry timer was to fire at %s and is still there: the broker does not fire timers", said(t.at))
	case r.Outcome != "":
		if own {
			l.tell(a, ExpiryTimerLeft, l.stopping(claim, t.sequence), "", "it has ended, and its expiry timer at sequence %d goes on; the timer is to go", t.sequence)
		}
	case l.now.Sub(due) > l.Settle:
		if l.done(consumerExpiry, a.expired) {
			l.tell(a, ExpiryOverdue, mending{act: func(ctx context.Context) error { return l.announce(ctx, *r) }}, "",
				"its deadline of %s has passed, and it was not ended; that is to be announced again", said(r.Deadline))
		}
	case l.now.After(r.Deadline): // within the grace; the timer is about to fire
	case set && !own && t.about.open(l.now):
		l.tell(a, ExpiryTimerMissing, mending{}, "", "it is open until %s, and so is %s for the same address, whose timer it is; one of the two is to be taken back",
			said(r.Deadline), t.about.invitation())
	case !own:
		l.tell(a, ExpiryTimerMissing, l.timing(r, t.sequence), "", "it is open until %s, and its expiry timer is not there; it is to be set again", said(r.Deadline))
	case !t.at.Equal(due):
		l.tell(a, ExpiryTimerWrong, l.timing(r, t.sequence), "", "it is open until %s, and its expiry timer fires at %s; it is to be set for %s", said(r.Deadline), said(t.at), said(due))
	}
}

// lookAtMail looks whether what asks for a mail was done, and whether the link that was mailed is in the index.
func (l *look) lookAtMail(a *account, r *invitation.Record) {
	if r.DeliveryState() == invitation.Bounced || r.DeliveryState() == invitation.Complained {
		l.lookAtSuppression(a, r)
	}
	if r.StatusAt(l.now) != invitation.Pending {
		return
	}
	if r.DeliveryState() == invitation.Queued {
		consumer := ledger.ConsumerMailer
		if r.Intent != r.Requested {
			consumer = consumerResend
		}
		if l.done(consumer, r.Intent) {
			l.tellUndone(a, MailMissing, r.Intent, consumer, "a mail was asked for, and neither sent nor refused")
		}
		return
	}
	if l.Links != nil && !a.token {
		l.tell(a, TokenMissing, l.indexing(r), "", "its link was mailed and is not in the token index; it is to be put back")
	}
}

// indexing puts a link back into the token index.
func (l *look) indexing(r *invitation.Record) mending {
	token, err := l.Links.Derive(links.PurposeInvite, r.ID, r.Generation)
	if err != nil {
		return mending{}
	}
	return mending{token: &redisdb.Token{Hash: token.Hash(), Organization: r.Organization, Invitation: r.ID, ExpiresAt: r.Deadline}}
}

// lookAtSuppression looks whether an address that the provider reported is written to no more.
func (l *look) lookAtSuppression(a *account, r *invitation.Record) {
	reason := suppressions.Bounced
	if r.DeliveryState() == invitation.Complained {
		reason = suppressions.Complained
	}
	if _, known := l.Suppressions.Get(r.Request.Person); known || !a.reported {
		return
	}
	person, id := r.Request.Person, r.ID
	l.tell(a, SuppressionMissing, mending{act: func(ctx context.Context) error {
		return l.Suppressions.Add(ctx, person, suppressions.Suppression{Reason: reason, Invitation: id})
	}}, "", "the provider reported that the mail %s, and the address is not on the list of those that are not written to; it is to be put there", reason)
}

// reminds reports whether that sequence is a reminder's.
func (a *account) reminds(sequence uint64) bool { return slices.Contains(a.reminders, sequence) }

// lookAtReminder looks whether somebody who is to be reminded will be.
func (l *look) lookAtReminder(ctx context.Context, a *account, r *invitation.Record) error {
	if t := a.reminder; t.sequence != 0 {
		if l.now.Sub(t.at) > l.Settle {
			l.tell(a, TimerOverdue, mending{}, "reminder", "its reminder's timer was to fire at %s and is still there: the broker does not fire timers", said(t.at))
		}
		return nil
	}
	if r.StatusAt(l.now) != invitation.Pending || r.SentIntent == 0 || !l.done(ledger.ConsumerMailer, r.Requested) {
		return nil
	}
	for _, sequence := range a.reminders {
		if !l.done(consumerReminder, sequence) {
			return nil
		}
	}
	org, err := l.Roster.Organization(ctx, r.Organization)
	if problem.Is(err, problem.UnknownOrganization) {
		return nil
	}
	if err != nil {
		return err
	}
	l.lookForReminder(a, r, org)
	return nil
}

// lookForReminder tells of the next reminder that has no timer. Where the organization was changed since, its policy may be
// younger than the timer that was not set.
func (l *look) lookForReminder(a *account, r *invitation.Record, org roster.Organization) {
	if !org.ChangedAt().Before(r.RequestedAt) {
		return
	}
	for n := len(a.reminders) + 1; ; n++ {
		after, ok := admission.ReminderAfter(org.Policy, n)
		due := r.RequestedAt.Add(after)
		if !ok || !due.Before(r.Deadline) {
			return
		}
		if due.After(l.now) {
			l.tell(a, ReminderTimerMissing, l.reminding(*r, n, due), "", "reminder %d is due at %s, and its timer is not there; it is to be set again", n, said(due))
			return
		}
	}
}
