// Package bus carries events between services: Watermill's Publisher, Subscriber and Router over JetStream.
//
// A Router runs handlers. It decodes, decides what an error means (again now, again later, never again), keeps what was
// refused for good in the dead letters, and stops in two steps. Below it, Subscriber and Publisher keep Watermill's
// contract for anybody else's handlers.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"
)

// Options of Connect.
type Options struct {
	// URL of the broker, or several with commas between. Where it is empty, the broker is that of the nats command line: of
	// the context that NATS_CONTEXT names, or the one selected, or else this machine's port 4222.
	URL string
	// CredsFile holds the user's JWT and key, where the broker asks for one.
	CredsFile string
	// Name is what the broker's monitoring shows.
	Name string
	// InProcess connects to a broker in the same process; URL is not used then.
	InProcess nats.InProcessConnProvider
	Logger    *slog.Logger
}

// Times of a connection.
const (
	dialTimeout  = 5 * time.Second
	dialPause    = 500 * time.Millisecond
	pingInterval = 5 * time.Second // two unanswered pings are a lost connection
	drainTimeout = 30 * time.Second
)

// ErrUnreachable is returned by Connect when its context ended before the broker answered.
var ErrUnreachable = errors.New("nats cannot be reached")

// Connect reaches the broker, waiting for it until ctx ends, and from then on reconnects for ever. Wrong credentials are an
// error at once. Closing the connection is the caller's; nothing in this package does.
func Connect(ctx context.Context, o Options) (*nats.Conn, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	options := natsOptions(o)
	for attempt := 1; ; attempt++ {
		nc, err := dial(o, options)
		switch {
		case err == nil:
			return nc, nil
		case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
			return nil, fmt.Errorf("nats refuses the credentials: %w", err)
		case attempt == 1:
			o.Logger.Warn("waiting for nats", "error", err)
		}
		if pause(ctx, dialPause) != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
	}
}

func dial(o Options, options []nats.Option) (*nats.Conn, error) {
	if o.URL == "" && o.InProcess == nil {
		nc, _, err := natscontext.Connect(os.Getenv("NATS_CONTEXT"), options...)
		return nc, err
	}
	return nats.Connect(o.URL, options...)
}

func natsOptions(o Options) []nats.Option {
	log := o.Logger
	options := []nats.Option{
		nats.Name(o.Name), nats.Timeout(dialTimeout), nats.DrainTimeout(drainTimeout),
		nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil when we closed it ourselves
				log.Warn("nats connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("nats connection is back", "server", nc.ConnectedServerName()) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) { logAsync(log, s, err) }),
	}
	if o.CredsFile != "" {
		options = append(options, nats.UserCredentials(o.CredsFile))
	}
	if o.InProcess != nil {
		options = append(options, nats.InProcessServer(o.InProcess))
	}
	return options
}

// logAsync reports what the broker says out of turn. A publish without permission is told only here: its caller just sees
// no answer come.
func logAsync(log *slog.Logger, s *nats.Subscription, err error) {
	subject := ""
	if s != nil {
		subject = s.Subject
	}
	if errors.Is(err, nats.ErrPermissionViolation) {
		log.Error("nats permission violation", "error", err)
		return
	}
	log.Error("nats error", "subject", subject, "error", err)
}

// pause waits for d, or returns ctx's cause when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
