package histories

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

func fewer(t *testing.T, disturbed bool, defect pipeline.Rewriter) campaign.Outcome {
	t.Helper()
	out, dir, err := campaign.Try(t.Context(), campaign.Part{Name: "histories", Run: func(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
		return run(ctx, u, 600, disturbed, defect)
	}}, 1, t.TempDir())
	require.NoError(t, err, dir)
	t.Log(out.Counts, out.Figures)
	return out
}

func TestAHistoryUnderFaultsCanHaveHappenedOneThingAfterAnother(t *testing.T) {
	require.Empty(t, fewer(t, true, nil).Violations)
}

func TestEndsWithoutAConditionAreCaught(t *testing.T) {
	require.NotEmpty(t, fewer(t, false, pipeline.UnconditionalEnds).Violations)
}

func TestClaimsWithoutAConditionAreCaught(t *testing.T) {
	require.NotEmpty(t, fewer(t, false, pipeline.UnconditionalClaims).Violations)
}
