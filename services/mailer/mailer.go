// Package mailer turns requests, resends and due reminders into e-mails: one for each intent, however often it is asked.
package mailer

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
	"github.com/usherhq/usher/services/mailer/mail"
)

// source is the CloudEvents source of what this service publishes.
const source = "/usher/mailer"

const (
	// ackWait is how long the broker waits for a sign of life from a worker that holds a message.
	ackWait = 30 * time.Second
	// inFlight is how many intents are worked on at once: enough for the provider's largest batch.
	inFlight = 2 * mail.MaxBatch
)

// Provider is where mails go: Mailgun, or the outbox of development.
type Provider interface {
	mail.Sender
	mail.Finder
}

// Deps are what the service works with.
type Deps struct {
	Ledger       *ledger.Ledger
	Redis        *redisdb.DB
	Roster       *roster.Roster
	Suppressions *suppressions.List
	Links        *links.Ring
	Router       *bus.Router
	Logger       *slog.Logger
	Registry     *prometheus.Registry

	Provider Provider
	// From is the sender of all mails; PublicURL the base of every link.
	From, PublicURL string
	// Rate is how many mails may leave in a second; 0 for no limit.
	Rate int
}

// Service is the mailer.
type Service struct {
	Deps
	worker   string // names this process in claims
	renderer *mail.Renderer
	outgoing *mail.Batching
	latency  prometheus.Histogram
}

// New registers the worker's handlers on the router. It returns an error for a From that is no address.
func New(d Deps) (*Service, error) {
	renderer, err := mail.NewRenderer(mail.RendererOptions{From: d.From})
	if err != nil {
		return nil, err
	}
	s := &Service{Deps: d, worker: uuid.NewString(), renderer: renderer}
	s.outgoing = mail.NewBatching(d.Provider, mail.BatchingOptions{Rate: d.Rate, Clock: d.Ledger.Now})
	s.measure()
	for _, h := range []struct {
		durable, fact string
		handle        func(context.Context, *bus.Received) error
	}{
		{"mailer", events.FactRequested, s.requested},
		{"mailer-resend", events.FactResend, s.resend},
		{"mailer-reminder", events.FactReminderDue, s.reminderDue},
	} {
		d.Router.Handle(h.durable, bus.Subscription{
			Stream: events.StreamInvitations, Durable: h.durable, InFlight: inFlight, AckWait: ackWait,
			Filters: []string{events.InvitationSubject(events.AnyOrganization, "*", h.fact)},
			// A provider that is down for hours loses nobody's mail: the deadline is what ends trying.
			Patience: invitation.MaxTTL, Confirm: true,
		}, h.handle)
	}
	return s, nil
}

// Run works until ctx ends and running handlers have finished.
func (s *Service) Run(ctx context.Context) error {
	defer s.outgoing.Close()
	return s.Router.Run(ctx)
}

// Healthy returns an error while nothing can be sent until somebody acts.
func (s *Service) Healthy() error {
	until, reason := s.outgoing.Held()
	var paused *mail.Paused
	if !until.IsZero() && errors.As(reason, &paused) {
		return reason
	}
	return nil
}

func (s *Service) measure() {
	s.latency = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "usher_mail_latency_seconds", Help: "Time from the event that asks for a mail to the provider taking it.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200},
	})
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "usher_mail_paused", Help: "1 while nothing can be sent until somebody acts (the provider refuses the key, the domain or the account).",
	}, func() float64 {
		if s.Healthy() != nil {
			return 1
		}
		return 0
	})
	if s.Registry != nil {
		s.Registry.MustRegister(s.latency, held)
	}
}
