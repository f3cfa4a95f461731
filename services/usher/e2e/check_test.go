package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
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

// kinds are what a check told of one invitation, or of none where that is empty.
func (c checked) kinds(invitation string) (kinds []string) {
	for _, d := range c.Disagreements {
		if d.Invitation == invitation {
			kinds = append(kinds, d.Kind)
		}
	}
	slices.Sort(kinds)
	return kinds
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
				busily(o)
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
func busily(o *harness.Organization) {
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

// TestACheckFindsAndRepairsWhatWasSpoilt takes away what operators, disks and bugs take away, one thing for each invitation,
// and has the workers that run make good what is theirs.
func TestACheckFindsAndRepairsWhatWasSpoilt(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t)
	o := d.Organization(t)
	bus := d.Bus(t)
	spoilt := map[string]string{} // invitation to the kind that it is told by

	untimed, _ := o.Invited(t, "member")
	member := o.Join(t, "member")
	unlisted, _ := o.Invited(t, "member")
	unknown, mail := o.Invited(t, "member")
	o.Accept(t, unknown, mail)
	foreign, _ := o.Invited(t, "member")
	for _, consumer := range []string{"mailer", "mailer-notices", "acceptance", "views"} {
		bus.Idle(t, "INVITATIONS", consumer)
	}
	requireClean(t, &d.System)

	js, err := jetstream.New(bus.Conn)
	require.NoError(t, err)
	lose := func(stream, filter string) uint64 {
		stored := bus.Stored(t, stream, filter)
		require.NotEmpty(t, stored)
		s, err := js.Stream(t.Context(), stream)
		require.NoError(t, err)
		require.NoError(t, s.DeleteMsg(t.Context(), stored[0].Sequence))
		return stored[0].Sequence
	}
	for _, timer := range bus.Stored(t, "INVITATIONS", "invitations."+o.ID+".*.timer.expiry") {
		if timer.Header.Get("ce-subject") == untimed.ID {
			lose("INVITATIONS", timer.Subject)
		}
	}
	spoilt[untimed.ID] = "expiry-timer-missing"
	membership := lose("MEMBERSHIPS", "memberships."+o.ID+"."+member.Person)
	spoilt[member.Invitation] = "membership-missing"
	d.Redis.Do(t, "HDEL", "usher:{"+o.ID+"}:invitations", unlisted.ID)
	spoilt[unlisted.ID] = "view-missing"
	d.Redis.Do(t, "SET", "usher:claim:{"+o.ID+"}:"+unknown.ID, "garbage")
	spoilt[unknown.ID] = "claim-unknown"
	d.Redis.Do(t, "SET", "usher:token:"+strconv.FormatInt(1<<40, 10), o.ID)
	spoilt[foreign.ID] = ""

	first, code := check(t, &d.System)
	require.Equal(t, 1, code)
	require.False(t, first.Clean)
	for invitation, kind := range spoilt {
		if kind != "" {
			require.Contains(t, first.kinds(invitation), kind)
		}
	}
	require.Empty(t, first.kinds(foreign.ID))
	require.Equal(t, []string{"sequence-gap", "token-foreign"}, first.kinds(""))

	// A membership that went within the broker's duplicate window (20 s) can be published again only after that.
	repaired, code := check(t, &d.System, "--repair", "--settle", "7s")
	require.Equal(t, 1, code, "a message that is gone has no one right answer")
	for _, is := range repaired.Disagreements {
		require.Equal(t, is.Repairable, is.Repaired, "%s of %s: %s", is.Kind, is.Invitation, is.Detail)
	}
	second, _ := check(t, &d.System)
	require.Len(t, second.Disagreements, 1)
	require.Equal(t, "sequence-gap", second.Disagreements[0].Kind)
	require.Contains(t, second.Disagreements[0].Detail, "MEMBERSHIPS: sequence "+strconv.FormatUint(membership, 10))

	back, there := o.Member(t, member.Email)
	require.True(t, there, "the acceptance worker made no member of it")
	require.Equal(t, member.Role, back.Role)
	require.Len(t, harness.All[harness.Invitation](t, d.API(), o.Path("/invitations?limit=200")), 5)

	d.Redis.Kill9()
	require.Equal(t, 4, d.Command(t, "check", "--json").Code, "what is down is not now")
}
