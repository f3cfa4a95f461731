package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/services/acceptance"
	"github.com/usherhq/usher/services/api"
	"github.com/usherhq/usher/services/mailer"
)

// Instance is what would be one process: with connections and memory of its own.
type Instance struct {
	// Wire is its way to the broker.
	Wire *Wire
	// URL is where it serves HTTP; empty where it does not.
	URL string

	platform *platform.Platform
	end      context.CancelFunc
	ended    chan error

	client *http.Client
	mu     sync.Mutex
	dead   bool
	conns  map[net.Conn]struct{} // of callers
}

// runner is a service.
type runner interface {
	Run(context.Context) error
	Running() <-chan struct{}
}

// startFront starts the n-th instance of the API.
func (p *Pipeline) startFront(ctx context.Context, n int) (*Instance, error) {
	now := clock.Clock(p.Clock.Now)
	if n == p.options.Fronts-1 {
		now = func() time.Time { return p.Clock.Now().Add(-p.options.Late) }
	}
	return p.start(ctx, "api", now, p.options.Front, func(one *Instance) ([]runner, error) {
		front, err := api.New(one.platform, nil)
		if err != nil {
			return nil, err
		}
		one.URL = front.URL()
		return []runner{front}, nil
	})
}

func (p *Pipeline) startBack(ctx context.Context) (*Instance, error) {
	return p.start(ctx, "back", p.Clock.Now, p.options.Back, func(one *Instance) ([]runner, error) {
		mails, err := mailer.New(one.platform, p.Mails)
		if err != nil {
			return nil, err
		}
		joining, err := acceptance.New(one.platform)
		return []runner{mails, joining}, err
	})
}

func (p *Pipeline) start(
	ctx context.Context, name string, now clock.Clock, rewrite Rewriter, services func(*Instance) ([]runner, error),
) (*Instance, error) {
	one := &Instance{Wire: newWire(p.Broker.addr, rewrite), conns: map[net.Conn]struct{}{}}
	one.client = &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DialContext: one.dial, DisableCompression: true},
	}
	s, err := settings.Load(settings.All, []string{
		"USHER_HTTP_ADDR=127.0.0.1:0", "USHER_PUBLIC_URL=http://localhost", "USHER_LINK_KEYS=" + p.keys, "USHER_LOG_LEVEL=WARN",
		"USHER_BOOTSTRAP_API_KEY=" + p.Key, "USHER_REDIS_URL=" + p.redisURL(), "USHER_SHUTDOWN_GRACE=10s",
	})
	if err != nil {
		return nil, err
	}
	one.platform, err = platform.Open(ctx, s, platform.Options{
		Name: name, Logs: p.options.Logs, Broker: one.Wire, Redis: p.redis, Clock: now, ClockIsMoved: true,
	})
	if err != nil {
		return nil, err
	}
	running, err := services(one)
	if err != nil {
		return nil, errors.Join(err, one.platform.Close())
	}
	return one, one.run(running)
}

func (i *Instance) run(services []runner) error {
	ctx, end := context.WithCancel(context.Background())
	i.end, i.ended = end, make(chan error, len(services))
	for _, s := range services {
		go func() { i.ended <- s.Run(ctx) }()
	}
	for _, s := range services {
		select {
		case <-s.Running():
		case err := <-i.ended:
			return fmt.Errorf("pipeline: a service ended at once: %w", err)
		}
	}
	return nil
}

// stop ends the instance in order. It returns what its services had to say, unless it had crashed before. A server that ends
// waits five seconds for a connection that was never used, so callers let go of theirs first.
func (i *Instance) stop() error {
	i.client.CloseIdleConnections()
	i.end()
	var errs []error
	for range cap(i.ended) {
		errs = append(errs, <-i.ended)
	}
	errs = append(errs, i.platform.Close())
	if i.died() {
		return nil
	}
	return errors.Join(errs...)
}

// crash cuts every way by which the instance could say anything: to the broker for good, and to its callers.
func (i *Instance) crash() {
	i.Wire.Down()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.dead = true
	for c := range i.conns {
		_ = c.Close()
	}
}

func (i *Instance) died() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.dead
}

var errDead = errors.New("the instance is dead")

// dial connects a caller, who loses the connection when the instance dies.
func (i *Instance) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dead {
		_ = c.Close()
		return nil, errDead
	}
	i.conns[c] = struct{}{}
	return c, nil
}
