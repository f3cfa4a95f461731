package mailer_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/roster"
)

// TestAReminderIsSetOnceHoweverOftenItsMailIsHandedOut: a second timer would take the first one's place, and nothing could
// tell later that what is missing there was a timer.
func TestAReminderIsSetOnceHoweverOftenItsMailIsHandedOut(t *testing.T) {
	t.Parallel()
	x := open(t)
	_, _, err := x.Roster.Put(t.Context(), roster.Organization{ID: "acme", Name: "Acme", Policy: roster.Policy{ReminderAfter: []string{"1h"}}})
	require.NoError(t, err)
	id, asked := x.request(t, "acme", "nell@example.org")
	sequence, err := x.Ledger.Publish(t.Context(), events.StreamInvitations, asked)
	require.NoError(t, err)
	timer := func() (r ledger.Record) {
		require.Eventually(t, func() bool {
			r, err = x.Ledger.Last(t.Context(), events.StreamInvitations, events.ReminderTimerSubject("acme", id))
			return err == nil
		}, 20*time.Second, 10*time.Millisecond)
		return r
	}
	first := timer()

	again := ledger.Message{Subject: events.RedriveSubject("mailer"), Header: map[string][]string{}, Data: asked.Data}
	for name, values := range asked.Header {
		if name != "Nats-Msg-Id" {
			again.Header[name] = values
		}
	}
	again.Header[bus.DeadSubject], again.Header[bus.DeadStream] = []string{asked.Subject}, []string{events.StreamInvitations}
	again.Header[bus.DeadSequence] = []string{strconv.FormatUint(sequence, 10)}
	// The duplicate window would hide a second timer: its id is the first one's. So this one has another id.
	again.Header["ce-id"] = []string{events.NewEventID()}
	_, err = x.Ledger.Publish(t.Context(), events.StreamDeadLetters, again)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		done, err := x.Ledger.Consumers(t.Context(), events.StreamDeadLetters)
		return err == nil && done["mailer-again"].Handled > 0 && done["mailer-again"].Unsettled == 0
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, first.Sequence, timer().Sequence)
}
