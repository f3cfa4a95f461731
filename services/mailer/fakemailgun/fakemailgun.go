// Package fakemailgun is a Mailgun that sends nothing: for tests, demonstrations and load runs.
//
// It takes messages and MIME messages of up to a thousand recipients, fills in recipient variables, lists events, posts
// signed webhooks, and fails in whatever way it is told to. Where Mailgun's behaviour is not documented it takes the
// reading that is harder on the caller. It is driven from Go, or by other processes through /fake/ (see routes).
package fakemailgun

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/services/mailer/mailview"
)

// Options are how the server starts.
type Options struct {
	// Domain is the one domain it knows; any, if empty. APIKey is the one key it takes; any, if empty.
	Domain, APIKey string
	// WebhookURL is where reports are posted, signed with SigningKey.
	WebhookURL, SigningKey string
	// Keep is how many mails are remembered (default 20000), KeepBodies how many of them with their texts (default 1000).
	Keep, KeepBodies int
	// Rate is how many mails it takes in a second before it answers 429; 0 means no limit.
	Rate int
	// EventsLag is how long mails take to show up in the events.
	EventsLag time.Duration
	// Deliver reports each mail as delivered by itself; those to bounce…@, defer…@, complain…@ and unsubscribe…@ as that.
	Deliver bool
	// Clock tells the time (default clock.System).
	Clock clock.Clock
}

// Counters count since the start or the last reset.
type Counters struct {
	// Calls are messages calls, whatever came of them; Mails those taken, one a recipient.
	Calls int `json:"calls"`
	Mails int `json:"mails"`
	// Refused are calls answered with an error that was not scripted; Faults those that met a scripted one.
	Refused int `json:"refused"`
	Faults  int `json:"faults"`
	// Reports are webhooks posted and answered 200; ReportsFailed all others.
	Reports       int `json:"reports"`
	ReportsFailed int `json:"reports_failed"`
}

// Server is the fake. It is an http.Handler.
type Server struct {
	o       Options
	mux     *http.ServeMux
	limiter *rate.Limiter
	client  *http.Client
	queue   chan report // reports that are made by themselves
	stop    context.CancelFunc
	workers sync.WaitGroup

	mu       sync.Mutex
	kept     []*Mail // a ring: mail n is at n % Keep
	last     int     // number of the newest mail
	faults   []*Fault
	counters Counters
	taken    chan struct{} // closed and made anew with each mail
}

// New starts a fake Mailgun. Close ends it.
func New(o Options) *Server {
	if o.Keep == 0 {
		o.Keep = 20000
	}
	if o.KeepBodies == 0 {
		o.KeepBodies = 1000
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		o: o, kept: make([]*Mail, o.Keep), taken: make(chan struct{}),
		client: &http.Client{Timeout: 10 * time.Second}, queue: make(chan report, 10000), stop: stop,
	}
	if o.Rate > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(o.Rate), o.Rate)
	}
	s.mux = s.routes()
	if o.Deliver {
		for range 4 {
			s.workers.Go(func() { s.deliver(ctx) })
		}
	}
	return s
}

// Close ends what runs by itself.
func (s *Server) Close() {
	s.stop()
	s.workers.Wait()
}

// routes lists everything the server answers.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	// Mailgun's
	mux.HandleFunc("POST /v3/{domain}/messages", s.known(s.messages))
	mux.HandleFunc("POST /v3/{domain}/messages.mime", s.known(s.messages))
	mux.HandleFunc("GET /v3/{domain}/{what}", s.eventsOrDomain)
	mux.HandleFunc("GET /v3/{domain}/events/{page}", s.known(s.events))
	// The fake's own
	mux.HandleFunc("GET /fake/mails", s.adminMails)
	mux.HandleFunc("GET /fake/mails/{number}", s.adminMail)
	mux.HandleFunc("GET /fake/mails/{number}/mime", s.adminMIME)
	mux.HandleFunc("GET /fake/arrivals", s.adminArrivals)
	mux.HandleFunc("GET /fake/counters", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Counters()) })
	mux.HandleFunc("POST /fake/faults", s.adminFault)
	mux.HandleFunc("DELETE /fake/faults", func(w http.ResponseWriter, _ *http.Request) { s.ClearFaults(); w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /fake/reports", s.adminReport)
	mux.HandleFunc("POST /fake/reset", func(w http.ResponseWriter, _ *http.Request) { s.Reset(); w.WriteHeader(http.StatusNoContent) })
	mux.Handle("GET /", mailview.Handler("Fake Mailgun", "", source{s}))
	return mux
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Counters tells what was counted.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

// Reset forgets mails, faults and counters.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.kept)
	s.last, s.faults, s.counters = 0, nil, Counters{}
}

// count changes the counters.
func (s *Server) count(change func(*Counters)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counters)
}

// known lets through who has the key and names the domain, as Mailgun does: 401 for the one, 404 for the other.
func (s *Server) known(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, key, _ := r.BasicAuth()
		if user != "api" || s.o.APIKey != "" && subtle.ConstantTimeCompare([]byte(key), []byte(s.o.APIKey)) != 1 {
			http.Error(w, "Forbidden", http.StatusUnauthorized)
			return
		}
		if domain := r.PathValue("domain"); s.o.Domain != "" && domain != s.o.Domain {
			refuse(w, http.StatusNotFound, "Domain not found: "+domain)
			return
		}
		next(w, r)
	}
}

// eventsOrDomain tells /v3/<domain>/events from /v3/domains/<domain>, which no two patterns can.
func (s *Server) eventsOrDomain(w http.ResponseWriter, r *http.Request) {
	switch what := r.PathValue("what"); {
	case r.PathValue("domain") == "domains":
		r.SetPathValue("domain", what)
		s.known(s.domain)(w, r)
	case what == "events":
		s.known(s.events)(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) domain(w http.ResponseWriter, r *http.Request) {
	if f := s.fault("domains", nil); f != nil {
		s.fail(w, r, f, nil)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"domain":                map[string]any{"name": r.PathValue("domain"), "state": "active", "created_at": "Mon, 23 Nov 2026 00:00:00 GMT"},
		"receiving_dns_records": []any{}, "sending_dns_records": []any{},
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// refuse answers an error in Mailgun's form.
func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]string{"message": message})
}
