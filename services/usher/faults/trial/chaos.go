package trial

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/usherhq/usher/services/mailer/fakemailgun"
	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// act is one thing that breaks, at a moment of the trial.
type act struct {
	at   time.Duration
	what string
	do   func(ctx context.Context) error
}

// Chaos is the schedule of a trial: acts in any order, each at its own time.
type Chaos struct {
	*Trial
	rng  *rand.Rand
	over time.Duration
	acts []act
}

// kinds are the kinds of faults, by name, with how often each is chosen and whether it needs a large cluster.
var kinds = []struct {
	name   string
	weight int
	large  bool
	plan   func(*Chaos)
}{
	{"failpoint", 8, false, (*Chaos).failpoint},
	{"kill-service", 4, false, (*Chaos).killService},
	{"kill-pair", 3, false, (*Chaos).killPair},
	{"kill-all", 1, false, (*Chaos).killAll},
	{"terminate", 2, false, (*Chaos).terminate},
	{"zombie", 2, false, (*Chaos).zombie},
	{"kill-broker", 3, false, (*Chaos).killBroker},
	{"freeze-broker", 1, false, (*Chaos).freezeBroker},
	{"kill-redis", 2, false, (*Chaos).killRedis},
	{"wipe-redis", 2, false, (*Chaos).wipeRedis},
	{"redis-refuses", 2, false, (*Chaos).redisRefuses},
	{"link", 6, false, (*Chaos).badLink},
	{"provider", 5, false, (*Chaos).provider},
	{"webhooks", 3, false, (*Chaos).webhooks},
	{"clock", 2, false, (*Chaos).clock},
	{"partition", 3, true, (*Chaos).partition},
	{"failover", 3, true, (*Chaos).failover},
	{"kill-leader", 3, true, (*Chaos).killLeader},
}

// schedule chooses from one to four faults.
func (c *Chaos) schedule() {
	var bag []int
	for i, k := range kinds {
		if k.large && len(c.cluster.Brokers) == 1 {
			continue
		}
		for range k.weight {
			bag = append(bag, i)
		}
	}
	for range 1 + c.rng.IntN(4) {
		kinds[bag[c.rng.IntN(len(bag))]].plan(c)
	}
}

func (c *Chaos) add(at time.Duration, what string, do func(context.Context) error) {
	c.acts = append(c.acts, act{at: at, what: what, do: do})
}

// run carries the schedule out. A fault that cannot be made, because its victim is gone already, is told in the log.
func (c *Chaos) run(ctx context.Context) {
	var running sync.WaitGroup
	for _, a := range c.acts {
		running.Go(func() {
			if !wait(ctx, a.at) {
				return
			}
			c.say("%s", a.what)
			if err := a.do(ctx); err != nil {
				c.say("%s: %v", a.what, err)
			}
		})
	}
	running.Wait()
}

// plan says in one line what will be done.
func (c *Chaos) plan() string {
	var words []string
	for _, a := range c.acts {
		words = append(words, fmt.Sprintf("%s at %.2fs", a.what, a.at.Seconds()))
	}
	return strings.Join(words, "; ")
}

func (c *Chaos) moment() time.Duration { return c.upTo(c.over) }

func (c *Chaos) upTo(d time.Duration) time.Duration { return upTo(c.rng, d) }

// upTo is a time shorter than d.
func upTo(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }

func (c *Chaos) service() *cluster.Service {
	return c.cluster.Services[c.rng.IntN(len(c.cluster.Services))]
}

// back starts a process again after some time, short or long.
func (c *Chaos) back(at time.Duration, p *cluster.Program) {
	c.add(at+c.upTo(1500*time.Millisecond), "start "+p.Name, func(context.Context) error {
		if p.Alive() {
			return nil
		}
		return p.Start()
	})
}

// failpoint has a process killed, frozen for a while, or made to panic, between two steps of its work.
func (c *Chaos) failpoint() {
	s, at := c.service(), c.moment()/2
	point := c.points[s.Kind][c.rng.IntN(len(c.points[s.Kind]))]
	action := []string{"kill", "kill", "kill", "stop", "panic"}[c.rng.IntN(5)]
	after := 1 + c.rng.IntN(6)
	c.add(at, fmt.Sprintf("arm %s %s=%s@%d", s.Name, point, action, after), func(ctx context.Context) error { return s.Arm(ctx, point, action, after) })
	end := at + 500*time.Millisecond + c.upTo(c.over)
	c.add(end, "continue "+s.Name, func(ctx context.Context) error {
		s.Signal(syscall.SIGCONT)
		if s.Alive() {
			return s.Disarm(ctx, point)
		}
		return nil
	})
	c.back(end, s.Program)
}

func (c *Chaos) kill(at time.Duration, p *cluster.Program) {
	c.add(at, "kill "+p.Name, func(context.Context) error { p.Kill(); return nil })
}

