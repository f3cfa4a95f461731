package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/address/addresstest"
	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestEveryNastyAddressIsRefusedOverHTTP(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	require.GreaterOrEqual(t, len(addresstest.Bad()), 100)
	var rows []map[string]any
	for _, c := range addresstest.Bad() {
		p := u.API().Post(t, o.Path("/invitations"), map[string]any{"email": c.Input, "role": "member"}).Problem(t)
		switch {
		case len(c.Input) > 60<<10:
			require.Equal(t, "too-large", p.Code(), c.Name)
			continue
		default:
			require.Equal(t, "invalid", p.Code(), c.Name)
			require.Equal(t, "body.email", p.Errors[0].Location, c.Name)
		}
		if utf8.ValidString(c.Input) && len(c.Input) > 20 {
			require.NotContains(t, p.Detail+p.Errors[0].Message, c.Input, "%s: the refusal repeats the address", c.Name)
		}
		rows = append(rows, map[string]any{"organization": o.ID, "email": c.Input, "role": "member"})
		if c.Input != "" {
			u.API().Get(t, o.Path("/invitations?email="+url.QueryEscape(c.Input))).Refused(t, http.StatusUnprocessableEntity, "invalid")
		}
	}
	bulk := harness.Read[harness.Bulk](t, u.API().Post(t, "/v1/invitations", map[string]any{"invitations": rows}), http.StatusOK)
	require.Len(t, bulk.Results, len(rows))
	for i, v := range bulk.Results {
		require.Equal(t, http.StatusUnprocessableEntity, v.Status, "%q", rows[i]["email"])
		require.Equal(t, fmt.Sprintf("body.invitations[%d].email", i), v.Problem.Errors[0].Location)
	}
	for _, c := range addresstest.Bad() {
		if c.Input == "" || len(c.Input) > 8<<10 || strings.ContainsAny(c.Input, "\r\n\x00\x7f") || strings.ContainsFunc(c.Input, isControl) {
			continue // no HTTP client sends such a header
		}
		as := u.API().Do(t, http.MethodGet, o.Path("/members"), nil, "Usher-Actor", c.Input)
		if strings.TrimSpace(c.Input) == "a@example.org" { // spaces around a header's value do not belong to it
			as.Refused(t, http.StatusForbidden, "no-authority")
		} else {
			as.Refused(t, http.StatusUnprocessableEntity, "invalid")
		}
	}
	require.Zero(t, u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+".>"))
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func TestEveryNastyAddressIsRefusedOverTheBus(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, bus, app := u.Organization(t), u.Bus(t), harness.Unique("app-")
	sequences := map[uint64]string{}
	for i, c := range addresstest.Bad() {
		if len(c.Input) > 900<<10 {
			continue // the broker's own limit
		}
		body := asked{"organization": o.ID, "email": c.Input, "role": "member", "inviter": o.Owner}.json(t)
		if !utf8.ValidString(c.Input) { // the encoder would mend it
			body = []byte(`{"organization":"` + o.ID + `","role":"member","inviter":"` + o.Owner + `","email":"` + c.Input + `"}`)
		}
		sequences[bus.Request(t, "requests."+app, body, "ce-id", fmt.Sprint(i)).Sequence] = c.Name
	}
	invited := harness.Address("after")
	bus.Request(t, "requests."+app, asked{"organization": o.ID, "email": invited, "role": "member", "inviter": o.Owner}.json(t))
	u.Mails.Next(t, invited, 0)
	bus.Idle(t, "REQUESTS", "admission")

	dead := deadFrom(t, bus, app)
	rejected := 0
	for _, m := range bus.Stored(t, "INVITATIONS", "invitations."+o.ID+".*.outcome.rejected") {
		fields := m.Fields(t)
		require.Equal(t, "invalid", fields["reason"])
		require.Equal(t, "email", fields["fields"].([]any)[0].(map[string]any)["location"])
		rejected++
	}
	for sequence, m := range dead {
		require.Equal(t, "malformed", m.Header.Get("Usher-Dead-Reason"), sequences[sequence])
	}
	require.Equal(t, len(sequences), rejected+len(dead), "some address got no answer")
	require.Equal(t, 1, bus.Count(t, "INVITATIONS", "invitations."+o.ID+".*.requested"))
}

