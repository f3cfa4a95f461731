// Package platform opens what every service stands on, in order, and closes it in reverse.
package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/preferences"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/pkg/suppressions"
	"github.com/usherhq/usher/pkg/telemetry"
	"github.com/usherhq/usher/pkg/views"
)

// Platform is what services share.
type Platform struct {
	Settings settings.Settings
	Name     string
	Logger   *slog.Logger
	Registry *prometheus.Registry
	Tracing  trace.TracerProvider
	Clock    clock.Clock

	Conn         *nats.Conn
	Ledger       *ledger.Ledger
	Redis        *redisdb.DB
	Roster       *roster.Roster
	Suppressions *suppressions.List
	Preferences  *preferences.List
	Keys         *apikeys.Keys
	Links        *links.Ring
	Views        *views.Views

	plainLogger *slog.Logger // names no service yet
	closers     []func() error
}

// Options of Open.
type Options struct {
	// Name is the service's, for logs, traces and the broker's monitoring.
	Name string
	// Logs is where log lines go.
	Logs io.Writer
	// Broker is the embedded broker, nil for the one at the settings' address.
	Broker nats.InProcessConnProvider
	// Redis is the in-process Redis, nil for the one at the settings' address.
	Redis *redisdb.Embedded
	Clock clock.Clock
	// ClockIsMoved says that Clock is moved on purpose; see ledger.Options.
	ClockIsMoved bool
	// LedgerAlone opens the broker's side and nothing that needs Redis, for work that must be possible while Redis is down.
	LedgerAlone bool
}

// Open connects, checks what was promised (server versions, durability, stream settings, Redis's eviction policy), and
// fills what is kept in memory. It returns an error, with everything closed again, when something is missing or weaker
// than needed. What it opens works until Close; ctx bounds only the opening.
func Open(ctx context.Context, s settings.Settings, o Options) (p *Platform, err error) {
	p = &Platform{Settings: s, Name: o.Name, Clock: o.Clock, Registry: telemetry.Registry()}
	if p.Clock == nil {
		p.Clock = clock.System
	}
	p.plainLogger = telemetry.Logger(o.Logs, s.LogLevel)
	p.Logger = p.plainLogger.With("service", o.Name)
	if failpoint.Compiled {
		p.Logger.Warn("built with failpoints: for fault runs only")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	failpoint.Here(failpoint.StartSettings)
	steps := []func(context.Context, Options) error{p.openCollector, p.openProfiles, p.openTracing, p.openLedger, p.openRedis, p.openMemory}
	if o.LedgerAlone {
		steps = []func(context.Context, Options) error{p.openTracing, p.openLedger}
	}
	for _, step := range steps {
		if err := step(ctx, o); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *Platform) onClose(f func() error) { p.closers = append(p.closers, f) }

// Close closes in reverse order: what was opened last may still need what was opened first.
func (p *Platform) Close() error {
	failpoint.Here(failpoint.StopClosing)
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

func (p *Platform) openTracing(ctx context.Context, o Options) error {
	tracing, shutdown, err := telemetry.Tracing(ctx, "usher-"+o.Name)
	if err != nil {
		return err
	}
	p.Tracing = tracing
	p.onClose(func() error { return shutdown(context.WithoutCancel(ctx)) })
	return nil
}

func (p *Platform) openLedger(ctx context.Context, o Options) error {
	conn, err := bus.Connect(ctx, bus.Options{
		URL: p.Settings.NATSURL, CredsFile: p.Settings.NATSCreds, Name: "usher-" + o.Name, InProcess: o.Broker, Logger: p.Logger,
	})
	if err != nil {
		return err
	}
	p.Conn = conn
	failpoint.Here(failpoint.StartBroker)
	p.onClose(func() error { conn.Close(); return nil })
	p.Ledger, err = ledger.Open(ctx, conn, ledger.Options{
		Replicas: p.Settings.Replicas, MaxAge: p.Settings.LedgerAge, Logger: p.Logger, Clock: p.Clock, ClockIsMoved: o.ClockIsMoved,
		Durable: ledger.Durability{
			MonitoringURL: p.Settings.NATSMonitoring,
			Declared:      o.Broker != nil || p.Settings.NATSSync == "always",
			Lax:           p.Settings.Development(),
		},
	})
	if err != nil {
		return err
	}
	p.onClose(func() error { p.Ledger.Close(); return nil })
	failpoint.Here(failpoint.StartLedger)
	return nil
}

func (p *Platform) openRedis(ctx context.Context, o Options) error {
	options := redisdb.Options{URL: p.Settings.RedisURL, Embedded: o.Redis, Clock: p.Clock, Logger: p.Logger}
	if _, off := p.Tracing.(noop.TracerProvider); !off { // the client's spans cost something even where nobody looks
		options.Tracing = p.Tracing
	}
	db, err := redisdb.Open(ctx, options)
	if err != nil {
		return err
	}
	p.Redis = db
	p.onClose(db.Close)
	if err := db.Check(ctx, !p.Settings.Development()); err != nil {
		return err
	}
	failpoint.Here(failpoint.StartRedis)
	p.Views = views.New(db, p.Ledger, p.Logger, p.Registry)
	p.onClose(func() error { p.Views.Close(); return nil })
	return nil
}

func (p *Platform) openMemory(ctx context.Context, _ Options) error {
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.onClose(func() error { stop(); return nil })
	var err error
	if p.Roster, err = roster.Open(watching, p.Ledger, p.Settings.RoleOrder()); err != nil {
		return err
	}
	if p.Suppressions, err = suppressions.Open(watching, p.Ledger); err != nil {
		return err
	}
	if p.Preferences, err = preferences.Open(watching, p.Ledger); err != nil {
		return err
	}
	if p.Keys, err = apikeys.Open(watching, p.Ledger); err != nil {
		return err
	}
	if p.Settings.BootstrapKey != "" {
		if _, err = p.Keys.Adopt(ctx, p.Settings.BootstrapKey, "bootstrap", ""); err != nil {
			return fmt.Errorf("USHER_BOOTSTRAP_API_KEY: %w", err)
		}
		failpoint.Here(failpoint.StartKey)
	}
	if p.Settings.LinkKeys != "" {
		if p.Links, err = links.ParseRing(p.Settings.LinkKeys); err != nil {
			return fmt.Errorf("USHER_LINK_KEYS: %w", err)
		}
	}
	failpoint.Here(failpoint.StartMemory)
	return nil
}

// Router makes a router for one service's handlers.
func (p *Platform) Router(service string) (*bus.Router, error) {
	deadLetters, err := bus.NewPublisher(p.Conn)
	if err != nil {
		return nil, err
	}
	return bus.NewRouter(bus.RouterOptions{
		Conn: p.Conn, DeadLetters: deadLetters, Logger: p.plainLogger.With("service", service), TracerProvider: p.Tracing, Clock: p.Clock,
		Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, p.Registry), CloseGrace: p.Settings.Grace,
		Redrives: true, Arrived: p.Ledger.Saw,
	})
}
