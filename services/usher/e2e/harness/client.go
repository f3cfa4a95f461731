package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Doer sends requests. It keeps connections for many callers at once, and follows no redirects: where one leads is part
// of what is tested.
var Doer = &http.Client{
	Timeout:       time.Minute,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Client calls the HTTP API as one caller.
type Client struct {
	URL string
	// Key is the API key; without one no Authorization is sent.
	Key string
	// Actor is the member it acts for, or empty.
	Actor string
}

// As is the client acting for a member.
func (c Client) As(actor string) Client { c.Actor = actor; return c }

// With is the client with another key.
func (c Client) With(key string) Client { c.Key = key; return c }

// Raw is a body that is sent as it stands.
type Raw string

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Try sends a request. A body that is no Raw is sent as JSON. Headers come in pairs.
func (c Client) Try(method, path string, body any, header ...string) (Answer, error) {
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case Raw:
		content = strings.NewReader(string(b))
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return Answer{}, fmt.Errorf("request: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	r, err := http.NewRequest(method, c.URL+path, content)
	if err != nil {
		return Answer{}, fmt.Errorf("request: %w", err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Key != "" {
		r.Header.Set("Authorization", "Bearer "+c.Key)
	}
	if c.Actor != "" {
		r.Header.Set("Usher-Actor", c.Actor)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return send(r)
}

func send(r *http.Request) (Answer, error) {
	answer, err := Doer.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	return Answer{Status: answer.StatusCode, Header: answer.Header, Body: read}, err
}

// Do is Try for requests that must be answered.
func (c Client) Do(t testing.TB, method, path string, body any, header ...string) Answer {
	t.Helper()
	a, err := c.Try(method, path, body, header...)
	require.NoError(t, err)
	return a
}

// Get reads a path.
func (c Client) Get(t testing.TB, path string) Answer {
	t.Helper()
	return c.Do(t, http.MethodGet, path, nil)
}

// Post posts a body.
func (c Client) Post(t testing.TB, path string, body any, header ...string) Answer {
	t.Helper()
	return c.Do(t, http.MethodPost, path, body, header...)
}

// Problem is a refusal (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
	Other string `json:"other"`
}

// Code is the last part of the type.
func (p Problem) Code() string { return strings.TrimPrefix(p.Type, "urn:usher:problem:") }

// Refused requires a problem of that status and code, in the right form.
func (a Answer) Refused(t testing.TB, status int, code string) Problem {
	t.Helper()
	p := a.Problem(t)
	require.Equal(t, status, a.Status, "%s", a.Body)
	require.Equal(t, code, p.Code(), "%s", a.Body)
	return p
}

// Problem requires a refusal in the right form.
func (a Answer) Problem(t testing.TB) Problem {
	t.Helper()
	p, err := a.AsProblem()
	require.NoError(t, err)
	return p
}

// AsProblem reads a refusal, and tells what is wrong with its form.
func (a Answer) AsProblem() (p Problem, err error) {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%d %s: %s", a.Status, fmt.Sprintf(format, args...), tail(string(a.Body)))
	}
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		return p, wrong("has content type %q", got)
	}
	if err := json.Unmarshal(a.Body, &p); err != nil {
		return p, wrong("is no JSON (%v)", err)
	}
	switch {
	case !strings.HasPrefix(p.Type, "urn:usher:problem:"):
		return p, wrong("has type %q", p.Type)
	case p.Status != a.Status:
		return p, wrong("says it is %d", p.Status)
	case p.Title == "" || p.Detail == "":
		return p, wrong("has no title or detail")
	}
	return p, nil
}

// Read requires that status and decodes the body.
func Read[T any](t testing.TB, a Answer, status int) T {
	t.Helper()
	require.Equal(t, status, a.Status, "%s", tail(string(a.Body)))
	var v T
	require.NoError(t, json.Unmarshal(a.Body, &v), "%s", tail(string(a.Body)))
	return v
}

// Invitation is an invitation as the API shows it.
type Invitation struct {
	ID           string            `json:"id"`
	Organization string            `json:"organization"`
	Email        string            `json:"email"`
	Name         string            `json:"name"`
	Role         string            `json:"role"`
	Inviter      string            `json:"inviter"`
	Status       string            `json:"status"`
	Delivery     string            `json:"delivery"`
	Membership   string            `json:"membership"`
	Reason       string            `json:"reason"`
	Generation   int               `json:"generation"`
	RequestedAt  time.Time         `json:"requested_at"`
	ExpiresAt    time.Time         `json:"expires_at"`
	EndedAt      *time.Time        `json:"ended_at"`
	OpenedAt     *time.Time        `json:"opened_at"`
	Metadata     map[string]string `json:"metadata"`
	Replaces     string            `json:"replaces"`
}

// Member is a member as the API shows it.
type Member struct {
	Person     string            `json:"person"`
	Email      string            `json:"email"`
	Name       string            `json:"name"`
	Role       string            `json:"role"`
	JoinedAt   time.Time         `json:"joined_at"`
	Invitation string            `json:"invitation"`
	Metadata   map[string]string `json:"metadata"`
}

// List is a page of a list.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}

// Verdict is one row's answer to a bulk request.
type Verdict struct {
	Status     int         `json:"status"`
	Invitation *Invitation `json:"invitation"`
	Problem    *Problem    `json:"problem"`
}

// Bulk is the answer to a bulk request.
type Bulk struct {
	Results []Verdict `json:"results"`
}

// Preview is what the holder of a link may see.
type Preview struct {
	Organization struct{ ID, Name string } `json:"organization"`
	Inviter      struct{ Name string }     `json:"inviter"`
	Role         string                    `json:"role"`
	Email        string                    `json:"email"`
	Status       string                    `json:"status"`
	ExpiresAt    time.Time                 `json:"expires_at"`
	Invitee      string                    `json:"invitee"`
}

// Accepted is the answer to an accept.
type Accepted struct {
	Status       string                    `json:"status"`
	Organization struct{ ID, Name string } `json:"organization"`
	Role         string                    `json:"role"`
	Membership   string                    `json:"membership"`
	RedirectURL  string                    `json:"redirect_url"`
}
