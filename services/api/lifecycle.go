package api

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/pkg/telemetry"
)

type revokeInput struct {
	ID   string `path:"id"`
	Body *revokeBody
}

// revokeBody is the body of a revoke, which may be left out.
type revokeBody struct {
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"Why; kept in the timeline."`
}

func (s *Service) revoke(ctx context.Context, in *revokeInput) (*invitationOutput, error) {
	record, err := s.takeBack(ctx, in.ID, cmp.Or(in.Body, &revokeBody{}).Reason)
	if err != nil {
		return nil, s.refusal(err, "")
	}
	failpoint.Here(failpoint.RevokeSettled)
	return &invitationOutput{Body: record.Resource(s.Ledger.Now())}, nil
}

// takeBack revokes an invitation that the caller may manage.
func (s *Service) takeBack(ctx context.Context, id, reason string) (invitation.Record, error) {
	record, role, err := s.find(ctx, id)
	if err == nil {
		err = s.mayTouch(role, record)
	}
	if err == nil {
		err = s.end(ctx, &record, reason)
	}
	return record, err
}

func (s *Service) mayTouch(role string, record invitation.Record) error {
	if record.Request == nil {
		return problem.New(problem.Ended, "The invitation was rejected.")
	}
	if !s.Roster.Roles().MayGrant(role, record.Request.Role) {
		return problem.New(problem.RoleTooHigh, "The invitation is for a role above your own.")
	}
	return nil
}

// end revokes an invitation. Once it returns nil no accept succeeds and no mail leaves any more.
func (s *Service) end(ctx context.Context, record *invitation.Record, reason string) error {
	if status := record.StatusAt(s.Ledger.Now()); status != invitation.Pending && status != invitation.Revoked {
		return hasEnded(status)
	}
	if record.Outcome == "" {
		failpoint.Here(failpoint.RevokeChecked)
		won, err := redeem.End(ctx, s.Ledger, record, events.FactRevoked, events.Event{
			Source: source, CausationID: record.ID, Data: &events.InvitationRevoked{Invitation: record.ID, By: callerOf(ctx).by(), Reason: reason},
		})
		if err != nil {
			return err
		}
		if !won && record.Outcome != invitation.Revoked {
			return hasEnded(record.Outcome)
		}
		failpoint.Here(failpoint.RevokePublished)
		s.Views.Learn(ctx, *record)
	}
	failpoint.Here(failpoint.RevokeLearned)
	// A mailer that read the ledger before the revoke may be about to send: wait until its claim is gone.
	return s.mailSettled(ctx, record.Organization, record.ID)
}

func hasEnded(status invitation.Status) error {
	return problem.New(problem.Ended, "The invitation has ended: it is %s.", status)
}

type resendInput struct {
	ID   string `path:"id"`
	Body *resendBody
}

// resendBody is the body of a resend, which may be left out.
type resendBody struct {
	Rotate     bool `json:"rotate,omitempty" doc:"Mail a new link; the one before then says that a newer e-mail was sent."`
	SendAnyway bool `json:"send_anyway,omitempty" doc:"Write although the address bounced, complained or unsubscribed."`
}

func (s *Service) resend(ctx context.Context, in *resendInput) (*acceptedOutput, error) {
	if err := s.ready(); err != nil {
		return nil, s.refusal(err, "")
	}
	record, err := s.mailAgain(ctx, in.ID, *cmp.Or(in.Body, &resendBody{}))
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	failpoint.Here(failpoint.ResendLearned)
	return s.accepted(record), nil
}

// mailAgain mails an invitation again that the caller may manage. One that expired or bounced becomes a new one.
func (s *Service) mailAgain(ctx context.Context, id string, asked resendBody) (invitation.Record, error) {
	record, role, err := s.whole(ctx, id)
	if err == nil {
		err = s.mayTouch(role, record)
	}
	if err != nil {
		return record, err
	}
	switch status := record.StatusAt(s.Ledger.Now()); {
	case status == invitation.Pending && record.Mail != invitation.Bounced && record.Mail != invitation.Complained:
		err = s.sendAgain(ctx, &record, asked.Rotate, asked.SendAnyway)
	case replaceable(record, status):
		record, err = s.replace(ctx, record, replacement{anyway: asked.SendAnyway})
	default:
		err = hasEnded(status)
	}
	if err == nil {
		s.Views.Learn(ctx, record)
	}
	return record, err
}

// sendAgain asks for another mail of an open invitation and moves its deadline, in one write with its timer. The write holds
// only on the invitation as it was read: still the holder of the claim on its address, and not resent by anybody else since.
func (s *Service) sendAgain(ctx context.Context, record *invitation.Record, rotate, anyway bool) error {
	if sup, ok := s.Suppressions.Get(record.Request.Person); ok && !anyway {
		return problem.New(problem.Suppressed, "That address is not written to: %s since %s.", sup.Reason, sup.Since.Format(time.DateOnly))
	}
	holds := false
	for range 4 {
		var held uint64
		var err error
		if held, holds, err = s.claim(ctx, record); err != nil {
			return err
		}
		if holds {
			e, err := s.resendOf(ctx, record, rotate, anyway)
			if err == nil {
				err = s.storeResend(ctx, record, e, held)
			}
			if !errors.Is(err, ledger.ErrConflict) {
				return err
			}
		}
		if *record, err = invitation.Load(ctx, s.Ledger, record.Organization, record.ID); err != nil {
			return err
		}
		if status := record.StatusAt(s.Ledger.Now()); status != invitation.Pending {
			return hasEnded(status)
		}
	}
	if !holds { // its timer has fired: by the broker's clock the deadline has passed
		return hasEnded(invitation.Expired)
	}
	return problem.Again("The invitation is being changed by others; try again.")
}

// claim looks at the claim on an invitation's address: its sequence, and whether this invitation holds it.
func (s *Service) claim(ctx context.Context, record *invitation.Record) (sequence uint64, holds bool, err error) {
	held, err := s.Ledger.Last(ctx, events.StreamInvitations, events.ClaimSubject(record.Organization, record.Request.Person))
	if errors.Is(err, ledger.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	timer, err := held.Event()
	if err != nil {
		return 0, false, problem.Unavailable("The claim on that address", err)
	}
	return held.Sequence, timer.Subject == record.ID, nil
}

// resendOf is the event that asks for another mail.
func (s *Service) resendOf(ctx context.Context, record *invitation.Record, rotate, anyway bool) (events.Event, error) {
	asked := &events.InvitationResendRequested{
		Invitation: record.ID, Generation: record.Generation, By: callerOf(ctx).by(), SendAnyway: anyway,
		ExpiresAt: s.Ledger.Now().Add(record.Request.ExpiresAt.Sub(record.RequestedAt).Round(time.Second)),
	}
	if rotate {
		if asked.Generation++; asked.Generation > links.MaxGeneration {
			return events.Event{}, problem.New(problem.Conflict, "The link was rotated as often as it can be; revoke the invitation and make a new one.")
		}
	}
	if asked.ExpiresAt.Before(record.Deadline) {
		asked.ExpiresAt = record.Deadline // a resend never takes time away
	}
	e := events.Event{
		ID: events.NewEventID(), Source: source, Type: asked.EventType(), Subject: record.ID, Time: s.Ledger.Now(),
		CorrelationID: record.ID, CausationID: record.ID, Data: asked,
	}
	telemetry.Inject(ctx, &e)
	return e, nil
}

// storeResend writes a resend together with the timer of its deadline, which takes the claim at sequence held. It returns
// ledger.ErrConflict, with nothing written, where the claim is another by now or somebody else was quicker to resend.
func (s *Service) storeResend(ctx context.Context, record *invitation.Record, e events.Event, held uint64) error {
	subject := events.InvitationSubject(record.Organization, record.ID, events.FactResend)
	asked, err := ledger.Fact(subject, e)
	if err != nil {
		return err
	}
	deadline := e.Data.(*events.InvitationResendRequested).ExpiresAt
	timer, err := admission.ExpiryTimer(e, record.Organization, record.Request.Person, deadline)
	if err != nil {
		return err
	}
	timer = timer.Expecting(events.ClaimSubject(record.Organization, record.Request.Person), held)
	failpoint.Here(failpoint.ResendJudged)
	sequence, err := s.Ledger.Publish(ctx, events.StreamInvitations, timer, asked.Expecting(subject, record.ResentSeq()).Succeeding(held))
	if err == nil {
		failpoint.Here(failpoint.ResendPublished)
		record.Apply(e, sequence, e.Time)
	}
	return err
}

// replacement says what of a new invitation differs from the one it replaces.
type replacement struct {
	// email is the right address where the old one was wrong, empty to keep it.
	email  string
	anyway bool
}

// replacedReason is why an invitation was revoked that a new one takes the place of.
const replacedReason = "replaced by a new invitation"

// replaceable reports whether a new invitation may take the place of one in that status: it is open, its time is over, or it was
// ended for that very purpose by somebody who may have died before there was a new one.
func replaceable(record invitation.Record, status invitation.Status) bool {
	return status == invitation.Pending || status == invitation.Expired || endedForAnother(record)
}

func endedForAnother(record invitation.Record) bool {
	return record.Outcome == invitation.Revoked && record.Reason == replacedReason
}

// replace makes a new invitation of one that expired or bounced. The old one ends only when the new one passes the rules. The
// id of what takes the place of an open one follows from that one's, so that a repeat makes what is missing, and nothing twice.
func (s *Service) replace(ctx context.Context, old invitation.Record, with replacement) (invitation.Record, error) {
	request, err := s.replacing(ctx, old, with)
	if err != nil {
		return old, err
	}
	again := endedForAnother(old)
	if open := old.Outcome == "" && old.StatusAt(s.Ledger.Now()) == invitation.Pending; open || again {
		request.ID = events.DerivedInvitationID("replacement", old.ID)
	}
	if !again {
		if err := s.giveWay(ctx, &old, request); err != nil {
			return old, err
		}
	}
	made, err := s.admission.Admit(ctx, request)
	if err == nil && again && made.Outcome != "" { // it was there already, and its time is over too
		err = hasEnded(made.Outcome)
	}
	return made, err
}

// replacing is what the new invitation asks for: the old one again, but for what differs.
func (s *Service) replacing(ctx context.Context, old invitation.Record, with replacement) (admission.Request, error) {
	asked := *old.Request
	asked.Email = cmp.Or(with.email, asked.Email)
	asked.ExpiresIn = old.Request.ExpiresAt.Sub(old.RequestedAt).Round(time.Minute).String()
	asked.SendAnyway = with.anyway // what was said of the mail that bounced says nothing of this one
	asked.Replaces, asked.Renewal = old.ID, false
	if asked.InviterPerson == "" || callerOf(ctx).actor != "" {
		asked.Inviter = "" // the API key that invited, or the member who does now
	}
	return s.request(ctx, asked, 0)
}

// giveWay ends an invitation that is still open, once the one that takes its place passes the rules.
func (s *Service) giveWay(ctx context.Context, old *invitation.Record, next admission.Request) error {
	if err := s.admission.Check(ctx, next); err != nil {
		return err
	}
	if old.Outcome != "" || old.StatusAt(s.Ledger.Now()) != invitation.Pending {
		return nil
	}
	if err := s.end(ctx, old, replacedReason); err != nil {
		return err
	}
	failpoint.Here(failpoint.ReplaceEnded)
	return nil
}
