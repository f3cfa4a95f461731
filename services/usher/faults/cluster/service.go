package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Service is one of Usher's own processes.
type Service struct {
	*Program
	// Kind is api, mailer or acceptance.
	Kind string
	// URL is where it serves HTTP, Control where its failpoints are.
	URL, Control string
}

// addService prepares the n-th process of a kind.
func (c *Cluster) addService(kind, path string, n int) error {
	s := &Service{Program: &Program{Name: fmt.Sprintf("%s-%d", kind, n), Words: []string{path}, dir: c.Dir}, Kind: kind}
	http, err := Port()
	if err != nil {
		return err
	}
	control, err := Port()
	if err != nil {
		return err
	}
	s.URL, s.Control = "http://"+Addr(http), "http://"+Addr(control)
	ways, err := c.ways(kind)
	if err != nil {
		return err
	}
	s.Env = append(append(ways, c.settings...), "USHER_HTTP_ADDR="+Addr(http), "USHER_FAILPOINTS_ADDR="+Addr(control))
	c.Services = append(c.Services, s)
	return nil
}

// ways are the settings that lead a kind of service to the others.
func (c *Cluster) ways(kind string) ([]string, error) {
	nats := ""
	for _, b := range c.Brokers {
		link, err := c.link(kind, b.Name, Addr(b.Port))
		if err != nil {
			return nil, err
		}
		if nats != "" {
			nats += ","
		}
		nats += "nats://" + link.Listen
	}
	redis, err := c.wayToRedis(kind)
	if err != nil {
		return nil, err
	}
	mailgun, err := c.link(kind, "mailgun", c.mailgunAddr)
	if err != nil {
		return nil, err
	}
	return []string{"USHER_NATS_URL=" + nats, "USHER_REDIS_URL=" + redis, "MAILGUN_API_BASE=http://" + mailgun.Listen}, nil
}

func (c *Cluster) wayToRedis(kind string) (string, error) {
	if c.Sentinel != nil { // the sentinel tells where the servers are, so nothing can stand between
		return fmt.Sprintf("redis+sentinel://%s/%s", Addr(c.Sentinel.Port), masterName), nil
	}
	link, err := c.link(kind, c.Redis[0].Name, Addr(c.Redis[0].Port))
	if err != nil {
		return "", err
	}
	return "redis://" + link.Listen, nil
}

// Ready reports whether the service says that it can do its work.
func (s *Service) Ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	status, _, err := ask(ctx, http.MethodGet, s.URL+"/readyz", nil)
	return err == nil && status == http.StatusOK
}

// Failpoint is one place between two steps at which a process lets itself be stopped.
type Failpoint struct {
	Name   string `json:"name"`
	Step   string `json:"step"`
	Armed  string `json:"armed"`
	Passed int    `json:"passed"`
}

// Failpoints lists the places, and how often each was passed.
func (s *Service) Failpoints(ctx context.Context) ([]Failpoint, error) {
	var list struct{ Points []Failpoint }
	return list.Points, s.control(ctx, http.MethodGet, "/failpoints", nil, &list)
}

// Arm makes the process act when it passes a place for the after-th time from now: kill, stop, pause or panic.
func (s *Service) Arm(ctx context.Context, name, action string, after int) error {
	return s.control(ctx, http.MethodPut, "/failpoints/"+name, map[string]any{"action": action, "after": after}, nil)
}

// Disarm takes it back, and lets go whoever waits there.
func (s *Service) Disarm(ctx context.Context, name string) error {
	return s.control(ctx, http.MethodDelete, "/failpoints/"+name, nil, nil)
}

// SetClock puts the process's clock ahead of the machine's, or behind it.
func (s *Service) SetClock(ctx context.Context, ahead time.Duration) error {
	return s.control(ctx, http.MethodPut, "/clock", map[string]any{"ahead": ahead.String()}, nil)
}

func (s *Service) control(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return err
		}
	}
	status, answer, err := ask(ctx, method, s.Control+path, content)
	if err != nil {
		return err
	}
	if status >= 300 {
		return fmt.Errorf("%s: %s %s answers %d: %s", s.Name, method, path, status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

func ask(ctx context.Context, method, url string, body []byte) (status int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	a, err := probe.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer a.Body.Close()
	answer, err = io.ReadAll(a.Body)
	return a.StatusCode, answer, err
}

// probe keeps no connection: the processes it asks come and go.
var probe = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// callers keep no connection either, and wait no longer than people do.
var callers = &http.Client{Timeout: 12 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Request sends a request with the cluster's key to the n-th of the API processes, counted round and round.
func (c *Cluster) Request(ctx context.Context, n int, method, path, body string) (status int, header http.Header, answer []byte, err error) {
	apis := c.Of("api")
	r, err := http.NewRequestWithContext(ctx, method, apis[n%len(apis)].URL+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+c.Key)
	got, err := callers.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer got.Body.Close()
	answer, err = io.ReadAll(got.Body)
	return got.StatusCode, got.Header, answer, err
}
