package trial

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// Parts are the parts of the campaign that are trials.
func Parts() []campaign.Part {
	return []campaign.Part{{
		Name:  "seeds",
		Claim: "People invite, accept, decline, revoke and resend while from one to four faults of eighteen kinds happen, by chance: nothing acknowledged is lost, no membership is there twice, no mail leaves more than twice, every link works.",
		Units: 2000, Slice: 6, Parallel: 6, Run: seeded,
	}}
}

// seeded is a trial in which all is left to the seed. One in five has three brokers and a pair of Redis servers.
func seeded(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	rng := rand.New(rand.NewPCG(u.Seed, 1))
	o := Options{Seed: u.Seed, Shape: cluster.Small(), Stories: 60, Over: 2500 * time.Millisecond, Dir: u.Dir, Log: u.Log}
	if rng.IntN(5) == 0 {
		o.Shape = cluster.Large()
	}
	return Run(ctx, o)
}
