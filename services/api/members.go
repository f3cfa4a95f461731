package api

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
)

// member is a membership as the API shows it.
type member struct {
	Person     string            `json:"person" doc:"The member's id: a keyed hash of their address."`
	Email      string            `json:"email"`
	Name       string            `json:"name,omitempty"`
	Role       string            `json:"role"`
	JoinedAt   time.Time         `json:"joined_at"`
	Invitation string            `json:"invitation,omitempty" doc:"What brought them in; absent for the first owner."`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

func show(m events.Membership) member {
	return member{Person: m.Person, Email: m.Email, Name: m.Name, Role: m.Role, JoinedAt: m.JoinedAt, Invitation: m.Invitation, Metadata: m.Metadata}
}

type membersInput struct {
	Org    string `path:"org"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor"`
}

// members lists in the order of the last change, which new members join at the end: pages stay right meanwhile.
func (s *Service) members(ctx context.Context, in *membersInput) (*listOutput[member], error) {
	if _, err := s.manages(ctx, in.Org); err != nil {
		return nil, s.refusal(err, "")
	}
	after, err := memberCursor(in.Cursor)
	if err != nil {
		return nil, s.refusal(err, "")
	}
	var people []string
	out := &listOutput[member]{}
	last := uint64(0)
	for _, p := range s.Roster.People(in.Org) {
		if p.Sequence <= after {
			continue
		}
		if len(people) == in.Limit {
			out.Body.NextCursor = base64.RawURLEncoding.EncodeToString([]byte("m" + strconv.FormatUint(last, 36)))
			out.Link = nextLink(ctx, out.Body.NextCursor)
			break
		}
		people, last = append(people, p.ID), p.Sequence
	}
	found, err := s.Roster.Memberships(ctx, in.Org, people)
	if err != nil {
		return nil, s.refusal(err, "")
	}
	out.Body.Items = make([]member, 0, len(people))
	for _, id := range people {
		if m, ok := found[id]; ok {
			out.Body.Items = append(out.Body.Items, show(m))
		}
	}
	return out, nil
}

func memberCursor(cursor string) (uint64, error) {
	if cursor == "" {
		return 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil && len(raw) > 1 && raw[0] == 'm' {
		if sequence, err := strconv.ParseUint(string(raw[1:]), 36, 64); err == nil {
			return sequence, nil
		}
	}
	return 0, problem.Fields(events.FieldError{Location: "query.cursor", Message: "is not a cursor that a list gave out"})
}

type memberOutput struct{ Body member }

type changeMemberInput struct {
	Org    string `path:"org"`
	Person string `path:"person"`
	Body   struct {
		Role string `json:"role" doc:"The role from now on."`
	}
}

func (s *Service) changeMember(ctx context.Context, in *changeMemberInput) (*memberOutput, error) {
	m, err := s.changeRole(ctx, in.Org, in.Person, in.Body.Role)
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	return &memberOutput{Body: show(m)}, nil
}

// changeRole gives a member another role, as far as the caller may.
func (s *Service) changeRole(ctx context.Context, org, person, role string) (events.Membership, error) {
	if !s.Roster.Roles().Known(role) {
		return events.Membership{}, problem.Fields(events.FieldError{Location: "role", Message: "is no role here"})
	}
	return s.change(ctx, org, person, func(m events.Membership, own string) (events.Data, events.Membership, error) {
		if !s.Roster.Roles().MayGrant(own, role) {
			return nil, m, problem.New(problem.RoleTooHigh, "You are %s and cannot grant %s.", own, role)
		}
		before := m.Role
		m.Role, m.By = role, callerOf(ctx).by()
		if before == m.Role {
			return nil, m, nil
		}
		return &events.MembershipRoleChanged{Membership: m, PreviousRole: before}, m, nil
	})
}

type removeMemberInput struct {
	Org    string `path:"org"`
	Person string `path:"person"`
}

func (s *Service) removeMember(ctx context.Context, in *removeMemberInput) (*struct{}, error) {
	if _, err := s.remove(ctx, in.Org, in.Person); err != nil {
		return nil, s.refusal(err, "")
	}
	return nil, nil
}

// remove takes a membership away, as far as the caller may.
func (s *Service) remove(ctx context.Context, org, person string) (events.Membership, error) {
	return s.change(ctx, org, person, func(m events.Membership, _ string) (events.Data, events.Membership, error) {
		m.By = callerOf(ctx).by()
		return &events.MembershipRemoved{Membership: m}, m, nil
	})
}

// change applies one change to a membership. The publish expects that nobody in the whole organization changed since the
// owners were counted, so that two owners who leave at once cannot both succeed.
func (s *Service) change(ctx context.Context, org, person string,
	edit func(m events.Membership, own string) (events.Data, events.Membership, error),
) (events.Membership, error) {
	own, err := s.manages(ctx, org)
	if err != nil {
		return events.Membership{}, err
	}
	all := events.MembershipSubject(org, "*")
	for range 8 {
		last, err := s.Ledger.Last(ctx, events.StreamMemberships, all)
		if errors.Is(err, ledger.ErrNotFound) {
			return events.Membership{}, noSuchMember()
		}
		if err != nil {
			return events.Membership{}, err
		}
		have, err := s.Roster.Current(ctx, org, person)
		if err != nil {
			return events.Membership{}, err
		}
		if have.Membership == nil {
			return events.Membership{}, noSuchMember()
		}
		before := *have.Membership
		if !s.Roster.Roles().MayGrant(own, before.Role) {
			return before, problem.New(problem.RoleTooHigh, "That member's role is above your own.")
		}
		data, after, err := edit(before, own)
		if err != nil || data == nil {
			return after, err
		}
		_, removed := data.(*events.MembershipRemoved)
		if err := s.keepsAnOwner(ctx, before, after, removed); err != nil {
			return before, err
		}
		failpoint.Here(failpoint.MemberJudged)
		err = s.publishMembership(ctx, data, after, removed, all, last.Sequence)
		if !errors.Is(err, ledger.ErrConflict) {
			return after, err
		}
	}
	return events.Membership{}, problem.Again("The organization's members are being changed by others; try again.")
}

func noSuchMember() error { return problem.New(problem.NotFound, "There is no such member.") }

// keepsAnOwner refuses a change that would leave the organization without an owner. It counts by the ledger, not by
// memory.
func (s *Service) keepsAnOwner(ctx context.Context, before, after events.Membership, removed bool) error {
	owner := s.Roster.Roles().Owner()
	if before.Role != owner || !removed && after.Role == owner {
		return nil
	}
	for _, p := range s.Roster.People(before.Organization) {
		if p.Role != owner || p.ID == before.Person {
			continue
		}
		other, err := s.Roster.Current(ctx, before.Organization, p.ID)
		if err != nil {
			return err
		}
		if other.Membership != nil && other.Membership.Role == owner {
			return nil
		}
	}
	return problem.New(problem.LastOwner, "This is the organization's last owner; make somebody else an owner first.")
}
