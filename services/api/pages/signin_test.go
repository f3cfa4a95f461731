package pages_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events/eventstest"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/services/api/pages"
)

var (
	invitee  = &pages.Person{Email: eventstest.Email, Name: "Nia of the Provider", Locale: "en"}
	somebody = &pages.Person{Email: "mallory@elsewhere.example", Name: "Mallory"}
)

// guarded are pages on which people sign in before they accept.
func guarded(t *testing.T) (*door, *gate, *browser) {
	t.Helper()
	g := &gate{}
	d, b := setup(t, func(o *pages.Options) { o.SignIn, o.RequireSignIn = g, true })
	return d, g, b
}

func TestWhoHasAnAccountSignsInFirstAndComesBackToTheInvitation(t *testing.T) {
	d, g, b := guarded(t)
	d.links[token].Invitee = redeem.Existing
	p := b.get("/i/" + token)
	require.Equal(t, asksAcme, p.heading(), "what it is about comes first")
	href, _ := attribute(p.links()[0], "href")
	require.Equal(t, "/signin?to=%2Fjoin", href)
	require.Len(t, p.forms(), 1, "declining needs no account")
	require.Contains(t, strings.Join(p.header.Values("Set-Cookie"), "\n"), "Max-Age=1800", "the invitation waits in the meantime")

	g.person = invitee
	p = b.get("/join")
	require.Contains(t, p.says(), "You join with the account you already have")
	p = b.answer(p, "accept", "")
	require.Equal(t, []string{"accept " + token + " as "}, d.acts)
	require.Equal(t, eventstest.Email, d.by.Email)
	require.Equal(t, "/join", p.path)
}

func TestAFormThatWasOpenBeforeSigningInWasAskedForDecidesNothing(t *testing.T) {
	d, _, b := guarded(t)
	open := b.get("/i/" + token) // still a new person
	d.links[token].Invitee = redeem.Existing
	p := b.answer(open, "accept", "Nia")
	require.Equal(t, http.StatusForbidden, p.status)
	require.Contains(t, p.says(), "Sign in to continue")
	require.Empty(t, d.acts)
}

func TestSomebodyNewHasNothingToSignInWith(t *testing.T) {
	d, g, b := guarded(t)
	p := b.get("/i/" + token)
	require.Contains(t, p.says(), "Your name")
	g.person = invitee
	named := b.get("/join")
	require.Equal(t, "Nia of the Provider", named.forms()[0].fields.Get("name"), "the name they have there")
	g.person = nil
	b.answer(p, "accept", "Nia")
	require.Len(t, d.acts, 1)
}

func TestV023TheWrongAccountSeesBothAddressesAndAWayToSwitch(t *testing.T) {
	for _, who := range []string{redeem.New, redeem.Existing} {
		d, g, b := guarded(t)
		d.links[token].Invitee = who
		open := b.get("/i/" + token)
		g.person = somebody
		p := b.get("/join")
		require.Equal(t, http.StatusForbidden, p.status)
		require.Equal(t, "This invitation is for another address", p.heading())
		require.Contains(t, p.says(), "Invited n•••@example.org Signed in as mallory@elsewhere.example")
		require.NotContains(t, p.text, eventstest.Email, "theirs is masked")
		action, _ := attribute(p.all("form")[0], "action")
		require.Equal(t, "/signout?to=%2Fsignin%3Fto%3D%252Fjoin", action)
		require.NotContains(t, p.says(), "Accept invitation")

		if who == redeem.New { // a form from before
			p = b.answer(open, "accept", "Mallory")
			require.Equal(t, "This invitation is for another address", p.heading())
		}
		require.Empty(t, d.acts)
		g.person = invitee
		require.Equal(t, asksAcme, b.get("/join").heading(), "the invitation waited")
	}
}

func TestAnAddressIsShownWhole(t *testing.T) {
	d, g, b := guarded(t)
	g.person = &pages.Person{Email: "mallory@" + strings.Repeat("long.", 30) + "example"}
	d.links[token].Email = "n•••@" + strings.Repeat("long.", 30) + "example.org"
	p := b.get("/i/" + token)
	require.Contains(t, p.says(), g.person.Email)
	require.Contains(t, p.says(), d.links[token].Email)
}

func TestWhatBecameOfAnInvitationIsNotToldToTheWrongAccount(t *testing.T) {
	d, g, b := guarded(t)
	d.links[token].Record.Outcome = invitation.Accepted
	d.members[eventstest.Person] = roster.Member{Role: "member"}
	g.person = somebody
	require.Equal(t, "This invitation is for another address", b.get("/i/"+token).heading())
	g.person = invitee
	require.Equal(t, "You are in", b.get("/join").heading())
}

func TestWhereSigningInIsNotAskedForTheLinkAloneIsTheRight(t *testing.T) {
	g := &gate{person: somebody}
	d, b := setup(t, func(o *pages.Options) { o.SignIn = g })
	b.answer(b.get("/i/"+token), "accept", "Nia")
	require.Equal(t, []string{"accept " + token + " as Nia"}, d.acts)
	require.Empty(t, d.by.Email)
}

// mailbox are the pages of somebody who is signed in.
func mailbox(t *testing.T, who *pages.Person) (*door, *gate, *browser) {
	t.Helper()
	g := &gate{person: who}
	d, b := setup(t, func(o *pages.Options) { o.SignIn = g })
	return d, g, b
}

// sameOrigin is how browsers post our own forms from these pages, which do send a referrer to us.
var sameOrigin = http.Header{"Content-Type": posted["Content-Type"], "Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://invite.example.org"}}

