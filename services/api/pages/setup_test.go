package pages_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/services/api/pages"
)

// door stands for everything behind the pages: the invitations by their token, and what was done to them.
type door struct {
	mu      sync.Mutex
	links   map[string]*redeem.Preview
	now     time.Time
	members map[string]roster.Member // by person

	down       error // what every call answers while a dependency is down
	refuse     error // what Accept answers
	by         redeem.By
	acts       []string
	followed   int
	unsubLinks map[string]bool
}

const token = "AQECAYkKXayWd0u8zrMCCZqAV90qHH_jSauU5amYHqlzZp-FbZSJ1_kNUg"

// invited is an open invitation of a new person.
func invited(change ...func(*redeem.Preview)) *redeem.Preview {
	p := &redeem.Preview{
		Organization: roster.Organization{ID: "acme", Name: "Acme Rockets", Policy: roster.Policy{RedirectHosts: []string{"app.example.org"}}}, Email: "n•••@example.org", Invitee: redeem.New,
		Record: invitation.Record{
			ID: eventstest.Invitation, Organization: "acme", Deadline: eventstest.Deadline,
			Request: &events.InvitationRequested{
				Organization: "acme", Email: eventstest.Email, Role: "member", Person: eventstest.Person, InviterName: "Olu Owner",
				RedirectURL: eventstest.RedirectURL,
			},
		},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func (d *door) Lookup(_ context.Context, token string) (redeem.Preview, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.links[token]
	switch {
	case d.down != nil:
		return redeem.Preview{}, d.down
	case !ok:
		return redeem.Preview{}, problem.New(problem.NotFound, "This link leads nowhere.")
	case p.Record.StatusAt(d.now) != invitation.Pending:
		return *p, problem.New(problem.Code(p.Record.StatusAt(d.now)), "It has ended.")
	case p.Record.Generation > 0:
		return *p, problem.New(problem.Replaced, "A newer e-mail was sent.")
	}
	return *p, nil
}

// Followed counts.
func (d *door) Followed(context.Context, redeem.Preview) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.followed++
}

// end is the first outcome, or the refusal where there is another.
func (d *door) end(token string, outcome invitation.Status, act string) error {
	_, err := d.Lookup(context.Background(), token)
	if err != nil && !problem.Is(err, problem.Code(outcome)) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return d.refuse
	}
	d.links[token].Record.Outcome, d.links[token].Record.EndedAt = outcome, d.now
	d.acts = append(d.acts, act)
	return nil
}

func (d *door) Accept(_ context.Context, token string, by redeem.By) (redeem.Success, error) {
	if p, ok := d.links[token]; ok && by.Email != "" && !d.Invites(*p, by.Email) {
		return redeem.Success{}, problem.New(problem.WrongAccount, "It is for somebody else.")
	}
	if by.Name == "" && d.links[token].Invitee == redeem.New {
		return redeem.Success{}, problem.Fields(events.FieldError{Location: "name", Message: redeem.NameNeeded})
	}
	d.by = by
	return redeem.Success{}, d.end(token, invitation.Accepted, "accept "+token+" as "+by.Name)
}

// Renew answers as the organization's policy says.
func (d *door) Renew(_ context.Context, token string) (redeem.Renewal, error) {
	_, err := d.Lookup(context.Background(), token)
	switch {
	case d.refuse != nil:
		return redeem.Renewal{}, d.refuse
	case err == nil:
		return redeem.Renewal{}, problem.New(problem.NotExpired, "It is open.")
	case !problem.Is(err, problem.Expired):
		return redeem.Renewal{}, err
	}
	r := &d.links[token].Record
	r.RenewalAskedAt, r.Renewed = d.now, d.links[token].Organization.Policy.SelfServiceRenewal
	d.acts = append(d.acts, "renew "+token)
	return redeem.Renewal{Renewed: r.Renewed}, nil
}

// Invites: addresses are compared as they are, whole; the preview has the masked one.
func (d *door) Invites(p redeem.Preview, email string) bool { return p.Record.Request.Email == email }

func (d *door) OpenFor(_ context.Context, email string) (open []redeem.Preview, err error) {
	for token, p := range d.links {
		if _, err := d.Lookup(context.Background(), token); err == nil && d.Invites(*p, email) {
			open = append(open, *p)
		}
	}
	return open, d.down
}

// own is the token of somebody's invitation.
func (d *door) own(id, email string) (string, error) {
	for token, p := range d.links {
		if p.Record.ID == id && d.Invites(*p, email) {
			return token, nil
		}
	}
	return "", problem.New(problem.NotFound, "There is no such invitation.")
}

func (d *door) Own(ctx context.Context, id, email string) (redeem.Preview, error) {
	token, err := d.own(id, email)
	if err != nil {
		return redeem.Preview{}, err
	}
	return d.Lookup(ctx, token)
}

func (d *door) AcceptOwn(ctx context.Context, id string, by redeem.By) (redeem.Success, error) {
	token, err := d.own(id, by.Email)
	if err != nil {
		return redeem.Success{}, err
	}
	return d.Accept(ctx, token, by)
}

func (d *door) DeclineOwn(ctx context.Context, id, email string) (redeem.Preview, error) {
	token, err := d.own(id, email)
	if err != nil {
		return redeem.Preview{}, err
	}
	return d.Decline(ctx, token, "")
}

// gate is the sign-in: who is signed in, if anybody.
type gate struct {
	off    bool
	person *pages.Person
}

func (g *gate) Enabled() bool { return !g.off }

func (g *gate) Person(*http.Request) (pages.Person, bool) {
	if g.person == nil {
		return pages.Person{}, false
	}
	return *g.person, true
}

func (g *gate) Path(returnTo string) string { return "/signin?to=" + url.QueryEscape(returnTo) }

