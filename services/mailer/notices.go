package mailer

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/i18n"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
	"github.com/usherhq/usher/services/mailer/mail"
)

// noticeAge is how old the thing may be that an inviter is told of. It also keeps a mailer that never sent notices before
// from telling of everything that ever happened.
const noticeAge = 3 * 24 * time.Hour

// Whoever invites thousands looks at the console, not at thousands of mails: after noticesInARow there is one of a kind
// every noticesEvery for each inviter. That somebody waits for a new link is told always.
const (
	noticesInARow = 20
	noticesEvery  = 3 * time.Minute
	// noticedPeople bounds how many inviters are remembered.
	noticedPeople = 10_000
)

// sparing keeps notices from becoming a flood.
type sparing struct {
	mu     sync.Mutex
	people map[string]*rate.Limiter
}

// allow reports whether a person may get one more notice of a kind.
func (s *sparing) allow(person, about string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.people[person+about]
	if l == nil {
		if s.people == nil || len(s.people) >= noticedPeople {
			s.people = map[string]*rate.Limiter{}
		}
		l = rate.NewLimiter(rate.Every(noticesEvery), noticesInARow)
		s.people[person+about] = l
	}
	return l.AllowN(now, 1)
}

// happened tells the inviter what became of an invitation.
func (s *Service) happened(ctx context.Context, m *bus.Received) error {
	about, purpose := noticeOf(m.Event.Data)
	if about == "" {
		return bus.Never("unexpected-event", errors.New("nothing that inviters are told of"))
	}
	if s.Ledger.Now().Sub(m.Time) > noticeAge {
		return nil
	}
	r, err := s.asked(ctx, m)
	if err != nil {
		return err
	}
	t := &task{cause: m, purpose: purpose, intent: m.Sequence, record: r, about: about, worker: s.worker}
	if wanted, err := s.wanted(ctx, t); err != nil || !wanted {
		return err
	}
	if about != events.NoticeRenewal && m.Delivered <= 1 && !s.sparing.allow(r.Request.InviterPerson, about, s.Ledger.Now()) {
		// A broker that died forgets what it had handed out: somebody else may have begun with it.
		if begun, err := s.Redis.Claimed(ctx, t.ref()); err != nil || !begun {
			return err
		}
	}
	return s.work(ctx, t)
}

// asked reads the request alone: of most things that happen to many invitations nobody is told.
func (s *Service) asked(ctx context.Context, m *bus.Received) (invitation.Record, error) {
	org, id, _, _ := events.SplitInvitation(m.Subject)
	r := invitation.Record{ID: id, Organization: org}
	found, err := s.Ledger.Facts(ctx, org, id, events.FactRequested)
	if err != nil {
		return r, err
	}
	for _, stored := range found {
		e, err := stored.Event()
		if err != nil {
			return r, err
		}
		r.Apply(e, stored.Sequence, stored.Time)
	}
	if r.Request == nil {
		return r, bus.Never("unknown-invitation", errors.New("there is no record of this invitation"))
	}
	return r, nil
}

// noticeOf gives what a notice about an event is called, and the mail that it is; empty for an event that nobody is told of.
func noticeOf(data events.Data) (about string, purpose mail.Purpose) {
	switch d := data.(type) {
	case *events.InvitationAccepted:
		return events.NoticeAccepted, mail.PurposeAccepted
	case *events.InvitationDeclined:
		return events.NoticeDeclined, mail.PurposeDeclined
	case *events.InvitationRenewalAsked:
		if d.Renewed {
			return events.NoticeRenewal, mail.PurposeRenewed
		}
		return events.NoticeRenewal, mail.PurposeRenewalAsked
	case *events.InvitationBounced:
		if d.Reason == suppressedAs(suppressions.Unsubscribed) || d.Reason == suppressedAs(suppressions.Complained) {
			return events.NoticeBounced, mail.PurposeUnwanted
		}
		return events.NoticeBounced, mail.PurposeBounced
	}
	return "", ""
}

// wanted reports whether there is somebody to tell: the inviter is a member still, and wants to know.
func (s *Service) wanted(ctx context.Context, t *task) (bool, error) {
	q := t.record.Request
	if q.InviterPerson == "" { // an API key
		return false, nil
	}
	if _, suppressed := s.Suppressions.Get(q.InviterPerson); suppressed || !s.Preferences.Get(q.InviterPerson).Wants(t.about) {
		return false, nil
	}
	_, member, err := s.Roster.Authority(ctx, t.record.Organization, q.InviterPerson)
	return member, err
}

// noticeNeeded looks at the ledger: a notice leaves unless this or a later one of the invitation left. That a mail came back
// interests nobody once the invitation has ended.
func (s *Service) noticeNeeded(ctx context.Context, t *task) (bool, error) {
	r := invitation.Record{ID: t.record.ID, Organization: t.record.Organization}
	found, err := s.Ledger.Facts(ctx, r.Organization, r.ID, events.FactNoticed, "outcome.*")
	if err != nil {
		return false, err
	}
	for _, stored := range found {
		e, err := stored.Event()
		if err != nil {
			return false, err
		}
		if d, ok := e.Data.(*events.InvitationNoticed); ok && d.Intent >= t.intent {
			return false, nil
		}
		r.Apply(e, stored.Sequence, stored.Time)
	}
	return t.about != events.NoticeBounced || r.Outcome == "", nil
}

// notice writes a notice.
func (s *Service) notice(t *task, org roster.Organization) (mail.Mail, error) {
	q := t.record.Request
	c := s.look(org, t.purpose)
	c.Role, c.Locale = q.Role, i18n.For(s.Preferences.Get(q.InviterPerson).Locale, org.Locale).Lang()
	name := q.Name
	if accepted, ok := t.cause.Event.Data.(*events.InvitationAccepted); ok {
		name = cmp.Or(accepted.Name, name)
	}
	c.Invitee = q.Email
	if name != "" {
		c.Invitee, c.Address = name, q.Email
	}
	return s.renderer.Mail(c, mail.Recipient{
		Invitation: t.record.ID, Generation: t.record.Generation, Intent: t.intent, To: q.Inviter, Name: q.InviterName,
		Link: s.Settings.PublicURL + "/console/" + url.PathEscape(org.ID) + "/invitations/" + url.PathEscape(t.record.ID),
	})
}
