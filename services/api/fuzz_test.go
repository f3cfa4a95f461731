package api_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/mailgunhook"
	"github.com/usherhq/usher/pkg/problem"
)

// route is a method and a path with {wildcards}.
type route struct{ method, path string }

// everyRoute is read from the code that registers them, and from the published document, so that none is forgotten.
func everyRoute(t testing.TB, f *front) []route {
	t.Helper()
	pattern := regexp.MustCompile(`"(?:(GET|POST|PUT|PATCH|DELETE) )?(/[a-z0-9{][^"\s]*|/)"[,:)]`)
	found := map[route]bool{}
	for _, place := range []string{"*.go", "pages/pages.go", "signin/signin.go", "console/console.go", "docs/docs.go", "../../pkg/platform/probes.go"} {
		files, err := filepath.Glob(place)
		require.NoError(t, err)
		require.NotEmpty(t, files, place)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for line := range strings.Lines(string(text)) {
				for _, m := range pattern.FindAllStringSubmatch(line, -1) {
					if m[1] != "" || strings.Contains(line, "Handle") {
						found[route{m[1], strings.ReplaceAll(m[2], "{$}", "")}] = true
					}
				}
			}
		}
	}
	var document struct{ Paths map[string]map[string]any }
	answer := httptest.NewRecorder()
	f.handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &document))
	for path, operations := range document.Paths {
		for method := range operations {
			found[route{strings.ToUpper(method), path}] = true
		}
	}
	var all []route
	for r := range found {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b route) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
	return all
}

func TestTheFuzzerKnowsEveryRoute(t *testing.T) {
	t.Parallel()
	all := everyRoute(t, open(t))
	for _, r := range []route{
		{"POST", "/v1/links/accept"}, {"POST", "/v1/organizations/{org}/imports"}, {"GET", "/v1/imports/{id}/report.csv"}, {"", "/i/{token}"},
		{"POST", "/join"}, {"POST", "/unsubscribe/{token}"}, {"POST", "/webhooks/mailgun"}, {"GET", "/console/{org}/live"},
		{"POST", "/console/{org}/imports/{id}/{act}"}, {"POST", "/signin"}, {"GET", "/readyz"}, {"GET", "/logos/{org}/{logo}"}, {"", "/docs/"},
	} {
		require.Contains(t, all, r)
	}
	require.Greater(t, len(all), 70)
}

// marker is what no page may show as it stands.
const marker = "<zq7x>"

// target is the whole service with somebody in it, to send requests to.
type target struct {
	*front
	routes []route
	logs   *said

	session string
	words   *strings.Replacer // from the words that inputs use to what they stand for, which is another with every run
	secrets map[string]string // by their words
	used    int               // requests since the invitation was made
}

// said keeps the log for a look at it.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// take gives what was said, and forgets it.
func (s *said) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.text.String()
	s.text.Reset()
	return text
}

const webhookKey = "a-signing-key"

func newTarget(t testing.TB) *target {
	t.Helper()
	logs := &said{}
	g := &target{front: openLogging(t, logs, "MAILGUN_WEBHOOK_SIGNING_KEY="+webhookKey), logs: logs}
	g.routes = everyRoute(t, g.front)
	g.signIn(t)
	g.renew(t)
	return g
}

func (g *target) signIn(t testing.TB) {
	t.Helper()
	b := g.signedIn(t, "owner")
	site, err := url.Parse(g.url)
	require.NoError(t, err)
	g.session = ""
	for _, c := range b.Jar.Cookies(site) {
		g.session += c.Name + "=" + c.Value + "; "
	}
	require.NotEmpty(t, g.session)
}

// renew invites somebody else, as most requests about an invitation that has ended are refused in the same way.
func (g *target) renew(t testing.TB) {
	t.Helper()
	body := fmt.Sprintf(`{"email":"%s@example.org","role":"member"}`, events.NewEventID())
	r := httptest.NewRequest(http.MethodPost, "/v1/organizations/acme/invitations", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+g.Settings.BootstrapKey)
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	g.handler.ServeHTTP(answer, r)
	require.Equal(t, http.StatusAccepted, answer.Code, answer.Body)
	var made struct{ ID string }
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &made))
	token, err := g.Links.Derive(links.PurposeInvite, made.ID, 1)
	require.NoError(t, err)
	leave, err := g.Links.Derive(links.PurposeUnsubscribe, made.ID, 1)
	require.NoError(t, err)
	form := hmac.New(sha256.New, []byte(token.Reveal()))
	form.Write([]byte("form"))
	g.words = strings.NewReplacer(
		"~token", token.Reveal(), "~leave", leave.Reveal(), "~form", base64.RawURLEncoding.EncodeToString(form.Sum(nil)[:16]),
		"~invitation", made.ID, "~member", g.person("member"), "~key", g.Settings.BootstrapKey, "~session", g.session, "~mark", marker,
	)
	g.secrets, g.used = map[string]string{"~token": token.Reveal(), "~key": g.Settings.BootstrapKey}, 0
}

