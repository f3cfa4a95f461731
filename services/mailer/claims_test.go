package mailer_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/redisdb"
)

// publish puts a fact of an invitation of acme's into the ledger and gives its sequence.
func (x *post) publish(t *testing.T, id, fact string, data events.Data) uint64 {
	t.Helper()
	message, err := ledger.Fact(events.InvitationSubject("acme", id, fact), events.Event{
		ID: events.NewEventID(), Source: "/test", Type: data.EventType(), Subject: id, Time: x.Clock(), Data: data,
	})
	require.NoError(t, err)
	sequence, err := x.Ledger.Publish(t.Context(), events.StreamInvitations, message)
	require.NoError(t, err)
	return sequence
}

// TestAResendGoesOutPastAClaimThatRedisForgotToForget: Redis may lose its last second in a power cut, and with it that the
// claim on the first mail was given up. Its event was acknowledged, so nobody comes back for the claim.
func TestAResendGoesOutPastAClaimThatRedisForgotToForget(t *testing.T) {
	t.Parallel()
	x := open(t)
	id, deadline := events.NewInvitationID(), x.Clock().Add(time.Hour)
	first := x.publish(t, id, events.FactRequested, &events.InvitationRequested{
		Organization: "acme", Email: "nell@example.org", Role: "member", Inviter: "owner@example.org", Invitation: id,
		Person: x.person("nell"), InviterPerson: x.person("owner"), InviterName: "Olivia", ExpiresAt: deadline,
	})
	require.Eventually(t, func() bool { return x.sent() == 1 }, 20*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		_, held, err := x.Redis.MailInFlight(t.Context(), "acme", id)
		return err == nil && !held
	}, 20*time.Second, 10*time.Millisecond)

	minuteAgo, err := redisdb.Open(t.Context(), redisdb.Options{Embedded: x.embedded, Clock: func() time.Time { return time.Now().Add(-time.Minute) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, minuteAgo.Close()) })
	claim, err := minuteAgo.Claim(t.Context(), redisdb.Intent{Organization: "acme", Invitation: id, Sequence: first}, "a worker before the cut", redisdb.Token{})
	require.NoError(t, err)
	require.True(t, claim.Won)

	x.publish(t, id, events.FactResend, &events.InvitationResendRequested{Invitation: id, Generation: 1, ExpiresAt: deadline, By: x.person("owner")})
	require.Eventually(t, func() bool { return x.sent() == 2 }, 20*time.Second, 10*time.Millisecond, "the resend waits for nobody")
	require.Eventually(t, func() bool {
		_, held, err := x.Redis.MailInFlight(t.Context(), "acme", id)
		return err == nil && !held
	}, 20*time.Second, 10*time.Millisecond)
}
