package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/Shopify/toxiproxy/v2"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/services/mailer/fakemailgun"
)

// Shape is what a cluster is made of.
type Shape struct {
	// Brokers is one, or three that are a cluster with every stream replicated.
	Brokers int
	// Replica adds a second redis-server and a sentinel that makes it the primary when the first is gone.
	Replica bool
	// APIs, Mailers and Acceptances are how many processes of each kind there are.
	APIs, Mailers, Acceptances int
	// LazySync leaves the broker at its own default of writing to disk every two minutes: for showing that this is seen.
	LazySync bool
	// Store is where brokers and Redis keep their files (default: in the cluster's folder).
	Store string
	// SignIn adds an issuer with which people sign in to the console.
	SignIn bool
	// Settings are added to what all services need.
	Settings []string
}

// Small is one broker, one Redis and two processes of each kind.
func Small() Shape { return Shape{Brokers: 1, APIs: 2, Mailers: 2, Acceptances: 2} }

// Large is three brokers and a pair of Redis servers.
func Large() Shape { return Shape{Brokers: 3, Replica: true, APIs: 2, Mailers: 2, Acceptances: 2} }

// Cluster is a running Usher.
type Cluster struct {
	Shape    Shape
	Dir      string
	Programs Programs
	Brokers  []*Broker
	Redis    []*Redis
	Sentinel *Redis
	Services []*Service
	// Links are the ways between processes, by name.
	Links map[string]*Link
	// Mailgun is the provider; it is in the harness, and outlives everybody.
	Mailgun *fakemailgun.Server
	// Key is an API key for every organization; PublicURL what links begin with.
	Key, PublicURL string

	settings    []string
	toxics      *toxiproxy.ApiServer
	mailgun     *http.Server
	mailgunAddr string
	webhooks    *http.Server
	issuer      *http.Server
}

const signingKey = "signing-key-of-the-harness"

// Start starts everything in a folder and waits until it is ready. It returns an error, with everything stopped again,
// where something does not come up.
func Start(ctx context.Context, dir string, shape Shape) (*Cluster, error) {
	c, err := Prepare(dir, shape)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{c.StartStores, c.StartServices, c.AwaitReady} {
		if err := step(ctx); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// Prepare makes a cluster of which only the provider runs.
func Prepare(dir string, shape Shape) (*Cluster, error) {
	programs, err := Build()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Shape: shape, Dir: dir, Programs: programs, Links: map[string]*Link{}, Key: apikeys.Generate(), PublicURL: "https://invite.example.com"}
	if err := os.MkdirAll(c.store(), 0o700); err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		c.openMailgun,
		c.openIssuer,
		func() error { return c.addBrokers(shape.Brokers) },
		func() error { return c.addRedis(shape.Replica) },
		c.addServices,
	} {
		if err := step(); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) store() string {
	if c.Shape.Store != "" {
		return c.Shape.Store
	}
	return filepath.Join(c.Dir, "store")
}

func (c *Cluster) openMailgun() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	webhooks, err := c.openWebhooks()
	if err != nil {
		return err
	}
	c.Mailgun = fakemailgun.New(fakemailgun.Options{SigningKey: signingKey, WebhookURL: webhooks, Keep: 200_000, KeepBodies: 200_000})
	c.mailgun = &http.Server{Handler: c.Mailgun, ReadHeaderTimeout: 5 * time.Second}
	c.mailgunAddr = l.Addr().String()
	go func() { _ = c.mailgun.Serve(l) }() // ends with Close
	return nil
}

