package e2e

import (
	"context"
	"os"
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
	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// clocked is the whole pipeline in this process, the way "usher up" wires it, so that its clock can be set: no deadline is
// nearer than five minutes. The broker keeps its own time, as any broker does.
type clocked struct {
	*harness.System
	ahead atomic.Int64 // how far the clock is ahead, nanoseconds
}

// now is the clock of everything in it.
func (c *clocked) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// pass sets the clock ahead.
func (c *clocked) pass(d time.Duration) { c.ahead.Add(int64(d)) }

// set puts the clock to an instant; it goes on from there.
func (c *clocked) set(at time.Time) { c.ahead.Store(int64(time.Until(at))) }

func withClock(t *testing.T) *clocked {
	t.Helper()
	c, broker := &clocked{}, brokertest.Run(t)
	s, err := settings.Load(settings.All, []string{
		"USHER_HTTP_ADDR=127.0.0.1:0", "USHER_PUBLIC_URL=http://invite.example.com", "USHER_LINK_KEYS=" + linkKeys(t), "USHER_LOG_LEVEL=ERROR",
		"USHER_BOOTSTRAP_API_KEY=" + harness.Secret(t, "keys", "generate"),
	})
	require.NoError(t, err)
	redis, err := redisdb.InProcess()
	require.NoError(t, err)
	t.Cleanup(redis.Close)
	p, err := platform.Open(t.Context(), s, platform.Options{Name: "e2e", Logs: os.Stderr, Broker: broker, Redis: redis, Clock: c.now})
	require.NoError(t, err)

	box := outbox.New(0, c.now)
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
	c.System = &harness.System{
		URL: front.URL(), PublicURL: s.PublicURL, NATSURL: broker.URL, Key: s.BootstrapKey, Mails: harness.Outbox(front.URL()),
	}
	return c
}
