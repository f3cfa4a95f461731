// Package lifecycle does to organizations what people do, in whatever order chance has it, and compares every answer of the
// pipeline with those of a reference model.
package lifecycle

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

const fronts = 2

// Parts are the experiments of this package.
func Parts() []campaign.Part {
	return []campaign.Part{{
		Name: "lifecycle", Units: 530, Slice: 1,
		Claim: "T120: fourteen commands in random order (invite, accept, decline, revoke, resend, rotate, remove, time passes, …), each answer " +
			"the one of a reference model. A unit is 50 organizations of 40 commands or so; a failing one is shrunk.",
		Run: run,
	}}
}

// perUnit is how many organizations a unit has, and how many commands each about.
const (
	organizations = 50
	commands      = 40
)

func run(ctx context.Context, u campaign.Unit) (out campaign.Outcome, err error) {
	p, err := pipeline.Start(ctx, pipeline.Options{Dir: u.Dir, Fronts: fronts, Logs: u.Log})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := adjust(u.Seed); err != nil {
		return out, err
	}
	t := &listener{log: u.Log}
	m := &machines{Pipeline: p, ctx: ctx}
	t.run(func() { rapid.Check(t, m.check) })
	if err := context.Cause(ctx); err != nil { // whatever failed, failed because of that
		return out, err
	}
	out.Count("commands", int64(m.steps))
	out.Count("organizations", int64(m.organizations))
	out.Violations = t.failures
	return out, nil
}

var once sync.Once

// adjust sets what rapid reads from the command line of tests.
func adjust(seed uint64) error {
	once.Do(func() {
		testing.Init()
		_ = flag.CommandLine.Parse(nil) // rapid asks whether the tests are to be short
	})
	return errors.Join(
		flag.Set("rapid.seed", strconv.FormatUint(seed, 10)), flag.Set("rapid.checks", strconv.Itoa(organizations)),
		flag.Set("rapid.steps", strconv.Itoa(commands)), flag.Set("rapid.nofailfile", "true"),
	)
}

// machines makes an organization and a machine for each check.
type machines struct {
	*pipeline.Pipeline
	ctx                  context.Context
	organizations, steps int
}

func (ms *machines) check(t *rapid.T) {
	ms.organizations++
	m := &machine{
		Pipeline: ms.Pipeline, ctx: ms.ctx, front: ms.Front(ms.organizations), org: fmt.Sprintf("org-%d", ms.organizations),
		model: organization{members: map[string]string{}},
	}
	if err := m.Organization(m.ctx, m.org, nil); err != nil {
		t.Fatalf("%v", err)
	}
	m.await(t, "the owner in the instance's memory", m.membersAgree) // another instance made the organization
	t.Repeat(m.commands())
	m.list(t)
	m.listMembers(t)
	m.mailed(t)
	ms.steps += m.steps
}

// listener is a rapid.TB that takes down what a check has to say.
type listener struct {
	log      io.Writer
	failures []string
	failed   bool
}

// stopped is what ends a check that has failed.
type stopped struct{}

// run runs a check to its end, or to where it fails.
func (l *listener) run(check func()) {
	defer func() {
		if what := recover(); what != nil && what != (stopped{}) {
			panic(what)
		}
	}()
	check()
}

// Helper implements rapid.TB.
func (l *listener) Helper() {}

// Name implements rapid.TB.
func (l *listener) Name() string { return "lifecycle" }

// Logf implements rapid.TB.
func (l *listener) Logf(format string, args ...any) { _, _ = fmt.Fprintf(l.log, format+"\n", args...) }

// Log implements rapid.TB.
func (l *listener) Log(args ...any) { _, _ = fmt.Fprintln(l.log, args...) }

// Errorf implements rapid.TB.
func (l *listener) Errorf(format string, args ...any) {
	l.failed = true
	l.failures = append(l.failures, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Error implements rapid.TB.
func (l *listener) Error(args ...any) { l.Errorf("%s", fmt.Sprint(args...)) }

// Fatalf implements rapid.TB.
func (l *listener) Fatalf(format string, args ...any) { l.Errorf(format, args...); l.FailNow() }

// Fatal implements rapid.TB.
func (l *listener) Fatal(args ...any) { l.Error(args...); l.FailNow() }

// Skipf implements rapid.TB.
func (l *listener) Skipf(format string, args ...any) { l.Logf(format, args...); l.SkipNow() }

// Skip implements rapid.TB.
func (l *listener) Skip(args ...any) { l.Log(args...); l.SkipNow() }

// SkipNow implements rapid.TB.
func (l *listener) SkipNow() { panic(stopped{}) }

// FailNow implements rapid.TB.
func (l *listener) FailNow() { l.Fail(); panic(stopped{}) }

// Fail implements rapid.TB.
func (l *listener) Fail() { l.failed = true }

// Failed implements rapid.TB.
func (l *listener) Failed() bool { return l.failed }
