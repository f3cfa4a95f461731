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
