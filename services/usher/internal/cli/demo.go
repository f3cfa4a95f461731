package cli

import (
	"context"
	"errors"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
)

// demo is the organization that development begins with.
var demo = roster.Organization{ID: "acme", Name: "Acme"}

// demoPeople are its members, by rank of their role.
var demoPeople = []struct{ email, name string }{
	{"owner@example.org", "Olivia Owner"}, {"admin@example.org", "Adam Admin"}, {"member@example.org", "Mia Member"},
}

// seedDemo makes the demo organization where the ledger has none of that name. The organization comes last: a start that
// was cut off before it begins again, and each member is made once.
func seedDemo(ctx context.Context, p *platform.Platform) error {
	_, err := p.Roster.Organization(ctx, demo.ID)
	if !problem.Is(err, problem.UnknownOrganization) {
		return err
	}
	for i, who := range demoPeople {
		if i >= len(p.Settings.Roles) {
			break
		}
		if err := seedMember(ctx, p, who.email, who.name, p.Settings.Roles[i]); err != nil {
			return err
		}
	}
	_, _, err = p.Roster.Put(ctx, demo)
	return err
}

func seedMember(ctx context.Context, p *platform.Platform, email, name, role string) error {
	to, err := address.Parse(email)
	if err != nil {
		return err
	}
	person := address.Person(p.Ledger.PersonKey(), to.Canonical)
	m := events.Membership{Organization: demo.ID, Person: person, Email: to.Stored, Name: name, Role: role, JoinedAt: p.Clock()}
	subject := events.MembershipSubject(demo.ID, person)
	message, err := ledger.Fact(subject, events.Event{
		ID: events.NewEventID(), Source: "/usher/up", Type: events.TypeMembershipProvisioned, Subject: person, Time: p.Clock(),
		Data: &events.MembershipProvisioned{Membership: m},
	})
	if err != nil {
		return err
	}
	sequence, err := p.Ledger.Publish(ctx, events.StreamMemberships, message.Expecting(subject, 0))
	if errors.Is(err, ledger.ErrConflict) {
		return nil
	}
	if err == nil {
		p.Roster.Learn(m, sequence, false)
	}
	return err
}