func TestEveryGoodAddressIsInvitedAtBothDoors(t *testing.T) {
	t.Parallel()
	u := common(t)
	http1, bus1 := u.Organization(t), u.Organization(t)
	bus := u.Bus(t)
	for _, c := range addresstest.Good() {
		a := u.API().Post(t, http1.Path("/invitations"), map[string]any{"email": c.Input, "role": "viewer"})
		if a.Status == http.StatusConflict { // another spelling of one before
			a.Refused(t, http.StatusConflict, "already-invited")
		} else {
			require.Equal(t, c.Stored, harness.Read[harness.Invitation](t, a, http.StatusAccepted).Email, c.Name)
		}
		found := harness.All[harness.Invitation](t, u.API(), http1.Path("/invitations?email="+url.QueryEscape(c.Input)))
		require.Len(t, found, 1, c.Name)
		bus.Request(t, "requests.good", asked{"organization": bus1.ID, "email": c.Input, "role": "viewer", "inviter": bus1.Owner}.json(t))
	}
	bus.Idle(t, "REQUESTS", "admission")
	require.Equal(t, bus.Count(t, "INVITATIONS", "invitations."+http1.ID+".*.requested"), bus.Count(t, "INVITATIONS", "invitations."+bus1.ID+".*.requested"))
	require.Empty(t, deadFrom(t, bus, "good"))
}

// operation is one route of the published document.
type operation struct{ method, path string }

// operations reads every route from the document that the running API publishes.
func operations(t *testing.T, u *harness.Usher) []operation {
	t.Helper()
	document := harness.Read[struct {
		Paths map[string]map[string]json.RawMessage
	}](t, harness.Client{URL: u.URL}.Get(t, "/openapi.json"), http.StatusOK)
	var all []operation
	for path, methods := range document.Paths {
		for method := range methods {
			all = append(all, operation{strings.ToUpper(method), path})
		}
	}
	require.GreaterOrEqual(t, len(all), 14)
	return all
}

// at puts a path together from the document's pattern.
func (o operation) at(org *harness.Organization, id, person string) string {
	return strings.NewReplacer("{org}", org.ID, "{id}", id, "{person}", person).Replace(o.path)
}

// clientError requires a precise refusal.
func clientError(t *testing.T, a harness.Answer, what string) harness.Problem {
	t.Helper()
	require.GreaterOrEqual(t, a.Status, 400, "%s: %s", what, a.Body)
	require.Less(t, a.Status, 500, "%s: %s", what, a.Body)
	p, err := a.AsProblem()
	require.NoError(t, err, what)
	return p
}

