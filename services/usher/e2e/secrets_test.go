package e2e

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// everything walks every way an invitation can go, in one organization, and gives what must stay secret: the tokens of all
// links that were mailed, and the addresses of everybody who was invited.
func everything(t *testing.T, d *harness.Deployment) (o *harness.Organization, tokens, addresses []string) {
	o = d.Organization(t, map[string]any{"reminder_after": []string{"24h"}})
	bus, invitee := d.Bus(t), harness.Client{URL: d.URL}
	invite := func() (harness.Invitation, harness.Mail) {
		i := o.Invite(t, harness.Address("canary"), "member", "name", "Nell")
		return i, d.Mailgun.Next(t, i.Email, 0)
	}
	accepted, mail := invite()
	d.Invitee(t).Open(mail.Link(t)).Accept("Nell New")
	member := o.Accept(t, accepted, mail)
	d.API().Do(t, http.MethodPatch, o.Path("/members/"+member.Person), map[string]any{"role": "admin"})
	d.API().Do(t, http.MethodDelete, o.Path("/members/"+member.Person), nil)

	_, mail = invite()
	d.Invitee(t).Open(mail.Link(t)).Decline()

	rotated, _ := invite()
	d.API().Post(t, "/v1/invitations/"+rotated.ID+"/resend", map[string]any{"rotate": true})
	d.Mailgun.Next(t, rotated.Email, 1)
	bus.Request(t, "invitations."+o.ID+"."+rotated.ID+".due.reminder", []byte(`{"invitation":"`+rotated.ID+`","number":1}`))
	d.Mailgun.Next(t, rotated.Email, 2)
	d.API().Post(t, "/v1/invitations/"+rotated.ID+"/revoke", map[string]any{"reason": "a mistake"})

	for _, kind := range []string{"delivered", "deferred", "bounced", "complained", "unsubscribed"} {
		_, mail = invite()
		require.Equal(t, http.StatusOK, d.Mailgun.Report(t, map[string]any{"mail": mail.Number, "kind": kind}))
	}
	unsubscribed := strings.TrimPrefix(strings.Trim(mail.Header("List-Unsubscribe"), "<>"), d.PublicURL)
	invitee.Post(t, unsubscribed, harness.Raw("List-Unsubscribe=One-Click"), "Content-Type", "application/x-www-form-urlencoded")

	app := harness.Unique("app-")
	asked := func(change string) []byte {
		return []byte(`{"organization":"` + o.ID + `","email":"` + harness.Address("canary") + `","role":"member","inviter":"` + o.Owner + `"` + change + `}`)
	}
	bus.Request(t, "requests."+app, asked(""))
	bus.Request(t, "requests."+app, asked(`,"role":"emperor"`))
	bus.Request(t, "requests."+app, asked(`,"email":"Bob <canary.bob@example.org>"`))
	bus.Request(t, "requests."+app, []byte(`{"email":"canary.garbage@example.org`))
	bus.Idle(t, "REQUESTS", "admission")

	// Errors quote what they can get hold of.
	invitee.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t) + "x", "name": "N"})
	invitee.Get(t, "/i/"+mail.Token(t)+"?"+mail.Token(t))
	d.API().Post(t, o.Path("/invitations"), map[string]any{"email": "canary..twice@example.org", "role": "member"})
	d.API().Get(t, o.Path("/invitations?email=canary.sought@example.org"))
	refused := harness.Address("canary")
	d.Mailgun.Fault(t, map[string]any{"status": 400, "recipient": refused, "body": `{"message":"to parameter is not a valid address: ` + refused + `"}`})
	unlucky := o.Invite(t, refused, "member")
	d.Await(t, unlucky.ID, "refused by Mailgun", delivered("bounced"))
	d.Mailgun.Fault(t, map[string]any{"status": 500, "body": "<html>" + refused, "accept": true})
	d.Mailgun.Fault(t, map[string]any{"cut": "before-answer", "accept": true})
	for range 2 {
		invite()
	}
	d.Redis.Kill9()
	_, _ = d.API().Try(http.MethodPost, o.Path("/invitations"), map[string]any{"email": "canary.down@example.org", "role": "member"}, "Idempotency-Key", "canary-key")
	_, _ = invitee.Try(http.MethodPost, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "N"})
	d.Redis.Start(t)
	harness.Eventually(t, "Redis to be back", func() bool { return invitee.Get(t, "/readyz").Status == http.StatusOK })
	invite()

	for _, m := range d.Mailgun.Invitations(t) {
		stop := strings.Trim(m.Header("List-Unsubscribe"), "<>")
		tokens = append(tokens, m.Token(t), stop[strings.LastIndex(stop, "/")+1:])
		addresses = append(addresses, m.Recipient)
	}
	return o, tokens, append(addresses, o.Owner, "canary.")
}

