// Package campaign runs many seeded experiments, keeps what each came to in a file, and goes on where it was left.
package campaign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Part is one row of the evidence: an experiment that is repeated with many seeds.
type Part struct {
	// Name is the part's, in file names and on the command line.
	Name string
	// Claim is what has to hold in every unit, in a sentence for the evidence page.
	Claim string
	// Units is how many units the whole campaign has; unit n has seed n, from 1 on.
	Units int
	// Slice is how many units a short run takes; 0 for a part that is too long for one.
	Slice int
	// Parallel is how many units may run side by side (default 1): more where they wait more than they work.
	Parallel int
	// Control marks a part that shows that a fault is seen: each of its units must find a violation, else it has failed.
	Control bool
	// Run does one unit. What it finds wrong goes into the outcome; an error means that the experiment itself could not be
	// made, and nothing was shown either way.
	Run func(ctx context.Context, u Unit) (Outcome, error)
}

// Unit is one experiment that is to be made.
type Unit struct {
	// Seed decides everything about it that is left to chance.
	Seed uint64
	// Dir is an empty folder for its files. It is kept where the unit failed, and removed otherwise.
	Dir string
	// Log takes what may help to understand it; it is a file in Dir.
	Log io.Writer
}

// Outcome is what a unit came to.
type Outcome struct {
	// Counts are added up over all units: requests answered, mails, kills.
	Counts map[string]int64
	// Figures are looked at as a distribution over all units: seconds until ready, mails for one intent.
	Figures map[string]float64
	// Violations are what should not have been, each in a sentence that names the invitation.
	Violations []string
}

// Count adds to a count.
func (o *Outcome) Count(name string, n int64) {
	if o.Counts == nil {
		o.Counts = map[string]int64{}
	}
	o.Counts[name] += n
}

// Figure sets a figure.
func (o *Outcome) Figure(name string, value float64) {
	if o.Figures == nil {
		o.Figures = map[string]float64{}
	}
	o.Figures[name] = value
}

// Violate notes something that should not have been.
func (o *Outcome) Violate(format string, args ...any) {
	o.Violations = append(o.Violations, fmt.Sprintf(format, args...))
}

// ErrFailed is returned by Run where a unit found a violation, or a control found none.
var ErrFailed = errors.New("campaign: not everything held")

// Options of Run.
type Options struct {
	// Record is where results are kept; what is in it is not run again.
	Record *Record
	// Work is the folder for the files of units; those of failed ones stay.
	Work string
	// Version names the code under test, for the record.
	Version string
	// Progress takes a line for each unit.
	Progress io.Writer
	// Until ends the run early: no unit begins after it. Zero for never.
	Until time.Time
	// Most is how many units of a part run at most; 0 for all that are missing.
	Most int
}

// Run runs the units of a part that the record does not have yet. It goes on after a failure, and returns ErrFailed in the
// end; an error of the experiment itself ends it.
func Run(ctx context.Context, p Part, o Options) error {
	missing := o.Record.Missing(p)
	if o.Most > 0 && len(missing) > o.Most {
		missing = missing[:o.Most]
	}
	seeds := make(chan uint64)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	var failed sync.Once
	var verdict error
	for range max(p.Parallel, 1) {
		running.Go(func() {
			for seed := range seeds {
				ok, err := one(ctx, p, seed, o)
				if err != nil {
					cancel(err)
				} else if !ok {
					failed.Do(func() { verdict = ErrFailed })
				}
			}
		})
	}
	hand(ctx, seeds, missing, o.Until)
	running.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return verdict
}

func hand(ctx context.Context, seeds chan<- uint64, missing []uint64, until time.Time) {
	defer close(seeds)
	for _, seed := range missing {
		if !until.IsZero() && time.Now().After(until) {
			return
		}
		select {
		case seeds <- seed:
		case <-ctx.Done():
			return
		}
	}
}

// one runs one unit and records it.
func one(ctx context.Context, p Part, seed uint64, o Options) (ok bool, err error) {
	began := time.Now()
	outcome, dir, err := Try(ctx, p, seed, o.Work)
	if err != nil {
		return false, fmt.Errorf("%s, seed %d: %w (its files are in %s)", p.Name, seed, err, dir)
	}
	r := Result{
		Part: p.Name, Seed: seed, Version: o.Version, At: began.UTC().Truncate(time.Second), Took: time.Since(began).Seconds(),
		OK: (len(outcome.Violations) > 0) == p.Control, Counts: outcome.Counts, Figures: outcome.Figures, Violations: outcome.Violations,
	}
	if p.Control && len(r.Violations) > mostControlViolations {
		r.Violations = r.Violations[:mostControlViolations]
	}
	if r.OK {
		err = os.RemoveAll(dir)
	}
	_, _ = fmt.Fprintln(o.Progress, r.line(dir))
	return r.OK, errors.Join(err, o.Record.Add(r))
}

// mostControlViolations is how much of what a control found is worth keeping.
const mostControlViolations = 2

// Try runs one unit in a folder of its own below work, records nothing, and leaves the folder.
func Try(ctx context.Context, p Part, seed uint64, work string) (o Outcome, dir string, err error) {
	dir = filepath.Join(work, fmt.Sprintf("%s-%d", p.Name, seed))
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return o, dir, err
	}
	log, err := os.Create(filepath.Join(dir, "unit.log"))
	if err != nil {
		return o, dir, err
	}
	o, err = p.Run(ctx, Unit{Seed: seed, Dir: dir, Log: log})
	for _, v := range o.Violations {
		_, _ = fmt.Fprintln(log, "VIOLATION", v)
	}
	return o, dir, errors.Join(err, log.Close())
}
