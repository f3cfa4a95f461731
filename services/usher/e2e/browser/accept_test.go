package browser

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// accept says yes on the page of an open invitation.
func (p *person) accept(name string) *person {
	p.t.Helper()
	if name != "" {
		p.fill("Your name", name)
	}
	return p.click("Yes, I am").click("Accept invitation")
}

func TestANewPersonAccepts(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t, map[string]any{"redirect_hosts": []string{"app.example.com"}})
	invitation, mail := o.Invited(t, "member", "redirect_url", "https://app.example.com/welcome")
	p := visitor(t, u.URL).open(mail.Link(t)).sees("Olivia Owner invites you to join " + o.Name)
	require.Equal(t, "/join", p.path(), "the address bar shows the secret")
	p.lookAt("pages/invitation")

	p.fill("Your name", "").click("Yes, I am").click("Accept invitation")
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status, "the name is missing")
	p.fill("Your name", "Nadia Nova").choose("Your language", "Deutsch").click("Accept invitation")
	p.sees("Sie sind dabei").lookAt("pages/joined")
	require.Equal(t, "https://app.example.com/welcome", look[string](p, "where to go on", `return place.querySelector("a.button").href`))
	member, ok := o.Member(t, invitation.Email)
	require.True(t, ok)
	require.Equal(t, "Nadia Nova", member.Name)

	p.open(mail.Link(t)).sees("Sie sind dabei")
}

func TestAKnownPersonJoinsWithTheirAccount(t *testing.T) {
	t.Parallel()
	u := common(t)
	first, second := u.Organization(t), u.Organization(t)
	known := first.Join(t, "member")
	second.Invite(t, known.Email, "admin")
	p := visitor(t, u.URL).open(u.Mails.Next(t, known.Email, 1).Link(t)).sees("with the account you already have").misses("Your name")
	p.lookAt("pages/invitation", "existing")
	p.accept("").sees("You are in")
}

func TestDecliningIsHeldTo(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	p := visitor(t, u.URL).open(mail.Link(t)).click("No, thank you").click("I do not want to join").lookOpen()
	p.click("Decline invitation").sees("You declined this invitation").lookAt("pages/declined")
	require.Equal(t, "declined", u.Show(t, invitation.ID).Status)
	p.open(mail.Link(t)).sees("You declined this invitation")
}

func (p *person) lookOpen() *person {
	p.t.Helper()
	p.lookAt("pages/invitation", "declining")
	return p
}

func TestWhatIsMissingIsAskedForAndTheRestKept(t *testing.T) {
	t.Parallel()
	u := common(t)
	_, mail := u.Organization(t).Invited(t, "member")
	p := visitor(t, u.URL).open(mail.Link(t)).fill("Your name", "Nell\u202e New")
	p.click("Yes, I am").click("Accept invitation").sees("Your name must be plain text on one line").lookAt("pages/invitation", "fault")
	require.True(t, look[bool](p, "the box", `return place.querySelector("[name=confirm]").checked`), "the step was forgotten")
	p.fill("Your name", "Nell New").click("Accept invitation").sees("You are in")
}

func TestEveryEndOfALinkHasItsPage(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	p := visitor(t, u.URL).open("/join").sees("Please open the link in your e-mail again")
	p.lookAt("pages/closed")
	p.open("/i/" + strings.Repeat("x", 64)).sees("This link leads nowhere").lookAt("pages/unknown")

	revoked, mail := o.Invited(t, "member")
	u.API().Post(t, "/v1/invitations/"+revoked.ID+"/revoke", nil)
	p.open(mail.Link(t)).sees("This invitation was taken back").lookAt("pages/revoked")

	replaced, mail := o.Invited(t, "member")
	u.API().Post(t, "/v1/invitations/"+replaced.ID+"/resend", map[string]any{"rotate": true})
	p.open(mail.Link(t)).sees("There is a newer e-mail").lookAt("pages/replaced")

	inviter := o.Join(t, "admin")
	_, mail = o.Invited(t, "member", "inviter", inviter.Email)
	p.open(mail.Link(t)).sees("Nell New invites you")
	u.API().Do(t, http.MethodPatch, o.Path("/members/"+inviter.Person), map[string]any{"role": "viewer"})
	p.accept("Late Comer").sees("This invitation can no longer be accepted").lookAt("pages/authority")

	accepted, mail := o.Invited(t, "member")
	p.open(mail.Link(t)).click("No, thank you").click("I do not want to join")
	o.Accept(t, accepted, mail)
	p.click("Decline invitation").sees("You accepted this invitation before").lookAt("pages/toolate")
	p.click("See where things stand").sees("You are in")
}

