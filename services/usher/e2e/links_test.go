package e2e

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestReadingALinkChangesNothing(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, bus := u.Organization(t), u.Bus(t)
	invitation, mail := o.Invited(t, "member")
	o.Await(t, invitation.ID, "sent", delivered("sent"))
	before := bus.Subjects(t, "INVITATIONS", "invitations."+o.ID+".>")
	shown := u.Show(t, invitation.ID)

	scanner := u.Invitee(t).Open(mail.Link(t))
	cookie := scanner.Cookies()
	require.NotEmpty(t, cookie)
	paths := []string{"/i/" + mail.Token(t), "/join", "/join?action=accept&confirm=yes&name=Scanner"}
	answers := atOnce(200, func(n int) tried {
		method := []string{http.MethodGet, http.MethodHead}[n%2]
		a, err := harness.Client{URL: u.URL}.Try(method, paths[n%len(paths)], nil, "Cookie", cookie)
		return tried{a, err}
	})
	for _, a := range answers {
		require.NoError(t, a.err)
		require.Contains(t, []int{http.StatusOK, http.StatusSeeOther}, a.Status)
	}
	invitee := harness.Client{URL: u.URL}
	for range 10 {
		require.Equal(t, http.StatusOK, invitee.Post(t, "/v1/links/lookup", map[string]any{"token": mail.Token(t)}).Status)
	}
	require.Equal(t, before, bus.Subjects(t, "INVITATIONS", "invitations."+o.ID+".>"))
	require.Equal(t, shown, u.Show(t, invitation.ID))

	// A scanner that submits the forms it finds, but ticks nothing, decides nothing either.
	for _, fields := range []url.Values{{}, {"action": {"accept"}, "name": {"Scanner"}}, {"action": {"decline"}}, {"confirm": {"yes"}}, {"action": {"accept"}, "confirm": {"no"}, "name": {"S"}}} {
		u.Invitee(t).Open(mail.Link(t)).Answer(fields).Shows(http.StatusUnprocessableEntity, "Nothing was decided yet.")
	}
	require.Equal(t, before, bus.Subjects(t, "INVITATIONS", "invitations."+o.ID+".>"))
	o.Accept(t, invitation, mail)
}

