package mailer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWhoWaitsBehindAnotherMailIsThereWhenItsClaimIsOld: a worker died with a claim, and the next mail of the invitation looks
// for it as often as a message may come before it has to wait for longer.
func TestWhoWaitsBehindAnotherMailIsThereWhenItsClaimIsOld(t *testing.T) {
	asked := 0
	for taken := time.Duration(0); taken < ackWait; asked++ {
		wait := behind(ackWait - taken)
		require.GreaterOrEqual(t, wait, time.Second)
		require.LessOrEqual(t, taken+wait, ackWait+time.Second)
		taken += wait
	}
	require.Less(t, asked, 10, "package bus gives 20 tries")
}

// Seeds 514 and 554 of the fault runs: a claim that was made by a clock a year ahead, and one that was read by a clock an hour
// behind, and that Redis then kept, held a mail up for a year and for an hour.
func TestAClaimIsAliveForAsLongAsAWorkerKeepsOneWhateverItsClockSaid(t *testing.T) {
	now := time.Now()
	require.Equal(t, ackWait, alive(now, now))
	require.Equal(t, ackWait-time.Second, alive(now.Add(-time.Second), now))
	require.Equal(t, ackWait-time.Second, alive(now.Add(time.Second), now))
	require.Negative(t, alive(now.Add(-time.Hour), now))
	require.Negative(t, alive(now.Add(400*24*time.Hour), now))
}
