package events

import (
	"strconv"
	"strings"
)

// Streams of the pipeline.
const (
	StreamRequests    = "REQUESTS"
	StreamInvitations = "INVITATIONS"
	StreamMemberships = "MEMBERSHIPS"
	StreamDeadLetters = "DEADLETTERS"
	// StreamUndelivered keeps what the broker says about messages that it will not hand out again.
	StreamUndelivered = "UNDELIVERED"
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

// AnyWorker stands for every worker in a filter.
const AnyWorker = "*"

// DeadLetterSubject is where a worker leaves the message that it could not handle. Stream and sequence are of the message as
// it was handed to the worker; because the subject names them, publishing there with "expected last sequence 0" keeps one
// letter, however often a crash repeats it.
func DeadLetterSubject(worker, stream string, sequence uint64) string {
	return RootDeadLetters + "." + worker + ".letter." + stream + "." + strconv.FormatUint(sequence, 10)
}

// DeadLetterFilter matches the dead letters of a worker, and nothing that was done about them.
func DeadLetterFilter(worker string) string { return RootDeadLetters + "." + worker + ".letter.>" }

// SplitDeadLetter takes a DeadLetterSubject apart.
func SplitDeadLetter(subject string) (worker, stream string, sequence uint64, ok bool) {
	part := strings.Split(subject, ".")
	if len(part) != 5 || part[0] != RootDeadLetters || part[2] != "letter" {
		return "", "", 0, false
	}
	sequence, err := strconv.ParseUint(part[4], 10, 64)
	return part[1], part[3], sequence, err == nil
}

// DeadAct is what was done about a dead letter.
type DeadAct string

// The acts. Pruned is told of many letters at once, all others of one.
const (
	DeadAgain     DeadAct = "again"     // an operator had it handed to its worker again; the message is the letter
	DeadDone      DeadAct = "done"      // the worker handled what was handed to it again
	DeadDismissed DeadAct = "dismissed" // an operator decided that nothing needs to be done
	DeadPruned    DeadAct = "pruned"    // an operator removed letters that were over
)

// DeadActSubject is where an act about one dead letter is published. Acts have no events in them, but headers alone.
func DeadActSubject(worker string, act DeadAct, letter uint64) string {
	return RootDeadLetters + "." + worker + "." + string(act) + "." + strconv.FormatUint(letter, 10)
}

// DeadActsFilter matches every act about one dead letter. The last message on it tells how the letter stands, so acts expect
// a last sequence on it, 0 for "nothing was done yet": of two operators one acts.
func DeadActsFilter(worker string, letter uint64) string {
	return DeadActSubject(worker, "*", letter)
}

// SplitDeadAct takes a DeadActSubject apart.
func SplitDeadAct(subject string) (worker string, act DeadAct, letter uint64, ok bool) {
	part := strings.Split(subject, ".")
	if len(part) != 4 || part[0] != RootDeadLetters {
		return "", "", 0, false
	}
	letter, err := strconv.ParseUint(part[3], 10, 64)
	return part[1], DeadAct(part[2]), letter, err == nil
}

// RedriveSubject is where a message that is no dead letter is handed to a worker once more, with the headers of one.
func RedriveSubject(worker string) string {
	return RootDeadLetters + "." + worker + "." + string(DeadAgain)
}

// RedriveFilter is where a worker hears the dead letters that are handed to it again. What is on RedriveSubject it hears, too.
func RedriveFilter(worker string) string {
	return RootDeadLetters + "." + worker + "." + string(DeadAgain) + ".*"
}

// What the broker publishes about a message that it will not hand out again.
const (
	advisoryRoot       = "$JS.EVENT.ADVISORY.CONSUMER."
	AdvisoryExceeded   = "MAX_DELIVERIES"
	AdvisoryTerminated = "MSG_TERMINATED"
)

// UndeliveredSubjects are where the broker says that about the messages of a stream, whichever the consumer.
func UndeliveredSubjects(stream string) []string {
	return []string{advisoryRoot + AdvisoryExceeded + "." + stream + ".*", advisoryRoot + AdvisoryTerminated + "." + stream + ".*"}
}

// SubjectProofs is where the mailer answers who asks to see a mail, or to get one for trying. No stream keeps what is said
// there: it is no fact.
const SubjectProofs = "mailer.proofs"

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