// TestEverythingThatIsSaidOnTheWay walks every way once and then looks at all that was written down anywhere.
func TestEverythingThatIsSaidOnTheWay(t *testing.T) {
	t.Parallel()
	traces := newCollector(t)
	d := harness.Deploy(t, "USHER_LOG_LEVEL=DEBUG", "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT="+traces.URL,
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50")
	o, tokens, addresses := everything(t, d)
	t.Run("FitsThePublishedContract", func(t *testing.T) { fitsThePublishedContract(t, d) })
	t.Run("LeavesSecretsInTheMail", func(t *testing.T) { leavesSecretsInTheMail(t, d, o, traces, tokens, addresses) })
}

// leavesSecretsInTheMail stops the broker, to look through its files.
func leavesSecretsInTheMail(t *testing.T, d *harness.Deployment, o *harness.Organization, traces *collector, tokens, addresses []string) {
	require.Greater(t, len(tokens), 20)
	harness.Eventually(t, "traces of the way", func() bool {
		return strings.Contains(traces.text(), "handle mailer") && strings.Contains(traces.text(), "handle acceptance")
	})

	places := map[string]string{"traces": traces.text()}
	for i, p := range d.Services() {
		name := []string{"api", "mailer", "acceptance"}[i]
		places["log of "+name] = p.Said()
		places["metrics of "+name] = string(harness.Client{URL: d.Probe(p)}.Get(t, "/metrics").Body)
	}
	places["subjects and headers"] = subjectsAndHeaders(t, d)
	for place, text := range places {
		require.NotEmpty(t, text, place)
		for _, address := range addresses {
			require.NotContains(t, text, address, "an address stands in the %s", place)
		}
	}
	for _, i := range harness.All[harness.Invitation](t, d.API(), o.Path("/invitations")) {
		places["answers"] += string(d.API().Get(t, "/v1/invitations/"+i.ID).Body) + string(d.API().Get(t, "/v1/invitations/"+i.ID+"/events").Body)
		require.NotContains(t, places["metrics of api"]+places["metrics of mailer"]+places["metrics of acceptance"], i.ID)
	}
	require.NotContains(t, places["metrics of api"]+places["metrics of mailer"]+places["metrics of acceptance"], o.ID)
	d.Broker.Stop(t) // so that its files are whole
	places["files of broker and Redis"] = files(t, d.Store)
	require.Contains(t, places["files of broker and Redis"], "usher:token:", "the files that are looked through are the wrong ones")
	require.Contains(t, places["files of broker and Redis"], "usher.invitation.requested.v1", "the files that are looked through are the wrong ones")
	secrets := append(tokens, d.Key, d.Mailgun.Sign, "key-"+d.Mailgun.Sign, linkSecret(d))
	for place, text := range places {
		for _, secret := range secrets {
			require.NotContains(t, text, secret, "a secret stands in the %s", place)
		}
	}
}

// linkSecret is the key that links are signed with.
func linkSecret(d *harness.Deployment) string {
	for _, s := range d.Operator {
		if keys, ok := strings.CutPrefix(s, "USHER_LINK_KEYS="); ok {
			return strings.TrimPrefix(keys, "1:")
		}
	}
	return ""
}

func subjectsAndHeaders(t *testing.T, d *harness.Deployment) string {
	t.Helper()
	var all strings.Builder
	for stream, filter := range map[string]string{
		"REQUESTS": "requests.>", "INVITATIONS": "invitations.>", "MEMBERSHIPS": "memberships.>", "DEADLETTERS": "deadletters.>",
		"KV_organizations": ">", "KV_apikeys": ">", "KV_suppressions": ">",
	} {
		for _, m := range d.Bus(t).Stored(t, stream, filter) {
			all.WriteString(m.Subject + "\n")
			for name, values := range m.Header {
				all.WriteString(name + ": " + strings.Join(values, "\n") + "\n")
			}
		}
	}
	return all.String()
}

// files is everything in a folder's files.
func files(t *testing.T, folder string) string {
	t.Helper()
	var all strings.Builder
	require.NoError(t, filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		all.Write(content)
		return err
	}))
	return all.String()
}

// fitsThePublishedContract holds what really was published against the schemas.
func fitsThePublishedContract(t *testing.T, d *harness.Deployment) {
	compiler := jsonschema.NewCompiler()
	require.NoError(t, fs.WalkDir(events.Schemas, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := events.Schemas.Open(path)
		require.NoError(t, err)
		schema, err := jsonschema.UnmarshalJSON(f)
		require.NoError(t, err)
		return compiler.AddResource("contract:"+path, schema)
	}))
	types := map[string]int{}
	bus := d.Bus(t)
	for stream, filter := range map[string]string{"INVITATIONS": "invitations.>", "MEMBERSHIPS": "memberships.>"} {
		for _, m := range bus.Stored(t, stream, filter) {
			name := m.Header.Get("ce-type")
			if name == "" {
				continue // the test's own
			}
			types[name]++
			for _, attribute := range []string{"ce-id", "ce-source", "ce-specversion", "ce-time", "ce-subject"} {
				require.NotEmpty(t, m.Header.Get(attribute), "%s has no %s", name, attribute)
			}
			if strings.HasPrefix(name, "usher.invitation.") {
				require.NotEmpty(t, m.Header.Get("ce-correlationid"), name)
			}
			schema, err := compiler.Compile("contract:" + name + ".json")
			require.NoError(t, err, name)
			var body any
			require.NoError(t, json.Unmarshal(m.Data, &body))
			require.NoError(t, schema.Validate(body), "%s on %s: %s", name, m.Subject, m.Data)
			e, err := events.Decode(m.Header, m.Data, m.Subject)
			require.NoError(t, err)
			require.NoError(t, e.Data.Validate(), "%s: %s", name, m.Data)
		}
	}
	require.GreaterOrEqual(t, len(types), 15, "too few kinds of events were seen: %v", types)
}
