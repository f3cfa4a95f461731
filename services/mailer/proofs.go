package mailer

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/i18n"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/proofs"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/services/mailer/mail"
)

// testsAnHour is how many tests one person gets.
const testsAnHour = 10

// proof answers what the console asks.
func (s *Service) proof(ctx context.Context, w proofs.Wanted) (proofs.Proof, error) {
	if w.Invitation != "" {
		return s.again(ctx, w)
	}
	return s.before(ctx, w)
}

// masked stands where a secret link has its token.
const masked = "••••••••"

// again writes the newest mail of an invitation again, as its invitee got it but for the secret of its links: no token is
// made, and nothing is sent.
func (s *Service) again(ctx context.Context, w proofs.Wanted) (proofs.Proof, error) {
	role, err := s.roleOf(ctx, w)
	if err != nil {
		return proofs.Proof{}, err
	}
	if !s.Roster.Roles().MayInvite(role) {
		return proofs.Proof{}, problem.New(problem.NoAuthority, "Only who may invite sees what was mailed.")
	}
	record, err := invitation.Load(ctx, s.Ledger, w.Organization.ID, w.Invitation)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && record.Request == nil {
		err = problem.New(problem.NotFound, "There is no such invitation.")
	}
	if err != nil {
		return proofs.Proof{}, err
	}
	m, err := s.letter(ctx, &task{purpose: mail.PurposeInvitation, intent: record.Intent, record: record}, links.Token{})
	if err != nil {
		return proofs.Proof{}, err
	}
	m.Link += masked
	m.Unsubscribe = links.UnsubscribeURL(s.Settings.PublicURL, links.Token{}) + masked
	return shown(m), nil
}

// roleOf is the role of whoever asks; empty where they are no member.
func (s *Service) roleOf(ctx context.Context, w proofs.Wanted) (string, error) {
	place, err := s.Roster.Current(ctx, w.Organization.ID, w.Person)
	if err != nil || place.Membership == nil {
		return "", err
	}
	return place.Membership.Role, nil
}

func shown(m mail.Mail) proofs.Proof {
	return proofs.Proof{From: m.Letter.From, To: m.To, Subject: m.Subject(), HTML: m.HTML(), Text: m.Text()}
}

// before writes a mail as an organization's invitees would get it, with its owner as the inviter, and sends it to that
// owner where that is wanted. Who asks is looked up: the question names a person, and never an address.
func (s *Service) before(ctx context.Context, w proofs.Wanted) (proofs.Proof, error) {
	place, err := s.Roster.Current(ctx, w.Organization.ID, w.Person)
	if err != nil {
		return proofs.Proof{}, err
	}
	owner := place.Membership
	if owner == nil || owner.Role != s.Roster.Roles().Owner() {
		return proofs.Proof{}, problem.New(problem.NoAuthority, "Only owners see and test the organization's mails.")
	}
	m, err := s.sample(w, owner)
	var permanent *mail.Permanent
	if errors.As(err, &permanent) {
		return proofs.Proof{}, problem.New(problem.WrongState, "The mail cannot be written: %s.", permanent.Reason)
	}
	if err != nil {
		return proofs.Proof{}, err
	}
	if w.Send {
		err = s.sendTest(ctx, m, w.Person)
	}
	return shown(m), err
}

// sample writes the mail. What is only shown has the shape of real links, and what is sent links that lead somewhere: to
// the page where it was asked for. It invites nobody, so there is nothing to accept and nothing to unsubscribe from.
func (s *Service) sample(w proofs.Wanted, owner *events.Membership) (mail.Mail, error) {
	q := &events.InvitationRequested{
		Email: owner.Email, Name: owner.Name, Role: s.usualRole(), Inviter: owner.Email, InviterPerson: w.Person, InviterName: owner.Name,
		Locale: i18n.For(w.Organization.Locale, s.Preferences.Get(w.Person).Locale).Lang(),
	}
	to := mail.Recipient{
		Invitation: events.NewInvitationID(), Generation: 1, To: owner.Email, Name: owner.Name, Deadline: s.Ledger.Now().Add(s.timeToAnswer(w.Organization)),
		Link: s.Settings.PublicURL + "/i/…", Unsubscribe: s.Settings.PublicURL + "/unsubscribe/…",
	}
	if w.Send {
		to.Link, to.Unsubscribe = s.Settings.PublicURL+"/console/"+url.PathEscape(w.Organization.ID)+"/settings", ""
	}
	m, err := s.renderer.Mail(s.inviting(w.Organization, mail.PurposeInvitation, q), to)
	if err == nil && w.Send {
		marked := *m.Letter // others may be sent the same letter
		marked.Subject = i18n.For(q.Locale).Text("mail.test.subject", "subject", marked.Subject)
		m.Letter = &marked
	}
	return m, err
}

// usualRole is the highest role that does not invite.
func (s *Service) usualRole() string {
	roles := s.Roster.Roles()
	for _, role := range roles {
		if !roles.MayInvite(role) {
			return role
		}
	}
	return roles[len(roles)-1]
}

func (s *Service) timeToAnswer(org roster.Organization) time.Duration {
	if ttl, err := time.ParseDuration(org.Policy.InvitationTTL); err == nil && ttl > 0 {
		return ttl
	}
	return s.Settings.TTL
}

// sendTest sends a mail by the same way as all others, behind the same rate and the same list of those who are not written
// to. It is tried once: who asked sees what became of it, and may ask again.
func (s *Service) sendTest(ctx context.Context, m mail.Mail, person string) error {
	if entry, ok := s.Suppressions.Get(person); ok {
		return problem.New(problem.Suppressed, "No mail is sent to your address (%s).", entry.Reason)
	}
	ok, wait, err := s.Redis.Take(ctx, redisdb.Limit{What: "tests " + person, Most: testsAnHour, Per: time.Hour})
	if err != nil {
		return err
	}
	if !ok {
		return &problem.Error{Code: problem.TooMany, Detail: "You had many tests sent within this hour.", RetryAfter: wait}
	}
	_, err = s.outgoing.Send(ctx, m)
	var permanent *mail.Permanent
	var unknown *mail.Unknown
	switch {
	case err == nil:
		return nil
	case errors.As(err, &permanent):
		return problem.New(problem.WrongState, "The mail provider refused the test: %s.", permanent.Reason)
	case errors.As(err, &unknown):
		return &problem.Error{Code: problem.NotNow, Detail: "It is not known whether the mail provider took the test; look into your mailbox.", Cause: err}
	}
	return problem.Unavailable("The mail provider", err)
}
