package disks

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/cluster"
	"github.com/usherhq/usher/services/usher/faults/powerdisk"
	"github.com/usherhq/usher/services/usher/faults/trial"
)

// experiment is a trial on disks that fail.
type experiment struct {
	*machine
	unit    campaign.Unit
	outcome campaign.Outcome
	chance  *rand.Rand // what the disks draw from
}

// run makes a trial whose stores are on the machine's disks. Names are journalled there, as on ext4 and XFS: nats-server syncs
// files and not the folders that it made them in, so that where POSIX is kept to the letter and nothing more is done, a cut
// takes streams whole.
func run(ctx context.Context, u campaign.Unit, o trial.Options, plan func(*experiment, *trial.Chaos)) (campaign.Outcome, error) {
	m, err := openMachine(o.Shape, powerdisk.Journalled)
	if err != nil {
		return campaign.Outcome{}, err
	}
	defer func() { _ = m.close() }() // nothing is on it any more that is wanted
	e := &experiment{machine: m, unit: u, chance: rand.New(rand.NewPCG(u.Seed, 11))}
	o.Shape.Store, o.Seed, o.Dir, o.Log = m.store, u.Seed, u.Dir, u.Log
	o.Faults = func(c *trial.Chaos) { plan(e, c) }
	outcome, err := trial.Run(ctx, o)
	if err != nil {
		return outcome, err
	}
	for name, n := range e.outcome.Counts {
		outcome.Count(name, n)
	}
	for name, value := range e.outcome.Figures {
		outcome.Figure(name, value)
	}
	outcome.Violations = append(outcome.Violations, e.outcome.Violations...)
	if len(outcome.Violations) > 0 {
		err = m.keep(filepath.Join(u.Dir, "disks"))
	}
	return outcome, err
}

// settling is how long everything may take to come to its end. A client whose request was under way when the power went is
// told for a minute that its key is in use; all that comes after the answer is still ahead of it then.
const settling = 80 * time.Second

func small(lazy bool) cluster.Shape {
	return cluster.Shape{Brokers: 1, APIs: 2, Mailers: 1, Acceptances: 1, LazySync: lazy}
}

// powercut cuts the power once, or several times, also while everything is starting again.
func powercut(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	return run(ctx, u, trial.Options{Shape: small(false), Stories: 100, Over: 1500 * time.Millisecond, Settling: settling, RedisLoses: true}, (*experiment).power)
}

// powercutCluster is the same with three brokers that replicate and two Redis servers, which all lose their power at once.
func powercutCluster(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	shape := small(false)
	shape.Brokers, shape.Replica = 3, true
	return run(ctx, u, trial.Options{Shape: shape, Stories: 60, Over: 1500 * time.Millisecond, Settling: settling, RedisLoses: true}, (*experiment).power)
}

// powercutLazy is the same with a broker that syncs when it likes, cut when people have been told a lot, and with nothing left
// to chance. It keeps only what was lost, which is what has to be seen.
func powercutLazy(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	o := trial.Options{Shape: small(true), Stories: 60, Over: 1500 * time.Millisecond, Settling: 4 * time.Second, RedisLoses: true}
	outcome, err := run(ctx, u, o, func(e *experiment, c *trial.Chaos) {
		e.brokers[0].Sync() // the kernel did that long ago for what was there before people came
		c.Add(time.Second+c.Moment()/3, "a power cut", func(context.Context) error { return e.blackout(c, nil) })
	})
	outcome.Violations = slices.DeleteFunc(outcome.Violations, func(v string) bool { return !lost.MatchString(v) })
	return outcome, err
}

// lost is how a trial says that something is gone that was acknowledged.
var lost = regexp.MustCompile(`was acknowledged and is in the ledger 0 times|was answered yes, and the ledger says ""`)

// power plans from one to three cuts. In one of four nothing is left of what was not synced, in the others what chance leaves.
func (e *experiment) power(c *trial.Chaos) {
	at := 200*time.Millisecond + c.Moment()
	cuts := 1 + max(c.Chance().IntN(4)-1, 0) // one in half of all units
	c.Add(at, fmt.Sprintf("%d power cuts", cuts), func(ctx context.Context) error {
		for n := range cuts {
			if n > 0 {
				e.startAll(c)
				wait(ctx, time.Duration(e.chance.Int64N(int64(2*time.Second))))
			}
			left := e.chance
			if e.chance.IntN(4) == 0 {
				left = nil
			}
			if err := e.blackout(c, left); err != nil {
				return err
			}
		}
		return nil
	})
}

// blackout cuts the power, with what chance leaves of that which was on its way to the disks, and counts that.
func (e *experiment) blackout(c *trial.Chaos, chance *rand.Rand) error {
	e.outcome.Count("power cuts", 1)
	for _, d := range e.disks() {
		c.Say("%s: %+v", filepath.Base(d.Path()), d.Counters())
	}
	for name, disks := range map[string][]*powerdisk.Disk{"broker": e.brokers, "Redis": e.redis} {
		for _, d := range disks {
			e.outcome.Count("bytes not synced, "+name, d.Counters().UnsyncedBytes)
		}
	}
	return e.cut(c.Cluster(), chance)
}

// startAll starts everything as a machine does that boots, and waits for nothing.
func (e *experiment) startAll(c *trial.Chaos) {
	for _, p := range c.Cluster().All() {
		if err := p.Start(); err != nil {
			c.Say("%v", err)
		}
	}
}
