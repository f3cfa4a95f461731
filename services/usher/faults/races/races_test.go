package races

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

// unit runs one unit of a part that is made for the test.
func unit(t *testing.T, seed uint64, run func(context.Context, campaign.Unit) (campaign.Outcome, error)) campaign.Outcome {
	t.Helper()
	out, dir, err := campaign.Try(t.Context(), campaign.Part{Name: "races", Run: run}, seed, t.TempDir())
	require.NoError(t, err, dir)
	return out
}

func few(rewrite pipeline.Rewriter) func(context.Context, campaign.Unit) (campaign.Outcome, error) {
	return func(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
		return run(ctx, u, 4*perGroup, rewrite)
	}
}

func TestOfManyEndsExactlyOneWins(t *testing.T) {
	out := unit(t, 1, few(nil))
	require.Empty(t, out.Violations)
	for _, how := range []string{"accepted", "declined", "revoked", "expired"} {
		require.Positive(t, out.Counts[how], "nobody won like that: %v", out.Counts)
	}
}

func TestEndsThatAreCheckedFirstAndWrittenLaterAreCaught(t *testing.T) {
	require.NotEmpty(t, unit(t, 1, few(pipeline.UnconditionalEnds)).Violations)
}

func TestEveryBrokenInvariantIsSeen(t *testing.T) {
	for i, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			out := unit(t, uint64(i+1), spoil)
			require.NotEmpty(t, out.Violations)
			t.Logf("after %.1f s: %s", out.Figures["seconds until seen"], out.Violations[0])
		})
	}
}
