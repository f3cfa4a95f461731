package check

// Kind is the stable name of a kind of disagreement.
type Kind string

// What the ledger itself says that cannot be. None of these has one right answer: something was lost, or written by
// somebody else.
const (
	UnreadableEvent  Kind = "unreadable-event"  // an event cannot be decoded
	RequestMissing   Kind = "request-missing"   // something happened to an invitation that nobody asked for
	SecondOutcome    Kind = "second-outcome"    // an invitation ended twice
	LateAcceptance   Kind = "late-acceptance"   // it was accepted after its deadline
	SequenceGap      Kind = "sequence-gap"      // messages are missing, and no timer explains it
	OrganizationGone Kind = "organization-gone" // there is no such organization
)

// Memberships. A missing one is the acceptance worker's to make, so a repair hands it the acceptance again.
const (
	MembershipMissing   Kind = "membership-missing"   // accepted, and neither a member nor refused
	MembershipUnasked   Kind = "membership-unasked"   // a member by an invitation that was not accepted
	MembershipDiffers   Kind = "membership-differs"   // not the person, address or role of the invitation
	MembershipTwice     Kind = "membership-twice"     // made a member twice
	MembershipMisplaced Kind = "membership-misplaced" // the subject names another person than the body
	MembershipRefused   Kind = "membership-refused"   // refused for good, and a member all the same
)

// Views: the records in Redis and the lists over them. The ledger decides, so all have one right answer, except where Redis
// knows what the ledger lost.
const (
	ViewMissing    Kind = "view-missing"    // Redis has no record
	ViewStale      Kind = "view-stale"      // the record lacks what the ledger says
	ViewWrong      Kind = "view-wrong"      // the record says what the ledger does not
	ViewUnreadable Kind = "view-unreadable" // the record cannot be read
	ViewAhead      Kind = "view-ahead"      // the record tells of a message that the ledger has not, or not any more
	ViewUnknown    Kind = "view-unknown"    // a record of an invitation that the ledger never heard of
	IndexMissing   Kind = "index-missing"   // the invitation is in no list, or not where it belongs
	IndexOrphan    Kind = "index-orphan"    // a list shows an invitation that does not belong there
	IndexUnlisted  Kind = "index-unlisted"  // an index that no list is read from
	IndexEmpty     Kind = "index-empty"     // lists are read from an index that is not there
	CountWrong     Kind = "count-wrong"     // a list's count is not the number of its entries
	PersonMissing  Kind = "person-missing"  // the invitation is not among its person's
	PersonOrphan   Kind = "person-orphan"   // an invitation among a person's that is not theirs
)

// The token index.
const (
	TokenMissing Kind = "token-missing" // the link that was mailed is not in the index
	TokenForeign Kind = "token-foreign" // an entry that is no link of that invitation's
)

// Timers.
const (
	ExpiryTimerMissing   Kind = "expiry-timer-missing"   // nothing will announce the deadline
	ExpiryTimerWrong     Kind = "expiry-timer-wrong"     // it will be announced at another time
	ExpiryTimerLeft      Kind = "expiry-timer-left"      // the invitation has ended, and its timer goes on
	ExpiryOverdue        Kind = "expiry-overdue"         // the deadline passed and was not announced
	ReminderTimerMissing Kind = "reminder-timer-missing" // nobody will be reminded
	TimerOverdue         Kind = "timer-overdue"          // a timer's time passed and it did not fire
)

// Mails.
const (
	MailMissing        Kind = "mail-missing"        // asked for, worked on, and neither sent nor refused
	MailUnasked        Kind = "mail-unasked"        // sent without anything that asked for it
	MailTwice          Kind = "mail-twice"          // sent twice for one request
	DeliveryUnasked    Kind = "delivery-unasked"    // delivery of a mail that nobody asked for
	ClaimLeft          Kind = "claim-left"          // somebody still claims a mail that is done with
	ClaimUnknown       Kind = "claim-unknown"       // somebody claims a mail that nobody asked for
	SuppressionMissing Kind = "suppression-missing" // the address bounced or complained, and would be written to again
)

// Consumers and replicas.
const (
	ConsumerMissing Kind = "consumer-missing" // nobody would hear what is published
	ConsumerAhead   Kind = "consumer-ahead"   // it will leave out what is published next
	ReplicaOffline  Kind = "replica-offline"  // a copy's server is not there
	ReplicaBehind   Kind = "replica-behind"   // a copy has fallen behind
	ReplicaDiffers  Kind = "replica-differs"  // two copies hold different messages
)

// restsOnSilence are the kinds whose repair rests on something not being in the ledger. Where the ledger has lost messages,
// it may have been there.
var restsOnSilence = map[Kind]bool{
	ViewWrong: true, ViewUnknown: true, TokenForeign: true, ClaimUnknown: true, MailMissing: true,
	ExpiryTimerMissing: true, ExpiryTimerWrong: true, ExpiryOverdue: true, ReminderTimerMissing: true,
}
