package browser

import (
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// Nothing of the issuer's own pages is looked at: they are not ours.
func TestSigningInComesBackToTheInvitation(t *testing.T) {
	t.Parallel()
	client := harness.Unique("client-")
	issuer := harness.NewIssuer(t, nil)
	u := harness.Up(t, issuer.Settings(client)...)
	first, second := u.Organization(t), u.Organization(t)
	known := first.Join(t, "member")
	second.Invite(t, known.Email, "member")
	mail := u.Mails.Next(t, known.Email, 1)
	issuer.Account("nell", known.Email, true)
	issuer.Account("olivia", first.Owner, true)
	issuer.Account("squatter", known.Email, false)

	p := visitor(t, u.URL).open("/console").sees("Not now")
	p.lookAt("signin/notnow")
	issuer.Start(t, client, u.URL)
	p.open("/signin/callback?code=x&state=y").sees("Please sign in again").lookAt("signin/again")

	p.open(mail.Link(t)).sees("There is an account for").lookAt("pages/invitation", "signin")
	p.click("Sign in to continue").issuer("squatter").sees("Your address is not verified").lookAt("signin/again", "unverified")
	p.open(mail.Link(t)).click("Sign in to continue").issuer("olivia").sees("This invitation is for another address").sees(first.Owner)
	require.NotContains(t, p.text(), known.Email, "a stranger learns the whole address")
	p.lookAt("pages/wrong")

	let := p.stay(issuer.URL)
	p.click("Sign in with another account").sees("You are signed out").lookAt("signin/onward")
	let()
	p.click("Choose an account").issuer("nell").sees("You join with the account you already have")
	p.accept("").sees("You are in")
	_, joined := second.Member(t, known.Email)
	require.True(t, joined)
}

// issuer signs in on the issuer's page.
func (p *person) issuer(name string) *person {
	p.t.Helper()
	p.holds("the issuer's page", `const field = document.querySelector("[name=username]"); if (!field) return false; field.value = %s; document.querySelector("[name=password]").value = "verysecure"; return true`, name)
	return p.clickOn("button[type=submit], input[type=submit]")
}

// stay keeps the browser from going to a site, on the page that leads there, until what it gives is called.
func (p *person) stay(site string) (let func()) {
	p.t.Helper()
	paused := chromedp.Events(p.ctx, fetch.RequestPaused)
	go func() {
		for r, err := range paused {
			if err != nil {
				return
			}
			_, _ = chromedp.Call(p.ctx, fetch.FailRequest, fetch.FailRequestParams{RequestID: r.RequestID, ErrorReason: network.ErrorReasonAborted}) // the page tells
		}
	}()
	p.do(call(fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: site + "*"}}}))
	return func() { p.do(call(fetch.Disable, cdp.Empty{})) }
}
