package mailer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/i18n"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/services/mailer/mail"
)

// task is one intent: a mail that an event of the ledger asked for.
type task struct {
	cause   *bus.Received
	purpose mail.Purpose
	// intent is the ledger sequence of that event.
	intent uint64
	// record is what is known of the invitation; its Request is there.
	record invitation.Record
	// number counts reminders; 0 for other mails.
	number int
	anyway bool
	// about is one of the Notice constants for a notice to the inviter; empty for a mail to the invitee.
	about string
	// looked is when the ledger was last asked whether the mail is wanted.
	looked time.Time
	// worker names in claims who works on it.
	worker string
	// before is true where the ledger told that the mail had been sent already.
	before bool
}

// ref names the task's claim.
func (t *task) ref() redisdb.Intent {
	return redisdb.Intent{Organization: t.record.Organization, Invitation: t.record.ID, Sequence: t.intent, Notice: t.about != ""}
}

// requested mails a new invitation.
func (s *Service) requested(ctx context.Context, m *bus.Received) error {
	if m.Waiting > longQueue {
		s.ahead.queueIsLong(m.Sequence)
	}
	return s.first(ctx, m, s.worker)
}

// first mails a new invitation, and sets the timer of the first reminder.
func (s *Service) first(ctx context.Context, m *bus.Received, worker string) error {
	org, id, _, _ := events.SplitInvitation(m.Subject)
	asked, ok := m.Event.Data.(*events.InvitationRequested)
	if !ok {
		return bus.Never("unexpected-event", errors.New("not a request"))
	}
	r := invitation.Record{ID: id, Organization: org}
	r.Apply(m.Event, m.Sequence, m.Time)
	t := &task{cause: m, purpose: mail.PurposeInvitation, intent: m.Sequence, record: r, anyway: asked.SendAnyway, worker: worker}
	if asked.Renewal {
		t.purpose = mail.PurposeRenewal
	}
	if err := s.work(ctx, t); err != nil {
		return err
	}
	failpoint.Here(failpoint.MailerMailed)
	return s.nextReminder(ctx, t)
}

// resend mails an open invitation again.
func (s *Service) resend(ctx context.Context, m *bus.Received) error {
	asked, ok := m.Event.Data.(*events.InvitationResendRequested)
	if !ok {
		return bus.Never("unexpected-event", errors.New("not a resend"))
	}
	r, err := s.known(ctx, m)
	if err != nil {
		return err
	}
	return s.work(ctx, &task{cause: m, purpose: mail.PurposeResend, intent: m.Sequence, record: r, anyway: asked.SendAnyway, worker: s.worker})
}

// reminderDue reminds of an open invitation, and sets the timer of the next reminder.
func (s *Service) reminderDue(ctx context.Context, m *bus.Received) error {
	due, ok := m.Event.Data.(*events.InvitationReminderDue)
	if !ok {
		return bus.Never("unexpected-event", errors.New("not a reminder's timer"))
	}
	failpoint.Here(failpoint.ReminderDue)
	r, err := s.known(ctx, m)
	if err != nil {
		return err
	}
	t := &task{cause: m, purpose: mail.PurposeReminder, intent: m.Sequence, record: r, number: due.Number, worker: s.worker}
	if err := s.work(ctx, t); err != nil {
		return err
	}
	failpoint.Here(failpoint.ReminderMailed)
	return s.nextReminder(ctx, t)
}

func (s *Service) known(ctx context.Context, m *bus.Received) (invitation.Record, error) {
	org, id, _, _ := events.SplitInvitation(m.Subject)
	r, err := invitation.Load(ctx, s.Ledger, org, id)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && r.Request == nil {
		return r, bus.Never("unknown-invitation", errors.New("there is no record of this invitation"))
	}
	return r, err
}

