package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"image"
	"image/png"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/proofs"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/services/api"
)

// front is the service with the organization acme, whose owner, admin and member can sign in, and a mailer's stand-in.
type front struct {
	*platform.Platform
	url     string
	handler http.Handler

	mu     sync.Mutex
	wanted []proofs.Wanted
	refuse error
}

func open(t testing.TB, more ...string) *front {
	t.Helper()
	return openLogging(t, io.Discard, more...)
}

func openLogging(t testing.TB, logs io.Writer, more ...string) *front {
	t.Helper()
	s, err := settings.Load(settings.All, append([]string{
		"USHER_HTTP_ADDR=127.0.0.1:0", "USHER_LINK_KEYS=" + links.NewKey(), "USHER_BOOTSTRAP_API_KEY=" + apikeys.Generate(),
		"USHER_PUBLIC_URL=http://usher.test",
	}, more...))
	require.NoError(t, err)
	redis, err := redisdb.InProcess()
	require.NoError(t, err)
	t.Cleanup(redis.Close)
	p, err := platform.Open(t.Context(), s, platform.Options{Name: "usher", Logs: logs, Broker: brokertest.Run(t), Redis: redis})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	service, err := api.New(p, nil)
	require.NoError(t, err)
	f := &front{Platform: p, url: service.URL(), handler: service.Handler()}
	f.run(t, service)
	f.seed(t)
	return f
}

func (f *front) run(t testing.TB, service *api.Service) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- service.Run(ctx) }()
	go func() { ended <- proofs.Serve(ctx, f.Conn, f.proof) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
	})
	<-service.Running()
}

// proof stands in for the mailer: it says back what it was asked.
func (f *front) proof(_ context.Context, w proofs.Wanted) (proofs.Proof, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = append(f.wanted, w)
	o := w.Organization
	return proofs.Proof{
		From: "usher@example.org", To: "owner@example.org", Subject: "Subject: " + o.Texts.Subject, HTML: "<p>" + html.EscapeString(o.Texts.Intro) + "</p>",
	}, f.refuse
}

func (f *front) lastWanted(t *testing.T) proofs.Wanted {
	f.mu.Lock()
	defer f.mu.Unlock()
	require.NotEmpty(t, f.wanted)
	return f.wanted[len(f.wanted)-1]
}

func (f *front) seed(t testing.TB) {
	_, _, err := f.Roster.Put(t.Context(), roster.Organization{ID: "acme", Name: "Acme", Contact: "help@acme.example"})
	require.NoError(t, err)
	for _, role := range []string{"owner", "admin", "member"} {
		person := f.person(role)
		m := events.Membership{Organization: "acme", Person: person, Email: role + "@example.org", Name: strings.ToUpper(role[:1]) + role[1:], Role: role, JoinedAt: f.Clock()}
		message, err := ledger.Fact(events.MembershipSubject("acme", person), events.Event{
			ID: events.NewEventID(), Source: "/test", Type: events.TypeMembershipProvisioned, Subject: person, Time: f.Clock(),
			Data: &events.MembershipProvisioned{Membership: m},
		})
		require.NoError(t, err)
		sequence, err := f.Ledger.Publish(t.Context(), events.StreamMemberships, message)
		require.NoError(t, err)
		f.Roster.Learn(m, sequence, false)
	}
}

func (f *front) person(role string) string {
	return address.Person(f.Ledger.PersonKey(), role+"@example.org")
}

func (f *front) stored(t *testing.T) roster.Organization {
	t.Helper()
	o, err := f.Roster.Stored(t.Context(), "acme")
	require.NoError(t, err)
	return o
}

// browser is somebody's browser without script.
type browser struct {
	*http.Client
	t    testing.TB
	site string
}

type seen struct {
	status int
	header http.Header
	text   string
}

func (f *front) signedIn(t testing.TB, role string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b := &browser{Client: &http.Client{Jar: jar, CheckRedirect: stay}, t: t, site: f.url}
	require.Equal(t, http.StatusSeeOther, b.post("/signin?return_to=/console", url.Values{"email": {role + "@example.org"}}).status)
	return b
}

