// Package histories lets many clients do everything to the same invitations at once, over several instances of the API that
// crash and lose the broker, and asks porcupine whether what they were told can have happened one thing after another.
package histories

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

// operations is how many things clients ask for in one history and are told what came of it.
const operations = 2100

// Parts are the experiments of this package.
func Parts() []campaign.Part {
	return []campaign.Part{
		{
			Name: "histories", Units: 200, Slice: 1, Parallel: 2,
			Claim: "A history of 2,000 operations or more (accept, decline, revoke, resend with a new link and without, lookup, invite) " +
				"on the same invitations by 12 clients over three instances of the API, while deadlines pass, instances crash and lose the " +
				"broker, and the broker restarts, can have happened one thing after another: for each invitation, and for the claim on each " +
				"address. What could not be decided in a minute counts as failed.",
			Run: func(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
				return run(ctx, u, operations, true, nil)
			},
		},
		{
			Name: "histories-control", Units: 20, Slice: 2, Control: true,
			Claim: "The same, undisturbed, where an end (every other time: a claim on an address) is checked first and then written " +
				"without a condition: seen every time.",
			Run: func(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
				defect := []pipeline.Rewriter{pipeline.UnconditionalClaims, pipeline.UnconditionalEnds}[u.Seed%2]
				return run(ctx, u, operations, false, defect)
			},
		},
	}
}

func run(ctx context.Context, u campaign.Unit, operations int, disturbed bool, rewrite pipeline.Rewriter) (out campaign.Outcome, err error) {
	p, err := pipeline.Start(ctx, pipeline.Options{
		Dir: u.Dir, Fronts: fronts, Front: rewrite, Logs: u.Log, Behind: shortest - 8*time.Second,
	})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := p.Organization(ctx, org, nil); err != nil {
		return out, err
	}
	f := &field{Pipeline: p, began: time.Now(), seats: make([]*seat, seats)}
	for i := range f.seats {
		f.seats[i] = &seat{operations: fights + 1} // somebody new comes at once
	}
	if err := f.fight(ctx, u, operations, disturbed, &out); err != nil {
		return out, err
	}
	if err := p.Quiet(ctx); err != nil {
		return out, err
	}
	began := time.Now()
	if err := f.judge(ctx, u, &out); err != nil {
		return out, err
	}
	out.Figure("seconds to judge", time.Since(began).Seconds())
	return out, nil
}

// fight lets clients, clock and faults at the pipeline, until enough was done.
func (f *field) fight(ctx context.Context, u campaign.Unit, operations int, disturbed bool, out *campaign.Outcome) error {
	fighting, over := context.WithCancel(ctx)
	defer over()
	var others sync.WaitGroup
	var broken error
	others.Go(func() { f.age(fighting, rand.New(rand.NewPCG(u.Seed, 100))) })
	if disturbed {
		others.Go(func() {
			faults, err := f.disturb(fighting, rand.New(rand.NewPCG(u.Seed, 101)), u.Log)
			out.Count("faults", int64(faults))
			broken = err
		})
	}
	f.work(ctx, u.Seed, operations)
	over()
	others.Wait()
	for n := range fronts {
		f.Front(n).Wire.Up()
	}
	return broken
}

// judge looks at every invitation once more, and has the history checked.
func (f *field) judge(ctx context.Context, u campaign.Unit, out *campaign.Outcome) error {
	stored, err := f.Stored(ctx, events.StreamInvitations)
	if err != nil {
		return err
	}
	ops := f.settle(stored)
	last, err := f.lookAtAll(ctx, ops)
	if err != nil {
		return err
	}
	ops = append(ops, last...)
	out.Count("operations", int64(len(ops)))
	for _, o := range ops {
		if o.unknown {
			out.Count("without an answer", 1)
		}
	}
	byInvitation, byAddress := map[string][]*op{}, map[string][]*op{}
	for _, o := range ops {
		byInvitation[o.invitation] = append(byInvitation[o.invitation], o)
		byAddress[o.address] = append(byAddress[o.address], o)
	}
	out.Count("invitations", int64(len(byInvitation)))
	for _, part := range []map[string][]*op{byInvitation, byAddress} {
		for _, name := range slices.Sorted(maps.Keys(part)) {
			if wrong := check(name, part[name], filepath.Join(u.Dir, name+".html")); wrong != "" {
				out.Violations = append(out.Violations, wrong)
			}
		}
	}
	members, err := f.Stored(ctx, events.StreamMemberships)
	out.Violations = append(out.Violations, unfulfilled(last, members)...)
	return err
}

// settle makes of what the clients noted a history that can be checked. What came of that which was not answered is read in
// the ledger; when, is left open until the end.
func (f *field) settle(stored []pipeline.Stored) []*op {
	l, now := newLedger(stored), f.Clock.Now()
	for _, o := range f.ops {
		switch {
		case o.unknown:
			o.ret, o.returned = math.MaxInt64, now
		case o.what == resend && o.code == "":
			l.explain(o)
		}
	}
	var ops []*op
	for _, o := range f.ops {
		switch {
		case o.what == resend && o.made != "":
			ops = append(ops, l.creation(o, o.made, l.deadline(o.made)))
		case o.what == resend && o.unknown:
			if other := l.replacement(o); other != nil {
				ops = append(ops, other)
			}
		case o.what == invite && (o.code == refusedMember || o.code == refusedConflict):
			continue // it is about no invitation
		}
		if !o.unknown || l.happened(o) {
			ops = append(ops, o)
		}
	}
	return ops
}

// lookAtAll asks how every invitation stands, now that everything is quiet.
func (f *field) lookAtAll(ctx context.Context, ops []*op) ([]*op, error) {
	var last []*op
	c := &client{field: f, number: clients, random: rand.New(rand.NewPCG(0, 0))}
	seen := map[string]bool{}
	for _, o := range ops {
		if seen[o.invitation] {
			continue
		}
		seen[o.invitation] = true
		look := &op{what: show, client: clients, address: o.address, invitation: o.invitation}
		if c.do(ctx, look); look.unknown {
			return nil, fmt.Errorf("invitation %s cannot be looked at, although everything is quiet", o.invitation)
		}
		last = append(last, look)
	}
	return last, nil
}

// unfulfilled lists the addresses that do not have exactly the membership they should: one, by an invitation that was accepted,
// where any was. Who was invited again before being a member, and accepted that too, is a member already.
func unfulfilled(last []*op, stored []pipeline.Stored) (violations []string) {
	memberships, accepts, by := map[string]int{}, map[string]int{}, map[string]string{}
	for _, s := range stored {
		if m, ok := s.Event.Data.(*events.MembershipProvisioned); ok && m.Invitation != "" {
			memberships[m.Email]++
			by[m.Invitation] = m.Email
		}
	}
	for _, o := range last {
		if o.told.outcome == accepted {
			accepts[o.address]++
		} else if by[o.invitation] != "" {
			violations = append(violations, fmt.Sprintf("%s: it is %s, and led to a membership", o.invitation, o.told.outcome))
		}
	}
	for _, o := range last {
		if have, want := memberships[o.address], min(accepts[o.address], 1); have != want {
			violations = append(violations, fmt.Sprintf("%s (%s): %d invitations of the address are accepted, and there are %d memberships",
				o.invitation, o.address, accepts[o.address], have))
		}
	}
	return violations
}
