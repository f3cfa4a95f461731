package pages_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events/eventstest"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/services/api/pages"
)

const asksAcme = "Olu Owner invites you to join Acme Rockets"

func TestTheLinkMovesItsTokenFromTheAddressBarIntoAShortLivedCookie(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		d, b := setup(t)
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		p := b.do(method, "/i/"+token, nil, nil)
		require.Equal(t, http.StatusSeeOther, p.status)
		require.Equal(t, "/join", p.header.Get("Location"))
		require.Equal(t, "usher-invitation="+token+"; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax", p.header.Get("Set-Cookie"))
		require.Empty(t, d.acts)
	}
}

func TestOnlyAPersonsClickIsTakenForFollowingTheLink(t *testing.T) {
	d, b := setup(t)
	b.get("/i/" + token)
	b.do(http.MethodHead, "/i/"+token, nil, http.Header{"Sec-Fetch-User": {"?1"}})
	b.do(http.MethodGet, "/i/"+token, nil, http.Header{"Sec-Fetch-Mode": {"navigate"}})
	b.do(http.MethodGet, "/join", nil, http.Header{"Sec-Fetch-User": {"?1"}, "Sec-Purpose": {"prefetch"}})
	require.Zero(t, d.followed)
	b.do(http.MethodGet, "/i/"+token, nil, http.Header{"Sec-Fetch-User": {"?1"}})
	require.Equal(t, 1, d.followed)
	require.Empty(t, d.acts)

	d.links[token].Record.Outcome = invitation.Revoked
	b.do(http.MethodGet, "/join", nil, http.Header{"Sec-Fetch-User": {"?1"}})
	require.Equal(t, 1, d.followed)
}

func TestOverHTTPSTheCookieIsSecureAndBoundToItsHost(t *testing.T) {
	d, _ := setup(t)
	p := pages.New(pages.Options{Redeemer: d, PublicURL: "https://invite.example.org/usher/", Clock: func() time.Time { return d.now }})
	answer := httptest.NewRecorder()
	p.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/i/"+token, nil))
	require.Equal(t, "__Host-usher-invitation="+token+"; Path=/; Max-Age=1800; HttpOnly; Secure; SameSite=Lax", answer.Header().Get("Set-Cookie"))
	require.Equal(t, "/usher/join", answer.Header().Get("Location"), "below the path of the public address")
}

func TestV102ALinkThatLeadsNowhereIsToldAtOnceAndTellsNothing(t *testing.T) {
	_, b := setup(t)
	forged, mangled := b.get("/i/"+strings.Replace(token, "A", "B", 1)), b.get("/i/..%00%2fscript%22")
	require.Equal(t, http.StatusNotFound, forged.status)
	require.Equal(t, "This link leads nowhere", forged.heading())
	require.NotEqual(t, "/join", forged.path)
	require.Empty(t, forged.header.Get("Set-Cookie"))
	require.Equal(t, forged.text, mangled.text)
	require.Equal(t, http.StatusNotFound, mangled.status)
	require.NotContains(t, forged.text, "Acme")
}

func TestWithoutACookieThePageAsksToOpenTheLinkAgain(t *testing.T) {
	d, b := setup(t)
	for _, p := range []page{b.get("/join"), b.post("/join", url.Values{"action": {"accept"}, "confirm": {"yes"}})} {
		require.Equal(t, http.StatusNotFound, p.status)
		require.Equal(t, "Please open the link in your e-mail again", p.heading())
	}
	require.Empty(t, d.acts)
}

func TestThePageSaysWhoInvitesWhomToWhatAsWhichRoleUntilWhen(t *testing.T) {
	_, b := setup(t)
	p := b.get("/i/" + token)
	require.Equal(t, http.StatusOK, p.status)
	require.Equal(t, "/join", p.path)
	require.Equal(t, asksAcme, p.heading())
	require.Contains(t, p.says(), "Your role member Sent to n•••@example.org Open until March 9, 2026 9:30 am UTC 7 days left")
	require.Contains(t, p.says(), "Yes, I am n•••@example.org and want to join Acme Rockets as member.")
	require.Contains(t, p.says(), "I do not want to join Acme Rockets as member with n•••@example.org.")
	require.NotContains(t, p.text, eventstest.Email)
	require.NotContains(t, p.text, token)
}

