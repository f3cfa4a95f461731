package replays

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/faults/campaign"
)

// Seed 2 is over a redis-server, and over a broker that knows no message again.
func TestT106WhatIsDeliveredOftenAndLateIsTheSameAsOnceOnly(t *testing.T) {
	out, dir, err := campaign.Try(t.Context(), Parts()[0], 2, t.TempDir())
	require.NoError(t, err, dir)
	require.Empty(t, out.Violations)
	require.Greater(t, out.Counts["deliveries"], 10*out.Counts["different messages, counted for each handler"])
}
