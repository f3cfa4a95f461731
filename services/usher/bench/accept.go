package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
)

// accept measures accepted links, until their memberships exist: at full load, then at a steady rate.
func accept(ctx context.Context, b *bench) error {
	steady := int(float64(b.rate) * b.duration.Seconds())
	total := b.accepts + steady + warmUp
	s, err := open(ctx, b, total)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.fill(ctx, total); err != nil {
		return err
	}
	mails, err := s.arrivals()
	if err != nil {
		return err
	}
	if _, err := s.accepting(mails[:warmUp]).full(ctx, warmUp, 0); err != nil {
		return err
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	if err := acceptFull(ctx, b, s, mails[warmUp:][:b.accepts]); err != nil {
		return err
	}
	return acceptPaced(ctx, b, s, mails[warmUp+b.accepts:])
}

func (s *stack) accepting(mails []arrival) load {
	return load{
		addr: s.api, connections: s.bench.clients, check: expect(http.StatusOK),
		write: func(dst []byte, n int) []byte {
			link := mails[n].link
			body := append(make([]byte, 0, 160), `{"name":"New Person","token":"`...)
			body = append(append(body, link[strings.LastIndexByte(link, '/')+1:]...), `"}`...)
			return request(dst, http.MethodPost, "/v1/links/accept", "", body)
		},
	}
}

func acceptFull(ctx context.Context, b *bench, s *stack, mails []arrival) error {
	had, err := s.stored(ctx, events.StreamMemberships)
	if err != nil {
		return err
	}
	before, err := s.usage()
	if err != nil {
		return err
	}
	profiled := s.profile(ctx, b.duration)
	a, err := s.accepting(mails).full(ctx, len(mails), 0)
	if err != nil {
		return err
	}
	if err := s.awaitMembers(ctx, had+len(mails)); err != nil {
		return err
	}
	provisioned := time.Since(a.began)
	if err := s.quiet(ctx); err != nil {
		return err
	}
	after, err := s.usage()
	if err != nil {
		return err
	}
	b.perSecond("accepted", a.n, a.took)
	b.perSecond("membership provisioned", a.n, provisioned).atLeast(3000)
	b.millis("answer, p50", quantile(a.latencies, 0.5))
	b.millis("answer, p99", quantile(a.latencies, 0.99))
	after.since(before).addTo(&b.report, a.n)
	return <-profiled
}

func acceptPaced(ctx context.Context, b *bench, s *stack, mails []arrival) error {
	had, err := s.stored(ctx, events.StreamMemberships)
	if err != nil {
		return err
	}
	a, err := s.accepting(mails).paced(ctx, b.rate, b.duration)
	if err != nil {
		return err
	}
	if err := s.awaitMembers(ctx, had+a.n); err != nil {
		return err
	}
	b.perSecond("steady: accepted", a.n, a.took)
	b.millis("steady: answer, p50", quantile(a.latencies, 0.5))
	b.millis("steady: answer, p99", quantile(a.latencies, 0.99)).atMost(50)
	return nil
}

// awaitMembers waits until the stream of memberships has so many.
func (s *stack) awaitMembers(ctx context.Context, want int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		have, err := s.stored(ctx, events.StreamMemberships)
		if err != nil || have >= want {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
