package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// asked is what an upstream app publishes.
type asked map[string]any

func (o asked) json(t *testing.T) []byte {
	t.Helper()
	body, err := json.Marshal(o)
	require.NoError(t, err)
	return body
}

func TestBareJSONOnTheBusInvites(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	email := harness.Address("bare")
	nc, err := nats.Connect(u.NATSURL) // as the nats command line does: no headers, no stream acknowledgement
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.Publish("requests.crm", asked{"organization": o.ID, "email": email, "role": "member", "inviter": o.Owner}.json(t)))
	require.NoError(t, nc.Flush())

	mail := u.Mails.Next(t, email, 0)
	list := harness.All[harness.Invitation](t, u.API(), o.Path("/invitations"))
	require.Len(t, list, 1)
	require.Equal(t, o.Owner, list[0].Inviter)
	o.Accept(t, list[0], mail)
}

func TestEveryFormOfAnEventInvites(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, bus := u.Organization(t), u.Bus(t)
	subject := "requests." + harness.Unique("app-")
	request := func(email string) asked {
		return asked{"organization": o.ID, "email": email, "role": "member", "inviter": o.Owner}
	}
	envelope := func(email string, more asked) []byte {
		e := asked{"specversion": "1.0", "id": email, "source": "/crm", "type": "usher.invitation.requested.v1"}
		for k, v := range more {
			e[k] = v
		}
		return e.json(t)
	}
	forms := map[string]func(email string){
		"binary": func(email string) {
			bus.Request(t, subject, request(email).json(t), "ce-specversion", "1.0", "ce-id", "b1", "ce-source", "/crm",
				"ce-type", "usher.invitation.requested.v1", "content-type", "application/json")
		},
		"binary in other case, with repeated headers": func(email string) {
			bus.Request(t, subject, request(email).json(t), "CE-SpecVersion", "1.0", "Ce-Id", "b2", "Ce-Id", "another", "cE-source", "/crm",
				"CE-TYPE", "usher.invitation.requested.v1", "Content-Type", "application/json; charset=UTF-8")
		},
		"structured": func(email string) {
			bus.Request(t, subject, envelope(email, asked{"data": request(email)}), "content-type", "application/cloudevents+json")
		},
		"structured in base 64": func(email string) {
			bus.Request(t, subject, envelope(email, asked{"data_base64": request(email).json(t)}), "Content-Type", "application/cloudevents+json; charset=utf-8")
		},
		"bare with an id": func(email string) {
			bus.Request(t, subject, request(email).json(t), "ce-id", "b3")
		},
		"with unknown fields and attributes": func(email string) {
			r := request(email)
			r["favourite_colour"] = "blue"
			bus.Request(t, subject, r.json(t), "ce-specversion", "1.0", "ce-id", "b4", "ce-source", "/crm", "ce-type", "usher.invitation.requested.v1", "ce-colour", "blue")
		},
	}
	emails := map[string]string{}
	for form, publish := range forms {
		emails[form] = harness.Address("form")
		publish(emails[form])
	}
	for form, email := range emails {
		t.Log(form)
		u.Mails.Next(t, email, 0)
	}
	require.Len(t, harness.All[harness.Invitation](t, u.API(), o.Path("/invitations")), len(forms))
}

func TestTheSameEventInvitesOnce(t *testing.T) {
	t.Parallel()
	u := common(t)
	bus := u.Bus(t)
	for _, header := range []string{"Nats-Msg-Id", "ce-id"} {
		t.Run(header, func(t *testing.T) {
			o := u.Organization(t)
			subject, email, id := "requests."+harness.Unique("app-"), harness.Address("once"), harness.Unique("event-")
			body := asked{"organization": o.ID, "email": email, "role": "member", "inviter": o.Owner}.json(t)
			bus.Request(t, subject, body, header, id)
			bus.Request(t, subject, body, header, id)
			u.Mails.Next(t, email, 0)
			// The broker forgets ids within a tenth of a second: what comes then is stored again.
			harness.Eventually(t, "the same event to be stored a second time", func() bool {
				return !bus.Request(t, subject, body, header, id).Duplicate
			})
			first := harness.Until(t, "the invitation in the list", func() ([]harness.Invitation, bool) {
				listed := harness.All[harness.Invitation](t, u.API(), o.Path("/invitations"))
				return listed, len(listed) > 0
			})
			require.Len(t, first, 1)

			// Ended, it is still the same invitation: a repeat brings nobody back.
			o.API().Post(t, "/v1/invitations/"+first[0].ID+"/revoke", nil)
			harness.Eventually(t, "the same event to be stored a third time", func() bool {
				return !bus.Request(t, subject, body, header, id).Duplicate
			})
			bus.Idle(t, "REQUESTS", "admission")
			after := harness.All[harness.Invitation](t, u.API(), o.Path("/invitations"))
			require.Len(t, after, 1)
			require.Equal(t, "revoked", after[0].Status)
			require.Equal(t, []string{"requested", "sent", "outcome.revoked"}, bus.Facts(t, o.ID, first[0].ID))
			require.Len(t, u.Mails.To(t, email), 1)
		})
	}
}

