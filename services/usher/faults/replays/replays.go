// Package replays delivers events many times, in another order, and months late, and looks whether what comes of them is the
// same as once only.
package replays

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/mailer/mail"
	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

// Parts are the experiments of this package.
func Parts() []campaign.Part {
	return []campaign.Part{
		{
			Name: "replays", Units: 120, Slice: 1, Run: run,
			Claim: "Every event is delivered to every handler 2 to 50 times and among others, by a real broker; 90 days later " +
				"everything is delivered once more, to services that forgot how far they had read and a Redis that forgot all. Ledger, " +
				"memberships, lists, mails and dead letters are the same as once only.",
		},
		{
			Name: "replays-control", Units: 5, Slice: 1, Control: true,
			Claim: "The same where one mail and one membership too many come of it: seen every time.",
			Run:   planted,
		},
	}
}

func run(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	return compare(ctx, u, func(context.Context, *story) error { return nil })
}

// compare tells a story once only and once with repeats. spoil may then do to the second what should be seen.
func compare(ctx context.Context, u campaign.Unit, spoil func(context.Context, *story) error) (out campaign.Outcome, err error) {
	once, err := onceOnly(ctx, u)
	if err != nil {
		return out, fmt.Errorf("once only: %w", err)
	}
	repeats := &pipeline.Repeats{Seed: u.Seed, Forgetful: u.Seed%2 == 0}
	s, err := begin(ctx, u, "often", pipeline.Options{Front: repeats.Rewrite, Back: repeats.Rewrite, Process: u.Seed%4 > 1})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := errors.Join(s.tell(ctx), spoil(ctx, s)); err != nil {
		return out, err
	}
	often, err := stateOf(ctx, s.Pipeline)
	if err != nil {
		return out, err
	}
	out.Violations = once.different(often)
	repeats.Forgetful = true
	late, err := s.ninetyDaysLater(ctx)
	out.Violations = append(out.Violations, late...)
	out.Count("deliveries", repeats.Deliveries())
	out.Count("different messages, counted for each handler", repeats.Messages())
	return out, err
}

func onceOnly(ctx context.Context, u campaign.Unit) (_ state, err error) {
	s, err := begin(ctx, u, "once", pipeline.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.tell(ctx); err != nil {
		return nil, err
	}
	return stateOf(ctx, s.Pipeline)
}

func begin(ctx context.Context, u campaign.Unit, name string, o pipeline.Options) (*story, error) {
	o.Dir, o.Logs = filepath.Join(u.Dir, name), u.Log
	p, err := pipeline.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	return &story{Pipeline: p, random: rand.New(rand.NewPCG(u.Seed, 1))}, nil
}

// quarter is how late everything is delivered once more.
const quarter = 90 * 24 * time.Hour

// ninetyDaysLater delivers everything once more to services that have forgotten how far they had read, over a Redis that has
// forgotten everything: nothing may come of it but that the lists are there again (T108, T121).
func (s *story) ninetyDaysLater(ctx context.Context) (violations []string, err error) {
	s.Clock.Pass(quarter)
	if err := s.Quiet(ctx); err != nil {
		return nil, err
	}
	before, err := stateOf(ctx, s.Pipeline)
	if err != nil {
		return nil, err
	}
	lists, err := s.lists(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.StopServices(), s.Forget(ctx), s.WipeRedis()); err != nil {
		return nil, err
	}
	if err := errors.Join(s.StartServices(ctx), s.Quiet(ctx)); err != nil {
		return nil, err
	}
	after, err := stateOf(ctx, s.Pipeline)
	if err != nil {
		return nil, err
	}
	for _, d := range before.different(after) {
		violations = append(violations, "90 days later, "+d)
	}
	again, err := s.lists(ctx)
	if err == nil && again != lists {
		violations = append(violations, "90 days later the lists read otherwise than before, byte for byte")
	}
	return violations, err
}

// lists are what the API shows, as it writes it. When something was asked is not the same twice, so nothing else is read.
func (s *story) lists(ctx context.Context) (string, error) {
	invitations := s.Call(ctx, s.Front(0), http.MethodGet, "/v1/organizations/"+org+"/invitations?limit=200", nil)
	members := s.Call(ctx, s.Front(0), http.MethodGet, "/v1/organizations/"+org+"/members?limit=200", nil)
	if invitations.Status != http.StatusOK || members.Status != http.StatusOK {
		return "", fmt.Errorf("lists: %s, %s", invitations, members)
	}
	return string(invitations.Body) + string(members.Body), nil
}

// planted is compare with a mail and a membership too many.
func planted(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	return compare(ctx, u, func(ctx context.Context, s *story) error {
		one := s.all[0]
		s.Mails.Send(ctx, []mail.Mail{{Recipient: mail.Recipient{To: one.Email}, Letter: &mail.Letter{}}})
		m := events.Membership{Organization: org, Person: "abcdefghijklmnopqrstuvwxyz", Email: one.Email, Role: "member", Invitation: one.ID, JoinedAt: s.Clock.Now()}
		return s.Tell(ctx, events.MembershipSubject(org, m.Person), events.Event{
			ID: events.NewEventID(), Source: "/usher/acceptance", Type: events.TypeMembershipProvisioned, Subject: m.Person, Time: s.Clock.Now(),
			Data: &events.MembershipProvisioned{Membership: m},
		})
	})
}