func (c *Chaos) killService() {
	s, at := c.service(), c.moment()
	c.kill(at, s.Program)
	c.back(at, s.Program)
}

// killPair kills two processes within 50 ms, and starts them in any order.
func (c *Chaos) killPair() {
	all, at := c.cluster.All(), c.moment()
	for _, i := range c.rng.Perm(len(all))[:2] {
		c.kill(at+c.upTo(50*time.Millisecond), all[i])
		c.back(at+50*time.Millisecond, all[i])
	}
}

func (c *Chaos) killAll() {
	at := c.moment()
	for _, p := range c.cluster.All() {
		c.kill(at, p)
		c.back(at, p)
	}
}

func (c *Chaos) terminate() {
	s, at := c.service(), c.moment()
	c.add(at, "terminate "+s.Name, func(context.Context) error {
		_, err := s.Terminate(15 * time.Second)
		return err
	})
	c.back(at+200*time.Millisecond, s.Program)
}

// zombie freezes a process for so long that others take over its work, and lets it wake up in the middle of it.
func (c *Chaos) zombie() {
	s, at := c.service(), c.moment()
	c.add(at, "freeze "+s.Name, func(context.Context) error { s.Signal(syscall.SIGSTOP); return nil })
	long := c.upTo(4 * time.Second)
	if c.rng.IntN(3) == 0 {
		long = 35 * time.Second // longer than the broker waits for a sign of life
	}
	c.add(at+long, "wake "+s.Name, func(context.Context) error { s.Signal(syscall.SIGCONT); return nil })
}

func (c *Chaos) killBroker() {
	b, at := c.cluster.Brokers[c.rng.IntN(len(c.cluster.Brokers))], c.moment()
	c.kill(at, b.Program)
	c.back(at, b.Program)
}

func (c *Chaos) freezeBroker() {
	b, at := c.cluster.Brokers[c.rng.IntN(len(c.cluster.Brokers))], c.moment()
	c.add(at, "freeze "+b.Name, func(context.Context) error { b.Signal(syscall.SIGSTOP); return nil })
	c.add(at+c.upTo(8*time.Second), "wake "+b.Name, func(context.Context) error { b.Signal(syscall.SIGCONT); return nil })
}

func (c *Chaos) killRedis() {
	r, at := c.cluster.Redis[c.rng.IntN(len(c.cluster.Redis))], c.moment()
	c.kill(at, r.Program)
	c.back(at, r.Program)
}

func (c *Chaos) wipeRedis() {
	c.add(c.moment(), "wipe redis", func(ctx context.Context) error { return emptyRedis(ctx, c.Trial) })
}

// redisRefuses makes Redis take no writes for a while, as a full or demoted server does.
func (c *Chaos) redisRefuses() {
	at := c.moment()
	set, unset := []string{"CONFIG", "SET", "maxmemory", "1"}, []string{"CONFIG", "SET", "maxmemory", "0"}
	if c.rng.IntN(2) == 0 {
		set, unset = []string{"CONFIG", "SET", "min-replicas-to-write", "3"}, []string{"CONFIG", "SET", "min-replicas-to-write", "0"}
	}
	r := c.cluster.Redis[0]
	do := func(words []string) func(context.Context) error {
		return func(context.Context) error {
			_, err := r.Do(words...)
			return err
		}
	}
	c.add(at, "redis refuses writes: "+strings.Join(set, " "), do(set))
	c.add(at+c.upTo(3*time.Second), "redis takes writes", do(unset))
}

// toxics are the ways in which a link may be bad.
func (c *Chaos) toxic() cluster.Toxic {
	both := []string{"upstream", "downstream"}[c.rng.IntN(2)]
	switch c.rng.IntN(6) {
	case 0:
		return cluster.Toxic{Type: "latency", Stream: both, Attributes: map[string]any{"latency": 100 + c.rng.IntN(400), "jitter": 100}}
	case 1:
		return cluster.Toxic{Type: "timeout", Stream: both, Attributes: map[string]any{"timeout": 0}} // a black hole
	case 2:
		return cluster.Toxic{Type: "reset_peer", Stream: both, Attributes: map[string]any{"timeout": c.rng.IntN(500)}}
	case 3:
		return cluster.Toxic{Type: "limit_data", Stream: both, Attributes: map[string]any{"bytes": 1 + c.rng.IntN(20000)}}
	case 4:
		return cluster.Toxic{Type: "bandwidth", Stream: both, Attributes: map[string]any{"rate": 16 + c.rng.IntN(64)}}
	}
	return cluster.Toxic{Type: "slicer", Stream: both, Attributes: map[string]any{"average_size": 64, "size_variation": 32, "delay": 100}}
}

