package e2e

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// checked is what "usher check --json" writes.
type checked struct {
	Clean         bool           `json:"clean"`
	Checked       map[string]int `json:"checked"`
	Disagreements []struct {
		Kind, Organization, Invitation, Detail string
		Repairable, Repaired                   bool
	} `json:"disagreements"`
}

func check(t *testing.T, s *harness.System, words ...string) (checked, int) {
	t.Helper()
	o := s.Command(t, append([]string{"check", "--json", "--settle", "1s"}, words...)...)
	var c checked
	require.NoError(t, json.Unmarshal([]byte(o.Out), &c), "%s%s", o.Out, o.Err)
	return c, o.Code
}

// requireClean requires that nothing disagrees.
func requireClean(t *testing.T, s *harness.System) checked {
	t.Helper()
	c, code := check(t, s)
	require.Empty(t, c.Disagreements)
	require.True(t, c.Clean)
	require.Zero(t, code)
	return c
}

// TestABusySystemIsClean invites, answers, resends and takes back as fast as it can while the check runs again and again.
func TestABusySystemIsClean(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t)
	o := d.Organization(t, map[string]any{"reminder_after": []string{"1m", "1h"}})
	var busy sync.WaitGroup
	var stop atomic.Bool
	var done atomic.Int64
	for range 3 {
		busy.Go(func() {
			for !stop.Load() {
				busily(d, o)
				done.Add(1)
			}
		})
	}
	for range short(5, 3) {
		acceptSome(t, d, o) // whose memberships are under way now
		requireClean(t, &d.System)
	}
	stop.Store(true)
	busy.Wait()
	require.Greater(t, int(done.Load()), 10)
	for _, consumer := range []string{"mailer", "mailer-resend", "acceptance", "views", "expiry"} {
		d.Bus(t).Idle(t, "INVITATIONS", consumer)
	}
	c := requireClean(t, &d.System)
	require.Greater(t, c.Checked["invitations"], 10)
	require.Greater(t, c.Checked["memberships"], 1)
	t.Logf("%d rounds; the last check saw %v", done.Load(), c.Checked)
}

// acceptSome has some people accept, and does not wait for what comes of it.
func acceptSome(t *testing.T, d *harness.Deployment, o *harness.Organization) {
	t.Helper()
	var invited []harness.Invitation
	for range 10 {
		invited = append(invited, o.Invite(t, harness.Address("joining"), "member"))
	}
	for _, i := range invited {
		mail := d.Mailgun.Next(t, i.Email, 0)
		a := harness.Client{URL: d.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "Nell New"})
		require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	}
}

// busily does one of everything. What is refused, because the system is that busy, is no matter here.
func busily(d *harness.Deployment, o *harness.Organization) {
	post := func(path string, body any) harness.Answer {
		a, _ := o.API().Try(http.MethodPost, path, body)
		return a
	}
	ids := make([]string, 4)
	for i := range ids {
		var made harness.Invitation
		a := post(o.Path("/invitations"), map[string]any{"email": harness.Address("busy"), "role": "member", "inviter": o.Owner})
		_ = json.Unmarshal(a.Body, &made)
		ids[i] = made.ID
	}
	post("/v1/invitations/"+ids[0]+"/revoke", nil)
	post("/v1/invitations/"+ids[1]+"/resend", map[string]any{"rotate": true})
	rows := make([]map[string]any, 10)
	for i := range rows {
		rows[i] = map[string]any{"organization": o.ID, "email": harness.Address("bulk"), "role": "viewer"}
	}
	post("/v1/invitations", map[string]any{"invitations": rows})
}
