package histories

import (
	"context"
	"net/http"
	"sync"
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

// Found with seed 1: two resends at once that both asked for a new link were given the same one, and one that did not ask for
// any brought back the link that another had replaced.
func TestSeed1ResendsAtOnceEachMakeALinkOfTheirOwn(t *testing.T) {
	p, err := pipeline.Start(t.Context(), pipeline.Options{Dir: t.TempDir(), Fronts: fronts})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	require.NoError(t, p.Organization(t.Context(), org, nil))
	var invited struct{ ID string }
	a := p.Call(t.Context(), p.Front(0), http.MethodPost, "/v1/organizations/"+org+"/invitations", map[string]string{"email": "p@example.org", "role": "member"})
	require.NoError(t, a.Read(&invited), "%s", a.Body)

	var resends sync.WaitGroup
	var lock sync.Mutex
	rotated, generations := 0, map[int]int{}
	for n := range 48 {
		resends.Go(func() {
			rotate := n%3 > 0
			a := p.Call(context.Background(), p.Front(n), http.MethodPost, "/v1/invitations/"+invited.ID+"/resend", map[string]bool{"rotate": rotate})
			var said struct{ Generation int }
			_ = a.Read(&said) // one that was refused says none
			lock.Lock()
			defer lock.Unlock()
			if a.Status == http.StatusAccepted && rotate {
				rotated++
				generations[said.Generation]++
			}
		})
	}
	resends.Wait()
	require.Greater(t, rotated, 1, "there was no race")
	for generation, n := range generations {
		require.Equal(t, 1, n, "generation %d was given to %d", generation, n)
	}
	var shown struct{ Generation int }
	a = p.Call(t.Context(), p.Front(0), http.MethodGet, "/v1/invitations/"+invited.ID, nil)
	require.NoError(t, a.Read(&shown))
	require.Equal(t, 1+rotated, shown.Generation, "every new link is one more")
}