func (c *Cluster) addServices() error {
	c.settings = append([]string{
		"USHER_PUBLIC_URL=" + c.PublicURL, "USHER_NATS_SYNC=always", "USHER_LINK_KEYS=" + links.NewKey(), "USHER_BOOTSTRAP_API_KEY=" + c.Key,
		fmt.Sprintf("USHER_REPLICAS=%d", len(c.Brokers)), "USHER_SHUTDOWN_GRACE=5s",
		"MAILGUN_DOMAIN=mg.example.org", "MAILGUN_API_KEY=key-of-the-harness", "MAILGUN_WEBHOOK_SIGNING_KEY=" + signingKey,
		"USHER_MAIL_FROM=Usher <invitations@mg.example.org>",
	}, append(c.settings, c.Shape.Settings...)...)
	for _, kind := range []struct {
		name, path string
		n          int
	}{{"api", c.Programs.API, c.Shape.APIs}, {"mailer", c.Programs.Mailer, c.Shape.Mailers}, {"acceptance", c.Programs.Acceptance, c.Shape.Acceptances}} {
		for n := range kind.n {
			if err := c.addService(kind.name, kind.path, n+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// All are all processes: brokers first, then Redis, then services.
func (c *Cluster) All() []*Program {
	var all []*Program
	for _, b := range c.Brokers {
		all = append(all, b.Program)
	}
	for _, r := range c.Redis {
		all = append(all, r.Program)
	}
	if c.Sentinel != nil {
		all = append(all, c.Sentinel.Program)
	}
	for _, s := range c.Services {
		all = append(all, s.Program)
	}
	return all
}

// Of are the services of a kind.
func (c *Cluster) Of(kind string) []*Service {
	var some []*Service
	for _, s := range c.Services {
		if s.Kind == kind {
			some = append(some, s)
		}
	}
	return some
}

// Operator are the settings with which the command line reaches the cluster, past all links.
func (c *Cluster) Operator() []string {
	var nats []string
	for _, b := range c.Brokers {
		nats = append(nats, "nats://"+Addr(b.Port))
	}
	redis := "redis://" + Addr(c.Redis[0].Port)
	if c.Sentinel != nil {
		redis = fmt.Sprintf("redis+sentinel://%s/%s", Addr(c.Sentinel.Port), masterName)
	}
	return append([]string{"USHER_NATS_URL=" + strings.Join(nats, ","), "USHER_REDIS_URL=" + redis, "USHER_FAILPOINTS_ADDR=127.0.0.1:0"}, c.settings...)
}

// Command runs Usher's command line against the cluster and gives what it wrote and its exit code; -1 where it was killed.
func (c *Cluster) Command(ctx context.Context, words ...string) (out []byte, code int, err error) {
	return c.CommandWith(ctx, nil, words...)
}

// CommandWith is Command with settings beside those that it needs.
func (c *Cluster) CommandWith(ctx context.Context, settings []string, words ...string) (out []byte, code int, err error) {
	command := exec.CommandContext(ctx, c.Programs.Usher, words...)
	command.Dir, command.Env = c.Dir, environment(slices.Concat(c.Operator(), settings))
	var said bytes.Buffer
	command.Stderr = &said
	out, err = command.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
		out, err = append(out, said.Bytes()...), nil
	}
	return out, code, err
}

// StartStores starts brokers and Redis servers that do not run, and waits until they take commands.
func (c *Cluster) StartStores(ctx context.Context) error {
	for _, p := range c.All()[:len(c.All())-len(c.Services)] {
		if !p.Alive() {
			if err := p.Start(); err != nil {
				return err
			}
		}
	}
	return until(ctx, "brokers and Redis", func() bool {
		for _, b := range c.Brokers {
			if !b.Healthy(ctx) {
				return false
			}
		}
		for _, r := range c.Redis {
			if _, err := r.Do("PING"); err != nil {
				return false
			}
		}
		return true
	})
}

// Healthy reports whether a broker says that it is, its streams included.
func (b *Broker) Healthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	status, _, err := ask(ctx, http.MethodGet, "http://"+Addr(b.Monitoring)+"/healthz", nil)
	return err == nil && status == http.StatusOK
}

// StartServices starts the services that do not run.
func (c *Cluster) StartServices(context.Context) error {
	for _, s := range c.Services {
		if !s.Alive() {
			if err := s.Start(); err != nil {
				return err
			}
		}
	}
	return nil
}

// AwaitReady waits until every service says that it can do its work. A service that ended by itself meanwhile, because what
// it needs was not there, is started again, as whoever runs services does.
func (c *Cluster) AwaitReady(ctx context.Context) error {
	return until(ctx, "services to be ready", func() bool {
		ready := true
		for _, s := range c.Services {
			if !s.Alive() {
				_ = s.Start() // looked at again
			}
			ready = ready && s.Ready(ctx)
		}
		return ready
	})
}

// Restore ends all that was done to the cluster: frozen processes go on, links heal, clocks are right, and what does not run
// is started. It waits until all is ready.
func (c *Cluster) Restore(ctx context.Context) error {
	c.Mailgun.ClearFaults()
	for _, l := range c.Links {
		if err := l.Heal(ctx); err != nil {
			return err
		}
	}
	for _, p := range c.All() {
		p.Signal(syscall.SIGCONT)
	}
	if err := c.StartStores(ctx); err != nil {
		return err
	}
	for _, s := range c.Services {
		_ = s.SetClock(ctx, 0) // one that does not run comes up with the right one
	}
	if err := c.StartServices(ctx); err != nil {
		return err
	}
	return c.AwaitReady(ctx)
}

// Close kills everything. Files stay.
func (c *Cluster) Close() {
	var ending sync.WaitGroup
	for _, p := range c.All() {
		ending.Go(p.Kill)
	}
	ending.Wait()
	for _, l := range c.Links {
		l.Cut()
	}
	if c.mailgun != nil {
		_ = c.mailgun.Close()
		c.Mailgun.Close()
	}
	for _, s := range []*http.Server{c.webhooks, c.issuer} {
		if s != nil {
			_ = s.Close()
		}
	}
}

// patience is how long anything may take to come up: the promise for the whole system is a minute.
const patience = 60 * time.Second

// until looks again and again until ok, or patience is over.
func until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", patience, what, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
