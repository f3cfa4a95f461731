package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/telemetry"
)

type organizationInput struct {
	Org  string `path:"org" doc:"Short name: 1 to 63 of a-z, 0-9, _ and -."`
	Body struct {
		Name  string `json:"name" minLength:"1" maxLength:"100" doc:"How people call it."`
		Owner *struct {
			Email string `json:"email" doc:"Address of the owner."`
			Name  string `json:"name,omitempty" maxLength:"200"`
		} `json:"owner,omitempty" doc:"Becomes a member as owner; needed for a new organization."`
		Policy roster.Policy `json:"policy,omitempty"`
	}
}

type organizationOutput struct {
	Status int
	Body   roster.Organization
}

func (s *Service) putOrganization(ctx context.Context, in *organizationInput) (*organizationOutput, error) {
	o := roster.Organization{ID: in.Org, Name: strings.TrimSpace(in.Body.Name), Policy: in.Body.Policy}
	if err := s.checkOrganization(o); err != nil {
		return nil, s.refusal(err, "body.")
	}
	if err := s.mayPut(ctx, o.ID, in.Body.Owner != nil); err != nil {
		return nil, s.refusal(err, "body.")
	}
	var owner address.Address
	if in.Body.Owner != nil {
		var err error
		if owner, err = address.Parse(in.Body.Owner.Email); err != nil {
			return nil, s.refusal(problem.Fields(events.FieldError{Location: "owner.email", Message: err.Error()}), "body.")
		}
	}
	stored, created, err := s.Roster.Put(ctx, o)
	if err == nil && in.Body.Owner != nil {
		err = s.installOwner(ctx, o.ID, owner, in.Body.Owner.Name)
	}
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	out := &organizationOutput{Status: http.StatusOK, Body: stored}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

// mayPut: a machine may make and change organizations its key works for; of members, owners may change their own.
func (s *Service) mayPut(ctx context.Context, org string, owner bool) error {
	c := callerOf(ctx)
	_, err := s.Roster.Organization(ctx, org)
	unknown := problem.Is(err, problem.UnknownOrganization)
	if err != nil && !unknown {
		return err
	}
	if c.machine() {
		switch {
		case !c.may(org):
			return problem.New(problem.Forbidden, "This API key does not work for that organization.")
		case unknown && !owner:
			return problem.Fields(events.FieldError{Location: "owner", Message: "is needed for a new organization"})
		}
		return nil
	}
	role, err := s.manages(ctx, org)
	if err == nil && (role != s.Roster.Roles().Owner() || owner) {
		err = problem.New(problem.Forbidden, "Only an owner may change the organization, and owners are invited, not named.")
	}
	return err
}

func (s *Service) checkOrganization(o roster.Organization) error {
	var wrong []events.FieldError
	complain := func(location, message string) {
		wrong = append(wrong, events.FieldError{Location: location, Message: message})
	}
	if !events.ValidOrganization(o.ID) {
		complain("path.org", "must be 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit")
	}
	if o.Name == "" || strings.ContainsFunc(o.Name, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		complain("name", "must be a line of text")
	}
	if ttl := o.Policy.InvitationTTL; ttl != "" {
		if d, err := time.ParseDuration(ttl); err != nil || d < invitation.MinTTL || d > invitation.MaxTTL {
			complain("policy.invitation_ttl", "must be a duration from 5m to 8760h")
		}
	}
	for i, after := range o.Policy.ReminderAfter {
		if d, err := time.ParseDuration(after); err != nil || d < time.Minute || d > invitation.MaxTTL || i > 4 {
			complain(fmt.Sprintf("policy.reminder_after[%d]", i), "must be one of at most five durations from 1m to 8760h")
		}
	}
	if !slices.Contains([]string{"", roster.AuthorityBlock, roster.AuthorityLower}, o.Policy.InviterLostAuthority) {
		complain("policy.inviter_lost_authority", "must be block or lower")
	}
	if len(wrong) > 0 {
		return problem.Fields(wrong...)
	}
	return nil
}

// installOwner makes a person the owner, unless they are a member already.
func (s *Service) installOwner(ctx context.Context, org string, owner address.Address, name string) error {
	person := address.Person(s.Ledger.PersonKey(), owner.Canonical)
	for range 4 {
		have, err := s.Roster.Current(ctx, org, person)
		if err != nil || have.Membership != nil {
			return err
		}
		m := events.Membership{
			Organization: org, Person: person, Email: owner.Stored, Name: strings.TrimSpace(name), Role: s.Roster.Roles().Owner(),
			JoinedAt: s.Ledger.Now(), By: callerOf(ctx).by(),
		}
		err = s.publishMembership(ctx, &events.MembershipProvisioned{Membership: m}, m, false, events.MembershipSubject(org, person), have.Sequence)
		if !errors.Is(err, ledger.ErrConflict) {
			return err
		}
	}
	return problem.New(problem.Conflict, "The organization's members are being changed by others; try again.")
}

// publishMembership stores a change of membership where the last sequence on filter is still the expected one.
func (s *Service) publishMembership(ctx context.Context, data events.Data, m events.Membership, removed bool, filter string, expected uint64) error {
	e := events.Event{
		ID: events.NewEventID(), Source: source, Type: data.EventType(), Subject: m.Person, Time: s.Ledger.Now(),
		CorrelationID: m.Invitation, Data: data,
	}
	telemetry.Inject(ctx, &e)
	message, err := ledger.Fact(events.MembershipSubject(m.Organization, m.Person), e)
	if err != nil {
		return err
	}
	sequence, err := s.Ledger.Publish(ctx, events.StreamMemberships, message.Expecting(filter, expected))
	if err == nil {
		s.Roster.Learn(m, sequence, removed)
	}
	return err
}