func TestTwoAppsMayUseTheSameEventID(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, bus := u.Organization(t), u.Bus(t)
	id := harness.Unique("event-")
	for range 2 {
		email := harness.Address("twoapps")
		bus.Request(t, "requests."+harness.Unique("app-"), asked{"organization": o.ID, "email": email, "role": "member", "inviter": o.Owner}.json(t), "ce-id", id)
		u.Mails.Next(t, email, 0)
	}
}

func TestWhatTheBusDoorRefusesIsToldWithItsReason(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, bus := u.Organization(t), u.Bus(t)
	admin, member := o.Join(t, "admin"), o.Join(t, "member")
	open, _ := o.Invited(t, "member")
	stranger := u.Organization(t).Owner
	good := func(change asked) asked {
		r := asked{"organization": o.ID, "email": harness.Address("x"), "role": "member", "inviter": o.Owner}
		for k, v := range change {
			if r[k] = v; v == nil {
				delete(r, k)
			}
		}
		return r
	}
	cases := map[string]struct {
		request asked
		reason  string
		field   string
	}{
		"a role above the inviter's":     {good(asked{"inviter": admin.Email, "role": "owner"}), "role-too-high", ""},
		"a member invites":               {good(asked{"inviter": member.Email, "role": "viewer"}), "no-authority", ""},
		"another organization's owner":   {good(asked{"inviter": stranger}), "no-authority", ""},
		"nobody invites":                 {good(asked{"inviter": nil}), "invalid", "inviter"},
		"a machine's key invites":        {good(asked{"inviter": "key_01jd8x5rbgf3y8zt5s9r2h4q6w"}), "invalid", "inviter"},
		"unknown organization":           {good(asked{"organization": harness.Unique("nowhere-")}), "unknown-organization", ""},
		"no organization's name at all":  {good(asked{"organization": "*.>"}), "invalid", "organization"},
		"no organization":                {good(asked{"organization": nil}), "invalid", "organization"},
		"a bad address":                  {good(asked{"email": "Bob <bob@example.org>"}), "invalid", "email"},
		"no address":                     {good(asked{"email": nil}), "invalid", "email"},
		"unknown role":                   {good(asked{"role": "emperor"}), "invalid", "role"},
		"a member already":               {good(asked{"email": member.Email}), "already-member", ""},
		"invited already":                {good(asked{"email": open.Email}), "already-invited", ""},
		"too short a time":               {good(asked{"expires_in": "4m"}), "invalid", "expires_in"},
		"too long a time":                {good(asked{"expires_in": "8761h"}), "invalid", "expires_in"},
		"no time":                        {good(asked{"expires_in": "soon"}), "invalid", "expires_in"},
		"a redirect to nowhere listed":   {good(asked{"redirect_url": "https://evil.example/"}), "invalid", "redirect_url"},
		"no language":                    {good(asked{"locale": "???"}), "invalid", "locale"},
		"a name that breaks the line":    {good(asked{"name": "A\nBcc: b@example.org"}), "invalid", "name"},
		"what only admission may say":    {good(asked{"inviter": member.Email, "inviter_person": admin.Person, "person": "x", "inviter_name": "The Owner"}), "no-authority", ""},
		"an end to the request's future": {good(asked{"email": "a@b", "expires_at": "2999-01-01T00:00:00Z"}), "invalid", "email"},
	}
	app := harness.Unique("app-")
	rejections := bus.Observe(t, "invitations.*.*.outcome.rejected")
	for name, c := range cases {
		bus.Request(t, "requests."+app, c.request.json(t), "ce-id", strings.ReplaceAll(name, " ", "%20"))
	}
	rejected := map[string]map[string]any{}
	harness.Eventually(t, "every refusal", func() bool {
		for _, m := range rejections.Messages() {
			var data map[string]any
			require.NoError(t, json.Unmarshal(m.Data, &data))
			if data["app"] == app {
				require.Equal(t, "usher.invitation.rejected.v1", m.Header.Get("ce-type"))
				require.Equal(t, data["request"], strings.ReplaceAll(m.Header.Get("ce-causationid"), "%20", " "))
				rejected[data["request"].(string)] = data
			}
		}
		return len(rejected) == len(cases)
	})
	for name, c := range cases {
		data := rejected[name]
		require.Equal(t, c.reason, data["reason"], name)
		require.NotEmpty(t, data["detail"], name)
		require.NotContains(t, data["detail"], "@", "%s: an address stands in the refusal", name)
		if c.field != "" {
			fields, _ := data["fields"].([]any)
			require.NotEmpty(t, fields, name)
			require.Equal(t, c.field, fields[0].(map[string]any)["location"], name)
		}
		shown := u.Show(t, data["invitation"].(string))
		require.Equal(t, "rejected", shown.Status, name)
		require.Equal(t, c.reason, shown.Reason, name)
	}
	require.Empty(t, deadFrom(t, bus, app), "a refusal is no dead letter")

	// A refused request that is repeated is the same refusal.
	bus.Request(t, "requests."+app, cases["unknown role"].request.json(t), "ce-id", "unknown%20role")
	bus.Idle(t, "REQUESTS", "admission")
	require.Len(t, bus.Stored(t, "INVITATIONS", "invitations."+o.ID+"."+rejected["unknown role"]["invitation"].(string)+".>"), 1)
	u.Mails.Next(t, o.Invite(t, harness.Address("after"), "member").Email, 0)
}

