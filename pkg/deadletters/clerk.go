package deadletters

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
)

// Clerk makes dead letters of what the broker gave up by itself, and counts the open ones.
type Clerk struct {
	ledger *ledger.Ledger
	log    *slog.Logger

	letters, oldest *prometheus.Desc

	mu   sync.Mutex
	open map[uint64]waiting // by the letter's sequence
}

// waiting is an open letter.
type waiting struct {
	worker string
	since  time.Time
}

// NewClerk makes a clerk whose figures are in metrics once it runs.
func NewClerk(l *ledger.Ledger, log *slog.Logger, metrics prometheus.Registerer) *Clerk {
	describe := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("usher_dead_letters_"+name, help, []string{"worker"}, nil)
	}
	c := &Clerk{
		ledger: l, log: log, open: map[uint64]waiting{},
		letters: describe("open", "Dead letters about which nothing was done yet."),
		oldest:  describe("oldest_seconds", "Age of the oldest dead letter about which nothing was done yet."),
	}
	metrics.MustRegister(c)
	return c
}

// Run works until ctx ends.
func (c *Clerk) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := c.ledger.Heads(ctx, events.StreamDeadLetters, events.RootDeadLetters+".>", 0, c.count)
		if err == nil {
			break
		}
		c.log.Error("the dead letters cannot be counted yet", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return c.followUndelivered(ctx)
}

// count takes in a letter, or what was done about one.
func (c *Clerk) count(r ledger.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if worker, _, _, ok := events.SplitDeadLetter(r.Subject); ok {
		c.open[r.Sequence] = waiting{worker, r.Time}
	} else if _, _, letter, ok := events.SplitDeadAct(r.Subject); ok {
		delete(c.open, letter)
	}
}

// Describe implements prometheus.Collector.
func (c *Clerk) Describe(d chan<- *prometheus.Desc) {
	d <- c.letters
	d <- c.oldest
}

// Collect implements prometheus.Collector. Letters that the stream has forgotten by now are forgotten here, too.
func (c *Clerk) Collect(m chan<- prometheus.Metric) {
	now := c.ledger.Now()
	letters, oldest := map[string]int{}, map[string]time.Time{}
	c.mu.Lock()
	for sequence, w := range c.open {
		if now.Sub(w.since) > ledger.DeadLettersAge {
			delete(c.open, sequence)
			continue
		}
		letters[w.worker]++
		if first, ok := oldest[w.worker]; !ok || w.since.Before(first) {
			oldest[w.worker] = w.since
		}
	}
	c.mu.Unlock()
	for worker, n := range letters {
		m <- prometheus.MustNewConstMetric(c.letters, prometheus.GaugeValue, float64(n), worker)
		m <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, max(0, now.Sub(oldest[worker]).Seconds()), worker)
	}
}
