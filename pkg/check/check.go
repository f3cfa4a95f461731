// Package check compares everything that Usher keeps with what the ledger says: memberships, views, links, timers, mails,
// consumers, and the streams themselves. It names each disagreement by its invitation, and mends those that have exactly
// one right answer.
//
// It never trusts a single look. What disagrees is looked at again after a while, with the ledger read on to its end, and
// told only where it still does: so a busy system, in which things are always under way, is clean.
package check

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
)

// Options of New.
type Options struct {
	Ledger       *ledger.Ledger
	Redis        *redisdb.DB
	Roster       *roster.Roster
	Suppressions *suppressions.List
	// Links derives the tokens that are looked for in the index. Nil where the keys are not known: tokens are then left out.
	Links *links.Ring
	// MaxAge is how long the ledger remembers.
	MaxAge time.Duration
	// Settle is how long a disagreement must last to be one, and how long a repair may take to show (default 5 s).
	Settle time.Duration
	// Said is told now and then how far the check is; nil for nobody.
	Said func(string)
}

// Checker compares. One Run at a time.
type Checker struct {
	Options
	read *reading
	same map[string]bool // by stream: its copies were seen to hold the same
}

// Disagreement is one thing that two places say differently.
type Disagreement struct {
	Kind Kind `json:"kind"`
	// Organization and Invitation name what it is about; empty where it is about no single one.
	Organization string `json:"organization,omitempty"`
	Invitation   string `json:"invitation,omitempty"`
	// Detail is one sentence: what is wrong, and what would be right.
	Detail string `json:"detail"`
	// Repairable is true where there is exactly one right answer; Repaired where it holds now.
	Repairable bool `json:"repairable"`
	Repaired   bool `json:"repaired"`
}

// Report is the outcome of a Run.
type Report struct {
	// Clean is true where nothing disagrees, or nothing does any more.
	Clean bool `json:"clean"`
	// Checked counts what was compared, Waiting what is still to be done by whom: messages by consumer.
	Checked map[string]int    `json:"checked"`
	Waiting map[string]uint64 `json:"waiting"`
	// Unchecked are the things that could not be compared, each a sentence.
	Unchecked     []string       `json:"unchecked"`
	Disagreements []Disagreement `json:"disagreements"`
}

// New prepares a check.
func New(o Options) *Checker {
	if o.Settle == 0 {
		o.Settle = 5 * time.Second
	}
	if o.Said == nil {
		o.Said = func(string) {}
	}
	return &Checker{Options: o}
}

// How often is looked again: for what is still under way, and for what repairs have done.
const (
	looksAgain = 3
	mendings   = 4
)

// Do says what a Run does beside comparing.
type Do struct {
	// Repair mends what has exactly one right answer.
	Repair bool
	// AcceptGaps writes down that the messages which are missing now are known to be lost: they are not told again, and no
	// longer keep back what a repair could not be sure of.
	AcceptGaps bool
}

// Run compares everything, and does what else it is told to. It returns problem.NotNow while a dependency is down.
func (c *Checker) Run(ctx context.Context, do Do) (Report, error) {
	c.read, c.same = newReading(c.Options), map[string]bool{}
	now, err := c.confirmed(ctx)
	if err != nil {
		return Report{}, err
	}
	all := maps.Clone(now.found)
	if do.AcceptGaps {
		if err := c.accept(ctx, now); err != nil {
			return Report{}, err
		}
		if now, err = c.confirmed(ctx); err != nil {
			return Report{}, err
		}
		maps.Copy(all, now.found)
	}
	for range mendings {
		if !do.Repair || !mendable(now.found) {
			break
		}
		if err := c.mend(ctx, now.found); err != nil {
			return Report{}, err
		}
		if now, err = c.confirmed(ctx); err != nil {
			return Report{}, err
		}
		maps.Copy(all, now.found)
	}
	return now.report(all), nil
}

