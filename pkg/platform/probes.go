package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Probes are what operators and orchestrators ask a service: /livez, /readyz and /metrics.
type Probes struct {
	platform *Platform
	checks   map[string]func(context.Context) error
	stopping atomic.Bool
}

// Probes makes the probes of one service. Each named check is asked beside the broker and Redis.
func (p *Platform) Probes(checks map[string]func(context.Context) error) *Probes {
	all := map[string]func(context.Context) error{"nats": p.Ledger.Ping, "redis": p.Redis.Ping}
	for name, check := range checks {
		all[name] = check
	}
	return &Probes{platform: p, checks: all}
}

// Stopping makes /readyz say no from now on.
func (p *Probes) Stopping() { p.stopping.Store(true) }

// Register puts the probes on a mux.
func (p *Probes) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", p.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.platform.Registry, promhttp.HandlerOpts{}))
}

// readyz answers 200 while the service can do its work, and 503 with the reasons while it cannot or is stopping.
func (p *Probes) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	results, status := map[string]string{}, http.StatusOK
	for name, check := range p.checks {
		results[name] = "ok"
		if err := check(ctx); err != nil {
			results[name], status = err.Error(), http.StatusServiceUnavailable
		}
	}
	if p.stopping.Load() {
		results["service"], status = "stopping", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, verbose := r.URL.Query()["verbose"]; verbose || status != http.StatusOK {
		_ = json.NewEncoder(w).Encode(results) // the asker has gone
		return
	}
	_, _ = w.Write([]byte("{\"ready\":true}\n"))
}

// Listen serves the probes by themselves, for services without other routes, until ctx ends.
func (p *Probes) Listen(ctx context.Context, addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("probes: %w", err)
	}
	mux := http.NewServeMux()
	p.Register(mux)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(p.platform.Logger.Handler(), slog.LevelDebug)}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("probes: %w", err)
	}
	return nil
}

// RunWithProbes runs a worker that has no routes of its own, with its probes at the settings' HTTP address.
func (p *Platform) RunWithProbes(ctx context.Context, healthy func(context.Context) error, run func(context.Context) error) error {
	probes := p.Probes(map[string]func(context.Context) error{"worker": healthy})
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // the probes answer until the worker has finished
	defer stop()
	context.AfterFunc(ctx, probes.Stopping)
	listening := make(chan error, 1)
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := probes.Listen(serving, p.Settings.HTTPAddr)
		if err != nil {
			cancel(err)
		}
		listening <- err
	}()
	err := run(working)
	stop()
	return errors.Join(err, <-listening)
}