// V035, V049: neither page nor look-up gives the secret back, or the whole address.
func TestTheLinksPagesGiveNothingAway(t *testing.T) {
	t.Parallel()
	u := common(t)
	_, mail := u.Organization(t).Invited(t, "member")
	token := mail.Token(t)
	first := harness.Client{URL: u.URL}.Get(t, "/i/"+token)
	require.Equal(t, http.StatusSeeOther, first.Status)
	require.Equal(t, "/join", first.Header.Get("Location"))
	set := first.Header.Get("Set-Cookie")
	require.Contains(t, set, "HttpOnly")
	require.Contains(t, set, "SameSite=Lax")
	page := u.Invitee(t).Open(mail.Link(t)).Page
	for _, a := range []harness.Answer{first, page} {
		require.Equal(t, "no-referrer", a.Header.Get("Referrer-Policy"))
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		require.Equal(t, "noindex", a.Header.Get("X-Robots-Tag"))
		require.Contains(t, a.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
		require.NotContains(t, string(a.Body), token)
	}
	lookup := harness.Client{URL: u.URL}.Post(t, "/v1/links/lookup", map[string]any{"token": token})
	require.Equal(t, "no-store", lookup.Header.Get("Cache-Control"))
	require.NotContains(t, string(lookup.Body), token)
	require.NotContains(t, string(lookup.Body), mail.To, "the whole address is shown to whoever holds the link")
}

// V030, V034, V048: which invitation is answered, and what it grants, is in the link alone.
func TestOnlyOurOwnFormDecides(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	_, other := o.Invited(t, "admin")
	yes := url.Values{"action": {"accept"}, "confirm": {"yes"}, "name": {"Nell"}}

	// The form of one invitation, after another link was opened in the same browser.
	nell := u.Invitee(t).Open(other.Link(t))
	form := nell.Form()
	nell.Open(mail.Link(t))
	yes.Set("form", form)
	nell.Post(yes).Shows(http.StatusConflict, "belongs to another invitation")

	nell = u.Invitee(t).Open(mail.Link(t))
	yes.Set("form", nell.Form())
	elsewhere := func(headers ...string) harness.Answer {
		h := append([]string{"Content-Type", "application/x-www-form-urlencoded", "Cookie", nell.Cookies()}, headers...)
		return harness.Client{URL: u.URL}.Post(t, "/join", harness.Raw(yes.Encode()), h...)
	}
	require.Equal(t, http.StatusForbidden, elsewhere("Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example").Status)
	require.Equal(t, http.StatusForbidden, elsewhere("Sec-Fetch-Site", "same-site").Status)
	require.Equal(t, http.StatusForbidden, elsewhere("Origin", "https://evil.example").Status)
	require.Equal(t, http.StatusNotFound, harness.Client{URL: u.URL}.Post(t, "/join", harness.Raw(yes.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin").Status, "without the cookie")
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status)

	// A role, an organization or an address in the form is nobody's business.
	yes.Set("role", "owner")
	yes.Set("organization", "acme")
	yes.Set("email", "mallory@example.org")
	nell.Post(yes)
	o.Await(t, invitation.ID, "a membership", func(i harness.Invitation) bool { return i.Membership == "active" })
	member, ok := o.Member(t, invitation.Email)
	require.True(t, ok)
	require.Equal(t, "member", member.Role)
}

func TestANameIsAskedForAndMustBeOne(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	accept := func(name any) harness.Answer {
		return harness.Client{URL: u.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": name})
	}
	for _, name := range []string{"", "   ", "A\nB", "A\u202eB", strings.Repeat("x", 201), "\x00"} {
		p := accept(name).Refused(t, http.StatusUnprocessableEntity, "invalid")
		require.Equal(t, "body.name", p.Errors[0].Location, "%q", name)
		page := u.Invitee(t).Open(mail.Link(t)).Accept(name)
		require.Equal(t, http.StatusUnprocessableEntity, page.Page.Status, "%q", name)
	}
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status)
	markup := `<b>Nell</b> & "Co"`
	require.Equal(t, http.StatusOK, accept(markup).Status)
	member := harness.Until(t, "the member", func() (harness.Member, bool) { return o.Member(t, invitation.Email) })
	require.Equal(t, markup, member.Name)
}

func TestAKnownPersonJoinsWithTheAccountTheyHave(t *testing.T) {
	t.Parallel()
	u := common(t)
	first, second := u.Organization(t), u.Organization(t)
	known := first.Join(t, "member")
	invitation := second.Invite(t, strings.ToUpper(known.Email), "viewer")
	mail := u.Mails.Next(t, invitation.Email, 0)
	preview := harness.Read[harness.Preview](t, harness.Client{URL: u.URL}.Post(t, "/v1/links/lookup", map[string]any{"token": mail.Token(t)}), http.StatusOK)
	require.Equal(t, "existing", preview.Invitee)

	nell := u.Invitee(t).Open(mail.Link(t))
	require.Contains(t, nell.Text(), "with the account you already have")
	nell.Accept("")
	member := harness.Until(t, "the membership", func() (harness.Member, bool) { return second.Member(t, known.Email) })
	require.Equal(t, known.Person, member.Person)
	require.Equal(t, known.Name, member.Name)
	require.Equal(t, "viewer", member.Role)
	still, _ := first.Member(t, known.Email)
	require.Equal(t, "member", still.Role, "joining one organization changed another")
}

// leads is where a link leads: what the API says, and what the page shows.
func leads(t *testing.T, s *harness.System, link string, status int, code, page string) {
	t.Helper()
	token := link[strings.LastIndex(link, "/")+1:]
	invitee := harness.Client{URL: s.URL}
	lookup := invitee.Post(t, "/v1/links/lookup", map[string]any{"token": token})
	lookup.Refused(t, status, code)
	invitee.Post(t, "/v1/links/accept", map[string]any{"token": token, "name": "Nell"}).Refused(t, status, code)
	invitee.Post(t, "/v1/links/decline", map[string]any{"token": token}).Refused(t, status, code)
	seen := s.Invitee(t).Open(link)
	require.Equal(t, status, seen.Page.Status)
	require.Contains(t, seen.Heading(), page)
	require.NotContains(t, string(seen.Page.Body), `value="accept"`, "there is nothing left to answer")
}

func TestEveryEndedLinkSaysHowItEnded(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitee := harness.Client{URL: u.URL}

	t.Run("revoked", func(t *testing.T) {
		i, mail := o.Invited(t, "member")
		require.Equal(t, "revoked", harness.Read[harness.Invitation](t, u.API().Post(t, "/v1/invitations/"+i.ID+"/revoke", nil), http.StatusOK).Status)
		leads(t, &u.System, mail.Link(t), http.StatusGone, "revoked", "taken back")
		require.Equal(t, http.StatusOK, u.API().Post(t, "/v1/invitations/"+i.ID+"/revoke", nil).Status, "revoking twice is the same")
		require.NotEqual(t, i.ID, o.Invite(t, i.Email, "viewer").ID, "a revoked invitation blocks no new one")
	})
	t.Run("declined", func(t *testing.T) {
		i, mail := o.Invited(t, "member")
		u.Invitee(t).Open(mail.Link(t)).Decline().Shows(http.StatusGone, "")
		require.Equal(t, "declined", u.Show(t, i.ID).Status)
		invitee.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "N"}).Refused(t, http.StatusGone, "declined")
		again := invitee.Post(t, "/v1/links/decline", map[string]any{"token": mail.Token(t)})
		require.Equal(t, "declined", harness.Read[harness.Preview](t, again, http.StatusOK).Status, "declining twice is the same")
		u.API().Post(t, "/v1/invitations/"+i.ID+"/revoke", nil).Refused(t, http.StatusConflict, "ended")
		o.Invite(t, i.Email, "viewer")
	})
	t.Run("used", func(t *testing.T) {
		i, mail := o.Invited(t, "member")
		o.Accept(t, i, mail)
		invitee.Post(t, "/v1/links/lookup", map[string]any{"token": mail.Token(t)}).Refused(t, http.StatusGone, "accepted")
		invitee.Post(t, "/v1/links/decline", map[string]any{"token": mail.Token(t)}).Refused(t, http.StatusGone, "accepted")
		again := harness.Read[harness.Accepted](t, invitee.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "Somebody Else"}), http.StatusOK)
		require.Equal(t, "active", again.Membership)
		u.Invitee(t).Open(mail.Link(t)).Shows(http.StatusOK, "You are in")
		u.API().Post(t, "/v1/invitations/"+i.ID+"/revoke", nil).Refused(t, http.StatusConflict, "ended")
		u.API().Post(t, "/v1/invitations/"+i.ID+"/resend", nil).Refused(t, http.StatusConflict, "ended")
		u.API().Post(t, o.Path("/invitations"), map[string]any{"email": i.Email, "role": "viewer"}).Refused(t, http.StatusConflict, "already-member")
	})
	t.Run("replaced", func(t *testing.T) {
		i, mail := o.Invited(t, "member")
		a := u.API().Post(t, "/v1/invitations/"+i.ID+"/resend", map[string]any{"rotate": true})
		rotated := harness.Read[harness.Invitation](t, a, http.StatusAccepted)
		require.Equal(t, i.ID, rotated.ID)
		require.Equal(t, i.Generation+1, rotated.Generation)
		newer := u.Mails.Next(t, i.Email, 1)
		require.NotEqual(t, mail.Token(t), newer.Token(t))
		leads(t, &u.System, mail.Link(t), http.StatusGone, "replaced", "newer")
		o.Accept(t, i, newer)
		invitee.Post(t, "/v1/links/lookup", map[string]any{"token": mail.Token(t)}).Refused(t, http.StatusGone, "accepted")
	})
}

