package mailgun

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/services/mailer/mail"
)

const (
	// maxAnswer is the longest answer to a sent mail that is read: Mailgun's have about a hundred bytes.
	maxAnswer = 64 << 10
	// maxPage is the longest page of events that is read.
	maxPage = 1 << 20
	// maxRetryAfter bounds what a Retry-After may ask for.
	maxRetryAfter = time.Hour
)

var (
	errTooLong   = errors.New("the answer is too long")
	errElsewhere = errors.New("not sent: the address is not Mailgun's")
)

var versioned = regexp.MustCompile(`/v[1-5]$`)

// baseURL checks the API's address and puts it into the form the client wants.
func baseURL(base string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not of the form https://host/v3", base)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !allowHTTP && !loopback(u.Hostname())) {
		return nil, fmt.Errorf("%q is not https: the key and the links would travel in the open", base)
	}
	if !versioned.MatchString(u.Path) {
		u.Path += "/v3"
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newHTTPClient makes the client for one base address: it follows no redirect, so the key goes nowhere else.
func newHTTPClient(base *url.URL, timeout time.Duration, next http.RoundTripper) *http.Client {
	if next == nil {
		next = newTransport()
	}
	return &http.Client{
		Timeout:       timeout,
		Transport:     &transport{base: base, next: next},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	t.MaxIdleConnsPerHost = 64
	t.IdleConnTimeout = 30 * time.Second // give up idle connections before Mailgun's side does, while nothing is on them
	return t
}

// exchange is what the client's errors don't tell about one call.
type exchange struct {
	// wrote is set once any of the request may have left.
	wrote      atomic.Bool
	retryAfter time.Duration
}

type exchangeKey struct{}

func withExchange(ctx context.Context) (context.Context, *exchange) {
	x := &exchange{}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() {
		x.wrote.Store(true)
		failpoint.Here(failpoint.MailgunWriting)
	}})
	return context.WithValue(ctx, exchangeKey{}, x), x
}

// transport keeps the exchange up to date, caps answers, and lets nothing out to another host (the pages of events are
// addresses that Mailgun's answers give).
type transport struct {
	base *url.URL
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != t.base.Scheme || req.URL.Host != t.base.Host {
		return nil, errElsewhere
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	failpoint.Here(failpoint.MailgunHeard)
	if x, ok := req.Context().Value(exchangeKey{}).(*exchange); ok {
		x.retryAfter = retryAfter(resp.Header)
	}
	limit := int64(maxAnswer)
	if req.Method == http.MethodGet {
		limit = maxPage
	}
	resp.Body = &capped{ReadCloser: resp.Body, left: limit}
	return resp, nil
}

// retryAfter reads Retry-After in both its forms: seconds, or a date.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		sent, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			return 0
		}
		wait = at.Sub(sent) // both by Mailgun's clock
	}
	return min(max(wait, 0), maxRetryAfter)
}

// capped is a body that fails when it goes on past the limit.
type capped struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (c *capped) Read(p []byte) (int, error) {
	if c.left < 0 {
		return 0, errTooLong
	}
	n, err := c.ReadCloser.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return n, errTooLong
	}
	return n, err
}

// refusal is what an answer other than 200 means.
func (s *Sender) refusal(status int, body []byte, after time.Duration) error {
	said := sentence(body)
	cause := fmt.Errorf("mailgun answered %d: %s", status, said)
	switch {
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge:
		return &mail.Permanent{Code: status, Reason: said}
	case status == http.StatusUnauthorized:
		return &mail.Paused{Code: status, After: after, Reason: "Mailgun refuses the API key at " + s.o.Base + ": " + said}
	case status == http.StatusNotFound: // says nothing about a recipient, and nobody's invitation may fail for it
		return &mail.Paused{Code: status, After: after, Reason: fmt.Sprintf("Mailgun does not know the domain %s at %s (is that its region?): %s", s.o.Domain, s.o.Base, said)}
	case status == http.StatusPaymentRequired, status == http.StatusForbidden:
		return &mail.Paused{Code: status, After: after, Reason: "Mailgun takes no mail from this account: " + said}
	case status >= 300 && status < 400:
		return &mail.Paused{Code: status, After: after, Reason: s.o.Base + " answers with a redirect: check the base address"}
	case status >= 400 && status < 500, status == http.StatusServiceUnavailable:
		return &mail.Later{After: after, Cause: cause}
	}
	return &mail.Unknown{Cause: cause} // Mailgun has been seen to answer 500 and deliver all the same
}

var addressLike = regexp.MustCompile(`[^\s'"<>]+@[^\s'"<>]+`)

// sentence is what Mailgun said, fit for a log: short, on one line, without addresses.
func sentence(body []byte) string {
	var answer struct {
		Message string `json:"message"`
	}
	said := string(body)
	if json.Unmarshal(body, &answer) == nil && answer.Message != "" {
		said = answer.Message
	}
	said = addressLike.ReplaceAllString(strings.Join(strings.Fields(strings.ToValidUTF8(said, "?")), " "), "(address)")
	if len(said) > 200 {
		said = strings.ToValidUTF8(said[:200], "") + "…"
	}
	return said
}

// withoutAddress strips the request's URL from an error: a query for events has an address in it.
func withoutAddress(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
