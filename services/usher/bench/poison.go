package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
)

// How poison is measured. Speed is told as a ratio of what was seen in the same run, because that is what holds on any machine.
const (
	poisonRounds = 3   // of each mixture, in turns, so that a machine that gets slower does so for all
	poisonRate   = 200 // poisonous messages a second beside somebody else's invitations
)

// mixture is a backlog of good requests with poison in it.
type mixture struct {
	name string
	// poisonous tells of the n-th message of a backlog whether it is poison.
	poisonous func(n int) bool
	took      []time.Duration // by round
	cpu       []time.Duration // of Usher, Redis and broker, mails included, by round
}

// poison measures what messages that nobody can handle cost the others: one at the head of a queue, three of ten in it, and a
// steady stream of them beside another organization's invitations.
func poison(ctx context.Context, b *bench) error {
	s, err := open(ctx, b, 1)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.warm(ctx); err != nil {
		return err
	}
	clean := mixture{name: "none", poisonous: func(int) bool { return false }}
	head := mixture{name: "head", poisonous: func(n int) bool { return n == 0 }}
	third := mixture{name: "third", poisonous: func(n int) bool { return n%10 < 3 }}
	for range poisonRounds {
		for _, m := range []*mixture{&clean, &head, &third} {
			if err := s.workOff(ctx, m); err != nil {
				return err
			}
		}
	}
	b.perSecond("requests from the bus, no poison", b.backlog, slices.Min(clean.took))
	b.add("slowdown behind one poison", slower(slices.Min(head.took), slices.Min(clean.took)), "%").atMost(10)
	b.add("slowdown with 30 % poison", slower(slices.Min(third.took), slices.Min(clean.took)), "%")
	b.add("more CPU behind one poison", slower(slices.Min(head.cpu), slices.Min(clean.cpu)), "%").atMost(10)
	b.add("more CPU with 30 % poison", slower(slices.Min(third.cpu), slices.Min(clean.cpu)), "%").atMost(10)
	if err := s.lettersAre(ctx, head.poison(b.backlog)+third.poison(b.backlog)); err != nil {
		return err
	}
	return s.besidePoison(ctx)
}

// slower is by how many percent one time is longer than another. Of several rounds the quickest are compared: the others were
// held up by something else. Where all were, processor time tells more.
func slower(with, without time.Duration) float64 { return 100 * (float64(with)/float64(without) - 1) }

// poison is how much of it there was in all rounds.
func (m *mixture) poison(backlog int) (n int) {
	for i := range backlog {
		if m.poisonous(i) {
			n += poisonRounds
		}
	}
	return n
}

// workOff publishes a backlog, which is quicker than admitting it, and measures how long admission takes for it.
func (s *stack) workOff(ctx context.Context, m *mixture) error {
	const consumer = "admission"
	before, err := s.usage()
	if err != nil {
		return err
	}
	began, good := time.Now(), 0
	var waiting []jetstream.PubAckFuture
	for n := range s.bench.backlog {
		body := []byte("{")
		if !m.poisonous(n) {
			body = busRequest(s.invited + good)
			good++
		}
		ack, err := s.js.PublishMsgAsync(&nats.Msg{Subject: events.RequestSubject("bench"), Data: body}, jetstream.WithStallWait(time.Minute))
		if err != nil {
			return err
		}
		waiting = append(waiting, ack)
	}
	for _, ack := range waiting {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		}
	}
	if err := s.settled(ctx, events.StreamRequests, consumer); err != nil {
		return err
	}
	m.took = append(m.took, time.Since(began))
	s.invited += good
	if _, err := s.awaitMails(ctx); err != nil {
		return err
	}
	after, err := s.usage()
	used := after.since(before)
	m.cpu = append(m.cpu, used.usher+used.redis+used.broker)
	return err
}

func busRequest(n int) []byte {
	body := append(make([]byte, 0, 128), `{"organization":"acme","email":"`...)
	return append(addressOf(body, n), `","role":"member","inviter":"owner@example.org"}`...)
}

// settled waits until a consumer has nothing left to do.
func (s *stack) settled(ctx context.Context, stream, consumer string) error {
	for {
		c, err := s.js.Consumer(ctx, stream, consumer)
		if err != nil {
			return err
		}
		if info := c.CachedInfo(); info.NumPending+uint64(info.NumAckPending) == 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// lettersAre checks that so many dead letters are there.
func (s *stack) lettersAre(ctx context.Context, want int) error {
	have, err := s.stored(ctx, events.StreamDeadLetters)
	if err == nil && have != want {
		err = fmt.Errorf("%d dead letters for %d poisonous messages", have, want)
	}
	return err
}

// besidePoison measures single invitations of one organization while somebody else's app publishes poison every other moment.
// The moments are short, so that whatever else goes on slows down both kinds alike.
func (s *stack) besidePoison(ctx context.Context) error {
	pouring, stop := context.WithCancel(ctx)
	poured := make(chan error, 1)
	began := time.Now()
	go func() { poured <- s.pour(pouring, began) }()
	toMail, a, err := s.pacedToMail(ctx)
	stop()
	if err := errors.Join(err, <-poured); err != nil {
		return err
	}
	var alone, beside []time.Duration
	for n, took := range toMail {
		if poisoned(a.sent[n].Sub(began)) {
			beside = append(beside, took)
		} else {
			alone = append(alone, took)
		}
	}
	b := s.bench
	b.millis("request to mail without poison, p95", quantile(alone, 0.95))
	b.millis("request to mail beside 200/s of it, p95", quantile(beside, 0.95))
	b.add("slowdown beside another's poison, p50", slower(quantile(beside, 0.5), quantile(alone, 0.5)), "%").atMost(10)
	b.add("slowdown beside another's poison, p95", slower(quantile(beside, 0.95), quantile(alone, 0.95)), "%").atMost(10)
	return nil
}

// moment is how long poison flows, and how long it doesn't then.
const moment = 250 * time.Millisecond

func poisoned(since time.Duration) bool { return since/moment%2 == 1 }

// pour publishes poison at a steady rate in every other moment until ctx ends.
func (s *stack) pour(ctx context.Context, began time.Time) error {
	tick := time.NewTicker(time.Second / poisonRate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if !poisoned(time.Since(began)) {
				continue
			}
			if _, err := s.js.PublishAsync(events.RequestSubject("mad"), []byte("{")); err != nil {
				return err
			}
		}
	}
}