func TestAForgedLinkLeadsNowhere(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	token := mail.Token(t)
	raw, err := base64.RawURLEncoding.DecodeString(token)
	require.NoError(t, err)
	with := func(at int, change byte) string {
		forged := append([]byte(nil), raw...)
		forged[at] ^= change
		return base64.RawURLEncoding.EncodeToString(forged)
	}
	unsubscribe := strings.Trim(mail.Header("List-Unsubscribe"), "<>")
	forged := map[string]string{
		"another version": with(0, 1), "another key": with(1, 1), "another generation": with(2, 1), "another invitation": with(10, 1),
		"another MAC": with(len(raw)-1, 1), "cut short": token[:len(token)-1], "too long": token + "A", "padded": token + "=",
		"another alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(token) + "+", "upper case": strings.ToUpper(token),
		"zeros": strings.Repeat("A", len(token)), "the invitation's id": invitation.ID, "one letter": "x",
		"of another purpose": unsubscribe[strings.LastIndex(unsubscribe, "/")+1:], "very long": strings.Repeat("A", 199),
	}
	before := u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+".>")
	for name, f := range forged {
		t.Log(name)
		if strings.ContainsAny(f, "/+") {
			harness.Client{URL: u.URL}.Post(t, "/v1/links/lookup", map[string]any{"token": f}).Refused(t, http.StatusNotFound, "not-found")
			continue
		}
		leads(t, &u.System, u.PublicURL+"/i/"+f, http.StatusNotFound, "not-found", "This link leads nowhere")
	}
	require.Equal(t, before, u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+".>"), "a forged link was written down")
	o.Accept(t, invitation, mail)
}

