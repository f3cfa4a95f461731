package e2e

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

var (
	formToken = regexp.MustCompile(`name="form" value="([^"]+)"`)
	signInTo  = regexp.MustCompile(`href="(/signin[^"]*)"`)
	signOutTo = regexp.MustCompile(`action="(/signout[^"]*)"`)
)

// found is what a pattern finds on a page.
func found(t *testing.T, pattern *regexp.Regexp, s harness.Seen) string {
	t.Helper()
	m := pattern.FindStringSubmatch(s.Text())
	require.Len(t, m, 2, "%s is not on the page: %s", pattern, s.Text())
	return html.UnescapeString(m[1])
}

// invitesIda is another organization's invitation of somebody who has an account.
func (s *issued) invitesIda(t *testing.T) (*harness.Organization, harness.Invitation, harness.Mail) {
	t.Helper()
	o := s.Organization(t)
	i := o.Invite(t, s.org.Owner, "admin")
	return o, i, s.Mails.Next(t, s.org.Owner, 0)
}

// V023, V028, T222, T223: the link says which invitation it is, and the verified address who may accept it.
func TestTheWrongAccountIsShownBothAddressesAndAWayToSwitch_V023(t *testing.T) {
	t.Parallel()
	s := signingIn(t).start(t)
	mallory := harness.Address("mallory")
	s.issuer.Account("mallory", mallory, true)
	o, i, mail := s.invitesIda(t)

	p := s.Person(t)
	page := p.Get("/i/" + mail.Token(t))
	require.Contains(t, page.Text(), "Sign in to continue")
	require.NotContains(t, page.Text(), `value="accept"`)
	accept := url.Values{"form": {found(t, formToken, page)}, "action": {"accept"}, "confirm": {"yes"}}
	require.Equal(t, http.StatusForbidden, p.Post("/join", accept).Status, "nobody is signed in")

	wrong := p.Get(s.issuer.Login(p, p.Get(found(t, signInTo, page)), "mallory"))
	require.Equal(t, "/join", wrong.URL.Path, "the invitation was forgotten")
	for _, seen := range []harness.Seen{wrong, p.Post("/join", accept)} {
		require.Equal(t, http.StatusForbidden, seen.Status)
		require.Contains(t, seen.Text(), "This invitation is for another address")
		require.Contains(t, seen.Text(), mallory)
		require.NotContains(t, seen.Text(), s.org.Owner, "the invited address is masked")
	}
	require.Contains(t, s.Bus(t).Facts(t, o.ID, i.ID), "refused")
	require.Equal(t, "pending", s.Show(t, i.ID).Status)

	// Another account: the issuer offers the choice, and the invitation has waited.
	_, to, ok := strings.Cut(p.Post(found(t, signOutTo, wrong), url.Values{}).Header.Get("Refresh"), "url=")
	require.True(t, ok)
	require.Contains(t, to, "prompt=select_account")
	right := p.Get(s.issuer.Login(p, p.Get(to), "ida"))
	require.Equal(t, "/join", right.URL.Path)
	require.Contains(t, right.Text(), "with the account you already have")
	accept.Set("form", found(t, formToken, right))
	require.Equal(t, http.StatusOK, p.Post("/join", accept).Status)
	member := harness.Until(t, "the membership", func() (harness.Member, bool) { return o.Member(t, s.org.Owner) })
	require.Equal(t, "admin", member.Role)
	require.Contains(t, p.Get("/join").Text(), "You are in")
}

func TestSomebodyNewAcceptsWithoutAnAccountWhereOthersSignIn(t *testing.T) {
	t.Parallel()
	s := signingIn(t)
	i, mail := s.org.Invited(t, "member")
	nell := s.Invitee(t).Open(mail.Link(t))
	nell.Accept("Nell New")
	require.Contains(t, []string{"You are in", "You accepted. Your membership is being set up"}, nell.Heading())
	harness.Until(t, "the membership", func() (harness.Member, bool) { return s.org.Member(t, i.Email) })
}

func TestWhoIsSignedInAnswersWhatIsOpenForThemWithoutALink(t *testing.T) {
	t.Parallel()
	s := signingIn(t).start(t)
	mallory := harness.Address("mallory")
	s.issuer.Account("mallory", mallory, true)
	first, accepted, _ := s.invitesIda(t)
	second, declined, _ := s.invitesIda(t)
	third := s.Organization(t)
	others, _ := third.Invited(t, "member")

	p := s.Person(t)
	list := s.in(p, "/invitations", "ida")
	require.Equal(t, "/invitations", list.URL.Path)
	require.Contains(t, list.Text(), first.Name)
	require.Contains(t, list.Text(), second.Name)
	require.NotContains(t, list.Text(), third.Name)
	require.Contains(t, list.Text(), `lang="de"`, "the account's own language")

	answer := func(p *harness.Person, id, action string) harness.Seen {
		return p.Post("/invitations/"+id, url.Values{"action": {action}})
	}
	stranger := s.Person(t)
	s.in(stranger, "/invitations", "mallory")
	for _, id := range []string{accepted.ID, others.ID, "inv_nonsense"} {
		seen := answer(stranger, id, "accept")
		require.Equal(t, http.StatusNotFound, seen.Status)
		require.NotContains(t, seen.Text(), first.Name)
	}
	require.Equal(t, http.StatusNotFound, answer(p, others.ID, "accept").Status)
	forged := s.Person(t)
	forged.Cookies, forged.Header = p.Cookies, http.Header{"Sec-Fetch-Site": {"cross-site"}}
	require.Equal(t, http.StatusForbidden, answer(forged, accepted.ID, "accept").Status)
	require.Equal(t, "pending", s.Show(t, accepted.ID).Status)

	require.Equal(t, http.StatusOK, answer(p, accepted.ID, "accept").Status)
	harness.Until(t, "the membership", func() (harness.Member, bool) { return first.Member(t, s.org.Owner) })
	require.Contains(t, p.Get("/invitations/"+accepted.ID).Text(), "Sie sind dabei")
	require.Equal(t, http.StatusGone, answer(p, declined.ID, "decline").Status)
	require.Equal(t, "declined", s.Show(t, declined.ID).Status)
	require.Equal(t, "pending", s.Show(t, others.ID).Status)
	require.NotContains(t, p.Get("/invitations").Text(), first.Name)
}

func TestWhoIsNotSignedInIsLedToDoSoFromTheirInvitations(t *testing.T) {
	t.Parallel()
	seen := common(t).Person(t).Once(http.MethodGet, "/invitations", nil)
	require.Equal(t, http.StatusSeeOther, seen.Status)
	require.Equal(t, "/signin?return_to=%2Finvitations", seen.Header.Get("Location"))
}
