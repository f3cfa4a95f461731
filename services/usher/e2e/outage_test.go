package e2e

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// notNow requires the answer of something that is down: nothing decided, and when to come back.
func notNow(t *testing.T, began time.Time, a harness.Answer) {
	t.Helper()
	a.Refused(t, http.StatusServiceUnavailable, "not-now")
	after, err := strconv.Atoi(a.Header.Get("Retry-After"))
	require.NoError(t, err)
	require.Positive(t, after)
	require.Less(t, time.Since(began), 10*time.Second, "the answer took too long")
}

// TestWhatIsDownMeansNotNow takes each dependency away in turn, and gives it back.
func TestWhatIsDownMeansNotNow(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t)
	o := d.Organization(t)
	invitee := harness.Client{URL: d.URL}
	ready := func(want int) {
		harness.Eventually(t, "readiness to be told", func() bool { return invitee.Get(t, "/readyz").Status == want })
	}
	t.Run("mailer", func(t *testing.T) {
		d.Mailer.Stop(t)
		invitation := o.Invite(t, harness.Address("waiting"), "member")
		require.Equal(t, "queued", d.Show(t, invitation.ID).Delivery)
		ended := o.Invite(t, harness.Address("ended"), "member")
		require.Equal(t, http.StatusOK, d.API().Post(t, "/v1/invitations/"+ended.ID+"/revoke", nil).Status)
		d.Start(t, d.Mailer)
		d.Mailgun.Next(t, invitation.Email, 0)
		d.Bus(t).Idle(t, "INVITATIONS", "mailer")
		require.Empty(t, d.Mailgun.To(t, ended.Email), "a revoked invitation was mailed")
	})
	t.Run("acceptance", func(t *testing.T) {
		second := o.Join(t, "admin")
		kept := o.Invite(t, harness.Address("kept"), "member")
		lost := o.Invite(t, harness.Address("lost"), "member", "inviter", second.Email)
		mails := []harness.Mail{d.Mailgun.Next(t, kept.Email, 0), d.Mailgun.Next(t, lost.Email, 0)}
		d.Acceptance.Stop(t)
		for _, mail := range mails {
			a := invitee.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "Nell"})
			require.Equal(t, "provisioning", harness.Read[harness.Accepted](t, a, http.StatusOK).Membership)
		}
		// Between the yes and the membership, the inviter of one of them loses the right to invite.
		require.Equal(t, http.StatusNoContent, d.API().Do(t, http.MethodDelete, o.Path("/members/"+second.Person), nil).Status)
		d.Start(t, d.Acceptance)
		d.Await(t, kept.ID, "a membership", func(i harness.Invitation) bool { return i.Membership == "active" })
		refused := d.Await(t, lost.ID, "refused", func(i harness.Invitation) bool { return i.Membership == "refused" })
		require.Equal(t, "inviter-lost-authority", refused.Reason)
		_, there := o.Member(t, lost.Email)
		require.False(t, there)
		require.Contains(t, d.Command(t, "show", lost.ID).Must(t), "inviter-lost-authority")
		require.NotEqual(t, http.StatusServiceUnavailable, d.Invitee(t).Open(mails[1].Link(t)).Page.Status)
	})
	for _, outage := range []struct {
		of         string
		begin, end func()
	}{
		{"Redis", d.Redis.Kill9, func() { d.Redis.Start(t) }},
		{"broker", d.Broker.Kill9, func() { d.Broker.Start(t) }}, // last: what it had handed out comes again after half a minute
	} {
		t.Run(outage.of, func(t *testing.T) {
			invitation := o.Invite(t, harness.Address("outage"), "member")
			mail := d.Mailgun.Next(t, invitation.Email, 0)
			refused := harness.Address("refused")
			nell := d.Invitee(t).Open(mail.Link(t))
			outage.begin()
			ready(http.StatusServiceUnavailable)
			require.Equal(t, http.StatusOK, invitee.Get(t, "/livez").Status, "a dependency is no reason to restart")

			began := time.Now()
			notNow(t, began, d.API().Post(t, o.Path("/invitations"), map[string]any{"email": refused, "role": "member"}))
			notNow(t, began, invitee.Post(t, "/v1/links/lookup", map[string]any{"token": mail.Token(t)}))
			notNow(t, began, invitee.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "N"}))
			nell.Accept("Nell")
			require.Equal(t, http.StatusServiceUnavailable, nell.Page.Status)
			require.Contains(t, nell.Text(), "link stays valid")
			require.NotEmpty(t, nell.Page.Header.Get("Retry-After"))
			invitee.Post(t, "/v1/links/lookup", map[string]any{"token": "AQ" + mail.Token(t)[:56]}).
				Refused(t, http.StatusNotFound, "not-found") // a forged link is one whatever is down

			outage.end()
			ready(http.StatusOK)
			require.Equal(t, http.StatusNotFound, d.Invitee(t).Open(d.PublicURL+"/i/x").Page.Status)
			o.Accept(t, invitation, mail)
			after := o.Invite(t, harness.Address("after"), "member")
			d.Mailgun.Next(t, after.Email, 0)
			require.Empty(t, d.Mailgun.To(t, refused), "what was answered 503 was done all the same")
		})
	}
}

