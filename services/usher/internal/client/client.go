// Package client calls Usher's HTTP API for the command line.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// ErrUnreachable is returned when nothing answers at the address.
var ErrUnreachable = errors.New("Usher's API cannot be reached; is \"usher up\" running? (USHER_URL says where)")

// Problem is a refusal of the API (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
}

// Error implements error.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Title + ". " + p.Detail)
	for _, e := range p.Errors {
		b.WriteString("\n  " + e.Location + ": " + e.Message)
	}
	return b.String()
}

// Client calls one API.
type Client struct {
	base, key string
	http      *http.Client
}

// New makes a client for the API at base, with an API key.
func New(base, key string) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), key: key, http: &http.Client{Timeout: time.Minute}}
}

// Call sends body, where there is one, and reads the answer into out. It returns a *Problem for a refusal and
// ErrUnreachable when nothing answers.
func (c *Client) Call(ctx context.Context, method, path string, header http.Header, body, out any) error {
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("request: %w", err)
		}
		payload = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return c.send(c.http, request, out)
}

// Upload streams a file, however long that takes, and otherwise does as Call.
func (c *Client) Upload(ctx context.Context, path string, header http.Header, kind string, file io.Reader, out any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, file)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("Content-Type", kind)
	return c.send(&http.Client{}, request, out)
}

func (c *Client) send(through *http.Client, request *http.Request, out any) error {
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	answer, err := through.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		p := &Problem{Status: answer.StatusCode, Title: answer.Status}
		_ = json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(p) // a refusal that is no problem keeps its status
		return p
	}
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return fmt.Errorf("the API's answer cannot be read: %w", err)
	}
	return nil
}