func (b *browser) do(method, path, kind string, body io.Reader) seen {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.site+path, body)
	require.NoError(b.t, err)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	answer, err := b.Do(r)
	require.NoError(b.t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	require.NoError(b.t, err)
	return seen{answer.StatusCode, answer.Header, string(text)}
}

func (b *browser) get(path string) seen { return b.do(http.MethodGet, path, "", nil) }

func (b *browser) post(path string, form url.Values) seen {
	return b.do(http.MethodPost, path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

// send sends the settings form as a browser does, with a file where there is one.
func (b *browser) send(form url.Values, file []byte) seen {
	b.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, values := range form {
		for _, value := range values {
			require.NoError(b.t, w.WriteField(name, value))
		}
	}
	part, err := w.CreateFormFile("logo", "x.png")
	require.NoError(b.t, err)
	_, err = part.Write(file)
	require.NoError(b.t, err)
	require.NoError(b.t, w.Close())
	return b.do(http.MethodPost, "/console/acme/settings", w.FormDataContentType(), &body)
}

var revision = regexp.MustCompile(`name="revision" value="(\d+)"`)

// form is a form as it is when the page was just opened, with some of it changed.
func (b *browser) form(changed ...string) url.Values {
	b.t.Helper()
	found := revision.FindStringSubmatch(b.get("/console/acme/settings").text)
	require.NotNil(b.t, found)
	form := url.Values{"revision": {found[1]}, "name": {"Acme"}, "contact": {"help@acme.example"}, "do": {"save"}}
	for i := 0; i+1 < len(changed); i += 2 {
		form.Set(changed[i], changed[i+1])
	}
	return form
}

func picture(t *testing.T, side int) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, side, side))))
	return b.Bytes()
}

func TestAnOwnerChangesEverythingAboutTheOrganization(t *testing.T) {
	t.Parallel()
	f := open(t)
	owner := f.signedIn(t, "owner")
	done := owner.send(owner.form(
		"name", " Acme Corp ", "contact", "IT desk", "locale", "ko", "ttl", "72h0m0s", "reminders", "2, 36h", "notes", "yes", "reply", "yes", "renewal", "yes",
		"lost", "lower", "hosts", "APP.example.com\r\nlocalhost:8080", "accent", "#0F766E", "subject", "Come to {organization}", "intro", "Hello.\r\nCome in as {role}.", "button", "In",
	), picture(t, 30))
	require.Equal(t, http.StatusSeeOther, done.status, done.text)
	o := f.stored(t)
	require.Equal(t, []string{"Acme Corp", "IT desk", "ko", "#0F766E"}, []string{o.Name, o.Contact, o.Locale, o.Branding.Accent})
	require.Equal(t, roster.Policy{
		InvitationTTL: "72h0m0s", ReminderAfter: []string{"48h0m0s", "36h"}, RedirectHosts: []string{"app.example.com", "localhost:8080"},
		InviterLostAuthority: "lower", PersonalNotes: true, ReplyToInviter: true, SelfServiceRenewal: true,
	}, o.Policy)
	require.Equal(t, roster.Texts{Subject: "Come to {organization}", Intro: "Hello. Come in as {role}.", Button: "In"}, o.Texts)
	require.NotEmpty(t, o.Branding.Logo)

	page := owner.get(done.header.Get("Location")).text
	for _, want := range []string{`value="2, 36h"`, `<option value="ko" selected>`, `/logos/acme/` + o.Branding.Logo, "The settings were saved", "app.example.com\nlocalhost:8080"} {
		require.Contains(t, page, want)
	}
}

