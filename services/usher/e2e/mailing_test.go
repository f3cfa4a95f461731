package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redistest"
	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// TestMailsThatWaitLongForTheirTurnLeaveOnceEach has a backlog that takes longer than any handler may.
func TestMailsThatWaitLongForTheirTurnLeaveOnceEach(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, append(mailgun.Settings(), "USHER_MAIL_RATE=4")...)
	o := u.Organization(t)
	invitations := inviteMany(t, o, 280)
	harness.Until(t, "half of the mails", func() (int, bool) { _, mails := mailgun.Calls(t); return mails, mails >= 140 })
	harness.Until(t, "all of the mails", func() (int, bool) { _, mails := mailgun.Calls(t); return mails, mails >= 280 })
	u.Bus(t).Idle(t, "INVITATIONS", "mailer")
	of := map[string]int{}
	mails, _ := mailgun.All(t)
	for _, m := range mails {
		of[m.Variables["invitation"]]++
	}
	for _, i := range invitations {
		require.Equal(t, 1, of[i.ID], "%s was mailed %d times", i.ID, of[i.ID])
	}
}

// TestAClaimThatRedisBroughtBackHoldsUpNoLaterMail: a Redis that loses its last second comes back with claims that were given
// up. Their mails have left, and later ones must not wait for them.
func TestAClaimThatRedisBroughtBackHoldsUpNoLaterMail(t *testing.T) {
	t.Parallel()
	redis := redistest.Run(t)
	u := harness.Up(t, "USHER_REDIS_URL="+redis.URL(), "USHER_LINK_KEYS="+linkKeys(t))
	o := u.Organization(t)
	i, _ := o.Invited(t, "member")
	sent := harness.Until(t, "the mail to be in the ledger", func() (harness.Stored, bool) {
		all := u.Bus(t).Stored(t, "INVITATIONS", "invitations."+o.ID+"."+i.ID+".requested")
		return all[0], u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+"."+i.ID+".sent") == 1
	})
	key := "usher:claim:{" + o.ID + "}:" + i.ID
	harness.Eventually(t, "the claim to be given up", func() bool { return redis.Do(t, "EXISTS", key) == ":0" })
	old := fmt.Sprintf(`"%d %d somebody-who-is-gone"`, time.Now().Add(-time.Minute).UnixNano(), sent.Sequence)
	require.Equal(t, "+OK", redis.Do(t, "SET", key, old))
	a := u.API().As(o.Owner).Post(t, "/v1/invitations/"+i.ID+"/resend", nil)
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	u.Mails.Next(t, i.Email, 1)
}
