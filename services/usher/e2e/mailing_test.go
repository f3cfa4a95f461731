package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

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
