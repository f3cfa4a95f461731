package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// backlog measures how a mailer that was away works off what has come meanwhile: at the rate that is allowed, in memory that does
// not depend on how much that is.
func backlog(ctx context.Context, b *bench) error {
	s, err := openWith(ctx, b, 1, func(s *stack, ctx context.Context) error { return s.startServices(ctx) })
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.warm(ctx); err != nil {
		return err
	}
	few, err := s.away(ctx, b.waiting/10)
	if err != nil {
		return err
	}
	many, err := s.away(ctx, b.waiting)
	if err != nil {
		return err
	}
	b.add("memory, ten times as many over as many", float64(many)/float64(few), "").atMost(1.2)
	return nil
}

// mailerAt is where the mailer is among the services.
const mailerAt = 1

// away has so many invited while there is no mailer, and gives the most memory that it takes once it is back.
func (s *stack) away(ctx context.Context, many int) (highest int64, err error) {
	s.usher[mailerAt].stop()
	from := s.invited
	if _, err := s.inviteMany(ctx, demo, many); err != nil {
		return 0, err
	}
	mailer, err := s.startService(s.bench.mailer, fmt.Sprintf("USHER_MAIL_RATE=%d", s.bench.mailRate))
	if err != nil {
		return 0, err
	}
	s.usher[mailerAt] = mailer
	highest, err = s.highestUntilMailed(ctx, mailer)
	if err != nil {
		return 0, err
	}
	mails, err := s.awaitMails(ctx)
	if err != nil {
		return 0, err
	}
	slices.SortFunc(mails, func(a, b arrival) int { return a.at.Compare(b.at) })
	s.bench.add(fmt.Sprintf("%d waiting: resident, mailer, highest", many), float64(highest)/(1<<20), "MiB")
	s.bench.perSecond(fmt.Sprintf("%d waiting: mailed", many), many, lastOf(mails[from:]).Sub(mails[from].at)).atMost(1.05 * float64(s.bench.mailRate))
	return highest, nil
}

// highestUntilMailed watches the memory of a process until everybody has been written to.
func (s *stack) highestUntilMailed(ctx context.Context, p *process) (highest int64, err error) {
	for {
		now, err := p.resident()
		if err != nil {
			return 0, err
		}
		highest = max(highest, now)
		n, err := s.mailed()
		if err != nil || n >= s.invited {
			return highest, err
		}
		select {
		case <-ctx.Done():
			return 0, errors.Join(context.Cause(ctx), fmt.Errorf("%d of %d mails came", n, s.invited))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
