package pages_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events/eventstest"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
)

// expired opens a link whose time is over.
func expired(t *testing.T) (*door, *browser, page) {
	t.Helper()
	d, b := setup(t)
	d.now = eventstest.Deadline
	return d, b, b.get("/i/" + token)
}

// renew presses the button.
func (b *browser) renew(p page) page {
	b.t.Helper()
	form := p.forms()[0]
	form.fields.Set("action", form.buttons.Get("action"))
	return b.post("/join", form.fields)
}

func TestAnExpiredLinkHasOneButtonThatAsksForANewOne(t *testing.T) {
	d, b, p := expired(t)
	require.Equal(t, http.StatusGone, p.status)
	require.Equal(t, "This invitation has expired", p.heading())
	require.Contains(t, p.says(), "It can only come to n•••@example.org.")
	require.Len(t, p.forms(), 1)
	require.Empty(t, d.acts, "looking asks for nothing")

	p = b.renew(p)
	require.Equal(t, []string{"renew " + token}, d.acts)
	require.Equal(t, http.StatusOK, p.status)
	require.Equal(t, "/join", p.path)
	require.Equal(t, "Your wish was passed on", p.heading())
	require.Contains(t, p.says(), "We have let Olu Owner know.")
	require.Empty(t, p.forms())
	require.Equal(t, p.text, b.get("/join").text, "reloading asks for nothing more")
	require.Len(t, d.acts, 1)
}

func TestWhereInviteesMayRenewTheMailIsOnItsWay(t *testing.T) {
	d, b, p := expired(t)
	d.links[token].Organization.Policy.SelfServiceRenewal = true
	p = b.renew(p)
	require.Equal(t, "A new e-mail is on its way", p.heading())
	require.Contains(t, p.says(), "n•••@example.org")
	require.NotContains(t, p.text, eventstest.Email)
}

func TestADayLaterOneMayAskAgain(t *testing.T) {
	d, b, p := expired(t)
	b.renew(p)
	d.now = d.now.Add(24 * time.Hour)
	require.Equal(t, "This invitation has expired", b.get("/i/"+token).heading())
}

func TestWhoJoinedByAnotherInvitationIsToldThatTheyAreIn(t *testing.T) {
	d, b, _ := expired(t)
	d.members[eventstest.Person] = roster.Member{Role: "admin"}
	p := b.get("/i/" + token)
	require.Equal(t, "You are in", p.heading())
	require.Contains(t, p.says(), "Your role is admin.")
}

func TestARefusedWishHasItsHonestPage(t *testing.T) {
	for code, heading := range map[problem.Code]string{
		problem.Replaced: "There is a newer e-mail", problem.AuthorityLost: "This invitation can no longer be accepted",
		problem.TooMany: "Please try again later", problem.NotNow: "Not right now", problem.NotFound: "This link leads nowhere",
	} {
		d, b, p := expired(t)
		d.refuse = &problem.Error{Code: code, Detail: "No.", RetryAfter: time.Minute}
		p = b.renew(p)
		require.Equal(t, heading, p.heading())
		require.Equal(t, (&problem.Error{Code: code}).Status(), p.status)
		require.Equal(t, code == problem.NotNow || code == problem.TooMany, p.header.Get("Retry-After") == "60", code)
	}
}

func TestAskingForAnOpenOrStrangersLinkLeadsBack(t *testing.T) {
	d, b := setup(t)
	open := b.get("/i/" + token)
	fields := open.forms()[0].fields
	fields.Set("action", "renew")
	p := b.post("/join", fields)
	require.Equal(t, asksAcme, p.heading(), "it is still open")
	p = b.post("/join", url.Values{"action": {"renew"}, "form": {"guessed"}})
	require.Equal(t, http.StatusConflict, p.status)
	require.Empty(t, d.acts)
}