// TestRowsAnsweredNotNowAreDoneByTheSameRequestLater: an answer in which some rows are "not now" is no last word, whatever key
// it was asked for with.
func TestRowsAnsweredNotNowAreDoneByTheSameRequestLater(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t)
	o := d.Organization(t)
	rows := []map[string]any{{"organization": o.ID, "email": harness.Address("row"), "role": "member"}, {"organization": o.ID, "email": "no address", "role": "member"}}
	ask := func() harness.Answer {
		return d.API().Post(t, "/v1/invitations", map[string]any{"invitations": rows}, "Idempotency-Key", "rows-"+o.ID)
	}
	require.NoError(t, syscall.Kill(d.Broker.Pid(), syscall.SIGSTOP))
	a := ask()
	require.NoError(t, syscall.Kill(d.Broker.Pid(), syscall.SIGCONT))
	first := harness.Read[harness.Bulk](t, a, http.StatusOK).Results
	require.Equal(t, http.StatusServiceUnavailable, first[0].Status)
	require.NotEmpty(t, a.Header.Get("Retry-After"))

	var second []harness.Verdict
	harness.Eventually(t, "the row to be taken", func() bool {
		second = harness.Read[harness.Bulk](t, ask(), http.StatusOK).Results
		return second[0].Status == http.StatusAccepted
	})
	require.Equal(t, first[1], second[1])
	again := ask()
	require.Equal(t, "true", again.Header.Get("Idempotent-Replayed"), "now it is the last word")
	require.Equal(t, second, harness.Read[harness.Bulk](t, again, http.StatusOK).Results)
	d.Mailgun.Next(t, second[0].Invitation.Email, 0)
	require.Equal(t, 1, d.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+"."+second[0].Invitation.ID+".requested"))
}

// TestServicesMayRestartUnderLoad ends each service in order while a thousand invitations are on their way, and starts it again.
func TestServicesMayRestartUnderLoad(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t)
	o := d.Organization(t)
	d.Mailgun.Fault(t, map[string]any{"delay": "30ms", "times": -1})
	seen := d.Bus(t).Observe(t, "invitations."+o.ID+".*.requested")
	taken := 0
	for range short(3, 1) {
		for _, service := range []*harness.Process{d.Mailer, d.Acceptance} {
			before, rows := seen.Len(), make([]map[string]any, 1000)
			for i := range rows {
				rows[i] = map[string]any{"organization": o.ID, "email": harness.Address("restart"), "role": "member"}
			}
			asked := make(chan tried, 1)
			go func() { asked <- try(o.API(), "/v1/invitations", map[string]any{"invitations": rows}) }()
			harness.Eventually(t, "invitations to be on their way", func() bool { return seen.Len() > before+300 })
			service.Stop(t)
			d.Start(t, service)
			began := time.Now()
			a := <-asked
			require.NoError(t, a.err)
			for _, v := range harness.Read[harness.Bulk](t, a.Answer, http.StatusOK).Results {
				require.Equal(t, http.StatusAccepted, v.Status, "%+v", v.Problem)
			}
			taken += len(rows)
			d.Mailgun.Taken(t, taken)
			t.Logf("the rest was mailed %s after the start", time.Since(began).Round(time.Millisecond))
		}
	}
	d.Bus(t).Idle(t, "INVITATIONS", "mailer")
	_, mails := d.Mailgun.Calls(t)
	require.Equal(t, taken, mails, "stops in order led to second mails")
}

// TestAProviderInTroubleCostsNobodyTheirMail scripts every way in which Mailgun fails.
func TestAProviderInTroubleCostsNobodyTheirMail(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, mailgun.Settings()...)
	troubles := map[string]map[string]any{
		"too many requests":               {"status": 429, "retry_after": "1"},
		"an error":                        {"status": 500},
		"an error, and sent all the same": {"status": 500, "accept": true},
		"cut before it was read":          {"cut": "before-read"},
		"cut after it was taken":          {"cut": "before-answer", "accept": true},
		"cut in the middle of the yes":    {"cut": "in-answer", "accept": true},
		"garbage for a yes":               {"status": 200, "body": "<html>", "accept": true},
	}
	met := map[string]harness.Invitation{}
	for name, fault := range troubles {
		fault["recipient"] = harness.Address("trouble")
		mailgun.Fault(t, fault)
		met[name] = u.Organization(t).Invite(t, fault["recipient"].(string), "member") // mails of one organization travel together
	}
	for name, i := range met {
		u.Await(t, i.ID, "sent in spite of "+name, delivered("sent"))
		require.Len(t, mailgun.To(t, i.Email), 1, name)
	}
	o := u.Organization(t)
	mailgun.Fault(t, map[string]any{"status": 400, "recipient": "bad.", "times": -1})
	bad := o.Invite(t, harness.Address("bad"), "member")
	good := o.Invite(t, harness.Address("good"), "member")
	u.Await(t, bad.ID, "refused for good", delivered("bounced"))
	u.Await(t, good.ID, "sent", delivered("sent"))
}

