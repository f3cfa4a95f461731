// Package api is Usher's front: both doors (HTTP and bus), the invitee's pages, the provider's webhooks and the read side.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
	"github.com/usherhq/usher/pkg/views"
)

// source is the CloudEvents source of what this service publishes.
const source = "/usher/api"

// Deps are what the service works with.
type Deps struct {
	Ledger       *ledger.Ledger
	Redis        *redisdb.DB
	Roster       *roster.Roster
	Suppressions *suppressions.List
	Keys         *apikeys.Keys
	Links        *links.Ring
	Views        *views.Views
	Router       *bus.Router
	Logger       *slog.Logger
	Registry     *prometheus.Registry
	Tracing      trace.TracerProvider

	// Addr is where HTTP is served, PublicURL the base of every link.
	Addr, PublicURL string
	// TTL is how long invitations stay open by default.
	TTL time.Duration
	// Authority is the instance's policy for inviters who lost theirs.
	Authority string
	// WebhookKey verifies the provider's webhooks; empty: they are refused.
	WebhookKey string
	// Outbox shows the mails kept in development; nil in production.
	Outbox http.Handler
	// Grace is how long running requests may take at the end.
	Grace time.Duration
}

// Service is the API service.
type Service struct {
	Deps
	admission *admission.Admission
	redeemer  *redeem.Redeemer
	listener  net.Listener
	server    *http.Server
	draining  chan struct{}
}

// New registers the bus door, listens and prepares the routes. It returns an error when the address is taken.
func New(d Deps) (*Service, error) {
	s := &Service{Deps: d, draining: make(chan struct{})}
	s.admission = &admission.Admission{Ledger: d.Ledger, Roster: d.Roster, Suppressions: d.Suppressions, Keys: d.Keys, TTL: d.TTL}
	s.redeemer = &redeem.Redeemer{
		Ledger: d.Ledger, Roster: d.Roster, Keys: d.Keys, Links: d.Links, Redis: d.Redis, Authority: d.Authority,
		Learned: func(ctx context.Context, r invitation.Record) { d.Views.Learn(ctx, r) },
	}
	s.openBusDoor()
	listener, err := net.Listen("tcp", d.Addr)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	s.listener = listener
	s.server = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(d.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// URL is where the service listens.
func (s *Service) URL() string { return "http://" + s.listener.Addr().String() }

// Run serves until ctx ends, then in two steps: /readyz says no and no new connections are taken, while running requests
// and handlers finish; then it returns.
func (s *Service) Run(ctx context.Context) error {
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 3)
	go func() { failed <- s.Router.Run(stop) }()
	go func() { failed <- s.Views.Run(stop) }()
	go func() {
		if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("api: %w", err)
			return
		}
		failed <- nil
	}()
	var err error
	waiting := 3
	select {
	case <-ctx.Done():
	case err = <-failed:
		waiting--
	}
	close(s.draining)
	finish, done := context.WithTimeout(context.WithoutCancel(ctx), s.Grace)
	defer done()
	if closing := s.server.Shutdown(finish); err == nil {
		err = closing
	}
	cancel()
	for range waiting {
		if next := <-failed; err == nil {
			err = next
		}
	}
	return err
}
