package disks

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/powerdisk"
	"github.com/usherhq/usher/services/usher/faults/trial"
)

// troubled is a trial of some people in so long a time.
func troubled(ctx context.Context, u campaign.Unit, plan func(*experiment, *trial.Chaos)) (campaign.Outcome, error) {
	return run(ctx, u, trial.Options{Shape: small(false), Stories: 60, Over: 2 * time.Second, Settling: settling, RedisLoses: true}, plan)
}

// diskFull fills the disk of the broker, of Redis, or both, and empties it after a while.
func diskFull(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	return troubled(ctx, u, func(e *experiment, c *trial.Chaos) {
		full, names := e.some(c.Chance())
		left, long := c.Chance().Int64N(100_000), 500*time.Millisecond+time.Duration(c.Chance().Int64N(int64(1500*time.Millisecond)))
		cut := c.Chance().IntN(2) == 0
		c.Add(c.Moment()/2, fmt.Sprintf("no space but %d bytes for %s", left, names), func(ctx context.Context) error {
			for _, d := range full {
				d.Fill(left)
			}
			p := &probes{experiment: e, chaos: c}
			p.until(ctx, long)
			for _, d := range full {
				d.Clear()
			}
			c.Say("there is space")
			return e.recover(ctx, p, cut)
		})
	})
}

// some are one disk or both, and whose.
func (e *experiment) some(chance *rand.Rand) ([]*powerdisk.Disk, string) {
	switch chance.IntN(3) {
	case 0:
		return e.brokers, "the broker"
	case 1:
		return e.redis, "Redis"
	}
	return e.disks(), "both"
}

// resumeTime is how long a broker may take to go on by itself, before it is started again as an operator would.
const resumeTime = 2 * time.Second

// recover waits until requests are answered yes again, with a new start of the broker if need be, or after a power cut, and
// looks for what was acknowledged.
func (e *experiment) recover(ctx context.Context, p *probes, cut bool) error {
	if cut {
		if err := e.blackout(p.chaos, e.chance); err != nil {
			return err
		}
	} else if !p.resumes(ctx) {
		e.outcome.Count("broker had to be started again", 1)
		p.chaos.Cluster().Brokers[0].Kill()
	}
	if err := p.chaos.Cluster().Restore(ctx); err != nil {
		return err
	}
	p.found(ctx)
	return nil
}

// resumes waits for a request that is answered yes.
func (p *probes) resumes(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, resumeTime)
	defer cancel()
	for had := len(p.acknowledged); ctx.Err() == nil; wait(ctx, 50*time.Millisecond) {
		if p.ask(ctx); len(p.acknowledged) > had {
			return true
		}
	}
	return false
}

// fsyncError lets the n-th fsync of the trial fail, once or for good, for the n-th unit; then the power is cut, which shows
// what was acknowledged after it.
func fsyncError(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	return troubled(ctx, u, func(e *experiment, c *trial.Chaos) {
		forGood := c.Chance().IntN(2) == 0
		disk, name := e.brokers[0], "the broker"
		if c.Chance().IntN(5) == 0 {
			disk, name = e.redis[0], "Redis"
		}
		disk.FailSyncs(int(u.Seed), forGood)
		goesOn := time.Duration(c.Chance().Int64N(int64(time.Second)))
		c.Add(0, fmt.Sprintf("fsync %d of %s fails, for good: %t", u.Seed, name, forGood), func(ctx context.Context) error {
			for had := time.Now(); disk.Counters().FailedSyncs == 0 && time.Since(had) < 4*time.Second; {
				wait(ctx, time.Millisecond)
			}
			c.Say("it has failed")
			p := &probes{experiment: e, chaos: c}
			p.until(ctx, goesOn)
			e.outcome.Count("fsyncs failed", disk.Counters().FailedSyncs)
			disk.FailSyncs(0, false)
			return e.recover(ctx, p, true)
		})
	})
}

// slowDisk makes writes and fsyncs take long, up to half a second each.
func slowDisk(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	return troubled(ctx, u, func(e *experiment, c *trial.Chaos) {
		slow, names := e.some(c.Chance())
		write, sync := time.Duration(c.Chance().Int64N(int64(10*time.Millisecond))), time.Duration(c.Chance().Int64N(int64(500*time.Millisecond)))
		cut := c.Chance().IntN(2) == 0
		c.Add(c.Moment()/2, fmt.Sprintf("%s takes %s for a write and %s for an fsync", names, write, sync), func(ctx context.Context) error {
			for _, d := range slow {
				d.Slow(write, sync)
			}
			p := &probes{experiment: e, chaos: c}
			p.until(ctx, 2*time.Second)
			for _, d := range slow {
				d.Slow(0, 0)
			}
			return e.recover(ctx, p, cut)
		})
	})
}