func TestADeadlineHoldsToTheInstant(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o, bus := c.Organization(t), c.Bus(t)
	first, mail := o.Invited(t, "member", "expires_in", "5m")
	require.InDelta(t, 5*time.Minute, time.Until(first.ExpiresAt), float64(20*time.Second))
	second, late := o.Invited(t, "member", "expires_in", "5m")

	c.Set(first.ExpiresAt.Add(-3 * time.Second))
	o.Accept(t, first, mail)

	c.Set(second.ExpiresAt.Add(time.Millisecond))
	leads(t, c.System, late.Link(t), http.StatusGone, "expired", "expired")
	shown := c.Show(t, second.ID)
	require.Equal(t, "expired", shown.Status, "nothing was announced yet, and it is expired all the same")
	require.Equal(t, second.ExpiresAt, *shown.EndedAt)
	c.API().Post(t, "/v1/invitations/"+second.ID+"/revoke", nil).Refused(t, http.StatusConflict, "ended")
	require.NotContains(t, bus.Facts(t, o.ID, second.ID), "outcome.expired")

	// The broker's timer is a hint that comes by its own clock; here it comes now.
	bus.Request(t, "invitations."+o.ID+"."+second.ID+".due.expiry", []byte(`{"invitation":"`+second.ID+`","expires_at":"`+second.ExpiresAt.Format(time.RFC3339Nano)+`"}`))
	harness.Eventually(t, "the expiry to be announced", func() bool {
		facts := bus.Facts(t, o.ID, second.ID)
		return facts[len(facts)-1] == "outcome.expired"
	})
	// One that comes early, or twice, announces nothing.
	third, mail := o.Invited(t, "member", "expires_in", "1h")
	for range 2 {
		bus.Request(t, "invitations."+o.ID+"."+second.ID+".due.expiry", []byte(`{"invitation":"`+second.ID+`","expires_at":"`+second.ExpiresAt.Format(time.RFC3339Nano)+`"}`))
	}
	bus.Idle(t, "INVITATIONS", "expiry")
	require.Equal(t, 1, bus.Count(t, "INVITATIONS", "invitations."+o.ID+"."+second.ID+".outcome.*"))
	o.Accept(t, third, mail)
}

func TestAnExpiredInvitationBlocksNoNewOneAndIsResentAsANewOne(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o := c.Organization(t)
	admin := o.Join(t, "admin")
	first, mail := o.Invited(t, "member", "expires_in", "10m", "name", "Nell", "metadata", map[string]string{"team": "blue"})
	second, _ := o.Invited(t, "viewer", "expires_in", "10m")
	c.Pass(11 * time.Minute)

	again := o.Invite(t, second.Email, "member")
	require.NotEqual(t, second.ID, again.ID)
	require.Equal(t, "expired", c.Show(t, second.ID).Status)
	require.Contains(t, c.Bus(t).Facts(t, o.ID, second.ID), "outcome.expired", "what was in the way was not ended")

	// Somebody else than the inviter may resend, and is the inviter then.
	a := c.API().As(admin.Email).Post(t, "/v1/invitations/"+first.ID+"/resend", nil)
	fresh := harness.Read[harness.Invitation](t, a, http.StatusAccepted)
	require.NotEqual(t, first.ID, fresh.ID)
	require.Equal(t, first.ID, fresh.Replaces)
	require.Equal(t, admin.Email, fresh.Inviter)
	require.Equal(t, []string{first.Email, "Nell", "member", "blue"}, []string{fresh.Email, fresh.Name, fresh.Role, fresh.Metadata["team"]})
	require.InDelta(t, 10*time.Minute, fresh.ExpiresAt.Sub(c.Now()), float64(20*time.Second))
	newer := c.Mails.Next(t, first.Email, 1)
	leads(t, c.System, mail.Link(t), http.StatusGone, "expired", "expired")
	o.Accept(t, fresh, newer)
}

