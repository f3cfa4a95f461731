package replays

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/faults/campaign"
)

func TestT106WhatIsDeliveredOftenIsTheSameAsOnceOnly(t *testing.T) {
	for seed := uint64(1); seed <= 2; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			out, dir, err := campaign.Try(t.Context(), Parts()[0], seed, t.TempDir())
			require.NoError(t, err, dir)
			t.Log(out.Counts)
			require.Empty(t, out.Violations)
		})
	}
}
