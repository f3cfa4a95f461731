package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestTheSameJourneyLeavesThroughMailgun(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, mailgun.Settings()...)
	u.Mails = mailgun.Mailbox
	travel(t, &u.System)
	_, mails := mailgun.Calls(t)
	require.Equal(t, 2, mails, "one invitation is one mail, and one to the inviter")
}

// TestProduction shares one deployment of three services among everything that needs one.
func TestProduction(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t)
	for name, test := range map[string]func(*testing.T, *harness.Deployment){
		"TheSameJourneyThroughThreeServices":        func(t *testing.T, d *harness.Deployment) { travel(t, &d.System) },
		"WhatBecomesOfANoticeIsNotTheInvitees":      whatBecomesOfANoticeIsNotTheInvitees,
		"EveryServiceHasItsProbes":                  everyServiceHasItsProbes,
		"ABounceSuppressesTheAddress":               aBounceSuppressesTheAddress,
		"AComplaintSuppressesTheAddress":            aComplaintSuppressesTheAddress,
		"DeliveryReportsMoveDeliveryOnly":           deliveryReportsMoveDeliveryOnly,
		"OneClickUnsubscribes":                      oneClickUnsubscribes,
		"ABouncedInvitationIsResentAsANewOne":       aBouncedInvitationIsResentAsANewOne,
		"AWebhookThatIsNotMailgunsChangesNothing":   aWebhookThatIsNotMailgunsChangesNothing,
		"ThePublicAddressComesFromTheSettingsAlone": thePublicAddressComesFromTheSettingsAlone,
		"AScopedKeyWorksForItsOrganizationAlone":    aScopedKeyWorksForItsOrganizationAlone,
		"DeadLettersAreListedShownAndRedriven":      deadLettersAreListedShownAndRedriven,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, d)
		})
	}
}

func everyServiceHasItsProbes(t *testing.T, d *harness.Deployment) {
	for _, p := range d.Services() {
		c := harness.Client{URL: d.Probe(p)}
		require.Equal(t, http.StatusOK, c.Get(t, "/livez").Status)
		require.Equal(t, http.StatusOK, c.Get(t, "/readyz?verbose").Status)
		metrics := c.Get(t, "/metrics")
		require.Equal(t, http.StatusOK, metrics.Status)
		require.Contains(t, string(metrics.Body), "usher_")
	}
}

func delivered(state string) func(harness.Invitation) bool {
	return func(i harness.Invitation) bool { return i.Delivery == state }
}

func deliveryReportsMoveDeliveryOnly(t *testing.T, d *harness.Deployment) {
	o := d.Organization(t)
	invitation, mail := o.Invited(t, "member")
	report := func(kind string, more ...any) int {
		r := map[string]any{"recipient": invitation.Email, "kind": kind}
		for i := 0; i+1 < len(more); i += 2 {
			r[more[i].(string)] = more[i+1]
		}
		return d.Mailgun.Report(t, r)
	}
	require.Equal(t, http.StatusOK, report("deferred"))
	d.Await(t, invitation.ID, "deferred", delivered("deferred"))
	require.Equal(t, http.StatusOK, report("delivered", "times", 5), "Mailgun says everything more than once")
	d.Await(t, invitation.ID, "delivered", delivered("delivered"))
	require.Equal(t, http.StatusOK, report("deferred"), "and out of order")
	require.Equal(t, http.StatusOK, report("opened"), "and says things that mean nothing here")

	bus := d.Bus(t)
	facts := bus.Facts(t, o.ID, invitation.ID)
	require.Equal(t, []string{"requested", "sent", "delivery.deferred", "delivery.delivered", "delivery.deferred"}, facts)
	after := d.Show(t, invitation.ID)
	require.Equal(t, "delivered", after.Delivery, "a late report of an earlier state took delivery back")
	require.Equal(t, "pending", after.Status)
	harness.Eventually(t, "the list to show it", func() bool {
		return len(harness.All[harness.Invitation](t, d.API(), o.Path("/invitations?delivery=delivered"))) == 1
	})
	o.Accept(t, invitation, mail)
}