// known fills in the wildcards that the input says nothing about.
var known = map[string]string{
	"org": "acme", "token": "~token", "id": "~invitation", "person": "~member", "act": "start", "logo": "x.png", "file": "x.css",
}

var wildcard = regexp.MustCompile(`\{([a-z]+)(?:\.\.\.)?\}`)

// input is one request as the fuzzer makes it up. Route is that of a known one, or stands for some known one, or is a path.
type input struct {
	Method, Route, Value, Query, Header, Kind, Body string
}

// request makes a request of an input, as the server reads it off a connection; nil for what the server itself refuses.
func (g *target) request(in input) (*http.Request, route) {
	at := g.route(in.Route)
	path := wildcard.ReplaceAllStringFunc(at.path, func(name string) string {
		value := in.Value
		if value == "" {
			value = known[strings.Trim(name, "{.}")]
		}
		return url.PathEscape(g.words.Replace(value))
	})
	if in.Query != "" {
		path += "?" + strings.NewReplacer(" ", "+", "\n", "", "\r", "").Replace(g.words.Replace(in.Query))
	}
	if method := in.Method; method == "" {
		in.Method = at.method
	}
	body := g.words.Replace(in.Body)
	if strings.HasPrefix(at.path, "/webhooks/") && !strings.HasPrefix(body, "!") {
		body = signedHook(body)
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n", in.Method, path, len(body))
	if in.Kind != "" {
		head += "Content-Type: " + oneLine(g.words.Replace(in.Kind)) + "\r\n"
	}
	for line := range strings.SplitSeq(g.defaults(at)+in.Header, "\n") {
		if name, _, ok := strings.Cut(line, ":"); ok && !strings.EqualFold(name, "Content-Length") && !strings.EqualFold(name, "Transfer-Encoding") {
			head += oneLine(g.words.Replace(line)) + "\r\n"
		}
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n" + body)))
	if err != nil {
		return nil, at
	}
	r.RemoteAddr = "127.0.0.1:1"
	return r, at
}

func oneLine(s string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(s) }

func (g *target) route(s string) route {
	method, path, _ := strings.Cut(s, " ")
	if at := (route{method, path}); slices.Contains(g.routes, at) {
		return at
	}
	if strings.HasPrefix(s, "/") {
		return route{http.MethodGet, strings.ReplaceAll(s, " ", "%20")}
	}
	h := fnv.New32()
	_, _ = h.Write([]byte(s))
	return g.routes[int(h.Sum32())%len(g.routes)]
}

// defaults are what lets a request past the first question: who asks.
func (g *target) defaults(at route) string {
	switch {
	case strings.HasPrefix(at.path, "/v1/links/"):
		return ""
	case strings.HasPrefix(at.path, "/v1/"):
		return "Authorization: Bearer ~key\n"
	}
	return "Sec-Fetch-Site: same-origin\nCookie: ~session usher-invitation=~token\n"
}

// signedHook is a webhook as Mailgun signs it, about whatever the input says.
func signedHook(data string) string {
	at, token := fmt.Sprint(time.Now().Unix()), events.NewEventID()
	return fmt.Sprintf(`{"signature":{"timestamp":%q,"token":%q,"signature":%q},"event-data":%s}`, at, token, mailgunhook.Sign(webhookKey, at, token), data)
}

// Bounds of an answer.
const (
	answerTime = 5 * time.Second
	watchTime  = 20 * time.Millisecond // of what goes on until the reader goes: live views
)

func FuzzRoutes(f *testing.F) {
	g := newTarget(f)
	for _, r := range g.routes {
		f.Add("", r.method+" "+r.path, "", "", "", "application/json", `{}`)
	}
	for _, in := range seeds {
		f.Add(in.Method, in.Route, in.Value, in.Query, in.Header, in.Kind, in.Body)
	}
	f.Fuzz(func(t *testing.T, method, route, value, query, header, kind, body string) {
		if g.used++; g.used > 50 {
			g.renew(t)
		}
		g.logs.take()
		r, at := g.request(input{method, route, value, query, header, kind, body})
		if r == nil {
			return
		}
		before, err := g.Ledger.State(t.Context(), events.StreamInvitations)
		require.NoError(t, err)

		bound := answerTime
		if strings.HasSuffix(r.URL.Path, "/live") {
			bound = watchTime
		}
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		defer cancel()
		began, answer := time.Now(), httptest.NewRecorder()
		g.handler.ServeHTTP(patient{answer}, r.WithContext(ctx))
		require.Less(t, time.Since(began), answerTime, "%s %s took too long", r.Method, r.URL)

		if ctx.Err() == nil || answer.Code < http.StatusInternalServerError { // who has gone may be told anything
			g.check(t, r, answer, value+query+body)
		}
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			g.requireNothingDecided(t, before.LastSequence)
		}
		if at.path == "/signout" || at.path == "/signin" {
			g.signIn(t)
			g.renew(t)
		}
	})
}

// patient is a recorder that takes deadlines, as a connection does.
type patient struct{ *httptest.ResponseRecorder }

func (patient) SetReadDeadline(time.Time) error  { return nil }
func (patient) SetWriteDeadline(time.Time) error { return nil }

// check requires of an answer what every answer keeps to. said is what the input itself says.
func (g *target) check(t *testing.T, r *http.Request, a *httptest.ResponseRecorder, said string) {
	t.Helper()
	logged := g.logs.take()
	about := fmt.Sprintf("%s %s: %d %.300s\n%s", r.Method, r.URL, a.Code, a.Body, logged)
	require.Less(t, a.Code, http.StatusInternalServerError, about)
	require.NotContains(t, logged, "panicked", about)
	kind, text := a.Header().Get("Content-Type"), a.Body.String()
	if strings.HasPrefix(r.URL.Path, "/v1/") && a.Code >= http.StatusBadRequest {
		requireProblem(t, a, about)
	}
	if strings.HasPrefix(kind, "text/html") || strings.HasPrefix(kind, "image/svg") || strings.HasPrefix(kind, "text/xml") {
		require.NotContains(t, text, marker, "a page shows what was sent as it stands: %s", about)
	}
	require.Equal(t, "nosniff", a.Header().Get("X-Content-Type-Options"), about)
	for word, secret := range g.secrets {
		require.False(t, strings.Contains(text, secret) && !strings.Contains(said, word), "%s is shown: %s", word, about)
	}
}

func requireProblem(t *testing.T, a *httptest.ResponseRecorder, about string) {
	t.Helper()
	require.Equal(t, "application/problem+json", a.Header().Get("Content-Type"), about)
	var p struct {
		Type   string
		Status int
		Title  string
	}
	if a.Body.Len() == 0 { // HEAD
		return
	}
	require.NoError(t, json.Unmarshal(a.Body.Bytes(), &p), about)
	require.True(t, strings.HasPrefix(p.Type, problem.TypeBase), about)
	require.Equal(t, a.Code, p.Status, about)
	require.NotEmpty(t, p.Title, about)
}

// requireNothingDecided requires that nothing was written since, but observations.
func (g *target) requireNothingDecided(t *testing.T, since uint64) {
	t.Helper()
	now, err := g.Ledger.State(t.Context(), events.StreamInvitations)
	require.NoError(t, err)
	if now.LastSequence == since {
		return
	}
	for r, err := range g.Ledger.Scan(t.Context(), events.StreamInvitations, events.OutcomeFilter("*", "*"), since+1) {
		require.NoError(t, err)
		require.Fail(t, "a request that only asks has decided", r.Subject)
	}
}

// seeds are requests that get far.
var seeds = []input{
	{Route: "POST /v1/organizations/{org}/invitations", Kind: "application/json", Body: `{"email":"new~mark@example.org","role":"member","name":"~mark","inviter":"owner@example.org","locale":"ar","expires_in":"72h","metadata":{"a":"~mark"}}`},
	{Route: "POST /v1/organizations/{org}/invitations", Header: "Idempotency-Key: one\nUsher-Actor: owner@example.org", Kind: "application/json; charset=utf-8", Body: `{"email":"a@example.org","role":"admin","redirect_url":"https://~mark.example"}`},
	{Route: "POST /v1/invitations", Kind: "application/json", Body: `{"invitations":[{"organization":"acme","email":"b@example.org","role":"member"},{"organization":"~mark"},7,null]}`},
	{Route: "PUT /v1/organizations/{org}", Value: "other", Kind: "application/json", Body: `{"name":"~mark","owner":{"email":"o@example.org","name":"~mark"},"policy":{"invitation_ttl":"72h","redirect_hosts":["a.example"]}}`},
	{Route: "GET /v1/organizations/{org}/invitations", Query: "status=pending&limit=2&email=~mark&cursor=abc"},
	{Route: "GET /v1/organizations/{org}/members", Query: "limit=1"},
	{Route: "PATCH /v1/organizations/{org}/members/{person}", Kind: "application/json", Body: `{"role":"viewer"}`},
	{Route: "POST /v1/invitations/{id}/resend", Kind: "application/json", Body: `{"rotate":true}`},
	{Route: "POST /v1/invitations/{id}/revoke", Header: "Idempotency-Key: ~invitation", Kind: "application/json"},
	{Route: "POST /v1/links/lookup", Kind: "application/json", Body: `{"token":"~token"}`},
	{Route: "POST /v1/links/accept", Kind: "application/json", Body: `{"token":"~token","name":"~mark"}`},
	{Route: "POST /v1/links/accept", Kind: "application/json", Body: `{"token":"~token","name":"Nell","locale":"x-"}`},
	{Route: "POST /v1/links/decline", Kind: "application/json", Body: `{"token":"~token","reason":"~mark"}`},
	{Route: "POST /v1/links/renew", Kind: "application/json", Body: `{"token":"~token"}`},
	{Route: "POST /v1/organizations/{org}/imports", Query: "name=~mark", Kind: "text/csv", Body: "email,role,name\nc@example.org,member,~mark\n\"d\n"},
	{Route: "POST /v1/organizations/{org}/imports", Kind: "multipart/form-data; boundary=b", Body: "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"~mark\"\r\n\r\nemail\ne@example.org\r\n--b--\r\n"},
	{Route: "POST /webhooks/mailgun", Body: `{"id":"1","event":"failed","severity":"permanent","timestamp":1795442399.1,"recipient":"a@example.org","reason":"~mark","user-variables":{"invitation":"~invitation","generation":"1","purpose":"invitation","intent":"9"}}`},
	{Route: "POST /webhooks/mailgun", Body: `!{"signature":{},"event-data":{}}`},
	{Method: "GET", Route: "/i/{token}"},
	{Method: "HEAD", Route: " /i/{token}", Value: "~mark"},
	{Method: "GET", Route: " /join", Header: "Sec-Fetch-User: ?1\nAccept-Language: ~mark, ko;q=0.5"},
	{Method: "GET", Route: " /join", Header: "Cookie: usher-invitation=~mark"},
	{Method: "POST", Route: " /join", Kind: "application/x-www-form-urlencoded", Body: "action=accept&confirm=yes&form=~form&name=%3Czq7x%3E"},
	{Method: "POST", Route: " /join", Kind: "application/x-www-form-urlencoded", Body: "action=accept&form=~form&name=%3Czq7x%3E&locale=%3Czq7x%3E"},
	{Method: "POST", Route: " /join", Kind: "application/x-www-form-urlencoded", Body: "action=renew&confirm=yes&form=~form"},
	{Method: "GET", Route: "GET /unsubscribe/{token}", Value: "~leave"},
	{Method: "POST", Route: "POST /unsubscribe/{token}", Value: "~leave", Kind: "application/x-www-form-urlencoded", Body: "List-Unsubscribe=One-Click"},
	{Method: "GET", Route: "GET /assets/accent/{file}", Value: "0f766e.css"},
	{Route: "GET /signin", Query: "return_to=//~mark"},
	{Route: "POST /signin", Query: "return_to=/console/~mark", Kind: "application/x-www-form-urlencoded", Body: "email=owner%40example.org&name=%3Czq7x%3E"},
	{Route: "GET /console/{org}/invitations", Query: "q=%3Czq7x%3E&status=%3Czq7x%3E&page=~mark"},
	{Route: "GET /console/{org}/members", Query: "q=%3Czq7x%3E"},
	{Route: "GET /console/{org}/invitations/{id}"},
	{Route: "POST /console/{org}/invite", Kind: "application/x-www-form-urlencoded", Body: "email=f%40example.org&role=member&name=%3Czq7x%3E&note=%3Czq7x%3E&people=%3Czq7x%3E+g%40example.org"},
	{Route: "POST /console/{org}/invite/check", Kind: "application/x-www-form-urlencoded", Body: "people=%3Czq7x%3E+g%40example.org%0Ax"},
	{Route: "POST /console/{org}/invitations", Kind: "application/x-www-form-urlencoded", Body: "id=~invitation&id=%3Czq7x%3E&do=revoke"},
	{Route: "POST /console/{org}/imports", Kind: "multipart/form-data; boundary=b", Body: "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"~mark.csv\"\r\n\r\nemail,name\nh@example.org,~mark\r\n--b--\r\n"},
	{Route: "POST /console/{org}/settings", Kind: "application/x-www-form-urlencoded", Body: "revision=1&do=save&name=%3Czq7x%3E&contact=%3Czq7x%3E&accent=%3Czq7x%3E&hosts=%3Czq7x%3E&intro=%3Czq7x%3E&subject=%3Czq7x%3E&locale=%3Czq7x%3E"},
	{Route: "POST /console/{org}/settings/preview", Kind: "application/x-www-form-urlencoded", Body: "name=%3Czq7x%3E&intro=%3Czq7x%3E&accent=%230f766e"},
	{Route: "POST /console/preferences", Kind: "application/x-www-form-urlencoded", Body: "notices=%3Czq7x%3E&return_to=//evil.example"},
	{Route: "/console/~mark/members"},
	{Route: "/v1/~mark"},
	{Method: "TRACE", Route: "GET /v1/organizations/{org}/members"},
}
