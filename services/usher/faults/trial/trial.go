package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/mailer/fakemailgun"
	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// Options of a trial.
type Options struct {
	Seed  uint64
	Shape cluster.Shape
	// Stories is how many people are invited, Over the time in which things happen and break.
	Stories int
	Over    time.Duration
	// Settling is how long after the last fault the system may take to bring everything to its end (default a minute).
	Settling time.Duration
	// RedisLoses says that Redis may lose what it had in a way that no fault names: what "usher check" then mends is no fault.
	RedisLoses bool
	// Faults plans what breaks; nil for a schedule by chance.
	Faults func(*Chaos)
	Dir    string
	Log    io.Writer

	// errand goes on as long as things break; nil for none.
	errand *errand
}

// Trial is one experiment.
type Trial struct {
	options Options
	cluster *cluster.Cluster
	mails   *mails
	nc      *nats.Conn
	js      jetstream.JetStream
	points  map[string][]string // failpoints by kind of service

	org, ownerAddress string
	began             time.Time
	healed            time.Time // when nothing was broken any more
	redisLost         bool      // Redis may have lost something that it had
	reminders         int       // how many more mails come by themselves to who does not answer
}

// Run makes the experiment. An error means that it could not be made: what went wrong in the system is in the outcome.
func Run(ctx context.Context, o Options) (outcome campaign.Outcome, err error) {
	if o.Settling == 0 {
		o.Settling = time.Minute
	}
	c, err := cluster.Start(ctx, o.Dir, o.Shape)
	if err != nil {
		return outcome, err
	}
	defer c.Close()
	t := &Trial{options: o, cluster: c, mails: &mails{server: c.Mailgun}, org: fmt.Sprintf("t%d", o.Seed), began: time.Now()}
	t.ownerAddress = "owner." + t.org + "@example.org"
	if err := t.open(ctx); err != nil {
		return outcome, err
	}
	defer t.nc.Close()
	people := &traffic{Trial: t, bus: t.nc}
	desk := &office{traffic: people}
	if err := desk.open(ctx); err != nil {
		return outcome, err
	}
	if e := o.errand; e != nil && e.arrange != nil {
		if err := e.arrange(ctx, people); err != nil {
			return outcome, err
		}
	}
	if err := t.live(ctx, people, desk, &outcome); err != nil {
		return outcome, err
	}
	return outcome, t.judge(ctx, people, desk, &outcome)
}

// any is the address of any API process.
func (t *Trial) any() string { return anyOf(t.cluster) }

func (t *Trial) say(format string, args ...any) {
	_, _ = fmt.Fprintf(t.options.Log, "%7.3f %s\n", time.Since(t.began).Seconds(), fmt.Sprintf(format, args...))
}

// open connects to the broker past all links, makes the organization, and asks what can be stopped where.
func (t *Trial) open(ctx context.Context) (err error) {
	var urls []string
	for _, b := range t.cluster.Brokers {
		urls = append(urls, "nats://"+cluster.Addr(b.Port))
	}
	if t.nc, err = nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond)); err != nil {
		return err
	}
	if t.js, err = jetstream.New(t.nc); err != nil {
		return err
	}
	a := insist(ctx, func() answer {
		return request(ctx, http.MethodPut, t.cluster.Of("api")[0].URL+"/v1/organizations/"+t.org,
			map[string]any{"name": "Trial " + t.org, "owner": map[string]string{"email": t.ownerAddress, "name": "Olivia Owner"}},
			map[string]string{"Authorization": "Bearer " + t.cluster.Key})
	})
	if !a.yes() {
		return fmt.Errorf("the organization could not be made: %s", a)
	}
	t.points = map[string][]string{}
	for _, s := range t.cluster.Services {
		points, err := s.Failpoints(ctx)
		if err != nil {
			return fmt.Errorf("failpoints of %s: %w", s.Name, err)
		}
		if t.points[s.Kind] != nil {
			continue
		}
		for _, p := range points {
			t.points[s.Kind] = append(t.points[s.Kind], p.Name)
		}
	}
	return nil
}