// confirmed looks, and looks again at what disagrees, until that has lasted.
func (c *Checker) confirmed(ctx context.Context) (*look, error) {
	before, err := c.look(ctx)
	if err != nil {
		return nil, err
	}
	for range looksAgain {
		if len(before.found) == 0 {
			break
		}
		if err := pause(ctx, c.Settle); err != nil {
			return nil, err
		}
		after, err := c.look(ctx)
		if err != nil {
			return nil, err
		}
		young := false
		for k, f := range after.found {
			if _, lasted := before.found[k]; !lasted {
				delete(after.found, k) // it came just now, and may go as quickly
				continue
			}
			young = young || f.newest.After(after.now.Add(-c.Settle))
		}
		if before = after; !young {
			break
		}
	}
	before.keepBack()
	return before, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// key tells one disagreement from every other.
type key struct {
	kind            Kind
	org, invitation string
	what            string // where there may be several of a kind: an index, a person, a sequence
}

// finding is a disagreement with what is needed to look at it again and to mend it.
type finding struct {
	Disagreement
	newest time.Time // when the newest thing happened that it is about
	mend   mending
}

// look is one comparison of everything.
type look struct {
	*Checker
	now       time.Time
	number    int
	consumers map[string]ledger.Consumer // of all streams
	indexes   map[string]map[string]bool // by organization: the names of those that exist
	notes     notes
	gaps      []gap // that nothing explains and nobody accepted
	waiting   map[string]uint64
	checked   map[string]int
	unchecked []string
	found     map[key]finding
}

func (c *Checker) look(ctx context.Context) (*look, error) {
	c.read.looks++
	l := &look{
		Checker: c, now: c.Ledger.Now(), number: c.read.looks, waiting: map[string]uint64{}, checked: map[string]int{}, found: map[key]finding{},
	}
	// The order matters. What a consumer has done by now the streams tell afterwards, and what they tell Redis knows after that.
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"notes", l.lookAtNotes}, {"consumers", l.lookAtConsumers}, {"the ledger", c.read.on}, {"streams", l.lookAtStreams}, {"replicas", l.lookAtReplicas},
		{"keys in Redis", l.lookAtKeys}, {"views", l.lookAtViews}, {"invitations", l.lookAtInvitations},
	}
	for _, step := range steps {
		c.Said("looking at " + step.what)
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("check: %s: %w", step.what, err)
		}
	}
	return l, nil
}

// keepBack takes the repairs out that would rest on what the ledger does not say while it is known to have lost something, and
// all of them while its copies say different things.
func (l *look) keepBack() {
	lost, differ, kept := false, false, 0
	for k := range l.found {
		lost = lost || k.kind == SequenceGap && strings.HasPrefix(k.what, events.StreamInvitations)
		differ = differ || k.kind == ReplicaDiffers || k.kind == ReplicaBehind
	}
	for k, f := range l.found {
		if f.Repairable && (differ || lost && restsOnSilence[k.kind]) {
			f.mend, f.Repairable = mending{}, false
			l.found[k] = f
			kept++
		}
	}
	if kept > 0 {
		l.unchecked = append(l.unchecked, "repairs: "+strconv.Itoa(kept)+" are kept back, because the ledger has lost something or its copies differ")
	}
}

// tell notes a disagreement about an invitation.
func (l *look) tell(a *account, kind Kind, m mending, what, format string, args ...any) {
	l.found[key{kind, a.organization(), a.invitation(), what}] = finding{newest: a.newestAt(), mend: m, Disagreement: Disagreement{
		Kind: kind, Organization: a.organization(), Invitation: a.invitation(), Detail: fmt.Sprintf(format, args...), Repairable: m.possible(),
	}}
}

// tellOf notes a disagreement that is not about an invitation the ledger knows.
func (l *look) tellOf(org, invitation string, kind Kind, m mending, what, format string, args ...any) {
	l.found[key{kind, org, invitation, what}] = finding{mend: m, Disagreement: Disagreement{
		Kind: kind, Organization: org, Invitation: invitation, Detail: fmt.Sprintf(format, args...), Repairable: m.possible(),
	}}
}

// report is what is told of the last look, with what was found before and is gone.
func (l *look) report(all map[key]finding) Report {
	r := Report{Clean: len(l.found) == 0, Checked: l.checked, Waiting: l.waiting, Unchecked: l.unchecked, Disagreements: []Disagreement{}}
	if r.Unchecked == nil {
		r.Unchecked = []string{}
	}
	for k, f := range all {
		if last, still := l.found[k]; still {
			f = last
		} else {
			f.Repaired = true
		}
		r.Disagreements = append(r.Disagreements, f.Disagreement)
	}
	slices.SortFunc(r.Disagreements, func(a, b Disagreement) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Organization, b.Organization), cmp.Compare(a.Invitation, b.Invitation), cmp.Compare(a.Detail, b.Detail))
	})
	return r
}
