package harness

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Invitee is somebody with a browser that knows nothing of script: it keeps cookies, goes where it is led, and fills in
// the forms it finds.
type Invitee struct {
	t testing.TB
	// site is where the public address leads; links begin with public.
	site, public string
	cookies      map[string]string
	// Page is what it sees, at Path.
	Page Answer
	Path string
}

// Invitee opens a browser.
func (s *System) Invitee(t testing.TB) *Invitee {
	return &Invitee{t: t, site: s.URL, public: s.PublicURL, cookies: map[string]string{}}
}

// Open follows a link, and the redirects behind it.
func (i *Invitee) Open(link string) *Invitee {
	i.t.Helper()
	require.True(i.t, strings.HasPrefix(link, i.public+"/"), "%s does not begin with the public address %s", link, i.public)
	i.send(http.MethodGet, strings.TrimPrefix(link, i.public), nil)
	return i.follow()
}

func (i *Invitee) follow() *Invitee {
	i.t.Helper()
	for range 5 {
		if i.Page.Status != http.StatusSeeOther {
			return i
		}
		i.send(http.MethodGet, i.Page.Header.Get("Location"), nil)
	}
	require.Fail(i.t, "the redirects do not end")
	return i
}

func (i *Invitee) send(method, path string, form url.Values) {
	i.t.Helper()
	r, err := http.NewRequest(method, i.site+path, strings.NewReader(form.Encode()))
	require.NoError(i.t, err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "null") // what browsers send from a page that sends no referrer
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for name, value := range i.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	i.Page, err = send(r)
	require.NoError(i.t, err)
	i.Path = path
	for _, c := range (&http.Response{Header: i.Page.Header}).Cookies() {
		if c.MaxAge < 0 {
			delete(i.cookies, c.Name)
		} else {
			i.cookies[c.Name] = c.Value
		}
	}
}

var (
	hidden  = regexp.MustCompile(`<input type="hidden" name="form" value="([^"]*)">`)
	heading = regexp.MustCompile(`(?s)<h1[^>]*>(.*?)</h1>`)
	markup  = regexp.MustCompile(`<[^>]*>`)
)

// Heading is the page's heading as people read it.
func (i *Invitee) Heading() string {
	found := heading.FindSubmatch(i.Page.Body)
	if found == nil {
		return ""
	}
	return strings.Join(strings.Fields(html.UnescapeString(markup.ReplaceAllString(string(found[1]), ""))), " ")
}

// Text is the page's text as people read it.
func (i *Invitee) Text() string {
	return strings.Join(strings.Fields(html.UnescapeString(markup.ReplaceAllString(string(i.Page.Body), " "))), " ")
}

// Accept fills in the form: the name, where it is asked for, and the box.
func (i *Invitee) Accept(name string) *Invitee {
	i.t.Helper()
	return i.Answer(url.Values{"action": {"accept"}, "confirm": {"yes"}, "name": {name}})
}

// Decline ticks the other box.
func (i *Invitee) Decline() *Invitee {
	i.t.Helper()
	return i.Answer(url.Values{"action": {"decline"}, "confirm": {"yes"}})
}

// Answer posts the form on the page with these fields.
func (i *Invitee) Answer(fields url.Values) *Invitee {
	i.t.Helper()
	fields.Set("form", i.Form())
	return i.Post(fields)
}

// Form is what ties the form on the page to its link.
func (i *Invitee) Form() string {
	i.t.Helper()
	found := hidden.FindSubmatch(i.Page.Body)
	require.NotNil(i.t, found, "there is no form on the page:\n%s", i.Text())
	return string(found[1])
}

// Post posts fields to the page, whatever form they are from.
func (i *Invitee) Post(fields url.Values) *Invitee {
	i.t.Helper()
	i.send(http.MethodPost, i.Path, fields)
	return i.follow()
}

// Shows requires a page with that status and text.
func (i *Invitee) Shows(status int, text string) {
	i.t.Helper()
	require.Equal(i.t, status, i.Page.Status, "%s", i.Text())
	require.Contains(i.t, i.Text(), text)
}

// Cookies are the browser's cookies as a header.
func (i *Invitee) Cookies() string {
	var all []string
	for name, value := range i.cookies {
		all = append(all, name+"="+value)
	}
	return strings.Join(all, "; ")
}
