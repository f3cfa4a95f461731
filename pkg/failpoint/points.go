package failpoint

// Steps are what points stand between, in the order in which they are taken. What is built does some of the plan's steps at
// once or in another order: the idempotency record comes before the request is judged, claim and token hash go to Redis in one
// round trip, and the membership is the very event that says so.
//
//	API         A1 authenticate, A3 idempotency record, A2 authorise and validate, A4 publish InvitationRequested, A5 answer
//	Mailer      M1 receive, M2 claim, M3 store the token's hash, M4 render, M5 call the provider, M6 publish InvitationSent, M7 ack
//	Accept      C1 GET, C2 POST, C3 check token and state, C4 publish InvitationAccepted, C5 answer and clean up
//	Acceptance  P1 receive, P2 decide, P3 provision, P4 publish MembershipProvisioned, P5 ack
var Steps = [][]string{
	{"A1", "A3", "A2", "A4", "A5"},
	{"M1", "M2", "M3", "M4", "M5", "M6", "M7"},
	{"C1", "C2", "C3", "C4", "C5"},
	{"P1", "P2", "P3", "P4", "P5"},
}

// A request over HTTP, and what admission does of it for every door.
const (
	APIAuthenticated   Name = "api.authenticated"
	APILeased          Name = "api.leased"
	AdmissionJudged    Name = "admission.judged"
	AdmissionPublished Name = "admission.published"
	AdmissionRetaking  Name = "admission.retaking"
	APIAdmitted        Name = "api.admitted"
	BulkAdmitted       Name = "bulk.admitted"
	APIAnswered        Name = "api.answered"
	APIKept            Name = "api.kept"
)

// A mail.
const (
	MailerReceived   Name = "mailer.received"
	MailerClaimed    Name = "mailer.claimed"
	MailerUnneeded   Name = "mailer.unneeded"
	MailerNeeded     Name = "mailer.needed"
	MailerSuppressed Name = "mailer.suppressed"
	MailerRendered   Name = "mailer.rendered"
	MailerCalling    Name = "mailer.calling"
	MailgunWriting   Name = "mailgun.writing"
	MailgunHeard     Name = "mailgun.heard"
	MailgunHalved    Name = "mailgun.halved"
	MailerSent       Name = "mailer.sent"
	MailerRecorded   Name = "mailer.recorded"
	MailerBounced    Name = "mailer.bounced"
	MailerMailed     Name = "mailer.mailed"
	MailerFound      Name = "mailer.found"
	MailerFoundTold  Name = "mailer.found_told"
	MailerTakenOver  Name = "mailer.taken_over"
	ReminderDue      Name = "reminder.due"
	ReminderMailed   Name = "reminder.mailed"
)

// What an invitee does.
const (
	PagesEntered     Name = "page.entered"
	PagesShown       Name = "page.shown"
	PagesPosted      Name = "page.posted"
	AcceptAsked      Name = "accept.asked"
	LinkFound        Name = "link.found"
	AcceptChecked    Name = "accept.checked"
	DeclineChecked   Name = "decline.checked"
	OutcomePublished Name = "outcome.published"
	AcceptLearned    Name = "accept.learned"
	DeclineLearned   Name = "decline.learned"
	PagesAnswered    Name = "page.answered"
	RenewAdmitted    Name = "renew.admitted"
)

// The membership, and the end of an invitation's time.
const (
	AcceptanceReceived    Name = "acceptance.received"
	AcceptanceRead        Name = "acceptance.read"
	AcceptanceDecided     Name = "acceptance.decided"
	AcceptanceProvisioned Name = "acceptance.provisioned"
	AcceptanceRefusing    Name = "acceptance.refusing"
	ExpiryReceived        Name = "expiry.received"
	ExpiryRead            Name = "expiry.read"
	AcceptanceTold        Name = "acceptance.told"
)

// What managers and apps do.
const (
	RevokeChecked      Name = "revoke.checked"
	RevokePublished    Name = "revoke.published"
	RevokeLearned      Name = "revoke.learned"
	RevokeSettled      Name = "revoke.settled"
	ResendJudged       Name = "resend.judged"
	ResendPublished    Name = "resend.published"
	ResendLearned      Name = "resend.learned"
	ReplaceEnded       Name = "replace.ended"
	OrganizationStored Name = "organization.stored"
	OrganizationOwned  Name = "organization.owned"
	LogoKept           Name = "logo.kept"
	LogoNamed          Name = "logo.named"
	MemberJudged       Name = "member.judged"
	MemberPublished    Name = "member.published"
	BusDoorReceived    Name = "busdoor.received"
	BusDoorAdmitted    Name = "busdoor.admitted"
	BusDoorRejecting   Name = "busdoor.rejecting"
	BusDoorRejected    Name = "busdoor.rejected"
)

