package pages_test

import (
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/services/api/pages"
	"github.com/usherhq/usher/services/api/web"
)

func eventField(location, message string) events.FieldError {
	return events.FieldError{Location: location, Message: message}
}

func TestEveryAnswerKeepsTheTokenFromCachesReferrersAndSearchEngines(t *testing.T) {
	_, b := setup(t)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, p := range []page{
		b.get("/i/" + token), b.get("/i/forged"), b.get("/join"), b.post("/join", nil), b.get("/unsubscribe/" + token),
		b.post("/unsubscribe/"+token, nil), b.do(http.MethodPut, "/join", nil, nil),
	} {
		require.Equal(t, "no-referrer", p.header.Get("Referrer-Policy"))
		require.Equal(t, "no-store", p.header.Get("Cache-Control"))
		require.Equal(t, "noindex", p.header.Get("X-Robots-Tag"))
		require.Equal(t, "nosniff", p.header.Get("X-Content-Type-Options"))
		policy := p.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'self'", "script-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			require.Contains(t, policy, part)
		}
		require.NotContains(t, policy, "unsafe")
	}
}

func TestNoPageNeedsWhatThePolicyForbids(t *testing.T) {
	files, err := filepath.Glob("templates/*.html")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	forbidden := regexp.MustCompile(`(?i)<script>|<script [^>]*>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:|https?://`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Empty(t, forbidden.FindString(string(text)), file)
	}
}

func TestEveryPageHasALanguageATitleOneHeadingAndLabelledFields(t *testing.T) {
	d, b := setup(t)
	open := b.get("/i/" + token)
	shown := []page{open, b.get("/i/forged"), b.get("/unsubscribe/" + token), b.post("/unsubscribe/"+token, nil), b.scan("/join", open)[0]}
	d.links[token].Record.Outcome = invitation.Revoked
	for _, p := range append(shown, b.get("/join")) {
		language, _ := attribute(p.all("html")[0], "lang")
		require.Equal(t, "en", language)
		require.NotEmpty(t, words(p.all("title")[0]))
		require.NotEqual(t, "not one heading", p.heading())
		require.NotEmpty(t, p.heading())
		require.Len(t, p.all("main"), 1)
		labelled := map[string]bool{}
		inside := 0
		for _, label := range p.all("label") {
			if target, ok := attribute(label, "for"); ok {
				labelled[target] = true
			}
			inside += len(within(label, "input"))
		}
		outside := 0
		for _, input := range p.all("input") {
			kind, _ := attribute(input, "type")
			id, _ := attribute(input, "id")
			if kind != "hidden" && !labelled[id] {
				outside++
			}
		}
		require.Equal(t, inside, outside, "a field without a label: "+p.text)
	}
}

// hostile is what strangers may call themselves.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onfocus='alert(1)' autofocus='`, `</title><svg onload=alert(1)>`,
	`javascript:alert(1)`, `{{.}}{{template "body" .}}`, `http://evil.example/login`, `<a href="http://evil.example">click</a>`,
	`<meta http-equiv=refresh content="0;url=http://evil.example">`, "line\r\nSet-Cookie: a=b", "\u202egnp.exe\u2066", `\x3cscript\x3e`,
}

func TestV107NamesAreTextAndNothingElse(t *testing.T) {
	d, b := setup(t)
	plain := b.get("/i/" + token)
	for _, name := range hostile {
		d.links[token] = invited(func(p *redeem.Preview) {
			p.Organization.Name, p.Email = name, name
			p.Record.Request.InviterName, p.Record.Request.Role, p.Record.Request.Name = name, name, name
		})
		p := b.get("/i/" + token)
		for _, tag := range []string{"script", "img", "svg", "a", "meta", "input", "form", "button"} {
			require.Len(t, p.all(tag), len(plain.all(tag)), "%s became a <%s>", name, tag)
		}
		for node := range p.root.Descendants() {
			for _, a := range node.Attr {
				require.False(t, strings.HasPrefix(a.Key, "on"), "%s became %s", name, a.Key)
			}
		}
		require.Equal(t, strings.ReplaceAll(name, "\r", ""), p.forms()[0].fields.Get("name"))
		require.NotContains(t, p.heading(), "\u202e")
		require.Empty(t, p.header.Get("Set-Cookie"))
	}
}

