package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// crowded is the organization that invites very many at once.
const crowded = "umbrella"

// fair measures what single invitations of one organization notice of another's very many: while these are being accepted, and
// while their mails wait for a provider that takes so many a second and no more.
func fair(ctx context.Context, b *bench) error {
	for _, setting := range []struct {
		name string
		rate int
	}{{"a bulk", 0}, {"a bulk at the provider's rate", b.mailRate}} {
		if err := b.besideBulk(ctx, setting.name, setting.rate); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) besideBulk(ctx context.Context, other string, mailRate int) error {
	s, err := open(ctx, b, 1, fmt.Sprintf("USHER_MAIL_RATE=%d", mailRate))
	if err != nil {
		return err
	}
	defer s.close()
	if err := errors.Join(s.warm(ctx), s.organization(crowded)); err != nil {
		return err
	}
	alone, aloneMail, err := s.singles(ctx)
	if err != nil {
		return err
	}
	invited := make(chan error, 1)
	began := time.Now()
	from := s.invited
	s.invited += b.crowd
	go func() {
		l, calls := s.invitingMany(crowded, from, b.crowd)
		_, err := l.full(ctx, calls, 0)
		b.add(fmt.Sprintf("%d invitations of %s, accepted", b.crowd, other), time.Since(began).Seconds(), "s")
		invited <- err
	}()
	beside, besideMail, err := s.singles(ctx)
	if err := errors.Join(err, <-invited); err != nil {
		return err
	}
	mails, err := s.awaitMails(ctx)
	if err != nil {
		return err
	}
	b.add("and mailed", lastOf(mails[from:from+b.crowd]).Sub(began).Seconds(), "s")
	s.compare("answer", other, alone, beside)
	s.compare("request to mail", other, aloneMail, besideMail)
	b.add("single: request to mail, slowest, beside "+other, quantile(besideMail, 1).Seconds(), "s").atMost(10)
	return nil
}