func TestAResendMailsTheSameLinkAndMovesTheDeadline(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o := c.Organization(t)
	invitation, mail := o.Invited(t, "member", "expires_in", "10m")
	c.Pass(8 * time.Minute)
	after := harness.Read[harness.Invitation](t, c.API().Post(t, "/v1/invitations/"+invitation.ID+"/resend", nil), http.StatusAccepted)
	require.Equal(t, invitation.ID, after.ID)
	require.WithinDuration(t, invitation.ExpiresAt.Add(8*time.Minute), after.ExpiresAt, 20*time.Second)
	second := c.Mails.Next(t, invitation.Email, 1)
	require.Equal(t, mail.Token(t), second.Token(t))
	o.Await(t, invitation.ID, "sent again", delivered("sent"))
	require.Equal(t, []string{"requested", "sent", "resend", "sent"}, c.Bus(t).Facts(t, o.ID, invitation.ID))

	c.Set(invitation.ExpiresAt.Add(time.Minute)) // the old deadline is over, the new one is not
	o.Accept(t, invitation, mail)
}

func TestAReminderIsMailedOnceAndOnlyWhileTheInvitationIsOpen(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o, bus := c.Organization(t, map[string]any{"reminder_after": []string{"24h", "48h"}}), c.Bus(t)
	invitation, mail := o.Invited(t, "member")
	ended, _ := o.Invited(t, "member")
	c.API().Post(t, "/v1/invitations/"+ended.ID+"/revoke", nil)
	require.NotEmpty(t, bus.Stored(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".timer.reminder")[0].Header.Get("Nats-Schedule"))

	due := func(id string, n string) {
		bus.Request(t, "invitations."+o.ID+"."+id+".due.reminder", []byte(`{"invitation":"`+id+`","number":`+n+`}`))
	}
	c.Pass(24 * time.Hour)
	due(ended.ID, "1")
	due(invitation.ID, "1")
	reminder := c.Mails.Next(t, invitation.Email, 1)
	require.Equal(t, mail.Token(t), reminder.Token(t))
	due(invitation.ID, "1")
	bus.Idle(t, "INVITATIONS", "mailer-reminder")
	require.Len(t, c.Mails.To(t, invitation.Email), 2, "a reminder that is due twice was mailed twice")
	require.Len(t, c.Mails.To(t, ended.Email), 1, "an ended invitation was reminded of")
	timers := bus.Stored(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".timer.reminder")
	require.EqualValues(t, 2, timers[len(timers)-1].Fields(t)["number"], "the next reminder has no timer")

	c.Pass(24 * time.Hour)
	due(invitation.ID, "2")
	last := c.Mails.Next(t, invitation.Email, 2)
	o.Accept(t, invitation, last)
	due(invitation.ID, "3")
	bus.Idle(t, "INVITATIONS", "mailer-reminder")
	require.Len(t, c.Mails.To(t, invitation.Email), 3)
	require.Equal(t, 2, bus.Count(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".reminded"))
}

func TestThatSomebodyFollowedTheLinkIsToldOnceAndDecidesNothing(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	clicked := func(int) tried {
		a, err := harness.Client{URL: u.URL}.Try(http.MethodGet, "/join", nil, "Cookie", "usher-invitation="+mail.Token(t), "Sec-Fetch-User", "?1")
		return tried{a, err}
	}
	for _, a := range atOnce(20, clicked) {
		require.NoError(t, a.err)
		require.Equal(t, http.StatusOK, a.Status)
	}
	seen := o.Await(t, invitation.ID, "opened", func(i harness.Invitation) bool { return i.OpenedAt != nil })
	require.Equal(t, "pending", seen.Status)
	require.Equal(t, 1, u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".opened"))
	o.Accept(t, invitation, mail)
}
