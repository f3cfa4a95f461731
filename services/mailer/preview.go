package mailer

import (
	"context"

	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/services/mailer/mail"
)

// masked stands where a secret link has its token.
const masked = "••••••••"

// Preview writes the newest mail of an invitation again, as its invitee got it but for the secret of its links: no token is
// made. Nothing is sent. It returns problem.UnknownOrganization where there is none any more.
func (s *Service) Preview(ctx context.Context, record invitation.Record) (mail.Mail, error) {
	m, err := s.letter(ctx, task{purpose: mail.PurposeInvitation, intent: record.Intent, record: record}, links.Token{})
	m.Link += masked
	m.Unsubscribe = links.UnsubscribeURL(s.Settings.PublicURL, links.Token{}) + masked
	return m, err
}
