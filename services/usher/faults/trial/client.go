package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// answer is what came back to one request.
type answer struct {
	status int
	header http.Header
	body   []byte
	// began and ended are when the request left and when it was answered, or given up.
	began, ended time.Time
	err          error
}

// yes reports a 2xx.
func (a answer) yes() bool { return a.err == nil && a.status/100 == 2 }

// open reports that the client cannot know whether anything happened: no answer, or "not now".
func (a answer) open() bool {
	return a.err != nil || a.status == http.StatusServiceUnavailable || a.status == http.StatusBadGateway || a.code() == "idempotency-key-in-use" ||
		a.code() == "conflict"
}

// code is the problem's, "" where it is none.
func (a answer) code() string {
	var p struct{ Type string }
	if a.status/100 == 2 || json.Unmarshal(a.body, &p) != nil {
		return ""
	}
	return strings.TrimPrefix(p.Type, "urn:usher:problem:")
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace(a.body))
}

// requestTime is how long a client waits for an answer.
const requestTime = 12 * time.Second

var clients = &http.Client{Timeout: requestTime, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second}}

// post sends a request to any of the API processes, as a load balancer would.
func post(ctx context.Context, c *cluster.Cluster, path string, body any, header map[string]string) answer {
	return request(ctx, http.MethodPost, anyOf(c)+path, body, header)
}

// anyOf is the address of any API process.
func anyOf(c *cluster.Cluster) string {
	apis := c.Of("api")
	return apis[rand.IntN(len(apis))].URL
}

func request(ctx context.Context, method, url string, body any, header map[string]string) (a answer) {
	a.began = time.Now()
	defer func() { a.ended = time.Now() }()
	content, err := json.Marshal(body)
	if err != nil {
		a.err = err
		return a
	}
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(content))
	if err != nil {
		a.err = err
		return a
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	got, err := clients.Do(r)
	if err != nil {
		a.err = err
		return a
	}
	defer got.Body.Close()
	a.status, a.header = got.StatusCode, got.Header
	a.body, a.err = io.ReadAll(got.Body)
	return a
}

// insist repeats a request until its answer leaves nothing open, or ctx ends.
func insist(ctx context.Context, try func() answer) answer {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		a := try()
		if !a.open() {
			return a
		}
		select {
		case <-ctx.Done():
			if a.err == nil {
				a.err = fmt.Errorf("given up after %s", a)
			}
			return a
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}
