// Command faults breaks Usher in every way its makers could think of, and holds what its users were told against what is
// there. It runs a campaign of seeded experiments that goes on where it was left, repeats any of them, and writes the
// evidence.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/cluster"
	"github.com/usherhq/usher/services/usher/faults/disks"
	"github.com/usherhq/usher/services/usher/faults/histories"
	"github.com/usherhq/usher/services/usher/faults/lifecycle"
	"github.com/usherhq/usher/services/usher/faults/races"
	"github.com/usherhq/usher/services/usher/faults/recovery"
	"github.com/usherhq/usher/services/usher/faults/replays"
	"github.com/usherhq/usher/services/usher/faults/trial"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// parts are all parts of the campaign, in the order of the evidence page.
func parts() []campaign.Part {
	return slices.Concat(trial.Parts(), recovery.Parts(), disks.Parts(), histories.Parts(), lifecycle.Parts(), races.Parts(), replays.Parts())
}

// recordDir is where the campaign's record is kept, below this folder.
const recordDir = "services/usher/faults/record"

// options of the command line.
type options struct {
	part  *regexp.Regexp
	seed  uint64
	most  int
	time  time.Duration
	work  string
	slice bool
	write bool
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	part := f.String("part", "", "only the parts whose name matches this regular expression")
	f.Uint64Var(&o.seed, "seed", 0, "run this one unit of the part, record nothing, and keep its files")
	f.IntVar(&o.most, "most", 0, "run so many units of each part at most")
	f.DurationVar(&o.time, "for", 0, "begin no unit after so long")
	f.BoolVar(&o.slice, "slice", false, "run a short slice of every part, and record nothing")
	f.BoolVar(&o.write, "evidence", false, "run nothing, and write the record into the evidence page")
	f.StringVar(&o.work, "work", "", "where units keep their files (default: a folder in the user's cache)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.work == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return o, err
		}
		o.work = filepath.Join(cache, "usher-faults", "work")
	}
	o.part, err = regexp.Compile("^(" + *part + ")$")
	if *part == "" {
		o.part = regexp.MustCompile("")
	}
	return o, err
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	version, err := versionUnderTest()
	if err != nil {
		return err
	}
	record, err := campaign.OpenRecord(filepath.Join(cluster.Root(), recordDir))
	if err != nil {
		return err
	}
	if o.write {
		return evidence(filepath.Join(cluster.Root(), page), record)
	}
	how := campaign.Options{Record: record, Work: o.work, Version: version, Progress: out, Most: o.most}
	if o.time > 0 {
		how.Until = time.Now().Add(o.time)
	}
	var wanted []campaign.Part
	for _, p := range parts() {
		if o.part.MatchString(p.Name) && (!o.slice || p.Slice > 0) {
			wanted = append(wanted, p)
		}
	}
	if len(wanted) == 0 {
		return errors.New("there is no such part")
	}
	return runParts(ctx, wanted, o, how)
}

// runParts runs one part after the other; those of a slice, which mostly wait, side by side.
func runParts(ctx context.Context, parts []campaign.Part, o options, how campaign.Options) error {
	errs := make([]error, len(parts))
	var running errgroup.Group
	running.SetLimit(1)
	if o.slice {
		running.SetLimit(4)
	}
	for i, p := range parts {
		running.Go(func() error {
			if err := runPart(ctx, p, o, how); err != nil {
				errs[i] = fmt.Errorf("%s: %w", p.Name, err)
			}
			return nil
		})
	}
	_ = running.Wait() // what went wrong is in errs: one part's failure ends no other
	return errors.Join(errs...)
}

func runPart(ctx context.Context, p campaign.Part, o options, how campaign.Options) error {
	switch {
	case o.seed != 0:
		outcome, dir, err := campaign.Try(ctx, p, o.seed, o.work)
		_, _ = fmt.Fprintf(how.Progress, "%s %d: files in %s\ncounts %v\nfigures %v\n", p.Name, o.seed, dir, outcome.Counts, outcome.Figures)
		for _, v := range outcome.Violations {
			_, _ = fmt.Fprintln(how.Progress, "VIOLATION", v)
		}
		if err == nil && (len(outcome.Violations) > 0) != p.Control {
			err = campaign.ErrFailed
		}
		return err
	case o.slice:
		scratch, err := os.MkdirTemp("", "usher-faults-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(scratch) }() // in the system's own folder for such things
		if how.Record, err = campaign.OpenRecord(scratch); err != nil {
			return err
		}
		p.Units = p.Slice
	}
	return campaign.Run(ctx, p, how)
}

// page is the evidence page, below the root; what stands between its two marks follows from the record.
const (
	page      = "docs/evidence.md"
	pageBegin = "<!-- record -->\n"
	pageEnd   = "<!-- /record -->"
)

// evidence writes the record into the page.
func evidence(path string, record *campaign.Record) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), pageBegin)
	_, after, ended := strings.Cut(rest, pageEnd)
	if !ok || !ended {
		return fmt.Errorf("%s has no place for the record", path)
	}
	var b strings.Builder
	b.WriteString(before + pageBegin)
	campaign.Write(&b, record, parts())
	b.WriteString(pageEnd + after)
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// versionUnderTest names the code as git knows it.
func versionUnderTest() (string, error) {
	command := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=10")
	command.Dir = cluster.Root()
	said, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("git describe: %w", err)
	}
	return strings.TrimSpace(string(said)), nil
}