func TestAnExistingPersonIsNotAskedForAName(t *testing.T) {
	d, b := setup(t)
	d.links[token] = invited(func(p *redeem.Preview) { p.Invitee = redeem.Existing })
	p := b.get("/i/" + token)
	require.Contains(t, p.says(), "You join with the account you already have for n•••@example.org.")
	require.False(t, p.forms()[0].fields.Has("name"))
	d.links[token] = invited()
	require.True(t, b.get("/join").forms()[0].fields.Has("name"))
}

func TestV015LookingAtAPageChangesNothingHoweverOften(t *testing.T) {
	d, b := setup(t)
	for range 100 {
		for _, path := range []string{"/i/" + token, "/join", "/join?action=accept&confirm=yes&name=x", "/unsubscribe/" + token} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				require.Equal(t, http.StatusOK, b.do(method, path, nil, nil).status)
			}
		}
	}
	require.Empty(t, d.acts)
	require.Empty(t, d.links[token].Record.Outcome)
}

// A mail scanner follows the link and submits what it finds: with and without the buttons, every text field filled, and
// again on the page it gets back.
func TestV016V017AScannerThatSubmitsEveryFormAsItStandsDecidesNothing(t *testing.T) {
	d, b := setup(t)
	for _, path := range []string{"/join", "/unsubscribe/" + token} {
		open := b.get("/i/" + token)
		if path != "/join" {
			open = b.get(path)
		}
		require.NotEmpty(t, open.forms())
		pages := []page{open}
		for round := range 3 {
			var next []page
			for _, p := range pages {
				next = append(next, b.scan(path, p)...)
			}
			require.NotEmpty(t, next, round)
			pages = next
		}
	}
	require.Empty(t, d.acts)
}

// scan submits each form of a page with what its fields hold, once with and once without its button.
func (b *browser) scan(path string, p page) []page {
	b.t.Helper()
	var answers []page
	for _, form := range p.forms() {
		require.NotEmpty(b.t, form.boxes, "each form has a step of its own")
		if form.fields.Has("name") {
			form.fields.Set("name", "Fpnaare")
		}
		answers = append(answers, b.post(path, form.fields))
		for name := range form.buttons {
			form.fields.Set(name, form.buttons.Get(name))
		}
		answers = append(answers, b.post(path, form.fields))
	}
	for _, a := range answers {
		require.Equal(b.t, http.StatusUnprocessableEntity, a.status)
	}
	return answers
}

func TestAcceptingLeadsToACleanPageThatSaysOneIsIn(t *testing.T) {
	d, b := setup(t)
	d.members[eventstest.Person] = roster.Member{Role: "member"}
	p := b.answer(b.get("/i/"+token), "accept", "Nia Newcomer")
	require.Equal(t, []string{"accept " + token + " as Nia Newcomer"}, d.acts)
	require.Equal(t, http.StatusOK, p.status)
	require.Equal(t, "/join", p.path)
	require.Equal(t, "You are in", p.heading())
	require.Contains(t, p.says(), "Continue to app.example.org")
	href, _ := attribute(p.links()[0], "href")
	require.Equal(t, eventstest.RedirectURL, href)
	require.Equal(t, p.text, b.get("/join").text, "reloading shows the same")
	require.Equal(t, p.text, b.get("/i/"+token).text, "and so does the link in the mail")
}

func TestAcceptingTwiceShowsTheSameSuccess(t *testing.T) {
	d, b := setup(t)
	d.members[eventstest.Person] = roster.Member{Role: "member"}
	open := b.get("/i/" + token)
	first := b.answer(open, "accept", "Nia Newcomer")
	require.Equal(t, first.text, b.answer(open, "accept", "Nia Newcomer").text)
}

func TestAfterTheAnswerTheCookieIsKeptForAFewMinutesOnly(t *testing.T) {
	for _, action := range []string{"accept", "decline"} {
		_, b := setup(t)
		open := b.get("/i/" + token)
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		p := b.answer(open, action, "Nia Newcomer")
		require.Equal(t, http.StatusSeeOther, p.status)
		require.Contains(t, strings.Join(p.header.Values("Set-Cookie"), "\n"), "usher-invitation="+token+"; Path=/; Max-Age=600;")
	}
}

