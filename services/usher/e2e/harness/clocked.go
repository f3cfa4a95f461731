package harness

import (
	"context"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/services/acceptance"
	"github.com/usherhq/usher/services/api"
	"github.com/usherhq/usher/services/mailer"
	"github.com/usherhq/usher/services/mailer/outbox"
)

// Clocked is the whole pipeline in this process, the way "usher up" wires it, so that its clock can be set: no deadline is
// nearer than five minutes. The broker keeps its own time, as any broker does.
type Clocked struct {
	*System
	ahead atomic.Int64 // how far the clock is ahead, nanoseconds
}

// Now is the clock of everything in it.
func (c *Clocked) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Pass sets the clock ahead.
func (c *Clocked) Pass(d time.Duration) { c.ahead.Add(int64(d)) }

// Set puts the clock to an instant; it goes on from there.
func (c *Clocked) Set(at time.Time) { c.ahead.Store(int64(time.Until(at))) }

// WithClock starts one that ends with the test, whose clock goes where the test moves it. Links in its mails lead to where it
// listens. Settings are added to what it needs.
func WithClock(t testing.TB, more ...string) *Clocked {
	t.Helper()
	return clocked(t, true, more)
}

// WithWatchedClock is WithClock for a clock that should be right: Usher holds it against the broker's, as it always does
// outside of tests.
func WithWatchedClock(t testing.TB, more ...string) *Clocked {
	t.Helper()
	return clocked(t, false, more)
}

func clocked(t testing.TB, onPurpose bool, more []string) *Clocked {
	t.Helper()
	c, broker := &Clocked{}, brokertest.Run(t)
	addr, err := freeAddr()
	require.NoError(t, err)
	s, err := settings.Load(settings.All, append(more,
		"USHER_HTTP_ADDR="+addr, "USHER_PUBLIC_URL=http://"+addr, "USHER_LINK_KEYS="+Secret(t, "keys", "link"), "USHER_LOG_LEVEL=ERROR",
		"USHER_BOOTSTRAP_API_KEY="+Secret(t, "keys", "generate"),
	))
	require.NoError(t, err)
	redis, err := redisdb.InProcess()
	require.NoError(t, err)
	t.Cleanup(redis.Close)
	p, err := platform.Open(t.Context(), s, platform.Options{
		Name: "e2e", Logs: os.Stderr, Broker: broker, Redis: redis, Clock: c.Now, ClockIsMoved: onPurpose,
	})
	require.NoError(t, err)

	box := outbox.New(0, c.Now)
	mails, err := mailer.New(p, box)
	require.NoError(t, err)
	joining, err := acceptance.New(p)
	require.NoError(t, err)
	front, err := api.New(p, box.Handler())
	require.NoError(t, err)
	running, stop := context.WithCancel(context.Background())
	var services sync.WaitGroup
	for _, run := range []func(context.Context) error{front.Run, mails.Run, joining.Run} {
		services.Go(func() { _ = run(running) }) // the tests see whether they work
	}
	t.Cleanup(func() {
		stop()
		services.Wait()
		require.NoError(t, p.Close())
	})
	for _, ready := range []<-chan struct{}{front.Running(), mails.Running(), joining.Running()} {
		<-ready
	}
	c.System = &System{
		URL: front.URL(), PublicURL: strings.TrimRight(s.PublicURL, "/"), NATSURL: broker.URL, Key: s.BootstrapKey, Mails: Outbox(front.URL()),
	}
	return c
}