func TestOthersSeeWhyNotAndWhomToAsk(t *testing.T) {
	t.Parallel()
	f := open(t)
	for _, role := range []string{"admin", "member"} {
		b := f.signedIn(t, role)
		shown := b.get("/console/acme/settings")
		require.Equal(t, http.StatusForbidden, shown.status)
		require.Contains(t, shown.text, "<b><bdi>Owner</bdi></b>, or contact <bdi>help@acme.example</bdi>")
		form := url.Values{"revision": {fmt.Sprint(f.stored(t).Revision())}, "name": {"Mine"}, "do": {"save"}}
		for _, do := range []string{"save", "upload", "remove", "test"} {
			form.Set("do", do)
			require.Equal(t, http.StatusForbidden, b.send(form, picture(t, 20)).status, "%s by %s", do, role)
		}
		require.Equal(t, http.StatusForbidden, b.get("/console/acme/settings/preview").status)
		require.Equal(t, http.StatusForbidden, b.post("/console/acme/settings/preview", form).status)
		require.Equal(t, http.StatusForbidden, b.post("/console/acme/settings/accent", form).status)
	}
	require.Equal(t, "Acme", f.stored(t).Name)
	require.Empty(t, f.wanted)
	stranger := f.signedIn(t, "owner")
	require.Equal(t, http.StatusNotFound, stranger.get("/console/other/settings").status)
}

func TestEachWrongFieldSaysWhyAndNothingTypedIsLost(t *testing.T) {
	t.Parallel()
	f := open(t)
	owner := f.signedIn(t, "owner")
	for field, c := range map[string]struct{ typed, why string }{
		"name":      {"  ", "This must be a line of text."},
		"contact":   {strings.Repeat("a", 201), "This must have at most 200 characters."},
		"locale":    {"klingonese!", "This must be a BCP 47 language"},
		"ttl":       {"1s", "This must be a duration from 5m to 8760h."},
		"reminders": {"2, soon", "Entry 2 must be one of at most five durations"},
		"hosts":     {"app.example.com https://evil.example/", "Entry 2 must be a host in small letters"},
		"lost":      {"ignore", "This must be block or lower."},
		"accent":    {"#ffff00", "This can hardly be told from a white page (contrast 1.1:1, needed is 3:1)"},
		"subject":   {"Join {company}", "This may hold the placeholders {organization}, {inviter} and {role}, and no other braces."},
		"intro":     {"Hi {{.Name}}", "and no other braces."},
		"button":    {strings.Repeat("b", 61), "This must have at most 60 characters."},
	} {
		got := owner.send(owner.form("subject", "Kept subject", field, c.typed), nil)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, field)
		text := html.UnescapeString(got.text)
		require.Contains(t, text, c.why, field)
		require.Contains(t, text, strings.TrimSpace(c.typed), field)
		require.Contains(t, got.text, `aria-invalid="true"`, field)
		if field != "subject" {
			require.Contains(t, text, "Kept subject", field)
		}
	}
	require.Equal(t, "Acme", f.stored(t).Name)
}

func TestWhatSomebodyElseSavedMeanwhileIsNotOverwrittenSilently(t *testing.T) {
	t.Parallel()
	f := open(t)
	one, other := f.signedIn(t, "owner"), f.signedIn(t, "owner")
	mine, theirs := one.form("name", "Mine", "intro", "My words"), other.form("name", "Theirs")
	require.Equal(t, http.StatusSeeOther, other.send(theirs, nil).status)

	got := one.send(mine, nil)
	require.Equal(t, http.StatusConflict, got.status)
	for _, want := range []string{"Somebody else saved these settings", "now “<bdi>Theirs</bdi>”", `value="Mine"`, "My words"} {
		require.Contains(t, got.text, want)
	}
	require.Equal(t, "Theirs", f.stored(t).Name)
	for _, do := range []string{"upload", "remove"} {
		stale := url.Values{"revision": mine["revision"], "name": {"Mine"}, "do": {do}}
		require.Equal(t, http.StatusConflict, one.send(stale, picture(t, 20)).status, do)
	}

	mine.Set("revision", revision.FindStringSubmatch(got.text)[1]) // saving again from the page that told
	require.Equal(t, http.StatusSeeOther, one.send(mine, nil).status)
	require.Equal(t, "Mine", f.stored(t).Name)
}

