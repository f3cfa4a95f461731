package trial

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// browser is somebody's browser: it keeps cookies, and is led to any API process by the load balancer.
type browser struct {
	cluster *cluster.Cluster
	cookies map[string]string
}

var hidden = regexp.MustCompile(`<input type="hidden" name="form" value="([^"]*)">`)

// acceptOnPage follows a link, ticks the box and sends the form. The answer is that to the form; a page that is not the form is
// the answer itself.
func acceptOnPage(ctx context.Context, c *cluster.Cluster, token string) answer {
	b := &browser{cluster: c, cookies: map[string]string{}}
	if a := b.send(ctx, http.MethodGet, "/i/"+token, nil); a.status != http.StatusSeeOther {
		return a
	}
	page := b.send(ctx, http.MethodGet, "/join", nil)
	form := hidden.FindSubmatch(page.body)
	if page.status != http.StatusOK || form == nil {
		return page // where it was accepted before, the page says so
	}
	a := b.send(ctx, http.MethodPost, "/join", url.Values{"action": {"accept"}, "confirm": {"yes"}, "name": {"Nell Newcomer"}, "form": {string(form[1])}})
	if a.status == http.StatusSeeOther {
		a.status = http.StatusOK
	}
	return a
}

func (b *browser) send(ctx context.Context, method, path string, form url.Values) answer {
	kind := ""
	if form != nil {
		kind = "application/x-www-form-urlencoded"
	}
	return b.sendBody(ctx, method, path, kind, strings.NewReader(form.Encode()))
}

// sendBody sends a body of some kind, a form's where there is any.
func (b *browser) sendBody(ctx context.Context, method, path, kind string, body io.Reader) (a answer) {
	a.began = time.Now()
	defer func() { a.ended = time.Now() }()
	r, err := http.NewRequestWithContext(ctx, method, anyOf(b.cluster)+path, body)
	if err != nil {
		a.err = err
		return a
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Origin", "null") // what browsers send from a page that sends no referrer
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	got, err := steady.Do(r)
	if err != nil {
		a.err = err
		return a
	}
	defer got.Body.Close()
	for _, c := range got.Cookies() {
		b.cookies[c.Name] = c.Value
	}
	a.status, a.header = got.StatusCode, got.Header
	a.body, a.err = io.ReadAll(got.Body)
	return a
}

// steady is a client that stays where it is led away from.
var steady = &http.Client{
	Timeout: requestTime, Transport: clients.Transport,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}