func TestSettingUpTurnsIntoYouAreInByItself(t *testing.T) {
	d, b := setup(t)
	p := b.answer(b.get("/i/"+token), "accept", "Nia Newcomer")
	require.Equal(t, "You accepted. Your membership is being set up", p.heading())
	require.Equal(t, http.StatusOK, p.status)
	require.Contains(t, p.text, `<noscript><meta http-equiv="refresh" content="2"></noscript>`)
	require.Contains(t, p.text, `<div id="state" hx-get="/join" hx-trigger="every 2s"`)
	require.NotContains(t, p.header.Get("Content-Security-Policy"), "script-src 'none'")
	d.members[eventstest.Person] = roster.Member{Role: "viewer"}
	p = b.get("/join")
	require.Equal(t, "You are in", p.heading())
	require.Contains(t, p.says(), "Your role is viewer.", "the role that was given, not the one that was offered")
	require.NotContains(t, p.text, "hx-get")
	require.NotContains(t, p.text, "refresh")
	require.Contains(t, p.header.Get("Content-Security-Policy"), "script-src 'none'")
}

func TestAnAcceptanceThatLedToNoMembershipIsNotSaidToBeOnItsWay(t *testing.T) {
	refused := func(d *door) { d.links[token].Record.Refused = true }
	later := func(d *door) { d.now = d.now.Add(11 * time.Minute) }
	for _, happen := range []func(*door){refused, later} {
		d, b := setup(t)
		require.Equal(t, http.StatusOK, b.answer(b.get("/i/"+token), "accept", "Nia Newcomer").status)
		happen(d)
		p := b.get("/join")
		require.Equal(t, http.StatusConflict, p.status)
		require.Equal(t, "You accepted, but are not a member", p.heading())
		require.NotContains(t, p.text, "hx-get")
	}
}

func TestDecliningIsAStepOfItsOwn(t *testing.T) {
	d, b := setup(t)
	p := b.answer(b.get("/i/"+token), "decline", "")
	require.Equal(t, []string{"decline " + token}, d.acts)
	require.Equal(t, http.StatusGone, p.status)
	require.Equal(t, "You declined this invitation", p.heading())
	require.Equal(t, "/join", p.path)
}

func TestWhoAcceptedAndThenDeclinesIsToldThatItIsTooLate(t *testing.T) {
	d, b := setup(t)
	open := b.get("/i/" + token)
	b.answer(open, "accept", "Nia Newcomer")
	p := b.answer(open, "decline", "")
	require.Equal(t, http.StatusGone, p.status)
	require.Equal(t, "You accepted this invitation before", p.heading())
	require.Len(t, d.acts, 1)
}

func TestT013ReloadingThePageChangesNothingAndItsFormStillWorks(t *testing.T) {
	d, b := setup(t)
	open := b.get("/i/" + token)
	require.Equal(t, open.text, b.get("/join").text)
	require.Empty(t, d.acts)
	b.answer(open, "accept", "Nia Newcomer")
	require.Len(t, d.acts, 1)
}

func TestAMissingNameKeepsWhatWasTyped(t *testing.T) {
	d, b := setup(t)
	d.refuse = problem.Fields(eventField("name", redeem.NameTooLong))
	p := b.answer(b.get("/i/"+token), "accept", `Nia "N" <b>`)
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Equal(t, asksAcme, p.heading())
	require.Contains(t, p.says(), "Nothing was decided yet. Your name is too long.")
	require.Equal(t, `Nia "N" <b>`, p.forms()[0].fields.Get("name"))
	require.Equal(t, "yes", p.forms()[0].fields.Get("confirm"), "the step that was taken")
	require.False(t, p.forms()[1].fields.Has("confirm"), "the step that was not")
	d.refuse = nil
	b.answer(p, "accept", "Nia")
	require.Len(t, d.acts, 1)
}

func TestTheNameThatTheInviterGaveIsThereToStartWith(t *testing.T) {
	d, b := setup(t)
	d.links[token].Record.Request.Name = "Nia Newcomer"
	require.Equal(t, "Nia Newcomer", b.get("/i/" + token).forms()[0].fields.Get("name"))
}

