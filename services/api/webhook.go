package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/mailgunhook"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/suppressions"
)

const (
	maxWebhook = 256 << 10
	// webhookMemory is how long a webhook's token is remembered: twice the age at which it is refused anyway.
	webhookMemory = 30 * time.Minute
)

// mailgunWebhook takes in the provider's report about a mail. The signature covers only its timestamp and token, so the
// body may move the delivery state of an invitation that exists, and nothing else. 406 tells Mailgun not to try again.
func (s *Service) mailgunWebhook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWebhook))
	if err != nil {
		s.refuse(w, problem.New(problem.TooLarge, "The body is larger than %d bytes, or did not arrive whole.", maxWebhook))
		return
	}
	if s.Settings.MailgunWebhookKey == "" {
		s.refuse(w, problem.New(problem.NotFound, "No webhook signing key is set here."))
		return
	}
	report, err := mailgunhook.Parse(body, s.Settings.MailgunWebhookKey, s.Ledger.Now())
	if err != nil {
		s.Logger.Warn("a webhook was refused", "error", err)
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	failpoint.Here(failpoint.WebhookSigned)
	if err := s.delivery(r.Context(), report); err != nil {
		s.refuse(w, err)
		return
	}
	failpoint.Here(failpoint.WebhookRecorded)
	w.WriteHeader(http.StatusOK)
}

// delivery takes in a report once. The provider's event id makes a repeat the same event.
func (s *Service) delivery(ctx context.Context, report mailgunhook.Event) error {
	record, err := invitation.Find(ctx, s.Ledger, cmp.Or(report.Invitation, report.Notice))
	if errors.Is(err, ledger.ErrNotFound) || err == nil && record.Request == nil {
		s.Logger.Warn("a webhook about an unknown invitation was ignored", "kind", report.Kind)
		return nil
	}
	if err != nil {
		return err
	}
	first, err := s.Redis.FirstSeen(ctx, report.Token)
	if err != nil || !first {
		return err
	}
	failpoint.Here(failpoint.WebhookMarked)
	if err := s.record(ctx, record, report); err != nil {
		failpoint.Here(failpoint.WebhookFailed)
		_ = s.Redis.ForgetSeen(ctx, report.Token) // the provider's next try must not look like a replay
		return err
	}
	return s.Redis.Seen(ctx, report.Token, webhookMemory)
}

// record puts the address on the list where the report says so, and the report in the ledger.
func (s *Service) record(ctx context.Context, record invitation.Record, report mailgunhook.Event) error {
	if err := s.suppress(ctx, record, report); err != nil {
		return err
	}
	failpoint.Here(failpoint.WebhookSuppressed)
	data, fact := deliveryEvent(report)
	if data == nil || report.Invitation == "" { // of a notice to the inviter, nothing is told
		return nil
	}
	message, err := ledger.Fact(events.InvitationSubject(record.Organization, record.ID, fact), events.Event{
		ID: events.DerivedEventID("mailgun", report.ID, report.Invitation, string(report.Kind)), Source: source, Type: data.EventType(),
		Subject: record.ID, Time: s.Ledger.Now(), CorrelationID: record.ID, CausationID: report.ID, Data: data,
	})
	if err == nil {
		_, err = s.Ledger.Publish(ctx, events.StreamInvitations, message)
	}
	if errors.Is(err, ledger.ErrDuplicate) {
		return nil
	}
	return err
}

func (s *Service) suppress(ctx context.Context, record invitation.Record, report mailgunhook.Event) error {
	reason := map[mailgunhook.Kind]string{
		mailgunhook.Bounced: suppressions.Bounced, mailgunhook.Complained: suppressions.Complained, mailgunhook.Unsubscribed: suppressions.Unsubscribed,
	}[report.Kind]
	person := record.Request.Person
	if report.Invitation == "" {
		person = record.Request.InviterPerson
	}
	if reason == "" || person == "" {
		return nil
	}
	return s.Suppressions.Add(ctx, person, suppressions.Suppression{Reason: reason, Invitation: record.ID})
}

func deliveryEvent(report mailgunhook.Event) (events.Data, string) {
	d := events.Delivery{
		Invitation: report.Invitation, Generation: report.Generation, Intent: report.Intent, ProviderEvent: report.ID,
		OccurredAt: report.OccurredAt, Code: report.Code, Reason: report.Reason,
	}
	switch report.Kind {
	case mailgunhook.Delivered:
		return &events.InvitationDelivered{Delivery: d}, events.FactDelivered
	case mailgunhook.Deferred:
		return &events.InvitationDeferred{Delivery: d}, events.FactDeferred
	case mailgunhook.Bounced:
		return &events.InvitationBounced{Delivery: d}, events.FactBounced
	case mailgunhook.Complained:
		return &events.InvitationComplained{Delivery: d}, events.FactComplained
	}
	return nil, "" // unsubscribed moves no delivery state
}
