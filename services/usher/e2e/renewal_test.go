package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// late is an invitation whose time is over, with its mail.
func late(t *testing.T, c *harness.Clocked, policy map[string]any) (*harness.Organization, harness.Invitation, harness.Mail) {
	t.Helper()
	o := c.Organization(t, policy)
	i, mail := o.Invited(t, "member", "expires_in", "1h", "locale", "de", "metadata", map[string]string{"team": "blue"})
	c.Pass(2 * time.Hour)
	return o, i, mail
}

// renew presses the one button of the page.
func renew(i *harness.Invitee) *harness.Invitee { return i.Answer(url.Values{"action": {"renew"}}) }

func TestAnExpiredLinkAsksTheInviterForANewOne(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o, i, mail := late(t, c, map[string]any{})
	nell := c.Invitee(t).Open(mail.Link(t))
	nell.Shows(http.StatusGone, "Diese Einladung ist abgelaufen")
	renew(nell).Shows(http.StatusOK, "Ihr Wunsch wurde weitergegeben")
	nell.Open(mail.Link(t)).Shows(http.StatusOK, "Ihr Wunsch wurde weitergegeben")

	facts := c.Bus(t).Facts(t, o.ID, i.ID)
	require.Contains(t, facts, "renewal")
	require.Len(t, slices.DeleteFunc(facts, func(f string) bool { return f != "renewal" }), 1)
	require.Equal(t, "expired", c.Show(t, i.ID).Status)
	require.Len(t, harness.All[harness.Invitation](t, c.API(), o.Path("/invitations?limit=200")), 1, "nothing new without the organization's leave")
}

func TestWhereTheOrganizationAllowsItTheNewInvitationComesAtOnce(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o, old, mail := late(t, c, map[string]any{"self_service_renewal": true})
	link := harness.Client{URL: c.URL}
	ask := func() harness.Answer { return link.Post(t, "/v1/links/renew", map[string]any{"token": mail.Token(t)}) }

	// Many clicks at once, and one more on the page.
	answers := atOnce(20, func(int) tried {
		a, err := link.Try(http.MethodPost, "/v1/links/renew", map[string]any{"token": mail.Token(t)})
		return tried{a, err}
	})
	for _, a := range answers {
		require.NoError(t, a.err)
		require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	}
	c.Invitee(t).Open(mail.Link(t)).Shows(http.StatusOK, "Eine neue E-Mail ist unterwegs")
	require.Equal(t, http.StatusAccepted, ask().Status)

	newer := c.Mails.Next(t, old.Email, 1)
	all := harness.All[harness.Invitation](t, c.API(), o.Path("/invitations?limit=200"))
	require.Len(t, all, 2)
	fresh := all[slices.IndexFunc(all, func(i harness.Invitation) bool { return i.ID != old.ID })]
	require.Equal(t, old.ID, fresh.Replaces)
	require.Equal(t, [4]string{old.Email, old.Role, old.Inviter, "pending"}, [4]string{fresh.Email, fresh.Role, fresh.Inviter, fresh.Status})
	require.Equal(t, old.Metadata, fresh.Metadata)
	require.Equal(t, old.ExpiresAt.Sub(old.RequestedAt).Round(time.Minute), fresh.ExpiresAt.Sub(fresh.RequestedAt).Round(time.Minute))

	o.Accept(t, fresh, newer)
	c.Invitee(t).Open(mail.Link(t)).Shows(http.StatusOK, "Sie sind dabei")
	ask().Refused(t, http.StatusConflict, "already-member")
}

func TestOnlyTheHolderOfAnExpiredLinkAsksAndLearnsNoMoreByIt(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o := c.Organization(t, map[string]any{"self_service_renewal": true})
	open, mail := o.Invited(t, "member", "expires_in", "1h")
	link := harness.Client{URL: c.URL}
	ask := func(token string) harness.Answer {
		return link.Post(t, "/v1/links/renew", map[string]any{"token": token})
	}
	ask(mail.Token(t)).Refused(t, http.StatusConflict, "not-expired")
	forged := ask("AQECAYkKXayWd0u8zrMCCZqAV90qHH_jSauU5amYHqlzZp-FbZSJ1_kNUg").Refused(t, http.StatusNotFound, "not-found")
	require.NotContains(t, forged.Detail, o.ID)
	c.Pass(2 * time.Hour)
	answer := ask(mail.Token(t))
	require.Equal(t, http.StatusAccepted, answer.Status)
	require.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
	require.NotContains(t, string(answer.Body), open.Email, "the address is masked")
	require.NotContains(t, string(answer.Body), mail.Token(t))
}

func TestARenewalIsJudgedByWhatTheInviterMayDoNow(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o := c.Organization(t, map[string]any{"self_service_renewal": true})
	admin := o.Join(t, "admin")
	invitation := o.Invite(t, harness.Address("invitee"), "member", "inviter", admin.Email, "expires_in", "1h")
	mail := c.Mails.Next(t, invitation.Email, 0)
	require.Equal(t, http.StatusNoContent, c.API().Do(t, http.MethodDelete, o.Path("/members/"+admin.Person), nil).Status)
	c.Pass(2 * time.Hour)
	harness.Client{URL: c.URL}.Post(t, "/v1/links/renew", map[string]any{"token": mail.Token(t)}).Refused(t, http.StatusConflict, "inviter-lost-authority")
	renew(c.Invitee(t).Open(mail.Link(t))).Shows(http.StatusConflict, "This invitation can no longer be accepted")
	require.NotContains(t, c.Bus(t).Facts(t, o.ID, invitation.ID), "renewal")
}

// V092, V093: a page that makes mails go out does so only so often, whoever presses its button.
func TestOneOrganizationsInviteesAskOnlySoOftenAnHour(t *testing.T) {
	t.Parallel()
	c := harness.WithClock(t)
	o := c.Organization(t, map[string]any{})
	c.Set(time.Now().Truncate(time.Hour).Add(70 * time.Minute)) // limits begin anew with each hour
	var mails []harness.Mail
	for range 105 {
		i := o.Invite(t, harness.Address("invitee"), "member", "expires_in", "1h")
		mails = append(mails, c.Mails.Next(t, i.Email, 0))
	}
	c.Pass(2 * time.Hour)
	statuses := map[int]int{}
	for _, mail := range mails {
		a := harness.Client{URL: c.URL}.Post(t, "/v1/links/renew", map[string]any{"token": mail.Token(t)})
		if statuses[a.Status]++; a.Status == http.StatusTooManyRequests {
			a.Refused(t, http.StatusTooManyRequests, "too-many-requests")
			require.NotEmpty(t, a.Header.Get("Retry-After"))
		}
	}
	require.Equal(t, map[int]int{http.StatusAccepted: 100, http.StatusTooManyRequests: 5}, statuses)
	renew(c.Invitee(t).Open(mails[104].Link(t))).Shows(http.StatusTooManyRequests, "Please try again later")
}
