package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/usherhq/usher/pkg/problem"
)

// ready says "not now" while a dependency is down, before anything is begun.
func (s *Service) ready() error {
	if err := s.Ledger.Healthy(); err != nil {
		return err
	}
	if !s.Redis.Healthy() {
		return problem.Unavailable("Redis", nil)
	}
	return nil
}

// livez answers while the process runs.
func (s *Service) livez(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }

// readyz answers 200 while the service can do its work, and 503 with the reason while it cannot or is stopping.
func (s *Service) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	checks := map[string]string{"nats": "ok", "redis": "ok", "bus": "ok"}
	status := http.StatusOK
	failed := func(name string, err error) {
		if err != nil {
			checks[name], status = err.Error(), http.StatusServiceUnavailable
		}
	}
	select {
	case <-s.draining:
		checks["service"], status = "stopping", http.StatusServiceUnavailable
	default:
	}
	failed("nats", s.Ledger.Ping(ctx))
	failed("redis", s.Redis.Ping(ctx))
	failed("bus", s.Router.Healthy())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, verbose := r.URL.Query()["verbose"]; verbose || status != http.StatusOK {
		_ = json.NewEncoder(w).Encode(checks)
		return
	}
	_, _ = w.Write([]byte("{\"ready\":true}\n"))
}
