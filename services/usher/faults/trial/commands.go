package trial

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/services/usher/faults/campaign"
)

// order is a command of the operator's that dies at a point.
type order struct {
	point  failpoint.Name
	words  []string
	errand *errand
	// before is what happened that makes the command needed.
	before string
	do     func(context.Context, *Trial) error
}

var (
	rebuild = order{words: []string{"rebuild"}, errand: everyday, before: "empty redis", do: emptyRedis}
	redrive = order{words: []string{"dead", "redrive", "--all", "--yes"}, errand: errandTo(failpoint.BusBurying), before: "wait for dead letters", do: waitForLetters}
)

// commands are the points that the command line alone comes by, each with the command.
var commands = []order{
	rebuild.at(failpoint.RebuildMerged), rebuild.at(failpoint.RebuildWindow), redrive.at(failpoint.RedriveFound), redrive.at(failpoint.RedrivePublished),
}

func (o order) at(point failpoint.Name) order {
	o.point = point
	return o
}

// command is a trial in which a command is killed at one point again and again, and then comes to its end.
func command(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	given := commands[int(u.Seed-1)%len(commands)]
	o := small(u)
	o.errand = given.errand
	died, ended := 0, false
	o.Faults = func(c *Chaos) {
		c.add(c.over/2, fmt.Sprintf("%s, kill %v %d times at %s", given.before, given.words, deaths, given.point), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, o.errand.patience())
			defer cancel()
			err := given.do(ctx, c.Trial)
			if err == nil {
				died, ended, err = c.order(ctx, given)
			}
			return err
		})
	}
	outcome, err := Run(ctx, o)
	countDeaths(&outcome, given.point, died)
	if !ended {
		outcome.Violate("usher %v did not come to its end after it had been killed", given.words)
	}
	return outcome, err
}

// order gives a command until it has died often enough, and once more for its end.
func (c *Chaos) order(ctx context.Context, o order) (died int, ended bool, err error) {
	for died < deaths && wait(ctx, 200*time.Millisecond) {
		_, code, err := c.cluster.CommandWith(ctx, []string{failpoint.EnvArm + "=" + string(o.point) + "=kill"}, o.words...)
		if err != nil {
			return died, false, err
		}
		if code == -1 && ctx.Err() == nil {
			died++
		}
	}
	out, code, err := c.cluster.Command(ctx, o.words...)
	if code != 0 {
		c.say("usher %v: %d %s", o.words, code, out)
	}
	return died, code == 0 && err == nil, err
}

// emptyRedis takes away all that Redis has.
func emptyRedis(_ context.Context, t *Trial) error {
	r, err := t.cluster.Primary()
	if err == nil {
		_, err = r.Do("FLUSHALL")
	}
	return err
}

// waitForLetters waits until there is something to hand out again.
func waitForLetters(ctx context.Context, t *Trial) error {
	for wait(ctx, 200*time.Millisecond) {
		out, code, err := t.cluster.Command(ctx, "dead", "list")
		if err != nil || code != 0 {
			return err
		}
		if slices.Contains(out, '\n') {
			return nil
		}
	}
	return context.Cause(ctx)
}
