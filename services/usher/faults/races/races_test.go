package races

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

func try1(t *testing.T, rewrite pipeline.Rewriter) campaign.Outcome {
	t.Helper()
	out, _, err := campaign.Try(t.Context(), campaign.Part{Name: "races", Run: func(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
		return run(ctx, u, 4*perGroup, rewrite)
	}}, 1, t.TempDir())
	require.NoError(t, err)
	return out
}

func TestOfManyEndsExactlyOneWins(t *testing.T) {
	out := try1(t, nil)
	require.Empty(t, out.Violations)
	t.Log(out.Counts)
}

func TestEndsThatAreCheckedFirstAndWrittenLaterAreCaught(t *testing.T) {
	out := try1(t, pipeline.UnconditionalEnds)
	require.NotEmpty(t, out.Violations)
	t.Log(len(out.Violations), out.Violations[:3])
}