// deadFrom gives the dead letters that an app's requests became, by the sequence the request had.
func deadFrom(t *testing.T, bus *harness.Bus, app string) map[uint64]harness.Stored {
	t.Helper()
	dead := map[uint64]harness.Stored{}
	for _, m := range bus.Stored(t, "DEADLETTERS", "deadletters.admission.letter.>") {
		if m.Header.Get("Usher-Dead-Subject") == "requests."+app {
			sequence, err := strconv.ParseUint(m.Header.Get("Usher-Dead-Sequence"), 10, 64)
			require.NoError(t, err)
			dead[sequence] = m
		}
	}
	return dead
}

// garbage is what an app may publish and nobody can handle, or what only looks so, with the reason of its dead letter.
type garbage struct {
	body   string
	header []string
	reason string // empty: it is a refusal, and no dead letter
}

func allGarbage(t *testing.T, o *harness.Organization) map[string]garbage {
	t.Helper()
	fine := string(asked{"organization": o.ID, "email": "a@example.org", "role": "member", "inviter": o.Owner}.json(t))
	return map[string]garbage{
		"nothing":                        {"", nil, "malformed"},
		"spaces":                         {"  \n", nil, "malformed"},
		"text":                           {"please invite bob", nil, "malformed"},
		"null":                           {"null", nil, "malformed"},
		"a list":                         {"[" + fine + "]", nil, "malformed"},
		"a number":                       {"1", nil, "malformed"},
		"half an object":                 {fine[:len(fine)-5], nil, "malformed"},
		"two objects":                    {fine + fine, nil, "malformed"},
		"a field of the wrong type":      {`{"organization":1}`, nil, "malformed"},
		"a time that is none":            {`{"expires_at":"tomorrow"}`, nil, "malformed"},
		"no UTF-8":                       {"{\"name\":\"\xff\"}", nil, "malformed"},
		"UTF-16":                         {"\xff\xfe{\x00}\x00", nil, "malformed"},
		"a byte order mark":              {"\xef\xbb\xbf" + fine, nil, "malformed"},
		"deeply nested lists":            {strings.Repeat("[", 100000), nil, "malformed"},
		"deeply nested objects":          {strings.Repeat(`{"a":`, 100000) + "1" + strings.Repeat("}", 100000), nil, "malformed"},
		"zero bytes":                     {strings.Repeat("\x00", 1000), nil, "malformed"},
		"almost a megabyte":              {strings.Repeat("x", 900<<10), nil, "malformed"},
		"another content type":           {fine, []string{"content-type", "text/plain"}, "malformed"},
		"a batch":                        {"[" + fine + "]", []string{"content-type", "application/cloudevents-batch+json"}, "malformed"},
		"an envelope without attributes": {`{"data":` + fine + `}`, []string{"content-type", "application/cloudevents+json"}, "malformed"},
		"an envelope of another version": {fine, []string{"ce-specversion", "0.3", "ce-id", "1", "ce-source", "/x", "ce-type", "usher.invitation.requested.v1"}, "malformed"},
		"an envelope without id":         {fine, []string{"ce-specversion", "1.0", "ce-source", "/x", "ce-type", "usher.invitation.requested.v1"}, "malformed"},
		"an unknown type":                {fine, []string{"ce-type", "com.example.thing"}, "unknown-type"},
		"a type of tomorrow":             {fine, []string{"ce-type", "usher.invitation.requested.v2"}, "unknown-type"},
		"another of our events":          {`{"invitation":"inv_01jd8x5rbgf3y8zt5s9r2h4q6w"}`, []string{"ce-type", "usher.invitation.revoked.v1"}, "unexpected-event"},
		"an id that breaks the line":     {fine, []string{"ce-id", "a%0Ab"}, "malformed"},
		"an id of two thousand bytes":    {fine, []string{"ce-id", strings.Repeat("i", 2000)}, "malformed"},
		"a megabyte of address":          {`{"organization":"` + o.ID + `","role":"member","inviter":"` + o.Owner + `","email":"` + strings.Repeat("a", 800<<10) + `@example.org"}`, nil, ""},
		"metadata without end":           {`{"metadata":{` + strings.Repeat(`"k":"v",`, 50000) + `"z":"z"}}`, nil, ""},
	}
}