// refusedAndSentAnyway requires that an address is not written to again without an explicit act, and is with one.
func refusedAndSentAnyway(t *testing.T, o *harness.Organization, mailgun *harness.Mailgun, email, reason string) {
	t.Helper()
	before := len(mailgun.To(t, email))
	body := map[string]any{"email": strings.ToUpper(email[:1]) + email[1:], "role": "member", "inviter": o.Owner}
	p := o.API().Post(t, o.Path("/invitations"), body).Refused(t, http.StatusConflict, "suppressed")
	require.Contains(t, p.Detail, reason)
	other := o.System.Organization(t)
	other.API().Post(t, other.Path("/invitations"), map[string]any{"email": email, "role": "member"}).Refused(t, http.StatusConflict, "suppressed")
	require.Len(t, mailgun.To(t, email), before)

	body["email"], body["send_anyway"] = email, true
	invitation := harness.Read[harness.Invitation](t, o.API().Post(t, o.Path("/invitations"), body), http.StatusAccepted)
	mail := mailgun.Next(t, email, before)
	o.Accept(t, invitation, mail)
}

func aBounceSuppressesTheAddress(t *testing.T, d *harness.Deployment) {
	o := d.Organization(t)
	invitation, mail := o.Invited(t, "member")
	require.Equal(t, http.StatusOK, d.Mailgun.Report(t, map[string]any{"mail": mail.Number, "kind": "bounced", "code": 550, "reason": "bounce"}))
	d.Await(t, invitation.ID, "bounced", delivered("bounced"))
	d.API().Post(t, "/v1/invitations/"+invitation.ID+"/revoke", nil)
	refusedAndSentAnyway(t, o, d.Mailgun, invitation.Email, "bounced")
}

func aComplaintSuppressesTheAddress(t *testing.T, d *harness.Deployment) {
	o := d.Organization(t)
	invitation, mail := o.Invited(t, "member")
	require.Equal(t, http.StatusOK, d.Mailgun.Report(t, map[string]any{"mail": mail.Number, "kind": "complained"}))
	d.Await(t, invitation.ID, "complained about", delivered("complained"))
	d.API().Post(t, "/v1/invitations/"+invitation.ID+"/resend", nil).Refused(t, http.StatusConflict, "suppressed")
	d.API().Post(t, "/v1/invitations/"+invitation.ID+"/revoke", nil)
	refusedAndSentAnyway(t, o, d.Mailgun, invitation.Email, "complained")
}

func oneClickUnsubscribes(t *testing.T, d *harness.Deployment) {
	o := d.Organization(t)
	invitation, mail := o.Invited(t, "member")
	require.Equal(t, "List-Unsubscribe=One-Click", mail.Header("List-Unsubscribe-Post"))
	link := strings.Trim(mail.Header("List-Unsubscribe"), "<>")
	path, ok := strings.CutPrefix(link, d.PublicURL)
	require.True(t, ok, "%s", link)
	require.NotContains(t, path, mail.Token(t), "the unsubscribe link gives the invitation's token away")

	mailProgram := harness.Client{URL: d.URL}
	require.Equal(t, http.StatusOK, mailProgram.Get(t, path).Status)
	require.Equal(t, http.StatusNotFound, mailProgram.Get(t, "/unsubscribe/"+mail.Token(t)).Status, "an invitation's token unsubscribes")
	d.API().Post(t, "/v1/invitations/"+invitation.ID+"/resend", map[string]any{})
	d.Mailgun.Next(t, invitation.Email, 1) // GET changed nothing

	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for range 2 {
		a := mailProgram.Post(t, path, harness.Raw("List-Unsubscribe=One-Click"), form...)
		require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	}
	require.Equal(t, "pending", d.Show(t, invitation.ID).Status)
	require.Equal(t, http.StatusOK, harness.Client{URL: d.URL}.Post(t, "/v1/links/lookup", map[string]any{"token": mail.Token(t)}).Status,
		"whoever unsubscribed may still accept")
	d.API().Post(t, "/v1/invitations/"+invitation.ID+"/revoke", nil)
	refusedAndSentAnyway(t, o, d.Mailgun, invitation.Email, "unsubscribed")
}

