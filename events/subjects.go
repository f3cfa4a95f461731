package events

import "strings"

// Streams of the pipeline.
const (
	StreamRequests    = "REQUESTS"
	StreamInvitations = "INVITATIONS"
	StreamMemberships = "MEMBERSHIPS"
	StreamDeadLetters = "DEADLETTERS"
)

// Subject roots, one per stream.
const (
	RootRequests    = "requests"
	RootInvitations = "invitations"
	RootMemberships = "memberships"
	RootDeadLetters = "deadletters"
)

// What follows invitations.<org>.<id>. in a subject.
const (
	FactRequested   = "requested"
	FactSent        = "sent"
	FactResend      = "resend"
	FactReminded    = "reminded"
	FactRefused     = "refused"
	FactOpened      = "opened"
	FactRenewal     = "renewal"
	FactNoticed     = "noticed"
	FactDelivered   = "delivery.delivered"
	FactDeferred    = "delivery.deferred"
	FactBounced     = "delivery.bounced"
	FactComplained  = "delivery.complained"
	FactAccepted    = "outcome.accepted"
	FactDeclined    = "outcome.declined"
	FactRevoked     = "outcome.revoked"
	FactExpired     = "outcome.expired"
	FactRejected    = "outcome.rejected"
	FactExpiryDue   = "due.expiry"
	FactReminderDue = "due.reminder"
	factAnyOutcome  = "outcome.*"
	timerReminder   = "timer.reminder"
	timerExpiry     = "timer.expiry"
)

// ValidOrganization reports whether s may name an organization: 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit.
func ValidOrganization(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '_' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// ValidApp reports whether s may name an upstream app; the rule is that of organizations.
func ValidApp(s string) bool { return ValidOrganization(s) }

// RequestSubject is where an upstream app publishes InvitationRequested.
func RequestSubject(app string) string { return RootRequests + "." + app }

// InvitationSubject is where a fact about one invitation is published.
func InvitationSubject(org, id, fact string) string {
	return RootInvitations + "." + org + "." + id + "." + fact
}

// OutcomeFilter matches every way an invitation can end. The first message on it wins.
func OutcomeFilter(org, id string) string { return InvitationSubject(org, id, factAnyOutcome) }

// InvitationFilter matches everything said about one invitation, its timers apart.
func InvitationFilter(org, id string) string { return InvitationSubject(org, id, ">") }

// AnyOrganization stands for every organization in a filter.
const AnyOrganization = "*"

// ClaimSubject holds the expiry timer of the invitation that is open for one person in one organization. Because the
// subject names the person and not the invitation, publishing there with "expected last sequence 0" is the claim that
// keeps open invitations unique, and it ends by itself: when the timer fires, or when an outcome purges it.
func ClaimSubject(org, person string) string {
	return RootInvitations + "." + org + "." + person + "." + timerExpiry
}

// SplitClaim takes a ClaimSubject apart.
func SplitClaim(subject string) (org, person string, ok bool) {
	rest, ok := strings.CutPrefix(subject, RootInvitations+".")
	if !ok {
		return "", "", false
	}
	org, rest, _ = strings.Cut(rest, ".")
	person, fact, _ := strings.Cut(rest, ".")
	return org, person, org != "" && person != "" && fact == timerExpiry
}

// ReminderTimerSubject holds the next reminder of one invitation.
func ReminderTimerSubject(org, id string) string { return InvitationSubject(org, id, timerReminder) }

// MembershipSubject is where the membership of one person in one organization lives; the last message is the membership.
func MembershipSubject(org, person string) string { return RootMemberships + "." + org + "." + person }

// DeadLetterSubject is where a worker leaves what it could not handle.
func DeadLetterSubject(worker string) string { return RootDeadLetters + "." + worker }

// SubjectProofs is where the mailer answers who asks to see a mail, or to get one for trying. No stream keeps what is said
// there: it is no fact.
const SubjectProofs = "mailer.proofs"

// RedriveSubject is where a dead letter of a worker is put for the worker to try again.
func RedriveSubject(worker string) string { return DeadLetterSubject(worker) + ".again" }

// SplitInvitation takes a subject of the ledger apart. ok is false where the subject is not a fact about an invitation.
func SplitInvitation(subject string) (org, id, fact string, ok bool) {
	rest, ok := strings.CutPrefix(subject, RootInvitations+".")
	if !ok {
		return "", "", "", false
	}
	org, rest, _ = strings.Cut(rest, ".")
	id, fact, ok = strings.Cut(rest, ".")
	if !ok || org == "" || fact == "" || !strings.HasPrefix(id, PrefixInvitation+"_") {
		return "", "", "", false
	}
	return org, id, fact, true
}

// SplitMembership takes a subject of MEMBERSHIPS apart.
func SplitMembership(subject string) (org, person string, ok bool) {
	rest, ok := strings.CutPrefix(subject, RootMemberships+".")
	if !ok {
		return "", "", false
	}
	org, person, ok = strings.Cut(rest, ".")
	return org, person, ok && org != "" && person != "" && !strings.Contains(person, ".")
}

// SplitRequest is the app that a request's subject names.
func SplitRequest(subject string) (app string, ok bool) {
	app, ok = strings.CutPrefix(subject, RootRequests+".")
	return app, ok && ValidApp(app)
}