func TestAnExpiredLinkOffersANewOne(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	strict, easy := c.Organization(t), c.Organization(t, map[string]any{"self_service_renewal": true})
	_, asked := strict.Invited(t, "member")
	renewed, mail := easy.Invited(t, "member")
	crowd := make([]harness.Mail, 101)
	for i := range crowd {
		_, crowd[i] = easy.Invited(t, "member")
	}
	c.Pass(8 * 24 * time.Hour)

	p := visitor(t, c.URL).open(asked.Link(t)).sees("This invitation has expired")
	p.lookAt("pages/expired")
	p.click("Ask for a new link").sees("Your wish was passed on").lookAt("pages/asked")
	p.open(mail.Link(t)).click("Ask for a new link").sees("A new e-mail is on its way").lookAt("pages/renewed")
	p.open(c.Mails.Next(t, renewed.Email, 1).Link(t)).accept("Nell New").sees("You are in")

	for _, mail := range crowd[1:] {
		harness.Client{URL: c.URL}.Post(t, "/v1/links/renew", map[string]any{"token": mail.Token(t)})
	}
	p.open(crowd[0].Link(t)).click("Ask for a new link").sees("Please try again later").lookAt("pages/toomany")
}

func TestThePageSaysYouAreInWithoutAReload(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o := c.Organization(t)
	_, first := o.Invited(t, "member")
	_, second := o.Invited(t, "member")
	stream, err := jetstream.New(c.Bus(t).Conn)
	require.NoError(t, err)
	pause := func() {
		_, err := stream.PauseConsumer(t.Context(), "INVITATIONS", "acceptance", time.Now().Add(time.Hour))
		require.NoError(t, err)
	}
	resume := func() {
		_, err := stream.ResumeConsumer(t.Context(), "INVITATIONS", "acceptance")
		require.NoError(t, err)
	}
	pause()
	p := visitor(t, c.URL).open(first.Link(t)).accept("Nell New").sees("Your membership is being set up")
	p.lookAt("pages/settingup")
	p.do(chromedp.Evaluate[chromedp.Void](`window.stayed = true`))
	resume()
	p.sees("You are in")
	require.True(t, look[bool](p, "the page", `return window.stayed === true`), "the page was loaded again")

	pause()
	p.open(second.Link(t)).accept("Nell New").sees("Your membership is being set up")
	c.Pass(11 * time.Minute)
	p.sees("You accepted, but are not a member").lookAt("pages/notmember")
}

func TestADependencyThatIsDownIsNotNow(t *testing.T) {
	t.Parallel()
	broker := brokertest.Process(t)
	u := harness.Up(t, "USHER_NATS_URL="+broker.URL, "USHER_NATS_MONITORING_URL="+broker.MonitoringURL)
	invitation, mail := u.Organization(t).Invited(t, "member")
	p := visitor(t, u.URL).open(mail.Link(t)).sees("invites you to join")
	broker.Kill9()
	p.accept("Nell New").sees("Not right now").sees("Nothing was decided, and your link stays valid").lookAt("pages/notnow")
	broker.Start(t)
	harness.Eventually(t, "usher to be there again", func() bool { return u.API().Get(t, "/readyz").Status == http.StatusOK })
	p.click("Try again").sees("invites you to join").accept("Nell New").sees("You are in")
	u.Await(t, invitation.ID, "accepted", func(i harness.Invitation) bool { return i.Status == "accepted" })
}