func aBouncedInvitationIsResentAsANewOne(t *testing.T, d *harness.Deployment) {
	o := d.Organization(t)
	invitation, mail := o.Invited(t, "member")
	d.Mailgun.Report(t, map[string]any{"mail": mail.Number, "kind": "bounced"})
	d.Await(t, invitation.ID, "bounced", delivered("bounced"))

	resend := "/v1/invitations/" + invitation.ID + "/resend"
	d.API().Post(t, resend, map[string]any{}).Refused(t, http.StatusConflict, "suppressed")
	require.Equal(t, "pending", d.Show(t, invitation.ID).Status, "a refused resend ended the invitation")

	fresh := harness.Read[harness.Invitation](t, d.API().Post(t, resend, map[string]any{"send_anyway": true}), http.StatusAccepted)
	require.NotEqual(t, invitation.ID, fresh.ID)
	require.Equal(t, invitation.ID, fresh.Replaces)
	second := d.Mailgun.Next(t, invitation.Email, 1)
	require.NotEqual(t, mail.Token(t), second.Token(t))
	o.Accept(t, fresh, second)
	harness.Client{URL: d.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "N"}).Refused(t, http.StatusGone, "revoked")
}

// whatBecomesOfANoticeIsNotTheInvitees has a notice to the inviter bounce: no further one is sent there, and nothing is said
// of the invitation.
func whatBecomesOfANoticeIsNotTheInvitees(t *testing.T, d *harness.Deployment) {
	o := d.Organization(t)
	invitation, mail := o.Invited(t, "member")
	d.Invitee(t).Open(mail.Link(t)).Decline()
	noticed(t, o, invitation)
	notice := d.Mailgun.To(t, o.Owner)[0]
	require.Equal(t, http.StatusOK, d.Mailgun.Report(t, map[string]any{"mail": mail.Number, "kind": "bounced"}))
	d.Bus(t).Idle(t, "INVITATIONS", "mailer-notices")
	require.Equal(t, []string{"requested", "sent", "outcome.declined", "noticed", "delivery.bounced"}, d.Bus(t).Facts(t, o.ID, invitation.ID),
		"that a mail came back was told after the answer to it")
	require.Equal(t, http.StatusOK, d.Mailgun.Report(t, map[string]any{"mail": notice.Number, "kind": "delivered"}))
	require.Equal(t, http.StatusOK, d.Mailgun.Report(t, map[string]any{"mail": notice.Number, "kind": "bounced"}))
	require.Len(t, d.Bus(t).Facts(t, o.ID, invitation.ID), 5, "what became of a notice was told of the invitation")
	owner, _ := o.Member(t, o.Owner)
	require.Len(t, d.Bus(t).Stored(t, "KV_suppressions", "$KV.suppressions."+owner.Person), 1)
	another, mail := o.Invited(t, "member")
	d.Invitee(t).Open(mail.Link(t)).Decline()
	d.Bus(t).Idle(t, "INVITATIONS", "mailer-notices")
	require.Len(t, d.Mailgun.To(t, o.Owner), 1)
	require.Equal(t, "declined", d.Show(t, another.ID).Status)
}

func aWebhookThatIsNotMailgunsChangesNothing(t *testing.T, d *harness.Deployment) {
	o := d.Organization(t)
	invitation, mail := o.Invited(t, "member")
	stale := time.Now().Add(-16 * time.Minute).Unix()
	for name, wrong := range map[string]map[string]any{
		"another signature":    {"signature": strings.Repeat("0", 64)},
		"stale":                {"timestamp": number(stale)},
		"from the future":      {"timestamp": number(time.Now().Add(16 * time.Minute).Unix())},
		"timestamp not signed": {"timestamp": number(time.Now().Unix()), "signature": "x"},
	} {
		wrong["mail"], wrong["kind"] = mail.Number, "bounced"
		require.Equal(t, http.StatusNotAcceptable, d.Mailgun.Report(t, wrong), name)
	}
	for _, body := range []string{"", "{}", "null", "[]", `{"signature":null}`, strings.Repeat("[", 100000), "garbage", `{"signature":{"timestamp":1}}`} {
		a := harness.Client{URL: d.URL}.Post(t, "/webhooks/mailgun", harness.Raw(body))
		require.Equal(t, http.StatusNotAcceptable, a.Status, "%.40s", body)
	}
	a := harness.Client{URL: d.URL}.Post(t, "/webhooks/mailgun", harness.Raw(strings.Repeat("x", 300<<10)))
	require.Equal(t, http.StatusRequestEntityTooLarge, a.Status)
	require.Equal(t, []string{"requested", "sent"}, d.Bus(t).Facts(t, o.ID, invitation.ID))

	// A genuine one is taken once: its token seen again is a replay, whatever its body says.
	token := harness.Unique("replayed-token-")
	require.Equal(t, http.StatusOK, d.Mailgun.Report(t, map[string]any{"mail": mail.Number, "kind": "deferred", "token": token}))
	require.Equal(t, http.StatusOK, d.Mailgun.Report(t, map[string]any{"mail": mail.Number, "kind": "bounced", "token": token}))
	d.Await(t, invitation.ID, "deferred", delivered("deferred"))
	require.Equal(t, []string{"requested", "sent", "delivery.deferred"}, d.Bus(t).Facts(t, o.ID, invitation.ID))
}