func TestGarbageOnTheBusBecomesADeadLetterAndBlocksNobody(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, bus := u.Organization(t), u.Bus(t)
	app := harness.Unique("app-")
	fine := string(asked{"organization": o.ID, "email": "a@example.org", "role": "member", "inviter": o.Owner}.json(t))
	all := allGarbage(t, o)
	sequences := map[string]uint64{}
	for name, g := range all {
		sequences[name] = bus.Request(t, "requests."+app, []byte(g.body), g.header...).Sequence
	}
	bus.Request(t, "requests.NOT-AN-APP", []byte(fine))

	invited := harness.Address("after-garbage")
	bus.Request(t, "requests."+app, asked{"organization": o.ID, "email": invited, "role": "member", "inviter": o.Owner}.json(t))
	u.Mails.Next(t, invited, 0)
	bus.Idle(t, "REQUESTS", "admission")

	dead := deadFrom(t, bus, app)
	for name, g := range all {
		require.Equal(t, g.reason, dead[sequences[name]].Header.Get("Usher-Dead-Reason"), name)
		if g.reason != "" {
			require.Equal(t, g.body, string(dead[sequences[name]].Data), "%s: the dead letter is not what was published", name)
		}
	}
	require.Len(t, deadFrom(t, bus, "NOT-AN-APP"), 1)
	require.Contains(t, harness.Read[map[string]any](t, u.API().Get(t, "/readyz?verbose"), 200)["bus"], "ok")
}

func TestAThirdOfPoisonIsADeadLetterEachAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	u := harness.Up(t)
	o, bus, app := u.Organization(t), u.Bus(t), harness.Unique("app-")
	var poison []garbage
	for _, g := range allGarbage(t, o) {
		if g.reason != "" && len(g.body) < 4<<10 {
			poison = append(poison, g)
		}
	}
	require.Greater(t, len(poison), 20)
	all := short(21_000, 2_100)
	messages := make([]*nats.Msg, all)
	for i := range messages {
		m := &nats.Msg{Subject: "requests." + app, Header: nats.Header{}}
		if g := poison[i/3%len(poison)]; i%3 == 0 {
			m.Data = []byte(g.body)
			for at := 0; at+1 < len(g.header); at += 2 {
				m.Header[g.header[at]] = []string{g.header[at+1]}
			}
		} else {
			m.Data = asked{"organization": o.ID, "email": fmt.Sprintf("good-%d@example.org", i), "role": "member", "inviter": o.Owner}.json(t)
		}
		messages[i] = m
	}
	bus.Flood(t, messages)
	bus.Idle(t, "REQUESTS", "admission")

	require.Equal(t, all-all/3, bus.Count(t, "INVITATIONS", "invitations."+o.ID+".*.requested"), "every good request is an invitation")
	letters := bus.Subjects(t, "DEADLETTERS", "deadletters.>")
	require.Len(t, letters, all/3)
	for subject, times := range letters {
		require.Equal(t, 1, times, subject)
	}
	var counted struct{ Letters int }
	require.NoError(t, json.Unmarshal([]byte(u.Command(t, "dead", "count", "--json").Must(t)), &counted))
	require.Equal(t, all/3, counted.Letters)
	require.Less(t, strings.Count(u.Said(), "message given up"), all/30, "the log is bounded, too")
	require.Contains(t, string(u.API().Get(t, "/metrics").Body), "usher_dead_letters_open{worker=\"admission\"} "+strconv.Itoa(all/3))
}