// nextReminder sets the timer of the first reminder after this one whose time is still to come.
func (s *Service) nextReminder(ctx context.Context, t *task) error {
	org, err := s.Roster.Organization(ctx, t.record.Organization)
	if err != nil {
		return err
	}
	number, due := t.number, time.Time{}
	for !due.After(s.Ledger.Now()) {
		number++
		after, ok := admission.ReminderAfter(org.Policy, number)
		due = t.record.RequestedAt.Add(after)
		if !ok || !due.Before(t.record.Deadline) || t.record.Outcome != "" {
			return nil
		}
	}
	if t.number > 0 || t.before || t.cause.Again() {
		if set, err := s.reminderSet(ctx, t); err != nil || set {
			return err
		}
	}
	cause := t.cause.Event // an operator's bare message would do, so nothing of its envelope is relied on
	cause.Source, cause.Subject, cause.CorrelationID = source, t.record.ID, t.record.ID
	timer, err := admission.ReminderTimer(cause, t.record.Organization, number, due)
	if err != nil {
		return err
	}
	return s.publish(ctx, timer)
}

// reminderSet reports whether an earlier run of the task has set the next reminder's timer. Setting it again would take the
// first one's place, and leave a hole in the ledger that nothing explains. A timer older than the task is the one that
// fired, read from a copy of the ledger that does not know yet.
func (s *Service) reminderSet(ctx context.Context, t *task) (bool, error) {
	timer, err := s.Ledger.Last(ctx, events.StreamInvitations, events.ReminderTimerSubject(t.record.Organization, t.record.ID))
	if errors.Is(err, ledger.ErrNotFound) {
		return false, nil
	}
	return err == nil && timer.Sequence > t.intent, err
}

// work sends the task's mail once. The claim in Redis comes first and the look at the ledger second: whoever revokes
// publishes first and looks at the claim second, so that one of the two always sees the other.
func (s *Service) work(ctx context.Context, t *task) error {
	failpoint.Here(failpoint.MailerReceived)
	ref := t.ref()
	var token links.Token
	var index redisdb.Token
	if t.about == "" { // a notice brings no link of the invitee's
		var err error
		if token, err = s.Links.Derive(links.PurposeInvite, t.record.ID, t.record.Generation); err != nil {
			return bus.Never("no-link", err)
		}
		index = redisdb.Token{Hash: token.Hash(), Organization: t.record.Organization, Invitation: t.record.ID, ExpiresAt: t.record.Deadline}
	}
	claim, err := s.Redis.Claim(ctx, ref, t.worker, index)
	if err != nil {
		return err
	}
	if !claim.Won {
		return s.contested(ctx, t, ref, claim, token)
	}
	failpoint.Here(failpoint.MailerClaimed)
	return s.sendIfNeeded(ctx, t, ref, token)
}

func (s *Service) sendIfNeeded(ctx context.Context, t *task, ref redisdb.Intent, token links.Token) error {
	t.looked = s.Ledger.Now()
	needed, err := s.needed(ctx, t)
	if err != nil || !needed {
		failpoint.Here(failpoint.MailerUnneeded)
		return errors.Join(err, s.Redis.Release(ctx, ref, t.worker))
	}
	failpoint.Here(failpoint.MailerNeeded)
	return s.send(ctx, t, ref, token)
}

// needed looks at the ledger: a mail leaves only for an open invitation, when no later intent overtook this one, and the
// mail was not sent yet.
func (s *Service) needed(ctx context.Context, t *task) (bool, error) {
	if t.about != "" {
		return s.noticeNeeded(ctx, t)
	}
	var beside []string
	if t.number > 0 {
		beside = []string{events.FactReminded}
	}
	now, err := invitation.Progress(ctx, s.Ledger, t.record.Organization, t.record.ID, beside...)
	if err != nil {
		return false, err
	}
	t.record.Merge(now)
	if t.record.StatusAt(s.Ledger.Now()) != invitation.Pending {
		return false, s.Ledger.Healthy() // by a wrong clock every deadline may have passed
	}
	if t.number > 0 {
		return t.record.Reminders < t.number, nil
	}
	t.before = t.record.SentIntent >= t.intent
	return !t.before && t.record.DeadlineSeq <= t.intent, nil
}

