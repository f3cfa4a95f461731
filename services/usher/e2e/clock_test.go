package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// I4, T122–T126: by a clock that was set wrong nobody accepts too late, is told of an end that is none, or is forgotten: all is
// "not now" until the clock is right, and then goes on by itself.
func TestWhileTheClockIsWrongNothingIsDecidedAndEveryLinkStaysValid(t *testing.T) {
	t.Parallel()
	c := harness.WithWatchedClock(t)
	o, bus := c.Organization(t), c.Bus(t)
	invitation, mail := o.Invited(t, "member", "expires_in", "5m")
	client, accept := harness.Client{URL: c.URL}, map[string]any{"token": mail.Token(t), "name": "Nell"}
	ready := func(status int) {
		harness.Eventually(t, http.StatusText(status), func() bool { return client.Get(t, "/readyz").Status == status })
	}
	for _, jump := range []time.Duration{24 * time.Hour, -24 * time.Hour, 6 * time.Minute, -20 * time.Second} {
		ready(http.StatusOK)
		c.Pass(jump)
		ready(http.StatusServiceUnavailable)
		require.Contains(t, string(client.Get(t, "/readyz").Body), "this machine's clock is")

		refused := client.Post(t, "/v1/links/accept", accept)
		refused.Refused(t, http.StatusServiceUnavailable, "not-now")
		require.NotEmpty(t, refused.Header.Get("Retry-After"))
		client.Post(t, "/v1/links/lookup", map[string]any{"token": mail.Token(t)}).Refused(t, http.StatusServiceUnavailable, "not-now")
		client.Post(t, "/v1/links/decline", map[string]any{"token": mail.Token(t)}).Refused(t, http.StatusServiceUnavailable, "not-now")
		c.API().Post(t, "/v1/invitations/"+invitation.ID+"/revoke", nil).Refused(t, http.StatusServiceUnavailable, "not-now")
		c.API().Post(t, o.Path("/invitations"), map[string]any{"email": harness.Address("late"), "role": "member", "inviter": o.Owner}).
			Refused(t, http.StatusServiceUnavailable, "not-now")
		page := client.Do(t, http.MethodGet, "/join", nil, "Cookie", "usher-invitation="+mail.Token(t))
		require.Equal(t, http.StatusServiceUnavailable, page.Status)
		require.NotContains(t, string(page.Body), "expired")
		c.Pass(-jump)
	}
	ready(http.StatusOK)
	require.Zero(t, bus.Count(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".outcome.*"))
	require.Zero(t, bus.Count(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".refused"))
	o.Accept(t, invitation, mail)
}