func TestV030AnotherInvitationsFormDecidesNothing(t *testing.T) {
	d, b := setup(t)
	const other = "AQECAYkKXayWd0u8zrMCCZqAV90AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	d.links[other] = invited(func(p *redeem.Preview) { p.Organization.Name = "Umbrella"; p.Record.Request.Role = "owner" })
	acme := b.get("/i/" + token)
	b.get("/i/" + other) // in another tab
	for _, action := range []string{"accept", "decline"} {
		p := b.answer(acme, action, "Nia Newcomer")
		require.Equal(t, http.StatusConflict, p.status)
		require.Equal(t, "Olu Owner invites you to join Umbrella", p.heading())
		require.Contains(t, p.says(), "belongs to another invitation")
	}
	require.Equal(t, http.StatusConflict, b.post("/join", url.Values{"action": {"accept"}, "confirm": {"yes"}, "name": {"Nia"}}).status, "no form at all")
	require.Empty(t, d.acts)
}

func TestAnotherSitesFormDecidesNothing(t *testing.T) {
	d, b := setup(t)
	fields := b.get("/i/" + token).forms()[0].fields
	fields.Set("action", "accept")
	fields.Set("confirm", "yes")
	fields.Set("name", "Nia")
	send := func(site, origin string) page {
		header := http.Header{"Content-Type": posted["Content-Type"]}
		for name, value := range map[string]string{"Sec-Fetch-Site": site, "Origin": origin} {
			if value != "" {
				header.Set(name, value)
			}
		}
		return b.do(http.MethodPost, "/join", strings.NewReader(fields.Encode()), header)
	}
	for _, from := range [][2]string{{"cross-site", "https://evil.example"}, {"same-site", ""}, {"", "https://evil.example"}, {"cross-site", "null"}} {
		p := send(from[0], from[1])
		require.Equal(t, http.StatusForbidden, p.status, from)
		require.Equal(t, "This did not come from our page", p.heading())
	}
	require.Empty(t, d.acts)
	require.Equal(t, http.StatusOK, send("", "http://invite.example.org").status, "our own, through a proxy that changes the host")
}

// Over plain http to a host that is not this machine, browsers send no Sec-Fetch-Site, and after a page without referrer
// they call the origin null.
func TestOverPlainHTTPTheFormsTokenAloneDecidesWhoseFormItIs(t *testing.T) {
	d, b := setup(t)
	header := http.Header{"Content-Type": posted["Content-Type"], "Origin": {"null"}}
	fields := b.get("/i/" + token).forms()[0].fields
	fields.Set("action", "accept")
	fields.Set("confirm", "yes")
	fields.Set("name", "Nia")
	stolen := url.Values{"form": {"guessed"}, "action": {"accept"}, "confirm": {"yes"}, "name": {"Nia"}}
	require.Equal(t, http.StatusConflict, b.do(http.MethodPost, "/join", strings.NewReader(stolen.Encode()), header).status)
	require.Empty(t, d.acts)
	require.Equal(t, http.StatusOK, b.do(http.MethodPost, "/join", strings.NewReader(fields.Encode()), header).status)
	require.Len(t, d.acts, 1)
}