// live has people use the system while it breaks, then mends it and waits until they have come to their ends.
func (t *Trial) live(ctx context.Context, people *traffic, desk *office, outcome *campaign.Outcome) error {
	rng := rand.New(rand.NewPCG(t.options.Seed, 7))
	people.plan(rng, t.options.Stories)
	breaking := &Chaos{Trial: t, rng: rng, over: t.options.Over}
	if t.options.Faults != nil {
		t.options.Faults(breaking)
	} else {
		breaking.schedule()
	}
	t.say("seed %d, %d brokers: %s", t.options.Seed, len(t.cluster.Brokers), breaking.plan())
	outcome.Count("faults", int64(len(breaking.acts)))
	t.redisLost = t.options.RedisLoses
	for _, a := range breaking.acts {
		t.redisLost = t.redisLost || strings.Contains(a.what, "redis")
	}

	lives, end := context.WithCancel(ctx)
	defer end()
	open, shut := context.WithCancel(ctx)
	defer shut()
	over := make(chan struct{})
	seed := rng.Uint64()
	var living sync.WaitGroup
	living.Go(func() { desk.work(open) })
	planned := slices.Clone(people.stories) // an errand adds others meanwhile
	living.Go(func() { people.run(lives, planned, rand.New(rand.NewPCG(seed, 8)), t.options.Over) })
	if t.options.errand != nil {
		living.Go(func() { people.goOnErrands(open, lives, t.options.errand) })
	}
	go func() {
		living.Wait()
		close(over)
	}()
	breaking.run(ctx)
	restoring := time.Now()
	if err := t.cluster.Restore(ctx); err != nil {
		outcome.Violate("the system did not come back by itself: %v", err)
	}
	shut()
	t.healed = time.Now()
	outcome.Figure("seconds until ready", t.healed.Sub(restoring).Seconds())
	t.say("mended")
	select {
	case <-over:
	case <-time.After(t.options.Settling):
		end()
		<-over
	}
	t.say("the stories are over")
	return ctx.Err()
}

// quiet waits until no consumer has anything left to do.
func (t *Trial) quiet(ctx context.Context) error {
	ctx, cancel := context.WithDeadline(ctx, t.healed.Add(t.options.Settling*5/4))
	defer cancel()
	for last := "nothing was looked at"; ; {
		busy, err := t.busy(ctx)
		if err == nil && busy == "" {
			return nil
		}
		if ctx.Err() == nil {
			last = fmt.Sprintf("%s %v", busy, err)
		}
		if !wait(ctx, 200*time.Millisecond) {
			return fmt.Errorf("%s after everything was mended there is still something to do: %s", time.Since(t.healed).Round(time.Second), last)
		}
	}
}

// busy names a consumer that has something left to do.
func (t *Trial) busy(ctx context.Context) (string, error) {
	for _, name := range []string{events.StreamRequests, events.StreamInvitations, events.StreamMemberships, events.StreamDeadLetters} {
		stream, err := t.js.Stream(ctx, name)
		if err != nil {
			return name, err
		}
		list := stream.ListConsumers(ctx)
		for info := range list.Info() {
			if info.Config.Durable != "" && info.NumPending+uint64(info.NumAckPending) > 0 {
				return fmt.Sprintf("%s has %d to come and %d in work", info.Name, info.NumPending, info.NumAckPending), nil
			}
		}
		if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return name, err
		}
	}
	return "", nil
}

// leader is the broker that leads the ledger's stream.
func (t *Trial) leader(ctx context.Context) (string, error) {
	stream, err := t.js.Stream(ctx, events.StreamInvitations)
	if err != nil || stream.CachedInfo().Cluster == nil {
		return "", err
	}
	return stream.CachedInfo().Cluster.Leader, nil
}

// report posts what the provider has to say about mails that it took, some of it twice, in the wrong order, or not signed.
func (t *Trial) report(ctx context.Context, rng *rand.Rand) error {
	sent := t.cluster.Mailgun.Mails()
	rng.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
	for _, m := range sent[:min(len(sent), 10)] {
		r := fakemailgun.Report{Mail: m.Number, Times: 1 + rng.IntN(3)}
		switch rng.IntN(4) {
		case 0:
			r.Kind = "deferred"
		case 1:
			r.Signature = strings.Repeat("0", 64)
			r.Kind = "bounced" // and must not be believed
		}
		_, _ = t.cluster.Mailgun.Report(ctx, r) // a provider tries again later, if at all
	}
	return nil
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