func thePublicAddressComesFromTheSettingsAlone(t *testing.T, d *harness.Deployment) {
	o := d.Organization(t)
	email := harness.Address("host")
	a := d.API().Post(t, o.Path("/invitations"), map[string]any{"email": email, "role": "member"},
		"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.example", "Origin", "https://evil.example")
	require.Equal(t, http.StatusAccepted, a.Status)
	mail := d.Mailgun.Next(t, email, 0)
	require.True(t, strings.HasPrefix(mail.Link(t), d.PublicURL+"/i/"))
	require.NotContains(t, mail.Text+mail.HTML, "evil.example")
}

func aScopedKeyWorksForItsOrganizationAlone(t *testing.T, d *harness.Deployment) {
	mine, other := d.Organization(t), d.Organization(t)
	var made struct{ ID, Secret string }
	decode(t, d.Command(t, "keys", "create", "--name", "e2e", "--org", mine.ID, "--json").Must(t), &made)
	scoped := d.API().With(made.Secret)

	harness.Eventually(t, "the key to work", func() bool { return scoped.Get(t, mine.Path("/members")).Status == http.StatusOK })
	invitation := harness.Read[harness.Invitation](t, scoped.Post(t, mine.Path("/invitations"), map[string]any{"email": harness.Address("scoped"), "role": "member"}), http.StatusAccepted)
	require.Equal(t, made.ID, invitation.Inviter)
	theirs := other.Invite(t, harness.Address("theirs"), "member")

	scoped.Get(t, other.Path("/members")).Refused(t, http.StatusForbidden, "forbidden")
	scoped.Get(t, other.Path("/invitations")).Refused(t, http.StatusForbidden, "forbidden")
	scoped.Post(t, other.Path("/invitations"), map[string]any{"email": harness.Address("x"), "role": "member"}).Refused(t, http.StatusForbidden, "forbidden")
	scoped.Do(t, http.MethodPut, other.Path(""), map[string]any{"name": "Mine now"}).Refused(t, http.StatusForbidden, "forbidden")
	for _, path := range []string{"", "/events"} {
		scoped.Get(t, "/v1/invitations/"+theirs.ID+path).Refused(t, http.StatusNotFound, "not-found")
	}
	for _, act := range []string{"/revoke", "/resend"} {
		scoped.Post(t, "/v1/invitations/"+theirs.ID+act, nil).Refused(t, http.StatusNotFound, "not-found")
	}
	rows := map[string]any{"invitations": []map[string]any{
		{"organization": other.ID, "email": harness.Address("x"), "role": "member"},
		{"organization": mine.ID, "email": harness.Address("y"), "role": "member"},
	}}
	bulk := harness.Read[harness.Bulk](t, scoped.Post(t, "/v1/invitations", rows), http.StatusOK)
	require.Equal(t, []int{http.StatusForbidden, http.StatusAccepted}, []int{bulk.Results[0].Status, bulk.Results[1].Status})

	require.Contains(t, d.Command(t, "keys", "list").Must(t), made.ID)
	mail := d.Mailgun.Next(t, invitation.Email, 0)
	d.Command(t, "keys", "revoke", made.ID).Must(t)
	harness.Eventually(t, "the key to end", func() bool { return scoped.Get(t, mine.Path("/members")).Status == http.StatusUnauthorized })
	harness.Client{URL: d.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "N"}).
		Refused(t, http.StatusConflict, "inviter-lost-authority")
}

