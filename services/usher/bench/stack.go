package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/links"
)

// stack is the system under test: fresh, empty and ready.
type stack struct {
	bench *bench
	dir   string
	// broker, redis and fake are nil where Usher has its own.
	broker, redis, fake *process
	usher               []*process

	brokerURL, redisAddr, fakeAddr string
	api                            string // where HTTP is served
	profileAddr                    string // where Go's profiles are served
	key                            string
	nc                             *nats.Conn
	js                             jetstream.JetStream
	invited                        int      // addresses used so far
	keepBodies                     int      // of how many mails the fake keeps the texts
	services                       []string // settings of all services, where they are processes of their own
}

// keep is how many mails the fake remembers: more than any scenario sends.
const keep = 1_000_000

// open starts everything, with some settings beside the usual ones. The fake keeps the texts of so many mails.
func open(ctx context.Context, b *bench, keepBodies int, settings ...string) (*stack, error) {
	return openWith(ctx, b, keepBodies, func(s *stack, ctx context.Context) error { return s.startUsher(ctx, settings...) })
}

func openWith(ctx context.Context, b *bench, keepBodies int, startUsher func(*stack, context.Context) error) (*stack, error) {
	s, err := b.newStack()
	if err != nil {
		return nil, err
	}
	s.keepBodies = keepBodies
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) (err error) { s.broker, s.brokerURL, err = startBroker(ctx, b, s.dir); return },
		s.startRedis,
		s.startFake,
		func(ctx context.Context) error { return startUsher(s, ctx) },
		s.connect,
	} {
		if err := step(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// openEmbedded starts "usher up" with a broker of its own, beside what else is started first.
func openEmbedded(ctx context.Context, b *bench, first []func(*stack, context.Context) error) (*stack, error) {
	s, err := b.newStack()
	if err != nil {
		return nil, err
	}
	listen, err := freePort()
	if err != nil {
		return nil, err
	}
	s.brokerURL = "nats://" + listen
	for _, step := range append(first, (*stack).upEmbedded) {
		if err := step(s, ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *stack) upEmbedded(ctx context.Context) error {
	env := []string{"USHER_NATS_LISTEN=" + strings.TrimPrefix(s.brokerURL, "nats://")}
	if s.redis != nil {
		env = append(env, "USHER_REDIS_URL=redis://"+s.redisAddr)
	}
	if s.fake != nil {
		env = append(env, s.mailgun()...)
	}
	if err := s.up(ctx, env...); err != nil {
		return err
	}
	return s.connect(ctx)
}

func (b *bench) newStack() (*stack, error) {
	dir, err := os.MkdirTemp(b.dir, b.scenario+"-")
	if err != nil {
		return nil, err
	}
	s := &stack{bench: b, dir: dir, key: apikeys.Generate()}
	for _, addr := range []*string{&s.api, &s.profileAddr} {
		if *addr, err = freePort(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// close stops everything, Usher first, and removes its files.
func (s *stack) close() {
	if s.nc != nil {
		s.nc.Close()
	}
	for _, p := range append(slices.Clone(s.usher), s.fake, s.redis, s.broker) {
		if p != nil {
			p.stop()
		}
	}
	s.bench.said = ""
	for _, p := range s.usher {
		s.bench.said += p.name + ": " + p.said()
	}
	_ = os.RemoveAll(s.dir)
}

// brokerProfiles is the port of the broker's own profiles. It listens there on all addresses, so only where asked to.
const brokerProfiles = 6061

func startBroker(ctx context.Context, b *bench, dir string) (*process, string, error) {
	addr, err := freePort()
	if err != nil {
		return nil, "", err
	}
	config := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: always }\n", addr, filepath.Join(dir, "jetstream"))
	if b.profiles != "" {
		text += fmt.Sprintf("prof_port: %d\n", brokerProfiles)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	p, err := start("nats-server", dir, nil, b.natsServer, "-c", config)
	if err != nil {
		return nil, "", err
	}
	url := "nats://" + addr
	return p, url, until(ctx, "nats-server", func() error {
		nc, err := nats.Connect(url)
		if err == nil {
			nc.Close()
		}
		return err
	})
}

func (s *stack) startRedis(ctx context.Context) error {
	var err error
	if s.redisAddr, err = freePort(); err != nil {
		return err
	}
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w: install Redis (Debian: apt-get install redis-server)", err)
	}
	_, port, _ := net.SplitHostPort(s.redisAddr)
	s.redis, err = start("redis-server", s.dir, nil, program, "--port", port, "--bind", "127.0.0.1", "--dir", s.dir,
		"--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction")
	if err != nil {
		return err
	}
	return until(ctx, "redis-server", func() error {
		c, err := net.Dial("tcp", s.redisAddr)
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

func (s *stack) startFake(ctx context.Context) error {
	var err error
	if s.fakeAddr, err = freePort(); err != nil {
		return err
	}
	// It stands for a service elsewhere, so it may have what memory it likes to leave the processors to the others.
	s.fake, err = start("fake-mailgun", s.dir, []string{"GOGC=800"}, s.bench.binaries.usher, "fake-mailgun",
		"--addr", s.fakeAddr, "--keep", strconv.Itoa(keep), "--keep-bodies", strconv.Itoa(max(s.keepBodies, 1)))
	if err != nil {
		return err
	}
	return until(ctx, "the fake Mailgun", func() error { return ready("http://" + s.fakeAddr + "/fake/counters") })
}

// environment is what all of Usher's processes are told.
func (s *stack) environment() []string {
	return append(s.mailgun(),
		"USHER_NATS_URL="+s.brokerURL, "USHER_NATS_SYNC=always", "USHER_REDIS_URL=redis://"+s.redisAddr, "USHER_LOG_LEVEL=WARN")
}

func (s *stack) mailgun() []string {
	return []string{
		"MAILGUN_DOMAIN=mg.example.org", "MAILGUN_API_KEY=key-bench", "MAILGUN_API_BASE=http://" + s.fakeAddr,
		"MAILGUN_WEBHOOK_SIGNING_KEY=key-bench", "USHER_MAIL_FROM=Usher <invitations@mg.example.org>",
	}
}

func (s *stack) startUsher(ctx context.Context, settings ...string) error {
	if s.bench.separate {
		return s.startServices(ctx, settings...)
	}
	return s.up(ctx, append(s.environment(), settings...)...)
}

// up starts "usher up".
func (s *stack) up(ctx context.Context, env ...string) error {
	env = append(env, "USHER_ENV=development", "USHER_HTTP_ADDR="+s.api, "USHER_DATA_DIR="+filepath.Join(s.dir, "usher"),
		"USHER_BOOTSTRAP_API_KEY="+s.key, "USHER_PPROF_ADDR="+s.profileAddr)
	p, err := start("usher", s.dir, env, s.bench.binaries.usher, "up")
	if err != nil {
		return err
	}
	s.usher = append(s.usher, p)
	return s.awaitUsher(ctx)
}

// awaitUsher waits until the API takes requests for the demo organization, which is made last.
func (s *stack) awaitUsher(ctx context.Context) error {
	return until(ctx, "usher", func() error {
		if err := ready("http://" + s.api + "/readyz"); err != nil {
			return err
		}
		return s.call(http.MethodGet, "/v1/organizations/acme/members", nil, http.StatusOK, nil)
	})
}

// startServices starts API, mailer and acceptance as processes of their own, and makes the demo organization.
func (s *stack) startServices(ctx context.Context, settings ...string) error {
	s.services = append(s.environment(), "USHER_ENV=production", "USHER_PUBLIC_URL=https://usher.example.org", "USHER_LINK_KEYS="+links.NewKey())
	s.services = append(s.services, settings...)
	create := exec.CommandContext(ctx, s.bench.binaries.usher, "keys", "create", "--name", "bench", "--json")
	create.Env = append(os.Environ(), s.services...)
	said, err := create.Output()
	if err != nil {
		return fmt.Errorf("keys create: %w", err)
	}
	var made struct{ Secret string }
	if err := json.Unmarshal(said, &made); err != nil {
		return fmt.Errorf("keys create: %w", err)
	}
	s.key = made.Secret
	for _, program := range []string{s.bench.api, s.bench.mailer, s.bench.acceptance} {
		p, err := s.startService(program)
		if err != nil {
			return err
		}
		s.usher = append(s.usher, p)
	}
	if err := until(ctx, "usher", func() error { return ready("http://" + s.api + "/readyz") }); err != nil {
		return err
	}
	if err := s.organization(demo); err != nil {
		return err
	}
	return s.awaitUsher(ctx)
}

// startService starts one of the three, with some settings beside those of all.
func (s *stack) startService(program string, settings ...string) (*process, error) {
	addr := s.api
	if program == s.bench.api {
		settings = append(settings, "USHER_PPROF_ADDR="+s.profileAddr)
	} else {
		var err error
		if addr, err = freePort(); err != nil {
			return nil, err
		}
	}
	settings = append(append(settings, s.services...), "USHER_HTTP_ADDR="+addr)
	return start(filepath.Base(program), s.dir, settings, program)
}

// organization makes an organization whose owner invites.
func (s *stack) organization(id string) error {
	body := []byte(`{"name":"Acme","owner":{"email":"owner@example.org","name":"Olivia Owner"}}`)
	return s.call(http.MethodPut, "/v1/organizations/"+id, body, http.StatusCreated, nil)
}

func (s *stack) connect(context.Context) error {
	var err error
	if s.nc, err = nats.Connect(s.brokerURL); err != nil {
		return err
	}
	s.js, err = jetstream.New(s.nc)
	return err
}

func ready(url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", url, answer.StatusCode)
	}
	return nil
}

// call makes one request outside of any measurement and decodes its answer into into, where that is not nil.
func (s *stack) call(method, path string, body []byte, want int, into any) error {
	c, err := dial(s.api)
	if err != nil {
		return err
	}
	defer c.close()
	status, answer, err := c.do(request(nil, method, path, s.key, body))
	if err != nil {
		return err
	}
	if err := expect(want)(0, status, answer); err != nil || into == nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

// usage is processor time by who used it.
type usage struct{ usher, redis, broker, fake, load time.Duration }

func (s *stack) usage() (usage, error) {
	var u usage
	var errs []error
	count := func(into *time.Duration, p *process) {
		if p != nil {
			t, err := p.cpu()
			*into += t
			errs = append(errs, err)
		}
	}
	for _, p := range s.usher {
		count(&u.usher, p)
	}
	count(&u.redis, s.redis)
	count(&u.broker, s.broker)
	count(&u.fake, s.fake)
	var err error
	u.load, err = cpuOf(os.Getpid())
	return u, errors.Join(append(errs, err)...)
}

func (u usage) since(before usage) usage {
	return usage{u.usher - before.usher, u.redis - before.redis, u.broker - before.broker, u.fake - before.fake, u.load - before.load}
}

// addTo reports processor seconds for a thousand of n.
func (u usage) addTo(r *report, n int) *figure {
	per := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(n) }
	for _, part := range []struct {
		name string
		used time.Duration
	}{{"Usher", u.usher}, {"Redis", u.redis}, {"nats-server", u.broker}, {"fake Mailgun", u.fake}, {"load generator", u.load}} {
		r.add("CPU per 1000, "+part.name, per(part.used), "s")
	}
	return r.add("CPU per 1000, Usher and Redis", per(u.usher+u.redis), "s")
}

// quiet waits until every consumer has nothing left to do, so that what follows a load counts with it.
func (s *stack) quiet(ctx context.Context) error {
	for last := "some"; ; {
		busy, err := s.busy(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("the consumer %q has not finished: %w", last, context.Cause(ctx))
		}
		if err != nil || busy == "" {
			return err
		}
		last = busy
		time.Sleep(20 * time.Millisecond)
	}
}

// busy names a consumer that has something left to do, if there is one.
func (s *stack) busy(ctx context.Context) (string, error) {
	for _, name := range []string{events.StreamInvitations, events.StreamMemberships} {
		stream, err := s.js.Stream(ctx, name)
		if err != nil {
			return "", err
		}
		consumers := stream.ListConsumers(ctx)
		for info := range consumers.Info() {
			// Others belong to one process, that may be gone.
			if info.Config.Durable != "" && info.NumPending+uint64(info.NumAckPending) > 0 {
				return info.Name, nil
			}
		}
		if err := consumers.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return "", err
		}
	}
	return "", nil
}

// stored is how many messages a stream has.
func (s *stack) stored(ctx context.Context, stream string) (int, error) {
	state, err := s.js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return int(state.CachedInfo().State.Msgs), nil
}