// The same on every page that names somebody, in a language that turns its text around.
func TestV107NamesAreTextOnEveryPage(t *testing.T) {
	g := &gate{person: somebody}
	for page, happen := range map[string]func(*door){
		"declined": func(d *door) { d.links[token].Record.Outcome = invitation.Declined },
		"revoked":  func(d *door) { d.links[token].Record.Outcome = invitation.Revoked },
		"joined": func(d *door) {
			d.links[token].Record.Outcome, d.links[token].Record.Provisioned = invitation.Accepted, true
		},
		"setting": func(d *door) {
			d.links[token].Record.Outcome, d.links[token].Record.EndedAt = invitation.Accepted, d.now
		},
		"refused": func(d *door) {
			d.links[token].Record.Outcome, d.links[token].Record.Refused = invitation.Accepted, true
		},
		"expired":  func(d *door) { d.now = d.links[token].Record.Deadline },
		"asked":    func(d *door) { d.now = d.links[token].Record.Deadline; d.links[token].Record.RenewalAskedAt = d.now },
		"replaced": func(d *door) { d.links[token].Record.Generation = 1 },
		"wrong":    nil,
	} {
		for _, lang := range []string{"en", "ar"} {
			d, b := setup(t, func(o *pages.Options) {
				if o.SignIn = g; page == "wrong" {
					o.RequireSignIn = true
				}
			})
			if happen != nil {
				happen(d)
			}
			record := d.links[token].Record
			b.get("/i/" + token)
			plain := b.in(lang, "/join")
			for _, name := range hostile {
				d.links[token] = invited(func(p *redeem.Preview) {
					q := *p.Record.Request
					p.Organization.Name, p.Organization.Contact, p.Organization.Branding = name, name, roster.Branding{Logo: name, Accent: name}
					q.InviterName, q.Role = name, name
					p.Record, p.Email = record, name
					p.Record.Request = &q
				})
				g.person = &pages.Person{Email: name}
				p := b.in(lang, "/join")
				require.Equal(t, plain.heading(), p.heading(), page)
				for _, tag := range []string{"script", "svg", "a", "meta", "link", "form", "button", "b"} {
					if tag != "svg" || page == "wrong" { // the mark makes way for a logo
						require.Len(t, p.all(tag), len(plain.all(tag)), "%s became a <%s> on %s", name, tag, page)
					}
				}
				for node := range p.root.Descendants() {
					for _, a := range node.Attr {
						require.False(t, strings.HasPrefix(a.Key, "on"), "%s became %s on %s", name, a.Key, page)
						if node.Data == "img" && a.Key == "src" {
							require.True(t, strings.HasPrefix(a.Val, "/logos/acme/"), a.Val)
						}
					}
				}
				require.NotContains(t, p.says(), "\u202e")
			}
		}
	}
}

func TestALongNameIsCutSoThatItCannotBecomeALetter(t *testing.T) {
	d, b := setup(t)
	d.links[token].Organization.Name = "Acme   \n\n  " + strings.Repeat("ü", 300)
	require.Equal(t, "Olu Owner invites you to join Acme "+strings.Repeat("ü", 74)+"…", b.get("/i/"+token).heading())
}

func TestV072WhatTheOrganizationDoesNotListIsNotLinkedAfterJoining(t *testing.T) {
	for _, address := range []string{"", "https://evil.example/", "http://app.example.org/", "https://app.example.org.evil.example/", `https://app.example.org\@evil.example/`, "javascript:alert(1)", "data:text/html,x", "//evil.example", "/local", "https://app.example.org@evil.example/", "mailto:a@b.c", "https:"} {
		d, b := setup(t)
		d.links[token].Record.Request.RedirectURL = address
		d.links[token].Record.Outcome, d.links[token].Record.Provisioned = invitation.Accepted, true
		p := b.get("/i/" + token)
		require.Equal(t, "You are in", p.heading())
		require.Empty(t, p.links(), address)
	}
}

func TestThePagesAssetsAreThoseOfEveryPage(t *testing.T) {
	_, b := setup(t)
	for _, link := range b.get("/i/" + token).all("link") {
		href, _ := attribute(link, "href")
		answer := httptest.NewRecorder()
		web.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, href, nil))
		require.Equal(t, http.StatusOK, answer.Code, href)
	}
}

func TestAMailProgramUnsubscribesInOneClickWithNothingButTheToken(t *testing.T) {
	var body strings.Builder
	form := multipart.NewWriter(&body)
	require.NoError(t, form.WriteField("List-Unsubscribe", "One-Click"))
	require.NoError(t, form.Close())
	for kind, text := range map[string]string{
		"application/x-www-form-urlencoded": "List-Unsubscribe=One-Click", form.FormDataContentType(): body.String(),
	} {
		d, b := setup(t)
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		header := http.Header{"Content-Type": {kind}, "Origin": {"https://mail.example"}, "Sec-Fetch-Site": {"cross-site"}}
		p := b.do(http.MethodPost, "/unsubscribe/"+token, strings.NewReader(text), header)
		require.Equal(t, http.StatusOK, p.status, kind)
		require.Equal(t, "You are unsubscribed", p.heading())
		require.Equal(t, []string{"unsubscribe " + token}, d.acts)
	}
}

func TestAReaderUnsubscribesWithABoxAndAButton(t *testing.T) {
	d, b := setup(t)
	path := "/unsubscribe/" + token
	p := b.get(path)
	require.Equal(t, "No more invitations by e-mail?", p.heading())
	fields := p.forms()[0].fields
	require.Equal(t, http.StatusUnprocessableEntity, b.post(path, fields).status)
	require.Empty(t, d.acts)
	fields.Set("confirm", "yes")
	require.Equal(t, "You are unsubscribed", b.post(path, fields).heading())
	require.Equal(t, []string{"unsubscribe " + token}, d.acts)
}

func TestAnUnsubscribeLinkThatLeadsNowhereOrComesAtABadTimeIsToldSo(t *testing.T) {
	d, b := setup(t)
	oneClick := map[string][]string{"List-Unsubscribe": {"One-Click"}}
	for _, p := range []page{b.get("/unsubscribe/forged"), b.post("/unsubscribe/forged", oneClick), b.post("/unsubscribe/forged", nil)} {
		require.Equal(t, http.StatusNotFound, p.status)
	}
	d.down = problem.Unavailable("The list", nil)
	p := b.post("/unsubscribe/"+token, oneClick)
	require.Equal(t, http.StatusServiceUnavailable, p.status)
	require.Equal(t, "2", p.header.Get("Retry-After"))
	require.Empty(t, d.acts)
}
