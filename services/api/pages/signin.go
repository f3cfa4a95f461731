package pages

import (
	"net/http"

	"github.com/usherhq/usher/pkg/redeem"
)

// Person is somebody who is signed in.
type Person struct {
	// Email is verified.
	Email, Name, Locale string
}

// SignIn tells who is signed in, and where to change that.
type SignIn interface {
	// Enabled reports whether anybody can sign in here.
	Enabled() bool
	// Person is who is signed in.
	Person(r *http.Request) (Person, bool)
	// Path is where to sign in, and SignOutPath what a form is posted to that signs out; both lead back to a local path.
	Path(returnTo string) string
	SignOutPath(returnTo string) string
}

// person is who is signed in, where anybody can.
func (p *Pages) person(r *http.Request) (Person, bool) {
	if p.SignIn == nil || !p.SignIn.Enabled() {
		return Person{}, false
	}
	return p.SignIn.Person(r)
}

// claimant is who answers an invitation, as far as that matters: where signing in is not asked for, whoever happens to be
// signed in here answers by the link alone, as anybody does.
func (p *Pages) claimant(r *http.Request) (Person, bool) {
	if !p.RequireSignIn {
		return Person{}, false
	}
	return p.person(r)
}

// mustSignIn reports whether an invitation waits until its invitee has signed in: somebody new has nothing to sign in with.
func (p *Pages) mustSignIn(r *http.Request, preview redeem.Preview) bool {
	if !p.RequireSignIn || preview.Invitee != redeem.Existing {
		return false
	}
	_, ok := p.person(r)
	return !ok
}

// askSignIn adds the way to sign in, and keeps the invitation for as long as that may take.
func (p *Pages) askSignIn(w http.ResponseWriter, token string, v *view) {
	p.cookie.put(w, token, openFor)
	v.SignIn = p.base + p.SignIn.Path("/join")
}

// wrongAccount shows whom the invitation is for and who is signed in, with a way to change that.
func (p *Pages) wrongAccount(w http.ResponseWriter, r *http.Request, token string, v view) {
	who, _ := p.person(r)
	p.cookie.put(w, token, openFor)
	v.Account, v.SignOut = line(who.Email), p.base+p.SignIn.SignOutPath(p.SignIn.Path("/join"))
	p.render(w, r, http.StatusForbidden, "wrong", v)
}
