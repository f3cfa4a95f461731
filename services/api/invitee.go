package api

import (
	"net/http"

	"github.com/usherhq/usher/services/api/pages"
	"github.com/usherhq/usher/services/api/signin"
)

// invitee makes the invitee's pages. With an issuer, whoever has an account signs in before accepting; development lets its
// demo people see their own invitations, and asks nobody who opens a link.
func (s *Service) invitee() *pages.Pages {
	return pages.New(pages.Options{
		Redeemer: s.redeemer, Mailbox: s.redeemer, Unsubscriber: s, Members: s.Roster,
		SignIn: account{s.signIn}, RequireSignIn: s.Settings.OIDCIssuer != "",
		PublicURL: s.Settings.PublicURL, Logger: s.Logger, Clock: s.Ledger.Now,
	})
}

// account is the sign-in as the invitee's pages know it.
type account struct{ *signin.SignIn }

// Person implements pages.SignIn.
func (a account) Person(r *http.Request) (pages.Person, bool) {
	p, ok := a.SignIn.Person(r)
	return pages.Person(p), ok
}
