package trial

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// Add plans something to be done at a moment of the trial.
func (c *Chaos) Add(at time.Duration, what string, do func(context.Context) error) {
	c.add(at, what, do)
}

// Chance is what a plan draws from, the same for the same seed.
func (c *Chaos) Chance() *rand.Rand { return c.rng }

// Cluster is what the plan is about.
func (c *Chaos) Cluster() *cluster.Cluster { return c.cluster }

// Moment is any moment of the time in which things happen.
func (c *Chaos) Moment() time.Duration { return c.moment() }

// Say writes a line into the trial's log.
func (c *Chaos) Say(format string, args ...any) { c.say(format, args...) }