func TestEveryRouteRefusesBadBodiesPrecisely(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, _ := o.Invited(t, "member")
	owner, _ := o.Member(t, o.Owner)
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	bodies := map[string]harness.Raw{
		"nothing":             "",
		"text":                "hello",
		"half":                `{"email":"a@example.org`,
		"null":                "null",
		"a list":              "[]",
		"a number":            "1",
		"a string":            `"x"`,
		"a second value":      `{}{}`,
		"unknown fields":      `{"favourite_colour":"blue","nested":{"a":1}}`,
		"wrong types":         `{"email":1,"role":[],"name":{},"token":1,"invitations":"x","owner":1,"rotate":"x","reason":{}}`,
		"nulls":               `{"email":null,"role":null,"token":null,"invitations":null,"name":null,"owner":null,"rotate":1}`,
		"deeply nested":       harness.Raw(deep),
		"deep in a field":     harness.Raw(`{"role":"member","token":"x","reason":"x","name":"x","email":` + strings.Repeat("[", 50000) + strings.Repeat("]", 50000) + `,"rotate":` + deep + `}`),
		"huge":                harness.Raw(`{"email":"` + strings.Repeat("a", 5<<20) + `"}`),
		"huge and no JSON":    harness.Raw(strings.Repeat("x", 5<<20)),
		"NUL":                 "{\"email\":\"a\x00@example.org\",\"token\":\"\x00\",\"reason\":\"\x00\",\"role\":\"\x00\",\"name\":\"\x00\"}",
		"no UTF-8":            "{\"email\":\"\xff\xfe@example.org\",\"token\":\"\xff\",\"role\":\"\xff\",\"name\":\"\xff\",\"invitations\":[{\"email\":\"\xff\"}],\"rotate\":0,\"reason\":1}",
		"UTF-16":              "\xff\xfe{\x00}\x00",
		"the same key twice":  `{"email":"a@example.org","email":1,"token":"a","token":1,"role":"x","role":1,"name":"a","name":1,"invitations":[],"invitations":1,"rotate":1,"reason":1}`,
		"numbers without end": harness.Raw(`{"email":1e999999,"role":` + strings.Repeat("9", 10000) + `,"token":-1e400,"name":0.1e-99999,"invitations":1,"rotate":1,"reason":1}`),
	}
	for _, op := range operations(t, u) {
		if op.method == http.MethodGet || op.method == http.MethodDelete {
			continue
		}
		for name, body := range bodies {
			if mayBeEmpty := strings.HasSuffix(op.path, "/resend") || strings.HasSuffix(op.path, "/revoke"); mayBeEmpty && (name == "nothing" || name == "null") {
				continue
			}
			what := op.method + " " + op.path + ": " + name
			p := clientError(t, u.API().Do(t, op.method, op.at(o, invitation.ID, owner.Person), body), what)
			if strings.HasSuffix(op.path, "/imports") { // which takes CSV
				require.Equal(t, "media-type", p.Code(), what)
				continue
			}
			require.Contains(t, []string{"malformed", "invalid", "too-large", "not-found"}, p.Code(), what)
			require.Less(t, len(p.Detail), 1000, "%s: the refusal repeats the body", what)
			if p.Code() == "invalid" {
				require.NotEmpty(t, p.Errors, "%s: no field is named", what)
			}
		}
		fits := `{"email":"a@example.org","role":"member","token":"x","name":"N","invitations":[{"organization":"` + o.ID + `","email":"a@example.org","role":"member"}]}`
		if strings.HasSuffix(op.path, "/imports") {
			continue
		}
		for _, contentType := range []string{"text/plain", "application/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/cbor", ";;;", "application/json; charset=utf-16"} {
			a := u.API().Do(t, op.method, op.at(o, invitation.ID, owner.Person), harness.Raw(fits), "Content-Type", contentType)
			require.Equal(t, "media-type", clientError(t, a, op.method+" "+op.path+" as "+contentType).Code())
		}
	}
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status)
	still, _ := o.Member(t, o.Owner)
	require.Equal(t, owner, still)
	require.Len(t, harness.All[harness.Invitation](t, u.API(), o.Path("/invitations")), 1)
	o.Join(t, "member")
}

func TestEveryRouteRefusesBadPathsAndQueriesPrecisely(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	owner, _ := o.Member(t, o.Owner)
	invitation, _ := o.Invited(t, "member")
	nasty := []string{"x", "ACME", "-", "a.b", "*", "%3E", "%2e%2e", "..%2f..%2fetc", "%00", "%0d%0aX:1", "%ff", strings.Repeat("a", 64), strings.Repeat("a", 5000), "acme%20", "$JS", "inv_", "inv_zzzzzzzzzzzzzzzzzzzzzzzzzz",
		"INV_01JD8X5RBGF3Y8ZT5S9R2H4Q6W", "inv_01jd8x5rbgf3y8zt5s9r2h4q6w", "evt_01jd8x5rbgf3y8zt5s9r2h4q6w", "%F0%9F%92%A9", "'%20or%201=1", "{{7*7}}"}
	fits := map[string]any{"email": "a@example.org", "role": "member", "name": "N"}
	for _, op := range operations(t, u) {
		if !strings.Contains(op.path, "{") {
			continue
		}
		for _, bad := range nasty {
			for _, path := range []string{
				strings.NewReplacer("{org}", bad, "{id}", bad, "{person}", bad).Replace(op.path),
				strings.NewReplacer("{org}", o.ID, "{id}", bad, "{person}", bad).Replace(op.path),
			} {
				if strings.Contains(path, "/"+o.ID) && !strings.Contains(op.path, "{person}") {
					continue // nothing bad is left in it
				}
				var body any
				if op.method == http.MethodPost || op.method == http.MethodPut || op.method == http.MethodPatch {
					body = fits
				}
				if op.method == http.MethodPut && !strings.ContainsAny(bad, ".*%$'{-ABCDEFGHIJKLMNOPQRSTUVWXYZ") && len(bad) < 64 && !strings.HasPrefix(bad, "-") {
					continue // these may name an organization
				}
				clientError(t, u.API().Do(t, op.method, path, body), op.method+" "+path)
			}
		}
	}
	for _, query := range []string{"status=x", "delivery=x", "limit=0", "limit=201", "limit=-1", "limit=x", "limit=9999999999999999999999", "cursor=x", "cursor=%00", "cursor=bTE",
		"cursor=" + strings.Repeat("A", 5000), "email=x", "email=" + strings.Repeat("a", 5000), "status=pending%00", "limit=1e1"} {
		p := clientError(t, u.API().Get(t, o.Path("/invitations?"+query)), query)
		require.Equal(t, "invalid", p.Code(), query)
		require.NotEmpty(t, p.Errors, query)
	}
	for _, query := range []string{"limit=0", "limit=201", "cursor=x", "cursor=czE"} {
		clientError(t, u.API().Get(t, o.Path("/members?"+query)), query)
	}
	// What is no filter shows nothing rather than everything.
	require.Empty(t, harness.All[harness.Invitation](t, u.API(), o.Path("/invitations?role=nothing-like-it")))
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status)
	require.NotEmpty(t, owner.Person)
	o.Join(t, "member")
}

