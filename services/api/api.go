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

	"go.opentelemetry.io/otel/trace"

	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/services/api/console"
	"github.com/usherhq/usher/services/api/imports"
	"github.com/usherhq/usher/services/api/logos"
	"github.com/usherhq/usher/services/api/signin"
)

// source is the CloudEvents source of what this service publishes.
const source = "/usher/api"

// Service is the API service.
type Service struct {
	*platform.Platform
	router    *bus.Router
	probes    *platform.Probes
	admission *admission.Admission
	redeemer  *redeem.Redeemer
	signIn    *signin.SignIn
	console   *console.Console
	logos     *logos.Logos
	tracer    trace.Tracer
	outbox    http.Handler
	// Imports are the bulk jobs.
	Imports  *imports.Engine
	forget   context.CancelFunc // ends what keeps them current
	listener net.Listener
	server   *http.Server
}

// New registers the bus door, prepares the routes and listens. outbox shows the mails kept in development; it is nil
// otherwise. New returns an error when the address is taken.
func New(p *platform.Platform, outbox http.Handler) (*Service, error) {
	router, err := p.Router("api")
	if err != nil {
		return nil, err
	}
	s := &Service{Platform: p, router: router, outbox: outbox, tracer: p.Tracing.Tracer("usher/api")}
	s.probes = p.Probes(map[string]func(context.Context) error{"bus": func(context.Context) error { return router.Healthy() }})
	s.admission = &admission.Admission{Ledger: p.Ledger, Roster: p.Roster, Suppressions: p.Suppressions, Keys: p.Keys, TTL: p.Settings.TTL}
	s.redeemer = &redeem.Redeemer{
		Ledger: p.Ledger, Roster: p.Roster, Keys: p.Keys, Links: p.Links, Redis: p.Redis, Authority: p.Settings.Authority,
		Admission: s.admission,
		Learned:   func(ctx context.Context, r invitation.Record) { p.Views.Learn(ctx, r) },
	}
	s.signIn = signin.New(signin.Options{
		Issuer: p.Settings.OIDCIssuer, ClientID: p.Settings.OIDCClientID, ClientSecret: p.Settings.OIDCClientSecret,
		PublicURL: p.Settings.PublicURL, Development: p.Settings.Development(), Demo: s.demoPeople,
		Store: p.Redis.Sessions(), Logger: p.Logger, Clock: p.Clock,
	})
	if err := s.openImports(); err != nil {
		return nil, err
	}
	if s.logos, err = logos.Open(context.Background(), p.Ledger, p.Roster, p.Logger); err != nil {
		return nil, err
	}
	s.console = console.New(console.Options{
		Desk: desk{s}, SignIn: s.signIn, Roster: p.Roster, Views: p.Views, Imports: s.Imports, Preferences: p.Preferences, PublicURL: p.Settings.PublicURL, TTL: p.Settings.TTL,
		Logger: p.Logger, Clock: p.Ledger.Now,
	})
	s.openBusDoor()
	if s.listener, err = net.Listen("tcp", p.Settings.HTTPAddr); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	failpoint.Here(failpoint.StartListening)
	s.server = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(p.Logger.Handler(), slog.LevelDebug),
	}
	s.server.RegisterOnShutdown(s.console.Stop) // its live views would outlast any grace
	return s, nil
}

func (s *Service) openImports() (err error) {
	var watching context.Context
	watching, s.forget = context.WithCancel(context.Background())
	s.Imports, err = imports.Open(watching, imports.Options{
		Ledger: s.Ledger, Roster: s.Roster, Keys: s.Keys, Admission: s.admission, Learned: s.Views.Learn, Source: source, Logger: s.Logger,
	})
	return err
}

// URL is where the service listens.
func (s *Service) URL() string { return "http://" + s.listener.Addr().String() }

// Run serves until ctx ends, then in two steps: /readyz says no and no new connections are taken, while running requests
// and handlers finish; then it returns.
func (s *Service) Run(ctx context.Context) error {
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.forget()
	failed := make(chan error, 4)
	go func() { failed <- s.router.Run(stop) }()
	go func() { failed <- s.Views.Run(stop) }()
	go func() { failed <- s.Imports.Run(stop) }()
	go func() {
		if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("api: %w", err)
			return
		}
		failed <- nil
	}()
	var err error
	waiting := 4
	select {
	case <-ctx.Done():
	case err = <-failed:
		waiting--
	}
	s.probes.Stopping()
	failpoint.Here(failpoint.StopSignalled)
	finish, done := context.WithTimeout(context.WithoutCancel(ctx), s.Settings.Grace)
	defer done()
	if closing := s.server.Shutdown(finish); err == nil {
		err = closing
	}
	failpoint.Here(failpoint.StopServed)
	cancel()
	for range waiting {
		if next := <-failed; err == nil {
			err = next
		}
	}
	return err
}

// Running is closed once the handlers of the bus run.
func (s *Service) Running() <-chan struct{} { return s.router.Running() }