func TestOwnInvitationsAreAnsweredWithoutALink(t *testing.T) {
	t.Parallel()
	u := common(t)
	email := harness.Address("often")
	orgs := []*harness.Organization{u.Organization(t), u.Organization(t), u.Organization(t)}
	for _, o := range orgs[:2] {
		o.Invite(t, email, "member")
	}
	p := visitor(t, u.URL).open("/invitations").sees("Who do you want to be?")
	p.click("Somebody else").fill("Address", email).click("Sign in as this person")
	p.sees("These are open for " + email).sees(orgs[0].Name).sees(orgs[1].Name).lookAt("pages/open")
	p.fill("Your name", "Otto Often").click("Accept " + orgs[0].Name).sees("You are in").click("All your invitations")
	p.sees(orgs[1].Name).misses(orgs[0].Name)
	p.click("Decline " + orgs[1].Name).sees("You declined this invitation").click("All your invitations")
	p.sees("Nothing is open for").lookAt("pages/open", "none")
	_, joined := orgs[0].Member(t, email)
	require.True(t, joined)
}

func TestUnsubscribingNeedsAPersonsStep(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	_, mail := o.Invited(t, "member")
	link := strings.Trim(mail.Header("List-Unsubscribe"), "<>")
	require.Contains(t, link, "/unsubscribe/")
	p := visitor(t, u.URL).open(link).sees("No more invitations by e-mail?")
	p.lookAt("pages/unsubscribe")
	p.click("Unsubscribe").sees("No more invitations by e-mail?")
	p.click("Send no more invitations").click("Unsubscribe").sees("You are unsubscribed").lookAt("pages/unsubscribed")
	again := o.API().Post(t, u.Organization(t).Path("/invitations"), map[string]any{"email": mail.To, "role": "member"})
	require.Equal(t, http.StatusConflict, again.Status, "%s", again.Body)
}

func TestWhatOtherSitesSendIsNotTakenForAnAnswer(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`<!doctype html><link rel="icon" href="data:,"><form method="post" action="` + u.URL + `/join"><input name="action" value="accept"><input name="confirm" value="yes"><input name="form" value="` +
			url.QueryEscape(r.URL.Query().Get("form")) + `"><input name="name" value="Mallory"><button>Win a prize</button></form>`))
	}))
	t.Cleanup(evil.Close)
	p := visitor(t, u.URL).open(mail.Link(t)).sees("invites you to join")
	form := look[string](p, "the form", `return document.querySelector("[name=form]").value`)
	p.open(evil.URL + "/?form=" + url.QueryEscape(form)).click("Win a prize").sees("This did not come from our page")
	p.lookAt("pages/elsewhere")
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status)

	p.open("/join").do(chromedp.Evaluate[chromedp.Void](`document.querySelector("[name=name]").removeAttribute("maxlength"), document.querySelector("[name=name]").value = "x".repeat(20000)`))
	p.click("Yes, I am").click("Accept invitation").sees("That could not be read").lookAt("pages/unreadable")
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status)
}

func TestArabicPagesReadFromRightToLeft(t *testing.T) {
	t.Parallel()
	u := common(t)
	_, mail := u.Organization(t).Invited(t, "member", "locale", "ar")
	p := visitor(t, u.URL).open(mail.Link(t))
	p.holds("right to left", `return document.documentElement.lang === "ar" && getComputedStyle(place).direction === "rtl"`)
	p.lookAt("pages/invitation", "arabic")
	p.do(chromedp.Click(chromedp.CSS("main summary")))
	p.lookAt("pages/invitation", "arabic", "declining")
	p.fill("", "نورة").clickOn(`input[name="confirm"]`).clickOn(`button[value="accept"]`)
	p.holds("being in", `return Boolean(document.querySelector(".mark.good"))`)
	p.lookAt("pages/joined", "arabic")
	p.click("English").sees("You are in")
}
