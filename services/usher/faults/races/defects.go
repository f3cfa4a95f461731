package races

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/mailer/mail"
	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

// defect is one way in which an invariant is broken on purpose: by how the services are wired, by what is done to the stores
// after a race, or by what is written down of it.
type defect struct {
	name   string
	wiring pipeline.Options
	plant  func(context.Context, *race) error
	forge  func(*evidence)
}

// defects are all, by the invariant that each breaks.
var defects = []defect{
	{name: "I1: a membership is lost", plant: loseMembership},
	{name: "I2: a membership too many", plant: doubleMembership},
	{name: "I2: ends are written without a condition", wiring: pipeline.Options{Front: pipeline.UnconditionalEnds}},
	{name: "I2: a second end is stored", plant: secondEnd},
	{name: "I3: an acknowledged end is forgotten", plant: forgetEnd},
	{name: "I3: an invitation vanishes", plant: vanish},
	{name: "I4: an instance whose clock is behind accepts after the deadline", wiring: pipeline.Options{Late: 2 * shortest}, plant: acceptLate},
	{name: "I5: another role than was issued", wiring: pipeline.Options{Back: pipeline.AnotherRole}},
	{name: "I6: a token in the ledger", plant: tellToken},
	{name: "I7: a mail too many", plant: mailAgain},
	{name: "I8: a list shows what belongs to somebody else", forge: mixLists},
	{name: "I9: success is answered and nothing was stored", forge: sayYes},
	{name: "I11: Redis has forgotten the lists", plant: func(_ context.Context, r *race) error { return r.WipeRedis() }},
}

// spoil races, breaks something, and notes how long it takes until that is seen.
func spoil(ctx context.Context, u campaign.Unit) (out campaign.Outcome, err error) {
	d := defects[(u.Seed-1)%uint64(len(defects))]
	r, err := begin(ctx, u, d.wiring)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	began := time.Now()
	for group := range 2 {
		if err := r.group(ctx, group); err != nil {
			return out, err
		}
	}
	if err := r.Quiet(ctx); err != nil {
		return out, err
	}
	if d.plant != nil {
		began = time.Now()
		if err := d.plant(ctx, r); err != nil {
			return out, fmt.Errorf("%s: %w", d.name, err)
		}
	}
	e, err := r.evidence(ctx)
	if err != nil {
		return out, err
	}
	if d.forge != nil {
		began = time.Now()
		d.forge(&e)
	}
	for _, found := range judge(e) {
		out.Violate("%s. Seen: %s", d.name, found)
	}
	out.Figure("seconds until seen", time.Since(began).Seconds())
	return out, nil
}

// errNoneLike is returned where the race has brought forth nothing of the kind that is to be spoilt.
var errNoneLike = errors.New("no invitation ended like that")

// ending finds an invitation that ended so, and the message that ended it.
func (r *race) ending(ctx context.Context, how string) (*contest, pipeline.Stored, error) {
	stored, err := r.Stored(ctx, events.StreamInvitations)
	if err != nil {
		return nil, pipeline.Stored{}, err
	}
	for _, s := range stored {
		for _, c := range r.all {
			if outcome(s) == how && s.Event.Subject == c.id {
				return c, s, nil
			}
		}
	}
	return nil, pipeline.Stored{}, errNoneLike
}

func (r *race) provisioned(ctx context.Context) (events.Membership, uint64, error) {
	stored, err := r.Stored(ctx, events.StreamMemberships)
	if err != nil {
		return events.Membership{}, 0, err
	}
	for _, s := range stored {
		if m, ok := s.Event.Data.(*events.MembershipProvisioned); ok && m.Invitation != "" {
			return m.Membership, s.Sequence, nil
		}
	}
	return events.Membership{}, 0, errNoneLike
}

func (r *race) remove(ctx context.Context, stream string, sequence uint64) error {
	s, err := r.JetStream.Stream(ctx, stream)
	if err != nil {
		return err
	}
	return s.DeleteMsg(ctx, sequence)
}

func loseMembership(ctx context.Context, r *race) error {
	_, sequence, err := r.provisioned(ctx)
	if err != nil {
		return err
	}
	return r.remove(ctx, events.StreamMemberships, sequence)
}

func doubleMembership(ctx context.Context, r *race) error {
	m, _, err := r.provisioned(ctx)
	if err != nil {
		return err
	}
	m.Person = "abcdefghijklmnopqrstuvwxyz"
	return r.Tell(ctx, events.MembershipSubject(m.Organization, m.Person), events.Event{
		ID: events.NewEventID(), Source: "/usher/acceptance", Type: events.TypeMembershipProvisioned, Subject: m.Person, Time: r.Clock.Now(),
		Data: &events.MembershipProvisioned{Membership: m},
	})
}

func secondEnd(ctx context.Context, r *race) error {
	c, _, err := r.ending(ctx, ends[accept])
	if err != nil {
		return err
	}
	return r.Say(ctx, c.org, c.id, events.FactRevoked, &events.InvitationRevoked{Invitation: c.id})
}

func forgetEnd(ctx context.Context, r *race) error {
	_, s, err := r.ending(ctx, ends[decline])
	if err != nil {
		return err
	}
	return r.remove(ctx, events.StreamInvitations, s.Sequence)
}

func vanish(ctx context.Context, r *race) error {
	c := r.all[0]
	s, err := r.JetStream.Stream(ctx, events.StreamInvitations)
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(events.InvitationFilter(c.org, c.id)))
}

// acceptLate invites once more, lets the deadline pass, and asks the instance whose clock is behind.
func acceptLate(ctx context.Context, r *race) error {
	contests, err := r.invite(ctx, 2, true)
	if err != nil {
		return err
	}
	r.all = append(r.all, contests...)
	r.Clock.Pass(shortest)
	c := contests[0]
	c.tries = append(c.tries, r.try(ctx, r.Front(fronts-1), c, accept))
	return r.due(ctx, contests)
}

func tellToken(ctx context.Context, r *race) error {
	c := r.all[0]
	d := events.Delivery{Invitation: c.id, Generation: 1, Intent: 1, OccurredAt: r.Clock.Now(), Reason: "could not be delivered: " + c.tokens[0]}
	return r.Say(ctx, c.org, c.id, events.FactBounced, &events.InvitationBounced{Delivery: d})
}

func mailAgain(ctx context.Context, r *race) error {
	c, _, err := r.ending(ctx, ends[accept])
	if err != nil {
		return err
	}
	for range 2 {
		r.Mails.Send(ctx, []mail.Mail{{Recipient: mail.Recipient{To: c.email}, Letter: &mail.Letter{}}})
	}
	return nil
}

func mixLists(e *evidence) {
	e.lists["acme"], e.lists["umbrella"] = e.lists["umbrella"], e.lists["acme"]
}

// sayYes makes of the first refusal a success.
func sayYes(e *evidence) {
	for _, c := range e.contests {
		for i := range c.tries {
			if a := &c.tries[i].answer; a.Status == 410 {
				*a = pipeline.Answer{Status: 200}
				return
			}
		}
	}
}
