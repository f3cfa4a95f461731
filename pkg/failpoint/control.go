//go:build failpoints

package failpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/usherhq/usher/pkg/clock"
)

// init comes before anything else of the process, so that its start can be interrupted too.
func init() {
	if err := begin(os.Getenv(EnvArm), os.Getenv(EnvAddr)); err != nil {
		fmt.Fprintf(os.Stderr, "This binary was built with failpoints, and does not start: %v\n", err)
		os.Exit(2)
	}
}

// begin arms what is to be armed from the start, and serves the control where it is wanted.
func begin(armed, addr string) error {
	if err := armAll(armed); err != nil || addr == "" {
		return err
	}
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return errors.New(EnvAddr + " must be an address of this machine alone, like 127.0.0.1:7070")
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%s: %w", EnvAddr, err)
	}
	server := &http.Server{Handler: control(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with the process
	return nil
}

// control is what a fault run asks of this process:
//
//	GET    /failpoints              every point, in order
//	PUT    /failpoints/{name}       {"action":"kill","after":1} arms: the after-th pass from now acts, once
//	DELETE /failpoints/{name}       disarms, and releases whoever waits there
//	GET    /reached/{name}?timeout= 200 as soon as somebody waits at the point, 408 where nobody came in that time
//	GET    /clock                   how far this process takes its clock for ahead
//	PUT    /clock                   {"ahead":"5m"} sets that; negative is behind
func control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /failpoints", list)
	mux.HandleFunc("PUT /failpoints/{name}", known(putPoint))
	mux.HandleFunc("DELETE /failpoints/{name}", known(func(w http.ResponseWriter, _ *http.Request, s *spot) {
		s.disarm()
		answer(w, s.shown())
	}))
	mux.HandleFunc("GET /reached/{name}", known(awaitPoint))
	mux.HandleFunc("GET /clock", func(w http.ResponseWriter, _ *http.Request) { answer(w, clockNow()) })
	mux.HandleFunc("PUT /clock", putClock)
	return mux
}

// shown is a point as the control shows it.
type shown struct {
	Name  Name   `json:"name"`
	Step  string `json:"step"`
	About string `json:"about"`
	// Armed is the action and in how many passes it comes, like "kill@1"; empty where none is armed.
	Armed string `json:"armed"`
	// Passed counts since the process started, Waiting who is held up there now.
	Passed  uint64 `json:"passed"`
	Waiting int    `json:"waiting"`
}

func (s *spot) shown() shown {
	var v shown
	for _, p := range Points {
		if p.Name == s.name {
			v = shown{Name: p.Name, Step: p.Steps, About: p.About}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.Passed, v.Waiting = s.passed, s.waiting
	if s.action != "" {
		v.Armed = s.action + "@" + strconv.FormatUint(s.left, 10)
	}
	return v
}

func list(w http.ResponseWriter, _ *http.Request) {
	all := make([]shown, len(Points))
	for i, p := range Points {
		all[i] = spots[p.Name].shown()
	}
	answer(w, map[string]any{"points": all})
}

func putPoint(w http.ResponseWriter, r *http.Request, s *spot) {
	body := struct {
		Action string `json:"action"`
		After  uint64 `json:"after"`
	}{After: 1}
	if !read(w, r, &body) {
		return
	}
	if err := s.arm(body.Action, body.After); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, s.shown())
}

func awaitPoint(w http.ResponseWriter, r *http.Request, s *spot) {
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil && r.URL.Query().Has("timeout") {
		http.Error(w, "timeout must be a duration like 10s", http.StatusBadRequest)
		return
	}
	over := time.NewTimer(timeout)
	defer over.Stop()
	reached := s.reach()
	select {
	case <-reached: // now
	default:
		select {
		case <-reached:
		case <-over.C:
			http.Error(w, "nobody came to "+string(s.name), http.StatusRequestTimeout)
			return
		case <-r.Context().Done():
			return
		}
	}
	answer(w, s.shown())
}

// skew is how the control speaks of the clock.
type skew struct {
	Ahead string    `json:"ahead"`
	Now   time.Time `json:"now,omitzero"`
}

func clockNow() skew { return skew{Ahead: clock.Ahead().String(), Now: clock.System()} }

func putClock(w http.ResponseWriter, r *http.Request) {
	var body skew
	if !read(w, r, &body) {
		return
	}
	ahead, err := time.ParseDuration(body.Ahead)
	if err != nil {
		http.Error(w, "ahead must be a duration like 5m or -90s", http.StatusBadRequest)
		return
	}
	clock.SetAhead(ahead)
	answer(w, clockNow())
}

// known finds the point that a path names.
func known(handle func(http.ResponseWriter, *http.Request, *spot)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, ok := spots[Name(r.PathValue("name"))]
		if !ok {
			http.Error(w, "there is no such point", http.StatusNotFound)
			return
		}
		handle(w, r, s)
	}
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(into); err != nil {
		http.Error(w, "the body cannot be read: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked may have gone
}
