package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
)

// demo is the organization that is there from the beginning.
const demo = "acme"

// rowsPerCall is the most that one bulk request may have.
const rowsPerCall = 1000

// bulkConnections is how many bulk requests are under way at once: one is read while another is stored.
const bulkConnections = 2

// invitingMany is a load of bulk requests for so many rows in all, numbered from the given address on.
func (s *stack) invitingMany(org string, from, rows int) (l load, calls int) {
	bodies := make([][]byte, 0, rows/rowsPerCall+1)
	for at := 0; at < rows; at += rowsPerCall {
		bodies = append(bodies, bulkBody(org, from+at, min(rowsPerCall, rows-at)))
	}
	return load{
		addr: s.api, connections: bulkConnections,
		write: func(dst []byte, n int) []byte {
			return request(dst, http.MethodPost, "/v1/invitations", s.key, bodies[n])
		},
		check: func(n, status int, body []byte) error {
			if err := expect(http.StatusOK)(n, status, body); err != nil {
				return err
			}
			want := min(rowsPerCall, rows-n*rowsPerCall)
			if have := bytes.Count(body, []byte(`"status":202`)); have != want {
				return fmt.Errorf("%d of %d rows were accepted: %.300s", have, want, body)
			}
			return nil
		},
	}, len(bodies)
}

func bulkBody(org string, from, rows int) []byte {
	body := append(make([]byte, 0, rows*128), `{"invitations":[`...)
	for i := range rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(append(body, `{"organization":"`...), org...), `","email":"`...)
		body = append(addressOf(body, from+i), `","role":"member","inviter":"owner@example.org"}`...)
	}
	return append(body, "]}"...)
}

// bulk measures bulk requests of a thousand rows.
func bulk(ctx context.Context, b *bench) error {
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
	l, calls := s.invitingMany(demo, s.invited, b.bulkRows)
	profiled := s.profile(ctx, b.duration)
	a, err := l.full(ctx, calls, 0)
	from := s.invited
	s.invited += b.bulkRows
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
	b.perSecond("accepted durably", b.bulkRows, a.took).atLeast(16_000)
	b.perSecond("mailed", b.bulkRows, lastOf(mails[from:]).Sub(a.began)).atLeast(6000)
	b.millis("answer to 1000 rows, p50", quantile(a.latencies, 0.5))
	after.since(before).addTo(&b.report, b.bulkRows)
	return <-profiled
}

// inviteMany invites so many people by bulk requests.
func (s *stack) inviteMany(ctx context.Context, org string, rows int) (answers, error) {
	l, calls := s.invitingMany(org, s.invited, rows)
	s.invited += rows
	return l.full(ctx, calls, 0)
}

// fill invites so many people, and returns once their mails are out.
func (s *stack) fill(ctx context.Context, rows int) error {
	if rows <= 0 {
		return nil
	}
	if _, err := s.inviteMany(ctx, demo, rows); err != nil {
		return err
	}
	if s.fake != nil {
		_, err := s.awaitMails(ctx)
		return err
	}
	return s.quiet(ctx)
}
