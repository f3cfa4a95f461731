package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// list measures what a list page and one more invitation cost with few and with many open invitations.
func list(ctx context.Context, b *bench) error {
	s, err := open(ctx, b, 1)
	if err != nil {
		return err
	}
	defer s.close()
	var before [2]time.Duration
	for _, size := range []int{b.open / 100, b.open} {
		if err := s.fill(ctx, size-s.invited); err != nil {
			return err
		}
		page, err := s.median(ctx, s.listing(), false)
		if err != nil {
			return err
		}
		more, err := s.median(ctx, s.inviting(), true)
		if err != nil {
			return err
		}
		b.millis(fmt.Sprintf("page of 50 at %d open invitations, median", size), page).atMost(2)
		b.millis(fmt.Sprintf("one more at %d open invitations, median", size), more)
		if size == b.open {
			b.add("page, many over few", float64(page)/float64(before[0]), "").atMost(1.5)
			b.add("one more, many over few", float64(more)/float64(before[1]), "").atMost(1.5)
		}
		before = [2]time.Duration{page, more}
	}
	figure, err := s.resident(fmt.Sprintf("resident, Usher, %d open invitations", b.open))
	figure.atMost(150)
	return err
}

func (s *stack) listing() load {
	return load{
		addr: s.api, check: expect(http.StatusOK),
		write: func(dst []byte, _ int) []byte {
			return request(dst, http.MethodGet, "/v1/organizations/acme/invitations?limit=50", s.key, nil)
		},
	}
}

// median is the time of one request of the load, made one after the other.
func (s *stack) median(ctx context.Context, l load, invites bool) (time.Duration, error) {
	l.connections = 1
	a, err := l.full(ctx, s.bench.listSample, 0)
	if invites {
		s.invited += a.n
	}
	if err != nil {
		return 0, err
	}
	if invites {
		_, err = s.awaitMails(ctx)
	}
	return quantile(a.latencies, 0.5), err
}

// memory measures what "usher up" takes with many open invitations: with a broker of its own and a real Redis, and as it
// is without settings, when all is in one process.
func memory(ctx context.Context, b *bench) error {
	for _, setting := range []struct {
		name string
		with []func(*stack, context.Context) error
	}{
		{"own broker", []func(*stack, context.Context) error{(*stack).startRedis, (*stack).startFake}},
		{"all in one", nil},
	} {
		if err := b.memoryOf(ctx, setting.name, setting.with); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) memoryOf(ctx context.Context, name string, with []func(*stack, context.Context) error) error {
	s, err := openEmbedded(ctx, b, with)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.resident(name + ": resident, empty"); err != nil {
		return err
	}
	if err := s.fill(ctx, b.open); err != nil {
		return err
	}
	if _, err := s.resident(fmt.Sprintf("%s: resident, %d open invitations, just mailed", name, b.open)); err != nil {
		return err
	}
	if err := s.atRest(ctx, fmt.Sprintf("%s: resident, %s later", name, b.settle)); err != nil {
		return err
	}
	if err := s.heapProfile(ctx, strings.ReplaceAll(name, " ", "-")+".heap"); err != nil {
		return err
	}
	return s.restart(ctx, name)
}

// restart reports how long it takes until everything is served again.
func (s *stack) restart(ctx context.Context, name string) error {
	s.nc.Close()
	s.usher[0].stop()
	s.usher = nil
	began := time.Now()
	if err := s.upEmbedded(ctx); err != nil {
		return err
	}
	s.bench.add(name+": ready again after a restart", time.Since(began).Seconds(), "s")
	return nil
}

// atRest reports the memory that is still taken once there is nothing to do.
func (s *stack) atRest(ctx context.Context, name string) error {
	select {
	case <-time.After(s.bench.settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	settled, err := s.resident(name)
	settled.atMost(150)
	return err
}

func (s *stack) resident(name string) (*figure, error) {
	const MiB = 1 << 20
	size, err := s.usher[0].resident()
	return s.bench.add(name, float64(size)/MiB, "MiB"), err
}
