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

// runners are the kinds of process that come by a point, by the first word of its name. Others are passed by the command line
// alone (see commands.go).
var runners = map[string][]string{
	"api": {"api"}, "admission": {"api"}, "bulk": {"api"}, "page": {"api"}, "accept": {"api"}, "link": {"api"}, "decline": {"api"},
	"outcome": {"api"}, "renew": {"api"}, "revoke": {"api"}, "resend": {"api"}, "replace": {"api"}, "organization": {"api"}, "logo": {"api"},
	"member": {"api"}, "busdoor": {"api"}, "webhook": {"api"}, "import": {"api"}, "views": {"api"}, "follow": {"api"},
	"mailer": {"mailer"}, "mailgun": {"mailer"}, "reminder": {"mailer"},
	"acceptance": {"acceptance"}, "expiry": {"acceptance"},
	"bus": {"api", "mailer", "acceptance"}, "ledger": {"api", "mailer", "acceptance"},
	"start": {"api", "mailer", "acceptance"}, "stop": {"api", "mailer", "acceptance"},
}

// wordOf is the first word of a point's name.
func wordOf(point failpoint.Name) string {
	word, _, _ := strings.Cut(string(point), ".")
	return word
}

func kindsAt(point failpoint.Name) []string { return runners[wordOf(point)] }

// servicePoints are the points that services come by.
func servicePoints() []failpoint.Name {
	return pointsWhere(func(p failpoint.Name) bool { return kindsAt(p) != nil })
}

func pointsWhere(wanted func(failpoint.Name) bool) (names []failpoint.Name) {
	for _, p := range failpoint.Points {
		if wanted(p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

// deaths is how often a unit has a process killed at its point.
const deaths = 5

// atPoint is a trial in which processes are killed at one point while an errand leads people past it. Fewer deaths than it
// takes is no evidence, and so a violation.
func atPoint(ctx context.Context, u campaign.Unit, point failpoint.Name) (campaign.Outcome, error) {
	o := small(u)
	e := errandTo(point)
	o.errand, o.Settling = e, e.settling
	o.Shape.SignIn = e.signIn
	died := 0
	o.Faults = func(c *Chaos) {
		c.add(0, fmt.Sprintf("kill %d times at %s", deaths, point), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, e.patience())
			defer cancel()
			if e.first != "" {
				c.killAt(ctx, e.first, e.firstly, 1)
			}
			died = c.killAt(ctx, point, deaths, e.after())
			return nil
		})
		c.add(c.moment(), "reports of mails", func(ctx context.Context) error { return c.report(ctx, rand.New(rand.NewPCG(u.Seed, 3))) })
	}
	outcome, err := Run(ctx, o)
	countDeaths(&outcome, point, died)
	return outcome, err
}

// countDeaths puts down how many died at a point.
func countDeaths(o *campaign.Outcome, point failpoint.Name, died int) {
	o.Count("killed at "+string(point), int64(died))
	if died < deaths {
		o.Violate("too few came by %s: %d of %d died there", point, died, deaths)
	}
}

// passers are the processes that come by a point.
func (c *Chaos) passers(point failpoint.Name) (some []*cluster.Service) {
	for _, kind := range kindsAt(point) {
		some = append(some, c.cluster.Of(kind)...)
	}
	return some
}

// killAt has so many processes die at a point, each at one of its first passes, and gives how many did before ctx ended.
func (c *Chaos) killAt(ctx context.Context, point failpoint.Name, most, after int) (died int) {
	switch wordOf(point) {
	case "start":
		return c.killInTurn(ctx, point, most, dieStarting)
	case "stop":
		return c.killInTurn(ctx, point, most, dieStopping)
	}
	return c.killWhoever(ctx, point, most, after)
}

// killWhoever arms the point in all processes that come by it: whoever passes dies, is started again and armed again, until
// enough have died. Nothing is armed when it returns.
func (c *Chaos) killWhoever(ctx context.Context, point failpoint.Name, most, after int) (died int) {
	all := c.passers(point)
	armed := map[*cluster.Service]bool{}
	for died < most && wait(ctx, 20*time.Millisecond) {
		for _, s := range all {
			switch {
			case !s.Alive():
				if armed[s] && s.KilledBySignal() {
					died++
				}
				armed[s] = false
				c.startAgain(s)
			case !armed[s]:
				armed[s] = s.Arm(ctx, string(point), "kill", 1+c.rng.IntN(after)) == nil
			}
		}
	}
	for _, s := range all {
		_ = s.Disarm(context.WithoutCancel(ctx), string(point)) // one that does not answer is dead, or dies now
		if armed[s] && s.KilledBySignal() {
			died++
		}
	}
	return died
}

func (c *Chaos) startAgain(s *cluster.Service) {
	if err := s.Start(); err != nil {
		c.say("%v", err)
	}
}

// killInTurn has one process after the other die in a way, and gives how many did.
func (c *Chaos) killInTurn(ctx context.Context, point failpoint.Name, most int, die func(context.Context, *cluster.Service, string) error) (died int) {
	all := c.passers(point)
	for n := 0; died < most && wait(ctx, 20*time.Millisecond); n++ {
		s := all[n%len(all)]
		if err := die(ctx, s, string(point)); err != nil {
			c.say("%s: %v", s.Name, err)
			continue
		}
		if c.diedSoon(ctx, s) {
			died++
		} else {
			_ = s.Disarm(context.WithoutCancel(ctx), string(point)) // what stayed armed would kill after all was mended
		}
		if !s.Alive() {
			c.startAgain(s)
		}
	}
	return died
}

// diedSoon reports whether a process was killed before it had time to come all the way past a point.
func (c *Chaos) diedSoon(ctx context.Context, s *cluster.Service) bool {
	select {
	case <-s.Exited():
		return s.KilledBySignal()
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
	}
	return false
}

// dieStarting starts a process anew that dies at a point of its start.
func dieStarting(_ context.Context, s *cluster.Service, point string) error {
	s.Kill()
	return s.StartWith(failpoint.EnvArm + "=" + point + "=kill")
}

// dieStopping tells a process to end, and has it die at a point on its way.
func dieStopping(ctx context.Context, s *cluster.Service, point string) error {
	err := s.Arm(ctx, point, "kill", 1)
	if err == nil {
		s.Signal(syscall.SIGTERM)
	}
	return err
}