func (g *gate) SignOutPath(returnTo string) string { return "/signout?to=" + url.QueryEscape(returnTo) }

func (d *door) Decline(_ context.Context, token, _ string) (redeem.Preview, error) {
	return redeem.Preview{}, d.end(token, invitation.Declined, "decline "+token)
}

func (d *door) Member(organization, person string) (roster.Member, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, ok := d.members[person]
	return m, ok && organization == "acme"
}

func (d *door) CheckUnsubscribe(_ context.Context, token string) (redeem.Preview, error) {
	if !d.unsubLinks[token] {
		return redeem.Preview{}, problem.New(problem.NotFound, "This link leads nowhere.")
	}
	if d.down != nil {
		return redeem.Preview{}, nil
	}
	return *d.links[token], nil
}

func (d *door) Unsubscribe(ctx context.Context, token string) error {
	if _, err := d.CheckUnsubscribe(ctx, token); err != nil {
		return err
	}
	if d.down != nil {
		return d.down
	}
	d.acts = append(d.acts, "unsubscribe "+token)
	return nil
}

func setup(t *testing.T, change ...func(*pages.Options)) (*door, *browser) {
	t.Helper()
	d := &door{
		links: map[string]*redeem.Preview{token: invited()}, now: eventstest.Now, members: map[string]roster.Member{},
		unsubLinks: map[string]bool{token: true},
	}
	o := pages.Options{
		Redeemer: d, Mailbox: d, Unsubscriber: d, Members: d, PublicURL: "http://invite.example.org", Logger: slog.New(slog.DiscardHandler),
		Clock: func() time.Time { return d.now },
	}
	for _, c := range change {
		c(&o)
	}
	server := httptest.NewServer(pages.New(o))
	t.Cleanup(server.Close)
	return d, newBrowser(t, server.URL)
}

// browser keeps cookies, follows redirects and reads pages, and knows no script.
type browser struct {
	t      *testing.T
	base   string
	client *http.Client
}

func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{t, base, &http.Client{Jar: jar}}
}

// page is an answer, read.
type page struct {
	status int
	header http.Header
	path   string
	text   string
	root   *html.Node
}

func (b *browser) do(method, path string, body io.Reader, header http.Header) page {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, body)
	require.NoError(b.t, err)
	for name, values := range header {
		r.Header[name] = values
	}
	answer, err := b.client.Do(r)
	require.NoError(b.t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	require.NoError(b.t, err)
	root, err := html.Parse(strings.NewReader(string(text)))
	require.NoError(b.t, err)
	return page{answer.StatusCode, answer.Header, answer.Request.URL.Path, string(text), root}
}

func (b *browser) get(path string) page { b.t.Helper(); return b.do(http.MethodGet, path, nil, nil) }

var posted = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {"null"}}

func (b *browser) post(path string, fields url.Values) page {
	b.t.Helper()
	return b.do(http.MethodPost, path, strings.NewReader(fields.Encode()), posted)
}

// answer fills the form whose button has that value, as a person does.
func (b *browser) answer(p page, action, name string) page {
	b.t.Helper()
	for _, form := range p.forms() {
		if form.buttons.Get("action") == action {
			form.fields.Set("action", action)
			form.fields.Set("confirm", "yes")
			if form.fields.Has("name") {
				form.fields.Set("name", name)
			}
			return b.post("/join", form.fields)
		}
	}
	require.Fail(b.t, "there is no form to "+action, p.text)
	return page{}
}

// form is what a program finds in a page: the fields with what they hold as they stand, and the buttons.
type form struct {
	fields, buttons url.Values
	boxes           []string
}

func (p page) forms() []form {
	var found []form
	for _, node := range p.all("form") {
		f := form{fields: url.Values{}, buttons: url.Values{}}
		for _, in := range within(node, "select") {
			name, _ := attribute(in, "name")
			for _, option := range within(in, "option") {
				if _, selected := attribute(option, "selected"); selected {
					value, _ := attribute(option, "value")
					f.fields.Set(name, value)
				}
			}
		}
		for _, in := range within(node, "input") {
			_, checked := attribute(in, "checked")
			kind, _ := attribute(in, "type")
			name, _ := attribute(in, "name")
			value, _ := attribute(in, "value")
			if kind == "checkbox" {
				f.boxes = append(f.boxes, name)
			}
			if kind != "checkbox" || checked {
				f.fields.Set(name, value)
			}
		}
		for _, button := range within(node, "button") {
			name, _ := attribute(button, "name")
			value, _ := attribute(button, "value")
			f.buttons.Set(name, value)
		}
		found = append(found, f)
	}
	return found
}

func (p page) all(tag string) []*html.Node { return within(p.root, tag) }

// links are those that are about the invitation: not the languages below each page.
func (p page) links() []*html.Node {
	if m := p.all("main"); len(m) == 1 {
		return within(m[0], "a")
	}
	return nil
}

func within(root *html.Node, tag string) []*html.Node {
	var found []*html.Node
	for node := range root.Descendants() {
		if node.Type == html.ElementNode && node.Data == tag {
			found = append(found, node)
		}
	}
	return found
}

func attribute(node *html.Node, name string) (string, bool) {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// words is the text that a reader sees, on one line.
func words(node *html.Node) string {
	var b strings.Builder
	for n := range node.Descendants() {
		switch {
		case n.Type == html.TextNode:
			b.WriteString(n.Data)
		case n.Data == "dt" || n.Data == "dd":
			b.WriteString(" ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (p page) heading() string {
	if h := p.all("h1"); len(h) == 1 {
		return words(h[0])
	}
	return "not one heading"
}

func (p page) says() string {
	if b := p.all("body"); len(b) == 1 {
		return words(b[0])
	}
	return ""
}