func TestWhatIsTypedOutlivesTheSession(t *testing.T) {
	t.Parallel()
	f := open(t)
	owner := f.signedIn(t, "owner")
	form := owner.form("intro", "Typed for long")
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	owner.Jar = jar // the session is over
	got := owner.send(form, picture(t, 20))
	require.Equal(t, http.StatusUnauthorized, got.status)
	require.Contains(t, got.text, `name="intro" value="Typed for long"`)
	require.Contains(t, got.text, `action="/console/acme/settings"`)

	again := f.signedIn(t, "owner")
	require.Equal(t, http.StatusSeeOther, again.post("/console/acme/settings", form).status)
	require.Equal(t, "Typed for long", f.stored(t).Texts.Intro)
}

func TestALogoIsUploadedShownReplacedAndRemoved(t *testing.T) {
	t.Parallel()
	f := open(t)
	owner := f.signedIn(t, "owner")
	got := owner.send(owner.form("do", "upload", "intro", "Not saved yet"), picture(t, 30))
	require.Equal(t, http.StatusOK, got.status, got.text)
	first := f.stored(t).Branding.Logo
	require.Contains(t, got.text, "/logos/acme/"+first)
	require.Contains(t, got.text, "Not saved yet")
	require.Empty(t, f.stored(t).Texts.Intro)
	shown := owner.get("/logos/acme/" + first)
	require.Equal(t, []string{"image/png", "nosniff"}, []string{shown.header.Get("Content-Type"), shown.header.Get("X-Content-Type-Options")})

	require.Equal(t, http.StatusOK, owner.send(owner.form("do", "upload"), picture(t, 31)).status)
	second := f.stored(t).Branding.Logo
	require.NotEqual(t, first, second)
	require.Equal(t, second, owner.get("/logos/acme/"+first).header.Get("Location"))
	store, err := f.Ledger.Objects(t.Context(), ledger.ObjectsLogos)
	require.NoError(t, err)
	_, err = store.Get(t.Context(), "acme/"+first)
	require.ErrorIs(t, err, ledger.ErrNotFound, "the picture before is gone")

	for file, why := range map[string]string{"<svg onload=alert(1)>": "is an SVG", "": "Choose a picture first", string(picture(t, 2001)): "larger than 2000 pixels"} {
		got = owner.send(owner.form("do", "upload", "name", "Typed"), []byte(file))
		require.Contains(t, got.text, why)
		require.Contains(t, got.text, `value="Typed"`)
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, owner.send(owner.form("do", "upload"), make([]byte, 5<<20)).status)
	require.Equal(t, second, f.stored(t).Branding.Logo)
	require.Equal(t, http.StatusOK, owner.send(owner.form("do", "remove"), nil).status)
	require.Empty(t, f.stored(t).Branding.Logo)
	require.Equal(t, http.StatusNotFound, owner.get("/logos/acme/"+second).status)
}

// V104, V106, V107, T231, T233: what is typed is text, on the page, in the preview around the mail and in the mail.
func TestWhatIsTypedIsTextOnThePageAndInThePreview_V107(t *testing.T) {
	t.Parallel()
	f := open(t)
	owner := f.signedIn(t, "owner")
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>'` + "`${7*7}` {role}"
	form := owner.form("name", hostile, "contact", hostile, "subject", hostile, "intro", hostile, "button", "x", "hosts", hostile, "accent", hostile)
	for _, s := range []seen{owner.send(form, nil), owner.post("/console/acme/settings/preview", form), owner.post("/console/acme/settings/accent", form)} {
		require.NotContains(t, s.text, "<script>alert")
		require.NotContains(t, s.text, "<img src=x")
	}
	allowed := strings.ReplaceAll(hostile, "${7*7}", "") // the rest breaks no rule
	form = owner.form("name", allowed, "contact", allowed, "subject", allowed, "intro", allowed)
	preview := owner.post("/console/acme/settings/preview", form)
	require.Equal(t, http.StatusOK, preview.status)
	require.NotContains(t, preview.text, "<script>alert")
	require.NotContains(t, preview.text, "<img src=x")
	require.Regexp(t, `<iframe title="The mail" sandbox srcdoc="&lt;p&gt;&amp;#34;&amp;gt;`, preview.text)
	policy := preview.header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "sandbox;", "frame-ancestors 'self'", "form-action 'none'", "http://usher.test"} {
		require.Contains(t, policy, want)
	}
	require.NotContains(t, policy, "allow-scripts")

	require.Equal(t, http.StatusSeeOther, owner.send(form, nil).status)
	for _, path := range []string{"/console/acme/settings", "/console/acme/members", "/console/acme/settings/preview"} {
		require.NotContains(t, owner.get(path).text, "<script>alert", path)
		require.NotContains(t, owner.get(path).text, "<img src=x", path)
	}
}

