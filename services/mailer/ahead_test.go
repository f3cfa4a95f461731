package mailer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/roster"
)

// T153: the mails of an organization that invites very many at once hold up nobody else's. The queue is longer than what one
// process takes of it at a time, and mails leave slowly.
func TestFewDoNotWaitBehindAnotherOrganizationsThousands(t *testing.T) {
	t.Parallel()
	x := open(t, "USHER_MAIL_RATE=100")
	_, _, err := x.Roster.Put(t.Context(), roster.Organization{ID: "umbrella", Name: "Umbrella", Policy: roster.Policy{ReminderAfter: []string{"1h"}}})
	require.NoError(t, err)
	const many = 4000
	units := make([][]ledger.Message, many)
	for n := range units {
		_, m := x.request(t, "acme", fmt.Sprintf("p%d@example.org", n))
		units[n] = []ledger.Message{m}
	}
	for some := range slices.Chunk(units, 500) {
		for _, r := range x.Ledger.PublishAll(t.Context(), events.StreamInvitations, some) {
			require.NoError(t, r.Err)
		}
	}
	id, one := x.request(t, "umbrella", "nell@example.org")
	_, err = x.Ledger.Publish(t.Context(), events.StreamInvitations, one)
	require.NoError(t, err)

	toNell := func() int {
		mails, _ := x.box.Mails("nell@example.org", 2)
		return len(mails)
	}
	require.Eventually(t, func() bool { return toNell() > 0 }, time.Minute, 10*time.Millisecond)
	queue, err := x.Ledger.JetStream().Consumer(t.Context(), events.StreamInvitations, ledger.ConsumerMailer)
	require.NoError(t, err)
	require.Positive(t, queue.CachedInfo().NumPending, "she waited until the queue came to her")

	// The queue comes to her, too, in the end: then there is nothing left to do.
	timer := events.ReminderTimerSubject("umbrella", id)
	require.Eventually(t, func() bool {
		_, err := x.Ledger.Last(t.Context(), events.StreamInvitations, timer)
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, 1, toNell())
}