func deadLettersAreListedShownAndRedriven(t *testing.T, d *harness.Deployment) {
	bus, app := d.Bus(t), harness.Unique("app-")
	o := d.Organization(t)
	email := harness.Address("redriven")
	// The request is right, but its type is of another world; the header is what an operator would mend.
	ack := bus.Request(t, "requests."+app, []byte(`{"organization":"`+o.ID+`","email":"`+email+`","role":"member","inviter":"`+o.Owner+`"}`),
		"ce-type", "com.example.unknown", "ce-id", "1")
	type letter struct {
		Sequence              uint64
		Reason, Subject, Body string
		Header                map[string][]string
	}
	found := harness.Until(t, "the dead letter", func() (letter, bool) {
		var list struct{ Items []letter }
		decode(t, d.Command(t, "dead", "list", "--json").Must(t), &list)
		for _, l := range list.Items {
			if l.Subject == "requests."+app {
				return l, true
			}
		}
		return letter{}, false
	})
	require.Equal(t, "unknown-type", found.Reason)
	var whole letter
	decode(t, d.Command(t, "dead", "show", number(int64(found.Sequence)), "--json").Must(t), &whole)
	require.Contains(t, whole.Body, email)
	require.Equal(t, []string{number(int64(ack.Sequence))}, whole.Header["Usher-Dead-Sequence"])
	for range 2 {
		d.Command(t, "dead", "redrive", number(int64(found.Sequence))).Must(t)
	}
	again := 0
	for _, m := range bus.Stored(t, "DEADLETTERS", "deadletters.admission.again.*") {
		if m.Header.Get("Usher-Dead-Subject") == "requests."+app {
			again++
		}
	}
	require.Equal(t, 1, again, "asked for twice in a row, it is handed to its worker once")
	require.Len(t, bus.Stored(t, "REQUESTS", "requests."+app), 1, "the app's own stream holds what the app published and no more")
	require.Equal(t, 3, d.Command(t, "dead", "show", "999999999").Code, "not there")

	// Its type is still unknown, so it came back; nothing can be done, and that is put down.
	back := harness.Until(t, "the dead letter again", func() (letter, bool) {
		var list struct{ Items []letter }
		decode(t, d.Command(t, "dead", "list", "--subject", "requests."+app, "--json").Must(t), &list)
		return slices.Concat(list.Items, []letter{{}})[0], len(list.Items) == 1
	})
	require.Contains(t, d.Command(t, "dead", "show", number(int64(back.Sequence))).Must(t), "dead letter "+number(int64(found.Sequence))+", handed again")
	d.Command(t, "dead", "dismiss", number(int64(back.Sequence)), "--note", "of another world").Must(t)
	require.Contains(t, d.Command(t, "dead", "show", number(int64(back.Sequence))).Must(t), "of another world")
}

func TestTheCommandLineKnowsTheContextsOfTheNATSCommandLine(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t)
	folder := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(folder, "nats", path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	write("context/staging.json", `{"url":"`+d.NATSURL+`"}`)
	write("context/gone.json", `{"url":"nats://127.0.0.1:1"}`)
	write("context.txt", "staging")
	without := slices.DeleteFunc(slices.Clone(d.Operator), func(s string) bool { return strings.HasPrefix(s, "USHER_NATS_URL=") })
	without = append(without, "XDG_CONFIG_HOME="+folder)

	require.Contains(t, harness.Command(t, without, "keys", "list").Must(t), "key_", "the selected context is not used")
	failed := harness.Command(t, append(without, "NATS_CONTEXT=nowhere"), "watch")
	require.NotZero(t, failed.Code)
	require.Contains(t, failed.Err, "nowhere", "the context that the environment names is not used")
	require.Contains(t, harness.Command(t, append(without, "NATS_CONTEXT=gone", "USHER_NATS_URL="+d.NATSURL), "keys", "list").Must(t), "key_")
}