func (c *Chaos) badLink() {
	names := sortedNames(c.cluster.Links)
	l, at, t := c.cluster.Links[names[c.rng.IntN(len(names))]], c.moment(), c.toxic()
	cut := c.rng.IntN(4) == 0
	if cut {
		c.add(at, "cut "+l.Name, func(context.Context) error { l.Cut(); return nil })
	} else {
		c.add(at, fmt.Sprintf("%s on %s (%s %v)", t.Type, l.Name, t.Stream, t.Attributes), func(context.Context) error { return l.Poison(t) })
	}
	c.add(at+c.upTo(6*time.Second), "heal "+l.Name, l.Heal)
}

// provider has the provider fail in one of its ways, for some calls.
func (c *Chaos) provider() {
	some := 1 + c.rng.IntN(4)
	faults := []fakemailgun.Fault{
		{Status: 429, RetryAfter: "1", Times: some},
		{Status: 429, Times: some},
		{Status: 500, Times: some},
		{Status: 503, Times: some},
		{Status: 500, Accept: true, Times: some},
		{Accept: true, Cut: fakemailgun.CutBeforeAnswer, Times: some},
		{Accept: true, Cut: fakemailgun.CutInAnswer, Times: some},
		{Cut: fakemailgun.CutBeforeRead, Times: some},
		{Cut: fakemailgun.CutBeforeAnswer, Times: some},
		{Status: 200, Body: "<html>", Accept: true, Times: some},
		{Status: 200, Body: "{}", Times: some},
		{Status: 401, Times: 1},
		{Status: 404, Times: 1},
		{Delay: fakemailgun.Duration(2 * time.Second), Times: some},
		{On: "events", Status: 500, Times: some},
	}
	f := faults[c.rng.IntN(len(faults))]
	c.add(c.moment(), fmt.Sprintf("provider fails: %+v", f), func(context.Context) error { c.cluster.Mailgun.Fail(f); return nil })
}

// clock puts one process's clock wrong: by little, which must not matter, or by much, at which it must refuse to decide.
func (c *Chaos) clock() {
	s, at := c.service(), c.moment()
	ahead := []time.Duration{2 * time.Second, -2 * time.Second, time.Hour, -time.Hour, 24 * 400 * time.Hour}[c.rng.IntN(5)]
	c.add(at, fmt.Sprintf("clock of %s %s ahead", s.Name, ahead), func(ctx context.Context) error { return s.SetClock(ctx, ahead) })
	c.add(at+time.Second+c.upTo(3*time.Second), "clock of "+s.Name+" right", func(ctx context.Context) error { return s.SetClock(ctx, 0) })
}

// partition parts one broker from the other two, and from the services, or from the brokers alone.
func (c *Chaos) partition() {
	b, at := c.cluster.Brokers[c.rng.IntN(len(c.cluster.Brokers))], c.moment()
	fromAll := c.rng.IntN(2) == 0
	var parted []*cluster.Link
	for _, name := range sortedNames(c.cluster.Links) {
		from, to, _ := strings.Cut(name, "-nats")
		touches := strings.HasPrefix(name, b.Name+"-") || "nats"+to == b.Name
		between := from == "" || strings.HasPrefix(name, "nats-")
		if touches && (between || fromAll) {
			parted = append(parted, c.cluster.Links[name])
		}
	}
	c.add(at, fmt.Sprintf("part %s from the others (services too: %t)", b.Name, fromAll), func(context.Context) error {
		for _, l := range parted {
			l.Cut()
		}
		return nil
	})
	c.add(at+c.upTo(10*time.Second), "join "+b.Name, func(ctx context.Context) error {
		for _, l := range parted {
			if err := l.Heal(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// failover kills the primary Redis, with what it had not replicated.
func (c *Chaos) failover() { c.failoverAt(c.moment()) }

func (c *Chaos) failoverAt(at time.Duration) {
	c.add(at, "kill the primary redis", func(context.Context) error {
		r, err := c.cluster.Primary()
		if err != nil {
			return err
		}
		r.Kill()
		return nil
	})
	for _, r := range c.cluster.Redis {
		c.back(at+3*time.Second, r.Program)
	}
}

// killLeader kills the node that leads the ledger's stream.
func (c *Chaos) killLeader() { c.killLeaderAt(c.moment()) }

func (c *Chaos) killLeaderAt(at time.Duration) {
	c.add(at, "kill the leader of the ledger", func(ctx context.Context) error {
		name, err := c.leader(ctx)
		if err != nil {
			return err
		}
		for _, b := range c.cluster.Brokers {
			if b.Name == name {
				b.Kill()
			}
		}
		return nil
	})
	for _, b := range c.cluster.Brokers {
		c.back(at+time.Second, b.Program)
	}
}

// webhooks has the provider report on mails that went out, late, doubled, out of order and forged.
func (c *Chaos) webhooks() {
	seed := c.rng.Uint64()
	c.add(c.moment(), "reports of mails", func(ctx context.Context) error { return c.report(ctx, rand.New(rand.NewPCG(seed, 1))) })
}
