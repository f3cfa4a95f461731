package check

import (
	"context"
	"fmt"
	"strconv"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
)

// The pipeline's consumers, by stream: who works on what is published, and would be missed.
const (
	consumerViews       = "views"
	consumerMemberships = "views-memberships"
	consumerResend      = "mailer-resend"
	consumerReminder    = "mailer-reminder"
	consumerNotices     = "mailer-notices"
	consumerAcceptance  = "acceptance"
	consumerExpiry      = "expiry"
	consumerAdmission   = "admission"
)

var consumers = map[string][]string{
	events.StreamRequests: {consumerAdmission},
	events.StreamInvitations: {
		consumerViews, ledger.ConsumerMailer, consumerResend, consumerReminder, consumerNotices, consumerAcceptance, consumerExpiry,
	},
	events.StreamMemberships: {consumerMemberships},
}

// lookAtConsumers asks how far everybody is.
func (l *look) lookAtConsumers(ctx context.Context) error {
	l.consumers = map[string]ledger.Consumer{}
	for stream, names := range consumers {
		have, err := l.Ledger.Consumers(ctx, stream)
		if err != nil {
			return err
		}
		for _, name := range names {
			c, there := have[name]
			if !there {
				l.tellOf("", "", ConsumerMissing, mending{}, name,
					"nobody hears %s as %q: the service that does makes the consumer when it starts", stream, name)
				continue
			}
			l.consumers[name] = c
			l.checked["consumers"]++
			if todo := c.Pending + c.Unsettled; todo > 0 {
				l.waiting[name] = todo
			}
		}
	}
	return nil
}

// done reports whether a consumer has finished with a message. Where there is no such consumer nobody will, and nothing is
// worth waiting for.
func (l *look) done(consumer string, sequence uint64) bool {
	c, there := l.consumers[consumer]
	return !there || sequence <= c.Handled
}

// lookAtStreams looks at what is missing in the streams, and for whom the streams are too short.
func (l *look) lookAtStreams(ctx context.Context) error {
	for _, b := range l.read.broken {
		org, id := named(b.subject)
		l.tellOf(org, id, UnreadableEvent, mending{}, b.stream+decimal(b.sequence),
			"%s: what is stored at sequence %d on %s cannot be read", b.stream, b.sequence, b.subject)
	}
	for stream, names := range consumers {
		state, missing, err := l.Ledger.Missing(ctx, stream)
		if err != nil {
			return err
		}
		l.lookForAhead(stream, state, names)
		l.checked["sequences"] += int(state.Messages)
		if stream == events.StreamInvitations {
			continue // there timers go, and are told apart below
		}
		for _, s := range runs(missing) {
			l.tellGap(stream, s)
		}
		if stream == events.StreamMemberships && state.FirstSequence > 1 { // memberships are kept for ever
			l.tellGap(stream, span{1, state.FirstSequence - 1})
		}
	}
	for _, s := range l.read.gaps.unexplained(l.notes.timers) {
		l.tellGap(events.StreamInvitations, s)
	}
	return nil
}

// named tells which invitation a subject is about, where it is about one.
func named(subject string) (org, id string) {
	org, id, _, _ = events.SplitInvitation(subject)
	return org, id
}

func (l *look) lookForAhead(stream string, state ledger.State, names []string) {
	for _, name := range names {
		c, there := l.consumers[name]
		if there && c.Delivered > state.LastSequence {
			l.tellOf("", "", ConsumerAhead, mending{}, name,
				"%s has been given sequence %d of %s, which ends at %d: it will leave out what is published up to there; the stream was restored from an older copy",
				name, c.Delivered, stream, state.LastSequence)
		}
	}
}

func (l *look) tellGap(stream string, s span) {
	if l.notes.accepted[gap{stream, s}] {
		return
	}
	l.gaps = append(l.gaps, gap{stream, s})
	said := fmt.Sprintf("sequence %d", s.from)
	if s.to > s.from {
		said = fmt.Sprintf("sequences %d to %d", s.from, s.to)
	}
	l.tellOf("", "", SequenceGap, mending{}, stream+decimal(s.from),
		"%s: %s (%d) are missing, and no timer explains it: something was deleted or lost", stream, said, s.to-s.from+1)
}

// runs puts neighbours together.
func runs(sequences []uint64) []span {
	var all []span
	for _, s := range sequences {
		if n := len(all); n > 0 && all[n-1].to+1 == s {
			all[n-1].to = s
		} else {
			all = append(all, span{s, s})
		}
	}
	return all
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
