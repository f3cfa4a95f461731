package main

import (
	"context"
	"math"
	"net/http"
	"time"
)

// warmUp is how many invitations go before a measurement: connections, caches and the organization's letter.
const warmUp = 200

// inviting is a load of single invitations, numbered on from those before.
func (s *stack) inviting() load {
	from := s.invited
	return load{
		addr: s.api, connections: s.bench.clients, check: expect(http.StatusAccepted),
		write: func(dst []byte, n int) []byte {
			body := append(make([]byte, 0, 128), `{"email":"`...)
			body = append(addressOf(body, from+n), `","role":"member","inviter":"owner@example.org"}`...)
			return request(dst, http.MethodPost, "/v1/organizations/acme/invitations", s.key, body)
		},
	}
}

// warm sends a few invitations and waits until they are mailed.
func (s *stack) warm(ctx context.Context) error {
	a, err := s.inviting().full(ctx, warmUp, 0)
	s.invited += a.n
	if err != nil {
		return err
	}
	_, err = s.awaitMails(ctx)
	return err
}

// single measures single invitations at full load.
func single(ctx context.Context, b *bench) error {
	s, err := open(ctx, b, 1)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.warm(ctx); err != nil {
		return err
	}
	before, err := s.usage()
	if err != nil {
		return err
	}
	profiled := s.profile(ctx, b.duration)
	a, err := s.inviting().full(ctx, math.MaxInt, b.duration)
	from := s.invited
	s.invited += a.n
	if err != nil {
		return err
	}
	mails, err := s.awaitMails(ctx)
	if err != nil {
		return err
	}
	after, err := s.usage()
	if err != nil {
		return err
	}
	b.perSecond("accepted durably", a.n, a.took).atLeast(3000)
	b.perSecond("mailed", a.n, lastOf(mails[from:]).Sub(a.began)).atLeast(3000)
	b.millis("answer, p50", quantile(a.latencies, 0.5))
	b.millis("answer, p99", quantile(a.latencies, 0.99))
	after.since(before).addTo(&b.report, a.n).atMost(0.5)
	return <-profiled
}

// paced measures how long a single invitation takes while there is a steady, moderate load.
func paced(ctx context.Context, b *bench) error {
	s, err := open(ctx, b, 1)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.warm(ctx); err != nil {
		return err
	}
	before, err := s.usage()
	if err != nil {
		return err
	}
	profiled := s.profile(ctx, b.duration)
	toMail, a, err := s.pacedToMail(ctx)
	if err != nil {
		return err
	}
	after, err := s.usage()
	if err != nil {
		return err
	}
	b.perSecond("requests", a.n, a.took)
	b.millis("answer, p50", quantile(a.latencies, 0.5)).atMost(3)
	b.millis("answer, p99", quantile(a.latencies, 0.99))
	b.millis("request to mail, p50", quantile(toMail, 0.5)).atMost(3)
	b.millis("request to mail, p99", quantile(toMail, 0.99)).atMost(15)
	after.since(before).addTo(&b.report, a.n)
	return <-profiled
}

// pacedToMail sends single invitations at a steady rate. Beside the answers it gives how long each took to its mail.
func (s *stack) pacedToMail(ctx context.Context) ([]time.Duration, answers, error) {
	a, err := s.inviting().paced(ctx, s.bench.rate, s.bench.duration)
	from := s.invited
	s.invited += a.n
	if err != nil {
		return nil, a, err
	}
	mails, err := s.awaitMails(ctx)
	if err != nil {
		return nil, a, err
	}
	toMail := make([]time.Duration, a.n)
	for n, sent := range a.sent {
		toMail[n] = mails[from+n].at.Sub(sent)
	}
	return toMail, a, nil
}
