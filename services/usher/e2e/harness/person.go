package harness

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Person is somebody with a browser that knows nothing of script: it keeps cookies and follows redirects, over plain http as
// well where the public address is https.
type Person struct {
	t testing.TB
	// Site is where Usher is reached, Cookies what this browser keeps, by host and name.
	Site    string
	Cookies map[string]map[string]*http.Cookie
	// Header goes with every request.
	Header http.Header
}

// Seen is a page as it came.
type Seen struct {
	Answer
	// URL is where it stood after all redirects.
	URL *url.URL
}

// Text is the page.
func (s Seen) Text() string { return string(s.Body) }

// Person opens a browser.
func (s *System) Person(t testing.TB) *Person {
	return &Person{t: t, Site: s.URL, Cookies: map[string]map[string]*http.Cookie{}, Header: http.Header{}}
}

// SignedIn opens a browser and signs in as development allows.
func (s *System) SignedIn(t testing.TB, email string) *Person {
	t.Helper()
	p := s.Person(t)
	a := p.Once(http.MethodPost, "/signin?return_to=/console", url.Values{"email": {email}})
	require.Equal(t, http.StatusSeeOther, a.Status, "%s", a.Body)
	return p
}

// Get opens a path or an address and follows where it leads.
func (p *Person) Get(target string) Seen { return p.follow(p.Once(http.MethodGet, target, nil)) }

// Post sends a form and follows where it leads.
func (p *Person) Post(target string, form url.Values) Seen {
	return p.follow(p.Once(http.MethodPost, target, form))
}

func (p *Person) follow(s Seen) Seen {
	p.t.Helper()
	for range 10 {
		to := s.Header.Get("Location")
		if s.Status < 300 || s.Status > 399 || to == "" {
			return s
		}
		next, err := s.URL.Parse(to)
		require.NoError(p.t, err)
		s = p.Once(http.MethodGet, next.String(), nil)
	}
	require.Fail(p.t, "the redirects do not end")
	return s
}

// Once sends one request and follows nothing. A form is sent as the site's own page would.
func (p *Person) Once(method, target string, form url.Values) Seen {
	p.t.Helper()
	s, err := p.Try(method, target, form)
	require.NoError(p.t, err)
	return s
}

// Try is Once for requests that may not be answered.
func (p *Person) Try(method, target string, form url.Values) (Seen, error) {
	if form == nil {
		return p.try(p.request(method, target, "", nil))
	}
	return p.try(p.request(method, target, "application/x-www-form-urlencoded", strings.NewReader(form.Encode())))
}

// Upload posts a form with a file, as browsers do, and follows where it leads. Fields come before the file, in pairs.
func (p *Person) Upload(target, name, file string, fields ...string) Seen {
	p.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := 0; i+1 < len(fields); i += 2 {
		require.NoError(p.t, form.WriteField(fields[i], fields[i+1]))
	}
	part, err := form.CreateFormFile("file", name)
	require.NoError(p.t, err)
	_, err = io.WriteString(part, file)
	require.NoError(p.t, err)
	require.NoError(p.t, form.Close())
	s, err := p.try(p.request(http.MethodPost, target, form.FormDataContentType(), &body))
	require.NoError(p.t, err)
	return p.follow(s)
}

func (p *Person) try(r *http.Request) (Seen, error) {
	answer, err := Doer.Do(r)
	if err != nil {
		return Seen{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	p.keep(r.URL.Host, answer.Cookies())
	return Seen{Answer: Answer{Status: answer.StatusCode, Header: answer.Header, Body: body}, URL: r.URL}, err
}

func (p *Person) request(method, target, contentType string, body io.Reader) *http.Request {
	p.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = p.Site + target
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, target, body)
	require.NoError(p.t, err)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for name, values := range p.Header {
		r.Header[name] = values
	}
	for _, c := range p.Cookies[r.URL.Host] {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return r
}

func (p *Person) keep(host string, cookies []*http.Cookie) {
	if p.Cookies[host] == nil {
		p.Cookies[host] = map[string]*http.Cookie{}
	}
	for _, c := range cookies {
		if p.Cookies[host][c.Name] = c; c.MaxAge < 0 {
			delete(p.Cookies[host], c.Name)
		}
	}
}

// Cookie is the cookie of Usher with that name, nil where there is none.
func (p *Person) Cookie(name string) *http.Cookie {
	site, err := url.Parse(p.Site)
	require.NoError(p.t, err)
	return p.Cookies[site.Host][name]
}

// Plant puts a cookie for Usher into the browser.
func (p *Person) Plant(name, value string) {
	site, err := url.Parse(p.Site)
	require.NoError(p.t, err)
	p.keep(site.Host, []*http.Cookie{{Name: name, Value: value}})
}

// Stream opens an answer that goes on; the caller closes it.
func (p *Person) Stream(path string) *http.Response {
	p.t.Helper()
	r := p.request(http.MethodGet, path, "", nil)
	r.Header.Set("Accept", "text/html, text/event-stream")
	client := *Doer
	client.Timeout = 0
	answer, err := client.Do(r)
	require.NoError(p.t, err)
	return answer
}