// The provider's webhooks.
const (
	WebhookSigned     Name = "webhook.signed"
	WebhookMarked     Name = "webhook.marked"
	WebhookSuppressed Name = "webhook.suppressed"
	WebhookFailed     Name = "webhook.failed"
	WebhookRecorded   Name = "webhook.recorded"
)

// Bulk jobs.
const (
	ImportOpened     Name = "import.opened"
	ImportPageKept   Name = "import.page_kept"
	ImportRead       Name = "import.read"
	ImportClaimed    Name = "import.claimed"
	ImportRow        Name = "import.row"
	ImportInvited    Name = "import.invited"
	ImportPageSent   Name = "import.page_sent"
	ImportCounted    Name = "import.counted"
	ImportForgetting Name = "import.forgetting"
)

// The bus, for every handler.
const (
	BusHandled       Name = "bus.handled"
	BusAnswered      Name = "bus.answered"
	BusRetrying      Name = "bus.retrying"
	BusBurying       Name = "bus.burying"
	BusBuried        Name = "bus.buried"
	RedriveFound     Name = "redrive.found"
	RedrivePublished Name = "redrive.published"
)

// Group commit in the ledger.
const (
	LedgerBatchStoring Name = "ledger.batch_storing"
	LedgerBatchStored  Name = "ledger.batch_stored"
	LedgerBatchRefused Name = "ledger.batch_refused"
	LedgerHalved       Name = "ledger.halved"
	LedgerApart        Name = "ledger.apart"
	LedgerAloneStoring Name = "ledger.alone_storing"
	LedgerAloneStored  Name = "ledger.alone_stored"
	LedgerGuarded      Name = "ledger.guarded"
)

// The views.
const (
	ViewsReceived Name = "views.received"
	ViewsRead     Name = "views.read"
	ViewsApplied  Name = "views.applied"
	FollowHandled Name = "follow.handled"
	FollowAcking  Name = "follow.acking"
	RebuildMerged Name = "rebuild.merged"
	RebuildWindow Name = "rebuild.window"
)

// A start.
const (
	StartSettings  Name = "start.settings"
	StartBroker    Name = "start.broker"
	StartStream    Name = "start.stream"
	StartBucket    Name = "start.bucket"
	StartObjects   Name = "start.objects"
	StartPersonKey Name = "start.person_key"
	StartLedger    Name = "start.ledger"
	StartRedis     Name = "start.redis"
	StartKey       Name = "start.key"
	StartMemory    Name = "start.memory"
	StartListening Name = "start.listening"
	StartConsumer  Name = "start.consumer"
)

// A stop.
const (
	StopSignalled Name = "stop.signalled"
	StopServed    Name = "stop.served"
	StopDrained   Name = "stop.drained"
	StopHandled   Name = "stop.handled"
	StopClosing   Name = "stop.closing"
)