func (s *Service) send(ctx context.Context, t *task, ref redisdb.Intent, token links.Token) error {
	if reason, suppressed := s.suppressed(t); suppressed {
		if err := s.bounced(ctx, t, reason, 0); err != nil {
			return err
		}
		failpoint.Here(failpoint.MailerSuppressed)
		return s.Redis.Release(ctx, ref, t.worker)
	}
	letter, err := s.letter(ctx, t, token)
	var permanent *mail.Permanent
	if errors.As(err, &permanent) {
		return s.refused(ctx, t, ref, permanent)
	}
	if err != nil {
		return errors.Join(err, s.Redis.Release(ctx, ref, t.worker))
	}
	letter.Looked = t.looked
	failpoint.Here(failpoint.MailerRendered)
	id, err := s.outgoing.Send(ctx, letter)
	failpoint.Here(failpoint.MailerSent)
	return s.settle(ctx, t, ref, letter, id, err)
}

func (s *Service) suppressed(t *task) (string, bool) {
	if t.anyway || t.about != "" { // wanted asked already
		return "", false
	}
	entry, ok := s.Suppressions.Get(t.record.Request.Person)
	return suppressedAs(entry.Reason), ok
}

// suppressedAs is the reason given for a mail that was not sent because of a suppression.
func suppressedAs(reason string) string { return "suppressed: " + reason }

// letter writes the mail.
func (s *Service) letter(ctx context.Context, t *task, token links.Token) (mail.Mail, error) {
	org, err := s.Roster.Organization(ctx, t.record.Organization)
	if err != nil {
		return mail.Mail{}, err
	}
	if t.about != "" {
		return s.notice(t, org)
	}
	stop, err := s.Links.Derive(links.PurposeUnsubscribe, t.record.ID, t.record.Generation)
	if err != nil {
		return mail.Mail{}, fmt.Errorf("unsubscribe link: %w", err)
	}
	q := t.record.Request
	return s.renderer.Mail(s.inviting(org, t.purpose, q), mail.Recipient{
		Invitation: t.record.ID, Generation: t.record.Generation, Intent: t.intent, To: q.Email, Name: q.Name,
		Link: links.URL(s.Settings.PublicURL, token), Unsubscribe: links.UnsubscribeURL(s.Settings.PublicURL, stop), Deadline: t.record.Deadline,
	})
}

// inviting is what the mail says of an invitation.
func (s *Service) inviting(org roster.Organization, purpose mail.Purpose, q *events.InvitationRequested) mail.Context {
	c := s.look(org, purpose)
	c.Inviter, c.Role, c.Locale, c.ReplyTo = q.InviterName, q.Role, i18n.For(q.Locale, org.Locale).Lang(), s.replyTo(org, q)
	c.Subject, c.Intro, c.Button = org.Texts.Subject, org.Texts.Intro, org.Texts.Button
	if org.Policy.PersonalNotes { // asked again: it may have been forbidden since
		c.Note = q.Note
	}
	return c
}

// look is what all mails of an organization have in common.
func (s *Service) look(org roster.Organization, purpose mail.Purpose) mail.Context {
	c := mail.Context{Purpose: purpose, Organization: org.Name, Accent: org.Branding.Accent}
	if org.Branding.Logo != "" {
		c.Logo = s.Settings.PublicURL + "/logos/" + url.PathEscape(org.ID) + "/" + url.PathEscape(org.Branding.Logo)
	}
	return c
}

// replyTo is where answers to the mail go: to the inviter, where the organization wants that and they are still a member;
// else to the sender.
func (s *Service) replyTo(org roster.Organization, q *events.InvitationRequested) string {
	if !org.Policy.ReplyToInviter || q.InviterPerson == "" {
		return ""
	}
	if _, member := s.Roster.Member(org.ID, q.InviterPerson); !member {
		return ""
	}
	return q.Inviter
}

// settle turns the provider's answer into what the ledger and the claim say next.
func (s *Service) settle(ctx context.Context, t *task, ref redisdb.Intent, letter mail.Mail, id string, err error) error {
	var permanent *mail.Permanent
	var later *mail.Later
	var paused *mail.Paused
	var unknown *mail.Unknown
	switch {
	case err == nil:
		return s.sent(ctx, t, ref, letter, id)
	case errors.As(err, &permanent):
		return s.refused(ctx, t, ref, permanent)
	case errors.As(err, &later):
		return bus.Later(max(later.After, retryAfter), errors.Join(err, s.Redis.Release(ctx, ref, t.worker)))
	case errors.As(err, &paused):
		return bus.Later(max(paused.After, retryAfter), errors.Join(err, s.Redis.Release(ctx, ref, t.worker)))
	case errors.As(err, &unknown):
		// The claim stays: it is what tells the next delivery that the provider must be asked first.
		s.Logger.WarnContext(ctx, "it is not known whether the provider took a mail; it will be asked", "invitation", t.record.ID, "error", err)
		return bus.Later(settleAfter, err)
	}
	return err
}

