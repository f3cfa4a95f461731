// Package mailer turns requests, resends and due reminders into e-mails to invitees, and what became of invitations into
// notices to inviters: one for each intent, however often it is asked.
package mailer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/proofs"
	"github.com/usherhq/usher/services/mailer/mail"
	"github.com/usherhq/usher/services/mailer/mailgun"
)

// source is the CloudEvents source of what this service publishes.
const source = "/usher/mailer"

const (
	// ackWait is how long the broker waits for a sign of life from a worker that holds a message.
	ackWait = 30 * time.Second
	// inFlight is how many intents are worked on at once: enough for the provider's largest batch.
	inFlight = 2 * mail.MaxBatch
	// noticesInFlight is kept small: each notice is a call of its own, and invitations go first.
	noticesInFlight = 16
)

// Provider is where mails go: Mailgun, or the outbox of development.
type Provider interface {
	mail.Sender
	mail.Finder
}

// Service is the mailer.
type Service struct {
	*platform.Platform
	router   *bus.Router
	provider Provider
	worker   string // names this process in claims
	renderer *mail.Renderer
	outgoing *mail.Batching
	ahead    *ahead
	sparing  sparing
	latency  prometheus.Histogram
}

// New registers the worker's handlers. It returns an error for a sender that is no address.
func New(p *platform.Platform, provider Provider) (*Service, error) {
	renderer, err := mail.NewRenderer(mail.RendererOptions{From: p.Settings.MailFrom})
	if err != nil {
		return nil, err
	}
	router, err := p.Router("mailer")
	if err != nil {
		return nil, err
	}
	s := &Service{Platform: p, router: router, provider: provider, worker: uuid.NewString(), renderer: renderer}
	s.ahead = newAhead(s)
	s.outgoing = mail.NewBatching(provider, mail.BatchingOptions{Rate: p.Settings.MailRate, Clock: p.Clock})
	s.measure()
	subscribe := func(how bus.Subscription, durable string, handle bus.Handler, facts ...string) {
		how.Stream, how.Durable, how.AckWait = events.StreamInvitations, durable, ackWait
		for _, fact := range facts {
			how.Filters = append(how.Filters, events.InvitationSubject(events.AnyOrganization, "*", fact))
		}
		router.Handle(durable, how, handle)
	}
	// A provider that is down for hours loses nobody's mail: the deadline is what ends trying.
	mails := bus.Subscription{InFlight: inFlight, Patience: invitation.MaxTTL, Confirm: true}
	subscribe(mails, ledger.ConsumerMailer, s.requested, events.FactRequested)
	subscribe(mails, "mailer-resend", s.resend, events.FactResend)
	subscribe(mails, "mailer-reminder", s.reminderDue, events.FactReminderDue)
	// Of most things that happen to many invitations nobody is told, so the broker's word for each ack is not waited for.
	notices := bus.Subscription{InFlight: noticesInFlight, Patience: 2 * noticeAge}
	subscribe(notices, "mailer-notices", s.happened, events.FactAccepted, events.FactDeclined, events.FactBounced, events.FactRenewal)
	return s, nil
}

// NewWithMailgun is New with the provider that the settings name. It asks Mailgun for the domain, and says in the log what
// is wrong with key, domain or region; that Mailgun is down stops nobody from starting.
func NewWithMailgun(ctx context.Context, p *platform.Platform) (*Service, error) {
	provider, err := mailgun.New(mailgun.Options{
		Domain: p.Settings.MailgunDomain, APIKey: p.Settings.MailgunKey, Base: p.Settings.MailgunBase, Clock: p.Clock,
		AllowHTTP: p.Settings.Development() || p.Settings.MailgunAllowHTTP,
	})
	if err != nil {
		return nil, err
	}
	if err := provider.Check(ctx); err != nil {
		p.Logger.Error("Mailgun does not answer as it should; mails wait until it does", "error", err)
	}
	return New(p, provider)
}

// Run works until ctx ends and running handlers have finished.
func (s *Service) Run(ctx context.Context) error {
	defer s.outgoing.Close()
	running, stop := context.WithCancel(ctx)
	defer stop()
	answering := make(chan error, 1)
	go func() {
		defer stop()
		answering <- proofs.Serve(running, s.Conn, s.proof)
	}()
	var looking sync.WaitGroup
	looking.Go(func() { s.ahead.run(running) })
	err := s.router.Run(running)
	stop()
	looking.Wait()
	return errors.Join(err, <-answering)
}

// Healthy returns an error while nothing is consumed, or nothing can be sent until somebody acts.
func (s *Service) Healthy(context.Context) error {
	if err := s.router.Healthy(); err != nil {
		return err
	}
	return s.paused()
}

func (s *Service) paused() error {
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
		if s.paused() != nil {
			return 1
		}
		return 0
	})
	s.Registry.MustRegister(s.latency, held)
}

// Running is closed once the handlers of the bus run.
func (s *Service) Running() <-chan struct{} { return s.router.Running() }
