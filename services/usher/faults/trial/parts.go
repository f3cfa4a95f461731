package trial

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// Parts are the parts of the campaign that are trials.
func Parts() []campaign.Part {
	points := servicePoints()
	return []campaign.Part{
		{
			Name: "seeds",
			Claim: "People invite, accept, decline, revoke and resend while from one to four faults of eighteen kinds happen, by chance. Nothing " +
				"acknowledged is lost, no membership is there twice, no mail leaves more than twice, no mail leaves after a revoke was answered, " +
				"every link works, nothing needs a human, and all is done within a minute of the last fault.",
			Units: 2000, Slice: 4, Parallel: 12, Run: seeded,
		},
		{
			Name: "failpoints",
			Claim: fmt.Sprintf("A process is killed exactly between two of its steps, at each of %d places, five times a unit and in five units, "+
				"while the same people use the system and others come by that place on purpose. The same holds; a unit in which fewer died has failed.", len(points)),
			Units: 5 * len(points), Slice: 4, Parallel: 12, Run: func(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
				return atPoint(ctx, u, points[int(u.Seed-1)%len(points)])
			},
		},
		{
			Name: "commands",
			Claim: "While people use the system, an operator's command is killed five times at each of its places and then run to its end: " +
				"Redis is emptied and rebuilt, dead letters are handed out again. The same holds, and no letter was handed out twice.",
			Units: 5 * len(commands), Slice: 1, Parallel: 6, Run: command,
		},
		{
			Name:  "pairs",
			Claim: "Two processes are killed within 50 ms, every pair of kinds (broker, Redis, API, mailer, acceptance, also two of one kind), twice a unit. The same holds.",
			Units: 10 * len(pairs), Slice: 1, Parallel: 12, Run: pair,
		},
		{
			Name:  "failovers",
			Claim: "With three brokers and a pair of Redis servers, the ledger's leader and the primary Redis are killed in turn, two of each a unit, while people accept. The same holds.",
			Units: 50, Slice: 1, Parallel: 6, Run: failovers,
		},
	}
}

func small(u campaign.Unit) Options {
	return Options{Seed: u.Seed, Shape: cluster.Small(), Stories: 60, Over: 2500 * time.Millisecond, Dir: u.Dir, Log: u.Log}
}

// seeded is a trial in which all is left to the seed. One in five has three brokers and a pair of Redis servers.
func seeded(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	o := small(u)
	if rand.New(rand.NewPCG(u.Seed, 1)).IntN(5) == 0 {
		o.Shape = cluster.Large()
	}
	return Run(ctx, o)
}

// pairs are the pairs of kinds of processes.
var pairs = func() (all [][2]string) {
	names := []string{"broker", "redis", "api", "mailer", "acceptance"}
	for i, a := range names {
		for _, b := range names[i:] {
			if a != b || i > 1 { // of broker and Redis there is one each
				all = append(all, [2]string{a, b})
			}
		}
	}
	return all
}()

// pair is a trial in which two processes die at once, twice.
func pair(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	o := small(u)
	which := pairs[int(u.Seed-1)%len(pairs)]
	o.Faults = func(c *Chaos) {
		for range 2 {
			at := c.moment()
			for i, kind := range which {
				p := c.one(kind, i)
				c.kill(at+c.upTo(50*time.Millisecond), p)
				c.back(at+50*time.Millisecond, p)
			}
		}
	}
	outcome, err := Run(ctx, o)
	outcome.Count(fmt.Sprintf("killed together: %s and %s", which[0], which[1]), 2)
	return outcome, err
}

// one is the n-th process of a kind.
func (c *Chaos) one(kind string, n int) *cluster.Program {
	switch kind {
	case "broker":
		return c.cluster.Brokers[0].Program
	case "redis":
		return c.cluster.Redis[0].Program
	}
	return c.cluster.Of(kind)[n%2].Program
}

// failovers is a trial on a large cluster that loses its leaders.
func failovers(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	o := small(u)
	o.Shape, o.Over, o.Stories = cluster.Large(), 12*time.Second, 120
	o.Faults = func(c *Chaos) {
		for n := range 2 {
			start := time.Duration(n) * 6 * time.Second
			c.killLeaderAt(start + c.upTo(2*time.Second))
			c.failoverAt(start + 2*time.Second + c.upTo(2*time.Second))
		}
	}
	outcome, err := Run(ctx, o)
	outcome.Count("leaders of the ledger killed", 2)
	outcome.Count("primary Redis killed", 2)
	return outcome, err
}