const (
	// retryAfter is the least wait before a mail that was not taken is tried again.
	retryAfter = time.Second
	// slowMail is when a mail takes longer than mails do.
	slowMail = 5 * time.Second
	// settleAfter is how long to wait before the provider is asked what became of a mail.
	settleAfter = 5 * time.Second
)

// contested handles a claim that somebody has: another worker that is at it, or one that died with the outcome unknown.
func (s *Service) contested(ctx context.Context, t *task, ref redisdb.Intent, claim redisdb.Claim, token links.Token) error {
	left := alive(claim.Since, s.Ledger.Now())
	if claim.Intent != ref.Sequence {
		return s.besides(ctx, t, ref, claim, left)
	}
	if claim.Owner != t.worker && left > 0 {
		return bus.Later(left, errors.New("another worker has claimed this mail"))
	}
	needed, err := s.needed(ctx, t)
	if err != nil {
		return err
	}
	if !needed {
		return s.Redis.Settle(ctx, ref, claim)
	}
	letter, err := s.letter(ctx, t, token)
	if err != nil {
		return err
	}
	since := claim.Since
	if since.After(s.Ledger.Now()) { // by a clock that was wrong; no mail is older than what asks for it
		since = t.cause.Time
	}
	id, found, err := s.provider.Find(ctx, letter, since)
	switch {
	case err != nil:
		return s.wait(err)
	case found:
		failpoint.Here(failpoint.MailerFound)
		if err := s.publishSent(ctx, t, letter, id); err != nil {
			return err
		}
		failpoint.Here(failpoint.MailerFoundTold)
		return s.Redis.Settle(ctx, ref, claim)
	}
	took, err := s.Redis.TakeOver(ctx, ref, claim, t.worker)
	if err != nil || !took {
		return errors.Join(err, bus.Later(time.Second, errors.New("another worker settles this mail")))
	}
	failpoint.Here(failpoint.MailerTakenOver)
	return s.sendIfNeeded(ctx, t, ref, token) // looked at again: a revoke may have been answered while the claim was old
}

// alive is for how long yet whoever has claimed something may be at it. The claim tells their time: a process whose clock was
// wrong left one that is from the past or from the future, and neither may hold up a mail for longer than any other.
func alive(since, now time.Time) time.Duration { return ackWait - now.Sub(since).Abs() }

// besides handles the claim of another mail of the same invitation. While that may be on its way, this one waits. A claim
// older than any worker keeps one, of a mail of which the ledger says what became of it, is a leftover: Redis has been seen
// to come back with what was deleted in its last second.
func (s *Service) besides(ctx context.Context, t *task, ref redisdb.Intent, claim redisdb.Claim, alive time.Duration) error {
	busy := bus.Later(behind(alive), errors.New("another mail of this invitation is being sent"))
	if alive > 0 {
		return busy
	}
	needed, err := s.needed(ctx, t)
	switch {
	case err != nil || !needed:
		return err
	case !t.settles(claim.Intent):
		return busy
	}
	s.Logger.WarnContext(ctx, "a claim was left over and is given up", "invitation", t.record.ID)
	if err := s.Redis.Settle(ctx, ref, claim); err != nil {
		return err
	}
	return s.work(ctx, t)
}

// behind is how long to wait for another mail whose claim stays what it is for so long yet: as long as a mail takes, and where
// it takes longer, until the claim is old. Whoever asks every second is soon taken for one who asks too often, and waits on
// when there is nothing left to wait for.
func behind(alive time.Duration) time.Duration {
	if taken := ackWait - alive; taken < slowMail {
		return time.Second
	}
	return max(alive, time.Second)
}