// Points are all points, roughly in the order in which an invitation comes by them. Each is passed in one place of the source.
var Points = []Point{
	{APIAuthenticated, "A1-A3", "The key is known and the body has arrived, of a request with an Idempotency-Key; nothing has been written."},
	{APILeased, "A3-A2", "The idempotency record is a lease in Redis; the request has not been judged."},
	{AdmissionJudged, "A2-A4", "The requests passed the rules or were refused; nothing has been published."},
	{AdmissionPublished, "A4-A5", "The ledger has answered; the caller has not been told."},
	{AdmissionRetaking, "A2-A4", "An ended invitation holds the address; the unit that takes it over has not been published."},
	{APIAdmitted, "A4-A5", "One invitation is in the ledger; the views have not been told."},
	{BulkAdmitted, "A4-A5", "All rows of a bulk request are in the ledger or refused; the views have not been told."},
	{APIAnswered, "A4-A5", "The answer to a request with an Idempotency-Key is made; it has not been kept."},
	{APIKept, "A4-A5", "The answer is kept in Redis; no byte of it has been sent."},

	{MailerReceived, "M1-M2", "The intent has been read; nothing has been claimed."},
	{MailerClaimed, "M2-M4", "Claim and token hash are in Redis, by one round trip; the ledger has not been looked at."},
	{MailerUnneeded, "", "The ledger says that no mail is wanted; the claim has not been given up."},
	{MailerNeeded, "M3-M4", "The ledger says that the mail is wanted; it has not been written."},
	{MailerSuppressed, "", "The bounce of a suppressed address is published; the claim has not been given up."},
	{MailerRendered, "M4-M5", "The mail is written; it has not been handed to the batching."},
	{MailerCalling, "M4-M5", "A batch has its turn; the provider has not been called."},
	{MailgunWriting, "M5", "The head of a call to Mailgun is written; the rest of it may not have left."},
	{MailgunHeard, "M5", "Mailgun has begun to answer; the answer has not been read."},
	{MailgunHalved, "M5", "The first half of a refused call has been made again; the second has not."},
	{MailerSent, "M5-M6", "The provider has answered, or not in time; the ledger has not been told."},
	{MailerRecorded, "M6-M7", "InvitationSent is in the ledger; the claim has not been given up."},
	{MailerBounced, "", "The provider's refusal is in the ledger; the claim has not been given up."},
	{MailerMailed, "M6-M7", "The first mail is done and its claim given up; the reminder's timer has not been set."},
	{MailerFound, "", "A dead worker's mail was found at the provider; the ledger has not been told."},
	{MailerFoundTold, "", "The ledger has been told of a dead worker's mail; its claim has not been given up."},
	{MailerTakenOver, "", "A dead worker's claim has been taken over; the ledger has not been looked at again."},
	{ReminderDue, "", "A reminder's timer fired; nothing has been read."},
	{ReminderMailed, "", "A reminder is done and its claim given up; the next one's timer has not been set."},

	{PagesEntered, "C1-C2", "The link was looked up; neither cookie nor redirect has been sent."},
	{PagesShown, "C1-C2", "The page with the form has been written."},
	{PagesPosted, "C2-C3", "The form has been read; nothing has been looked up."},
	{AcceptAsked, "C2-C3", "Somebody says yes, at whichever door; the token has not been verified."},
	{LinkFound, "C3", "The token index in Redis has answered; the ledger has not been asked."},
	{AcceptChecked, "C3-C4", "The invitation may be accepted; the outcome has not been published."},
	{DeclineChecked, "C3-C4", "The invitation may be declined; the outcome has not been published."},
	{OutcomePublished, "C4-C5", "An accept, decline or revoke is in the ledger; whoever asked for it has not been told."},
	{AcceptLearned, "C4-C5", "The accept is in ledger and views; it has not been answered."},
	{DeclineLearned, "C4-C5", "The decline is in ledger and views; it has not been answered."},
	{PagesAnswered, "C4-C5", "The page's accept was successful; neither cookie nor redirect has been sent."},
	{RenewAdmitted, "", "A new invitation was made in place of an expired one; the wish has not been written down."},

	{AcceptanceReceived, "P1-P2", "The accept has been received; nothing has been read."},
	{AcceptanceRead, "P1-P2", "The invitation's record has been read; the inviter's authority has not."},
	{AcceptanceDecided, "P2-P3", "The role to be given is decided; the membership has not been published."},
	{AcceptanceProvisioned, "P3-P5", "MembershipProvisioned, which is the membership, is in the ledger; memory has not been told and nothing has been acked."},
	{AcceptanceRefusing, "P2-P3", "The accept leads to no membership; that has not been published."},
	{ExpiryReceived, "", "A deadline's timer fired; nothing has been read."},
	{ExpiryRead, "", "The record says that the deadline passed; the outcome has not been published."},
	{AcceptanceTold, "", "The ledger has answered an expiry or a refusal; nothing has been acked."},

	{RevokeChecked, "", "The invitation may be revoked; the outcome has not been published."},
	{RevokePublished, "", "The revoke is in the ledger; the views have not been told."},
	{RevokeLearned, "", "The revoke is in ledger and views; the mailer's claim has not been looked at."},
	{RevokeSettled, "", "No mail is under way any more; the revoke has not been answered."},
	{ResendJudged, "", "The address's claim has been read; neither deadline nor resend has been published."},
	{ResendPublished, "", "The new deadline, and the rotated generation, are in the ledger; the views have not been told."},
	{ResendLearned, "", "The resend is in ledger and views; it has not been answered."},
	{ReplaceEnded, "", "The bounced invitation has been revoked; the one that replaces it has not been admitted."},
	{OrganizationStored, "", "The organization is in its bucket; its owner is no member yet."},
	{OrganizationOwned, "", "Organization and owner are stored; the request has not been answered."},
	{LogoKept, "", "The picture is kept; the organization does not name it."},
	{LogoNamed, "", "The organization names the new picture; the one before is still kept."},
	{MemberJudged, "", "The change of a member is allowed; it has not been published."},
	{MemberPublished, "", "The change of a member is in the ledger; memory has not been told."},
	{BusDoorReceived, "", "An app's request has been received; nothing has been judged."},
	{BusDoorAdmitted, "", "An app's invitation is in the ledger; the views have not been told."},
	{BusDoorRejecting, "", "An app's request is refused; the rejection has not been published."},
	{BusDoorRejected, "", "The ledger has answered the rejection; the request has not been acked."},

	{WebhookSigned, "", "The signature is right; nothing has been written."},
	{WebhookMarked, "", "The webhook's token is marked as seen; nothing it says has been stored."},
	{WebhookSuppressed, "", "The address is on the list where it must be; the delivery has not been published."},
	{WebhookFailed, "", "What it says could not be stored; its token is still marked as seen."},
	{WebhookRecorded, "", "All it says is stored; it has not been answered."},

	{ImportOpened, "", "The job is stored as uploading; it has no rows."},
	{ImportPageKept, "", "A page of rows is stored; the next has not been read."},
	{ImportRead, "", "All pages are stored; the job is not ready yet."},
	{ImportClaimed, "", "The lease of a page is taken; nobody of it has been invited."},
	{ImportRow, "", "One row has its verdict, in memory; the next has not."},
	{ImportInvited, "", "All rows of a page have their verdict; the page has not been stored."},
	{ImportPageSent, "", "The page is stored with its verdicts; the job does not count it yet."},
	{ImportCounted, "", "The job counts the page and its lease is given back; the next has not begun."},
	{ImportForgetting, "", "The rows of a job that came to nothing are deleted; the job is still there."},

	{BusHandled, "M6-M7, P4-P5", "A message is done with; it has not been acked."},
	{BusAnswered, "M7, P5", "The ack or nak has left, and is confirmed where that is wanted; the message is still held here."},
	{BusRetrying, "", "A message is to be tried again; the broker has not been told."},
	{BusBurying, "", "A message is given up; its dead letter has not been published."},
	{BusBuried, "", "The dead letter is published; the message has not been acked."},
	{RedriveFound, "", "Dead letters that something is to be done about have been read; nothing has been published."},
	{RedrivePublished, "", "What is done about dead letters is stored; the operator has not been told."},

	{LedgerBatchStoring, "", "A batch, or a unit of several messages, is gathered; it has not been published."},
	{LedgerBatchStored, "A4", "A batch, or a unit of several messages, is stored; no caller has been told."},
	{LedgerBatchRefused, "", "A batch was refused and stored nothing; none of its units has been tried again."},
	{LedgerHalved, "", "The first half of a refused batch has been settled; the second has not."},
	{LedgerApart, "", "Units have been stored; those that expect the same filter as one of them wait for the next batch."},
	{LedgerAloneStoring, "", "One message is to be stored by itself; it has not been published."},
	{LedgerAloneStored, "A4, C4, M6, P4", "One message is stored; its caller has not been told."},
	{LedgerGuarded, "", "The first message of a guarded unit is stored; the one that it guards has not been published."},

	{ViewsReceived, "", "Events have been received; the records they change have not been read."},
	{ViewsRead, "", "The records have been read from Redis; nothing has been applied."},
	{ViewsApplied, "", "An organization's changes are applied; conflicts, and other organizations, have not been looked at."},
	{FollowHandled, "", "A batch of events is handled; none has been acked."},
	{FollowAcking, "", "One event of a handled batch has been acked; the next has not."},
	{RebuildMerged, "", "Some records of a rebuild are written; the links of those that are open are not."},
	{RebuildWindow, "", "One window of a rebuild is written; the next has not been read."},

	{StartSettings, "", "The settings are right; nothing has been opened."},
	{StartBroker, "", "The broker is connected; no stream has been looked at."},
	{StartStream, "", "A stream is to be made or checked; those before it are."},
	{StartBucket, "", "A bucket is to be made or checked; those before it are, and all streams."},
	{StartObjects, "", "An object store is to be made or checked; those before it are, and all buckets."},
	{StartPersonKey, "", "The key of the address hash is made or read; nothing has been published."},
	{StartLedger, "", "The ledger is open; Redis is not."},
	{StartRedis, "", "Redis is open and checked; memory is empty."},
	{StartKey, "", "The bootstrap key is adopted; the service has not been made."},
	{StartMemory, "", "Memory is filled; the service has not been made."},
	{StartListening, "", "The HTTP address is taken; nothing is served."},
	{StartConsumer, "", "One consumer is made or found; nothing has been asked of it."},

	{StopSignalled, "", "The process is to end and says that it is not ready; requests are still taken."},
	{StopServed, "", "Running requests have been answered; handlers and jobs still run."},
	{StopDrained, "", "No more messages come; handlers still run and hold theirs."},
	{StopHandled, "", "Every handler has ended; the broker may not have every ack."},
	{StopClosing, "", "The service has ended; nothing it stands on has been closed."},
}