func TestThePreviewShowsWhatIsNotSavedYet(t *testing.T) {
	t.Parallel()
	f := open(t)
	owner := f.signedIn(t, "owner")
	require.Contains(t, owner.get("/console/acme/settings/preview").text, "<bdi>Subject: </bdi>")
	got := owner.post("/console/acme/settings/preview", owner.form("subject", "Not saved", "accent", "#0f766e", "name", "New"))
	require.Contains(t, got.text, "<bdi>Subject: Not saved</bdi>")
	wanted := f.lastWanted(t)
	require.Equal(t, []string{"acme", "New", "#0f766e", f.person("owner")}, []string{wanted.Organization.ID, wanted.Organization.Name, wanted.Organization.Branding.Accent, wanted.Person})
	require.False(t, wanted.Send)
	require.Equal(t, "Acme", f.stored(t).Name)

	wrong := owner.post("/console/acme/settings/preview", owner.form("subject", "{x}"))
	require.Equal(t, http.StatusUnprocessableEntity, wrong.status)
	require.Contains(t, wrong.text, "Subject: This may hold the placeholders")
}

func TestATestGoesToNobodyButWhoAsks(t *testing.T) {
	t.Parallel()
	f := open(t)
	owner := f.signedIn(t, "owner")
	got := owner.send(owner.form("do", "test", "subject", "Typed", "email", "victim@example.org", "to", "victim@example.org"), nil)
	require.Equal(t, http.StatusOK, got.status)
	require.Contains(t, got.text, "A test is on its way to owner@example.org. Nothing was saved.")
	require.Contains(t, got.text, `value="Typed"`)
	wanted := f.lastWanted(t)
	require.True(t, wanted.Send)
	require.Equal(t, wanted.Person, f.person("owner"))
	asked, err := json.Marshal(wanted)
	require.NoError(t, err)
	require.NotContains(t, string(asked), "victim")

	f.refuse = problem.New(problem.TooMany, "You had many tests sent within this hour.")
	got = owner.send(owner.form("do", "test", "subject", "Typed"), nil)
	require.Equal(t, http.StatusTooManyRequests, got.status)
	require.Contains(t, got.text, "You had many tests sent within this hour.")
	require.Contains(t, got.text, `value="Typed"`)
}

func TestTheContrastIsToldWhileAColourIsChosen(t *testing.T) {
	t.Parallel()
	owner := open(t).signedIn(t, "owner")
	for typed, want := range map[string]string{
		"#1a5fb4": "6.3 : 1", "": "6.7 : 1", "#ffff00": "Take a darker shade", "#000": "must be a colour like #1a5fb4", `"/><script>`: "must be a colour",
	} {
		got := owner.post("/console/acme/settings/accent", url.Values{"accent": {typed}})
		require.Equal(t, http.StatusOK, got.status)
		require.Contains(t, got.text, want, typed)
		require.NotContains(t, got.text, "<script>")
	}
}

func TestPeopleChooseTheirNoticesAndLanguage(t *testing.T) {
	t.Parallel()
	f := open(t)
	member := f.signedIn(t, "member")
	require.Equal(t, 4, strings.Count(member.get("/console/preferences").text, " checked"))
	done := member.post("/console/preferences", url.Values{"notice": {events.NoticeBounced, "made-up"}, "locale": {"ja"}})
	require.Equal(t, http.StatusSeeOther, done.status)
	chosen := f.Preferences.Get(f.person("member"))
	require.True(t, chosen.Wants(events.NoticeBounced))
	for _, about := range []string{events.NoticeAccepted, events.NoticeDeclined, events.NoticeRenewal} {
		require.False(t, chosen.Wants(about), about)
	}
	require.Equal(t, "ja", chosen.Locale)
	require.NotContains(t, chosen.Notices, "made-up")
	page := member.get(done.header.Get("Location")).text
	require.Equal(t, 1, strings.Count(page, " checked"))
	require.Contains(t, page, `<option value="ja" selected>`)
	require.Equal(t, http.StatusUnprocessableEntity, member.post("/console/preferences", url.Values{"locale": {"tlh"}}).status)
	require.True(t, f.Preferences.Get(f.person("owner")).Wants(events.NoticeAccepted), "it is a choice for oneself")
}