// settles reports whether what is known leaves nothing to be done for an earlier mail of the invitation.
func (t *task) settles(intent uint64) bool {
	overtaken := t.record.DeadlineSeq > intent                   // by a resend
	reminded := t.number > 1 && t.record.Reminders >= t.number-1 // the claim can be that of the reminder before this one
	return intent < t.intent && (t.record.SentIntent >= intent || overtaken || reminded)
}

// wait turns a Finder's error into "ask again".
func (s *Service) wait(err error) error {
	var later *mail.Later
	if errors.As(err, &later) && later.After > 0 {
		return bus.Later(later.After, err)
	}
	return bus.Later(settleAfter, err)
}

// sent tells the ledger, and only then gives up the claim: in between, the ledger's word is enough.
func (s *Service) sent(ctx context.Context, t *task, ref redisdb.Intent, letter mail.Mail, id string) error {
	s.latency.Observe(s.Ledger.Now().Sub(t.cause.Time).Seconds())
	if err := s.publishSent(ctx, t, letter, id); err != nil {
		return err
	}
	failpoint.Here(failpoint.MailerRecorded)
	return s.Redis.Release(ctx, ref, t.worker)
}

func (s *Service) publishSent(ctx context.Context, t *task, letter mail.Mail, id string) error {
	switch {
	case t.about != "":
		return s.tell(ctx, t, events.FactNoticed, &events.InvitationNoticed{
			Invitation: t.record.ID, About: t.about, Intent: t.intent, MessageID: letter.MessageID, ProviderMessageID: id,
		})
	case t.number > 0:
		return s.tell(ctx, t, events.FactReminded, &events.InvitationReminded{
			Invitation: t.record.ID, Generation: t.record.Generation, Number: t.number, Intent: t.intent,
			MessageID: letter.MessageID, ProviderMessageID: id,
		})
	}
	purpose := events.PurposeInvitation // that of a renewal, too
	if t.purpose == mail.PurposeResend {
		purpose = events.PurposeResend
	}
	return s.tell(ctx, t, events.FactSent, &events.InvitationSent{
		Invitation: t.record.ID, Generation: t.record.Generation, Purpose: purpose, Intent: t.intent,
		MessageID: letter.MessageID, ProviderMessageID: id,
	})
}

// refused tells the ledger that the provider will never take this mail.
func (s *Service) refused(ctx context.Context, t *task, ref redisdb.Intent, why *mail.Permanent) error {
	if t.about != "" {
		s.Logger.WarnContext(ctx, "a notice to an inviter was refused", "invitation", t.record.ID, "code", why.Code, "reason", why.Reason)
	} else if err := s.bounced(ctx, t, why.Reason, why.Code); err != nil {
		return err
	}
	failpoint.Here(failpoint.MailerBounced)
	return s.Redis.Release(ctx, ref, t.worker)
}

func (s *Service) bounced(ctx context.Context, t *task, reason string, code int) error {
	return s.tell(ctx, t, events.FactBounced, &events.InvitationBounced{Delivery: events.Delivery{
		Invitation: t.record.ID, Generation: t.record.Generation, Intent: t.intent, OccurredAt: s.Ledger.Now(), Code: code, Reason: reason,
	}})
}

// tell publishes a fact that follows from the task; a second run publishes the same one.
func (s *Service) tell(ctx context.Context, t *task, fact string, data events.Data) error {
	e := events.Event{
		ID: events.DerivedEventID(fact, t.record.ID, fmt.Sprint(t.intent)), Source: source, Type: data.EventType(), Subject: t.record.ID,
		Time: s.Ledger.Now(), CorrelationID: t.record.ID, CausationID: t.cause.Event.ID,
		TraceParent: t.cause.Event.TraceParent, TraceState: t.cause.Event.TraceState, Data: data,
	}
	message, err := ledger.Fact(events.InvitationSubject(t.record.Organization, t.record.ID, fact), e)
	if err != nil {
		return err
	}
	return s.publish(ctx, message)
}

// publish lets those go first for whose answer somebody waits: that a mail left is true already.
func (s *Service) publish(ctx context.Context, message ledger.Message) error {
	_, err := s.Ledger.Publish(ctx, events.StreamInvitations, message.Patient())
	if errors.Is(err, ledger.ErrDuplicate) {
		return nil
	}
	return err
}
