package trial

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/usherhq/usher/pkg/failpoint"
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
				"while the same people use the system. The same holds.", len(points)),
			Units: 5 * len(points), Slice: 4, Parallel: 12, Run: func(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
				return atPoint(ctx, u, points[int(u.Seed-1)%len(points)])
			},
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

// runners are the kinds of process that come by a point, by the first word of its name. Others are passed by the command line
// alone, where they have tests of their own.
var runners = map[string][]string{
	"api": {"api"}, "admission": {"api"}, "bulk": {"api"}, "page": {"api"}, "accept": {"api"}, "link": {"api"}, "decline": {"api"},
	"outcome": {"api"}, "renew": {"api"}, "revoke": {"api"}, "resend": {"api"}, "replace": {"api"}, "organization": {"api"}, "logo": {"api"},
	"member": {"api"}, "busdoor": {"api"}, "webhook": {"api"}, "import": {"api"}, "views": {"api"}, "follow": {"api"},
	"mailer": {"mailer"}, "mailgun": {"mailer"}, "reminder": {"mailer"},
	"acceptance": {"acceptance"}, "expiry": {"acceptance"},
	"bus": {"api", "mailer", "acceptance"}, "ledger": {"api", "mailer", "acceptance"},
	"start": {"api", "mailer", "acceptance"}, "stop": {"api", "mailer", "acceptance"},
}

func kindsAt(point failpoint.Name) []string {
	word, _, _ := strings.Cut(string(point), ".")
	return runners[word]
}

// servicePoints are the points that services come by.
func servicePoints() []failpoint.Name {
	var names []failpoint.Name
	for _, p := range failpoint.Points {
		if kindsAt(p.Name) != nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// deaths is how often a unit has a process killed at its point.
const deaths = 5

// atPoint is a trial in which processes are killed at one point, one after the other, each started again before the next.
func atPoint(ctx context.Context, u campaign.Unit, point failpoint.Name) (campaign.Outcome, error) {
	o := small(u)
	died := 0
	o.Faults = func(c *Chaos) {
		c.add(0, fmt.Sprintf("kill %d times at %s", deaths, point), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
			defer cancel()
			died = c.killAt(ctx, point)
			return nil
		})
		c.add(c.moment(), "reports of mails", func(ctx context.Context) error { return c.report(ctx, rand.New(rand.NewPCG(u.Seed, 3))) })
	}
	outcome, err := Run(ctx, o)
	outcome.Count("killed at "+string(point), int64(died))
	return outcome, err
}

// killAt arms the point in one process after the other, and gives how many died there.
func (c *Chaos) killAt(ctx context.Context, point failpoint.Name) (died int) {
	var victims []*cluster.Service
	for _, s := range c.cluster.Services {
		for _, kind := range kindsAt(point) {
			if s.Kind == kind {
				victims = append(victims, s)
			}
		}
	}
	for n := 0; died < deaths && ctx.Err() == nil; n++ {
		s := victims[n%len(victims)]
		word, _, _ := strings.Cut(string(point), ".")
		if c.dieAt(ctx, s, word, string(point), 1+n%3) {
			died++
		}
		if !s.Alive() {
			if err := s.Start(); err != nil {
				c.say("%v", err)
			}
		}
	}
	return died
}

// dieAt has a process die at the point when it passes it for the after-th time, and reports whether it did.
func (c *Chaos) dieAt(ctx context.Context, s *cluster.Service, word, point string, after int) bool {
	switch word {
	case "start":
		s.Kill()
		s.Env = append(s.Env, "USHER_FAILPOINTS="+point+"=kill")
		err := s.Start()
		s.Env = s.Env[:len(s.Env)-1]
		if err != nil {
			return false
		}
	case "stop":
		if s.Arm(ctx, point, "kill", 1) != nil {
			return false
		}
		s.Signal(syscall.SIGTERM)
	default:
		if s.Arm(ctx, point, "kill", after) != nil {
			wait(ctx, 50*time.Millisecond) // it is only just coming up
			return false
		}
	}
	select {
	case <-s.Exited():
		return s.KilledBySignal()
	case <-time.After(1500 * time.Millisecond): // nobody came by
	case <-ctx.Done():
	}
	_ = s.Disarm(context.WithoutCancel(ctx), point) // what stayed armed would kill after all was mended
	return false
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