// put calls PUT /v1/organizations/acme as the bootstrap key.
func (f *front) put(t *testing.T, ifMatch, body string) (status int, tag, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.url+"/v1/organizations/acme", strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+f.Settings.BootstrapKey)
	r.Header.Set("Content-Type", "application/json")
	if ifMatch != "" {
		r.Header.Set("If-Match", ifMatch)
	}
	got, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = got.Body.Close() }()
	text, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	return got.StatusCode, got.Header.Get("ETag"), string(text)
}

func TestTheAPIKeepsWhatARequestDoesNotName(t *testing.T) {
	t.Parallel()
	f := open(t)
	status, first, _ := f.put(t, "", `{"name":"Acme","locale":"de","contact":"IT","policy":{"personal_notes":true,"redirect_hosts":["app.example.com"]},`+
		`"branding":{"accent":"#0f766e"},"texts":{"subject":"Hi {role}"}}`)
	require.Equal(t, http.StatusOK, status)
	owner := f.signedIn(t, "owner")
	form := owner.form("do", "upload")
	require.Equal(t, http.StatusOK, owner.send(form, picture(t, 20)).status)
	before := f.stored(t)

	status, second, _ := f.put(t, "", `{"name":"Renamed"}`)
	require.Equal(t, http.StatusOK, status)
	now := f.stored(t)
	require.Equal(t, "Renamed", now.Name)
	require.Equal(t, before.Policy, now.Policy)
	require.Equal(t, before.Branding, now.Branding)
	require.Equal(t, before.Texts, now.Texts)
	require.Equal(t, []string{"de", "IT"}, []string{now.Locale, now.Contact})

	status, _, answer := f.put(t, first, `{"name":"From an old version"}`)
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, answer, "urn:usher:problem:conflict")
	status, _, _ = f.put(t, second, `{"name":"From the newest","texts":{},"branding":{}}`)
	require.Equal(t, http.StatusOK, status)
	require.Empty(t, f.stored(t).Texts)
	require.Equal(t, roster.Branding{Logo: before.Branding.Logo}, f.stored(t).Branding, "the logo stays")
	status, _, _ = f.put(t, `"x"`, `{"name":"A"}`)
	require.Equal(t, http.StatusUnprocessableEntity, status)
}

func TestTheAPIRefusesEachFieldByItsPlace(t *testing.T) {
	t.Parallel()
	f := open(t)
	for place, body := range map[string]string{
		"body.locale":                   `{"name":"A","locale":"not a language"}`,
		"body.contact":                  `{"name":"A","contact":"two\nlines"}`,
		"body.branding.accent":          `{"name":"A","branding":{"accent":"#ffffff"}}`,
		"body.texts.subject":            `{"name":"A","texts":{"subject":"{{.Secret}}"}}`,
		"body.texts.intro":              `{"name":"A","texts":{"intro":"} {"}}`,
		"body.texts.button":             `{"name":"A","texts":{"button":"a\tb"}}`,
		"body.policy.redirect_hosts[1]": `{"name":"A","policy":{"redirect_hosts":["app.example.com","evil.example/path"]}}`,
		"body.policy.reminder_after[0]": `{"name":"A","policy":{"reminder_after":["x"]}}`,
	} {
		status, _, answer := f.put(t, "", body)
		require.Equal(t, http.StatusUnprocessableEntity, status, place)
		require.Contains(t, answer, `"location":"`+place+`"`, answer)
	}
	require.Equal(t, "Acme", f.stored(t).Name)
}