func (b *browser) choose(action, id string, header http.Header) page {
	b.t.Helper()
	return b.do(http.MethodPost, "/invitations/"+id, strings.NewReader(url.Values{"action": {action}}.Encode()), header)
}

func TestWhoIsNotSignedInIsLedToDoSo(t *testing.T) {
	_, _, b := mailbox(t, nil)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, path := range []string{"/invitations", "/invitations/" + eventstest.Invitation} {
		p := b.get(path)
		require.Equal(t, http.StatusSeeOther, p.status)
		require.Equal(t, "/signin?to=%2Finvitations", p.header.Get("Location"))
	}
}

func TestWhereNobodyCanSignInThereIsNoSuchPage(t *testing.T) {
	for _, b := range []*browser{second(setup(t)), second(setup(t, func(o *pages.Options) { o.SignIn = &gate{off: true, person: invitee} }))} {
		p := b.get("/invitations")
		require.Equal(t, http.StatusNotFound, p.status)
		require.NotContains(t, p.text, "Acme")
	}
}

func second(_ *door, b *browser) *browser { return b }

func TestAPersonAcceptsOrDeclinesWhatIsOpenForThemWithoutALink(t *testing.T) {
	d, _, b := mailbox(t, invitee)
	const other = "AQECAYkKXayWd0u8zrMCCZqAV90AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	const umbrella = "inv_01jd8x5rbgf3y8zt5s9r2h4q6w"
	d.links[other] = invited(func(p *redeem.Preview) { p.Organization.Name, p.Record.ID = "Umbrella", umbrella })
	p := b.get("/invitations")
	require.Equal(t, http.StatusOK, p.status)
	require.Equal(t, "Your invitations", p.heading())
	require.Len(t, p.all("h2"), 2)
	require.Contains(t, p.says(), "Acme Rockets Invited by Olu Owner Your role member")
	require.Equal(t, "same-origin", p.header.Get("Referrer-Policy"), "so that the guard has an origin to look at")
	require.NotContains(t, p.text, token)

	p = b.choose("accept", eventstest.Invitation, sameOrigin)
	require.Equal(t, "/invitations/"+eventstest.Invitation, p.path)
	require.Equal(t, "You accepted. Your membership is being set up", p.heading())
	require.Equal(t, redeem.By{Name: invitee.Name, Locale: "en", Email: invitee.Email}, d.by)
	d.members[eventstest.Person] = roster.Member{Role: "member"}
	require.Equal(t, "You are in", b.get(p.path).heading())

	p = b.choose("decline", umbrella, sameOrigin)
	require.Equal(t, "You declined this invitation", p.heading())
	require.Equal(t, []string{"accept " + token + " as Nia of the Provider", "decline " + other}, d.acts)
	require.Contains(t, b.get("/invitations").says(), "Nothing is open for new.person@example.org.")
}

func TestSomebodyElsesInvitationIsNotThere(t *testing.T) {
	d, _, b := mailbox(t, somebody)
	require.NotContains(t, b.get("/invitations").text, "Acme")
	for _, p := range []page{
		b.get("/invitations/" + eventstest.Invitation), b.choose("accept", eventstest.Invitation, sameOrigin),
		b.choose("decline", eventstest.Invitation, sameOrigin), b.choose("accept", "nonsense", sameOrigin),
	} {
		require.Equal(t, http.StatusNotFound, p.status)
		require.NotContains(t, p.text, "Acme")
	}
	require.Empty(t, d.acts)
}

func TestAnotherSitesFormAnswersNothingForWhoIsSignedIn(t *testing.T) {
	d, _, b := mailbox(t, invitee)
	for _, from := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}, {"Sec-Fetch-Site": {"same-site"}},
		{"Origin": {"https://evil.example"}}, {"Origin": {"null"}},
	} {
		from.Set("Content-Type", posted.Get("Content-Type"))
		p := b.choose("accept", eventstest.Invitation, from)
		require.Equal(t, http.StatusForbidden, p.status, from)
	}
	require.Empty(t, d.acts)
}

func TestWhoHasNoNameYetIsAskedInTheList(t *testing.T) {
	d, _, b := mailbox(t, &pages.Person{Email: eventstest.Email})
	p := b.choose("accept", eventstest.Invitation, sameOrigin)
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, p.says(), "Nothing was decided yet. Please enter your name.")
	require.True(t, p.forms()[0].fields.Has("name"))
	body := url.Values{"action": {"accept"}, "name": {"Nia"}}
	b.do(http.MethodPost, "/invitations/"+eventstest.Invitation, strings.NewReader(body.Encode()), sameOrigin)
	require.Equal(t, "Nia", d.by.Name)
}

func TestAnAnswerThatComesTooLateIsToldHowItEnded(t *testing.T) {
	for outcome, heading := range map[invitation.Status]string{
		invitation.Revoked: "This invitation was taken back", invitation.Declined: "You declined this invitation",
	} {
		d, _, b := mailbox(t, invitee)
		d.links[token].Record.Outcome = outcome
		require.Equal(t, heading, b.choose("accept", eventstest.Invitation, sameOrigin).heading())
	}
	d, _, b := mailbox(t, invitee)
	d.now = eventstest.Deadline
	p := b.choose("accept", eventstest.Invitation, sameOrigin)
	require.Equal(t, "This invitation has expired", p.heading())
	require.Empty(t, within(p.all("main")[0], "button"), "a new link is asked for where the old one is")
	d.down = problem.Unavailable("The ledger", nil)
	require.Equal(t, "Not right now", b.get("/invitations").heading())
}