func TestEveryRouteRefusesOtherMethods(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	owner, _ := o.Member(t, o.Owner)
	takes := map[string][]string{}
	for _, op := range operations(t, u) {
		path := op.at(o, invitation.ID, owner.Person)
		takes[path] = append(takes[path], op.method)
		if op.method == http.MethodGet {
			takes[path] = append(takes[path], http.MethodHead)
		}
	}
	for path, methods := range map[string][]string{
		"/i/" + mail.Token(t): {"GET", "HEAD"}, "/join": {"GET", "HEAD", "POST"}, "/webhooks/mailgun": {"POST"}, "/livez": {"GET", "HEAD"},
		"/readyz": {"GET", "HEAD"}, "/metrics": {"GET", "HEAD"}, "/openapi.json": {"GET", "HEAD"}, "/asyncapi.yaml": {"GET", "HEAD"},
	} {
		takes[path] = methods
	}
	for path, methods := range takes {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "ACCEPT"} {
			if slices.Contains(methods, method) {
				continue
			}
			a := u.API().Do(t, method, path, nil)
			require.Equal(t, http.StatusMethodNotAllowed, a.Status, "%s %s: %s", method, path, a.Body)
			for _, allowed := range methods {
				require.Contains(t, a.Header.Get("Allow"), allowed, "%s %s", method, path)
			}
			if strings.HasPrefix(path, "/v1/") && method != http.MethodHead {
				clientError(t, a, method+" "+path)
			}
		}
	}
	for _, path := range []string{"/", "/nothing", "/v1", "/v1/", "/v1/nothing", "/v2/invitations", "/v1/invitations/", "/i/", "/i", "/join/x", "/webhooks/", "/outbox/999999", "/debug/pprof/", "/.env", "/docs/nothing"} {
		a := u.API().Get(t, path)
		require.Contains(t, []int{http.StatusNotFound, http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusMethodNotAllowed}, a.Status, "%s: %s", path, a.Body)
	}
	// A path that could be read in two ways leads nowhere else.
	for _, path := range []string{"//evil.example/", "/\\evil.example", "//evil.example/v1/invitations", "/i//evil.example", "/join//evil.example"} {
		a := u.API().Get(t, path)
		require.NotContains(t, a.Header.Get("Location"), "//evil.example", path)
		require.Less(t, a.Status, 500, path)
	}
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status)
	o.Accept(t, invitation, mail)
}