// TestKill9DuringTheFirstStartLeavesNothingHalfMade kills a start at random moments, until one is let through.
func TestKill9DuringTheFirstStartLeavesNothingHalfMade(t *testing.T) {
	t.Parallel()
	for range short(4, 2) {
		u, err := harness.NewUp(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(u.Kill9)
		for range 3 {
			started := make(chan error, 1)
			go func() { started <- u.Start() }()
			select {
			case <-time.After(time.Duration(rand.Int64N(int64(600 * time.Millisecond)))): // the moment is what is tried
				u.Kill9()
				<-started
			case err := <-started:
				require.NoError(t, err)
				u.Kill9()
			}
		}
		require.NoError(t, u.Start())
		for _, inviter := range []string{"owner@example.org", "admin@example.org"} {
			a := u.API().Post(t, "/v1/organizations/acme/invitations", map[string]any{"email": harness.Address("demo"), "role": "member", "inviter": inviter})
			invitation := harness.Read[harness.Invitation](t, a, http.StatusAccepted)
			u.Mails.Next(t, invitation.Email, 0)
		}
		u.Kill9()
	}
}

func TestProductionRefusesToStartWithoutItsPromises(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	key := "1:not-a-key-but-quite-secret"
	said := func(settings ...string) string {
		outcome := harness.Command(t, settings, "up")
		require.NotZero(t, outcome.Code, "it started with %q", settings)
		return outcome.Out + outcome.Err
	}
	// Every problem at once, each by its name, none with its value.
	all := said("USHER_ENV=production", "USHER_LINK_KEYS="+key, "USHER_BOOTSTRAP_API_KEY=guessable-secret", "USHER_REPLICAS=2", "USHER_INVITATION_TTL=1s",
		"USHER_ROLES=owner", "MAILGUN_API_KEY=another-secret")
	for _, name := range []string{"USHER_PUBLIC_URL", "USHER_NATS_URL", "USHER_REDIS_URL", "USHER_LINK_KEYS", "USHER_BOOTSTRAP_API_KEY", "USHER_REPLICAS",
		"USHER_INVITATION_TTL", "USHER_ROLES", "MAILGUN_DOMAIN", "USHER_MAIL_FROM"} {
		require.Contains(t, all, name)
	}
	for _, value := range []string{"quite-secret", "guessable-secret", "another-secret"} {
		require.NotContains(t, all, value)
	}
	production := append(mailgun.Settings(), "USHER_ENV=production", "USHER_PUBLIC_URL=https://invite.example.com", "USHER_LINK_KEYS="+linkKeys(t))
	missing := said(append(production, "USHER_NATS_URL=nats://127.0.0.1:1", "USHER_REDIS_URL=redis://127.0.0.1:1")...)
	require.Contains(t, missing, "USHER_NATS_SYNC")

	masked := harness.Command(t, append(production, "USHER_BOOTSTRAP_API_KEY=x"), "settings")
	require.NotContains(t, masked.Out, mailgun.Sign)
	require.Contains(t, masked.Out, "https://invite.example.com")
}

// TestABrokerOrRedisThatPromisesLessIsRefused starts servers with weaker settings than Usher needs.
func TestABrokerOrRedisThatPromisesLessIsRefused(t *testing.T) {
	t.Parallel()
	lazy, firm := lazyBroker(t), firmBroker(t)
	evicting, forgetful, kept := redisWith(t, "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"), redisWith(t), redisWith(t, "--appendonly", "yes")
	for _, c := range []struct{ nats, redis, says string }{
		{lazy, kept, "sync"}, {firm, evicting, "noeviction"}, {firm, forgetful, "appendonly"},
	} {
		broker, monitoring, _ := strings.Cut(c.nats, " ")
		o := harness.Command(t, []string{"USHER_NATS_URL=" + broker, "USHER_NATS_MONITORING_URL=" + monitoring, "USHER_REDIS_URL=" + c.redis}, "keys", "list")
		require.NotZero(t, o.Code)
		require.Contains(t, o.Out+o.Err, c.says)
	}
}