func TestEachEndHasItsHonestPage(t *testing.T) {
	ended := func(s invitation.Status) func(*door) {
		return func(d *door) {
			d.links[token].Record.Outcome, d.links[token].Record.EndedAt = s, d.now
		}
	}
	for name, c := range map[string]struct {
		happen  func(*door)
		status  int
		heading string
		says    string
	}{
		"declined": {ended(invitation.Declined), 410, "You declined this invitation", "ask Olu Owner for a new invitation"},
		"revoked":  {ended(invitation.Revoked), 410, "This invitation was taken back", "Acme Rockets withdrew it"},
		"expired": {
			func(d *door) { d.now = eventstest.Deadline }, 410, "This invitation has expired", "until March 9, 2026 9:30 am UTC",
		},
		"replaced": {
			func(d *door) { d.links[token].Record.Generation = 1 }, 410, "There is a newer e-mail", "sent to n•••@example.org",
		},
		"gone": {func(d *door) { delete(d.links, token) }, 404, "This link leads nowhere", "ask the person who invited you"},
		"down": {
			func(d *door) { d.down = problem.Unavailable("The ledger", nil) }, 503, "Not right now", "your link stays valid",
		},
		"no page's refusal": {
			func(d *door) { d.down = problem.New(problem.Conflict, "surprise") }, 503, "Not right now", "your link stays valid",
		},
		"unforeseen": {func(d *door) { d.down = errors.New("surprise") }, 503, "Not right now", "your link stays valid"},
	} {
		t.Run(name, func(t *testing.T) {
			d, b := setup(t)
			open := b.get("/i/" + token)
			c.happen(d)
			answers := map[string]page{
				"looking": b.get("/join"), "accepting": b.answer(open, "accept", "Nia"),
			}
			if name != "declined" {
				answers["declining"] = b.answer(open, "decline", "")
			}
			for how, p := range answers {
				require.Equal(t, c.status, p.status, how)
				require.Equal(t, c.heading, p.heading(), how)
				require.Contains(t, p.says(), c.says, how)
				require.NotContains(t, p.text, "surprise")
				require.Equal(t, c.status == 503, p.header.Get("Retry-After") != "", how)
			}
			require.Empty(t, d.acts)
		})
	}
}

func TestAnInviterWhoLostTheirAuthorityIsNamedAsTheReason(t *testing.T) {
	for _, code := range []problem.Code{problem.AuthorityLost, problem.RoleGone} {
		d, b := setup(t)
		d.refuse = problem.New(code, "No more.")
		p := b.answer(b.get("/i/"+token), "accept", "Nia")
		require.Equal(t, http.StatusConflict, p.status)
		require.Equal(t, "This invitation can no longer be accepted", p.heading())
		require.Contains(t, p.says(), "Olu Owner may no longer give you the role member.")
	}
}

func TestNotNowKeepsTheLinkAndWhatWasTyped(t *testing.T) {
	d, b := setup(t)
	d.refuse = &problem.Error{Code: problem.NotNow, Detail: "x", RetryAfter: 7 * time.Second}
	p := b.answer(b.get("/i/"+token), "accept", "Nia Newcomer")
	require.Equal(t, http.StatusServiceUnavailable, p.status)
	require.Equal(t, "7", p.header.Get("Retry-After"))
	require.Contains(t, p.says(), "Nothing was decided yet. Something on our side is not available right now. Your link stays valid")
	d.refuse = nil
	require.Equal(t, http.StatusOK, b.answer(p, "accept", p.forms()[0].fields.Get("name")).status)
	require.Equal(t, []string{"accept " + token + " as Nia Newcomer"}, d.acts)
}

func TestALinkOpenedDuringAnOutageIsRememberedForLater(t *testing.T) {
	d, b := setup(t)
	d.down = problem.Unavailable("The ledger", nil)
	require.Equal(t, http.StatusServiceUnavailable, b.get("/i/"+token).status)
	d.down = nil
	require.Equal(t, asksAcme, b.get("/join").heading())
}

func TestAFormThatIsTooLongOrBrokenIsRefused(t *testing.T) {
	d, b := setup(t)
	b.get("/i/" + token)
	for body, status := range map[string]int{
		"name=" + strings.Repeat("x", 20<<10): http.StatusRequestEntityTooLarge, "a=%zz": http.StatusBadRequest, "a;b": http.StatusBadRequest,
	} {
		for _, path := range []string{"/join", "/unsubscribe/" + token} {
			p := b.do(http.MethodPost, path, strings.NewReader(body), posted)
			require.Equal(t, status, p.status)
			require.Equal(t, "That could not be read", p.heading())
		}
	}
	require.Empty(t, d.acts)
}

func TestTheTimeLeftIsToldInItsLargestUnit(t *testing.T) {
	d, b := setup(t)
	for left, says := range map[time.Duration]string{
		167 * time.Hour: "7 days left", 49 * time.Hour: "2 days left", 25 * time.Hour: "1 day left", 90 * time.Minute: "1 hour left", 5 * time.Minute: "5 minutes left",
		time.Second: "less than a minute left",
	} {
		d.now = eventstest.Deadline.Add(-left)
		require.Contains(t, b.get("/i/"+token).says(), says, fmt.Sprint(left))
	}
}