func TestThePagesRefuseBadForms(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	cookie := u.Invitee(t).Open(mail.Link(t)).Cookies()
	stop := strings.TrimPrefix(strings.Trim(mail.Header("List-Unsubscribe"), "<>"), u.PublicURL)
	const plain, parts = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
	for name, form := range map[string]struct {
		body, contentType string
		status            int
	}{
		"huge":                  {"name=" + strings.Repeat("x", 1<<20), plain, http.StatusRequestEntityTooLarge},
		"huge in parts":         {"--x\r\nContent-Disposition: form-data; name=name\r\n\r\n" + strings.Repeat("x", 1<<20), parts, http.StatusRequestEntityTooLarge},
		"broken escapes":        {"name=%zz&confirm=yes", plain, http.StatusBadRequest},
		"parts without a bound": {"confirm=yes", "multipart/form-data", http.StatusBadRequest},
	} {
		for _, path := range []string{"/join", stop} {
			a := harness.Client{URL: u.URL}.Post(t, path, harness.Raw(form.body), "Content-Type", form.contentType, "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
			require.Equal(t, form.status, a.Status, "%s to %s: %s", name, path, a.Body)
			require.Contains(t, a.Header.Get("Content-Type"), "text/html")
		}
	}
	// What is no form at all decides nothing.
	for _, contentType := range []string{"application/json", "text/plain", "", "x"} {
		a := harness.Client{URL: u.URL}.Post(t, "/join", harness.Raw(`{"action":"accept","confirm":"yes","name":"N"}`), "Content-Type", contentType, "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
		require.GreaterOrEqual(t, a.Status, 400, contentType)
		require.Less(t, a.Status, 500, contentType)
	}
	for _, nasty := range []string{"", "x", strings.Repeat("A", 58), strings.Repeat("A", 4000), "%00", "\"", "a b"} {
		a := harness.Client{URL: u.URL}.Do(t, http.MethodGet, "/join", nil, "Cookie", "usher-invitation="+nasty)
		require.Equal(t, http.StatusNotFound, a.Status, "%q", nasty)
	}
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status)
	o.Accept(t, invitation, mail)
}

func TestEveryFieldOfAnInvitationIsHeldToItsLimits(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	many := map[string]string{}
	for i := range 21 {
		many[fmt.Sprint(i)] = "v"
	}
	for name, wrong := range map[string]struct {
		field, location string
		value           any
	}{
		"role of the wrong case":      {"role", "body.role", "Member"},
		"no role":                     {"role", "body.role", ""},
		"role with a line break":      {"role", "body.role", "member\n"},
		"long name":                   {"name", "body.name", strings.Repeat("ä", 201)},
		"name with a line break":      {"name", "body.name", "A\r\nBcc: x@example.org"},
		"inviter that is no address":  {"inviter", "body.inviter", "somebody"},
		"language":                    {"locale", "body.locale", "not a language"},
		"time":                        {"expires_in", "body.expires_in", "7 days"},
		"negative time":               {"expires_in", "body.expires_in", "-168h"},
		"time just too short":         {"expires_in", "body.expires_in", "4m59s"},
		"time just too long":          {"expires_in", "body.expires_in", "8760h1s"},
		"endless time":                {"expires_in", "body.expires_in", "9999999999h"},
		"too much metadata":           {"metadata", "body.metadata", many},
		"long key":                    {"metadata", "body.metadata", map[string]string{strings.Repeat("k", 41): "v"}},
		"empty key":                   {"metadata", "body.metadata", map[string]string{"": "v"}},
		"long value":                  {"metadata", "body.metadata.k", map[string]string{"k": strings.Repeat("v", 501)}},
		"redirect to a host unlisted": {"redirect_url", "body.redirect_url", "https://evil.example/"},
		"redirect without https":      {"redirect_url", "body.redirect_url", "http://app.example/"},
		"redirect to script":          {"redirect_url", "body.redirect_url", "javascript:alert(1)"},
		"redirect without scheme":     {"redirect_url", "body.redirect_url", "//app.example/"},
		"redirect with user":          {"redirect_url", "body.redirect_url", "https://app.example@evil.example/"},
		"redirect with backslash":     {"redirect_url", "body.redirect_url", `https://app.example\@evil.example/`},
	} {
		body := map[string]any{"email": harness.Address("limits"), "role": "member", "inviter": o.Owner}
		body[wrong.field] = wrong.value
		p := u.API().Post(t, o.Path("/invitations"), body).Refused(t, http.StatusUnprocessableEntity, "invalid")
		require.Equal(t, wrong.location, p.Errors[0].Location, name)
	}
	for _, expires := range []string{"5m", "8760h"} {
		i := o.Invite(t, harness.Address("limits"), "member", "expires_in", expires, "locale", "pt-BR", "metadata", map[string]string{"k": strings.Repeat("v", 500)})
		require.Equal(t, "pending", i.Status)
	}
	require.Equal(t, 2, u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+".*.requested"))
}
