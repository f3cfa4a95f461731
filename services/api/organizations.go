package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/telemetry"
	"github.com/usherhq/usher/services/api/logos"
)

type organizationInput struct {
	Org     string `path:"org" doc:"Short name: 1 to 63 of a-z, 0-9, _ and -."`
	IfMatch string `header:"If-Match" doc:"The ETag of the version that is to be changed: where others changed it since, the answer is 409. Left out, the change applies to whatever is there."`
	Body    struct {
		Name  string `json:"name" minLength:"1" maxLength:"100" doc:"How people call it."`
		Owner *struct {
			Email string `json:"email" doc:"Address of the owner."`
			Name  string `json:"name,omitempty" maxLength:"200"`
		} `json:"owner,omitempty" doc:"Becomes a member as owner; needed for a new organization."`
		Locale   *string        `json:"locale,omitempty" doc:"BCP 47 language of its mails and pages; empty for the invitee's. Left out, it stays as it is."`
		Contact  *string        `json:"contact,omitempty" doc:"Whom to ask when something does not work. Left out, it stays as it is."`
		Policy   *roster.Policy `json:"policy,omitempty" doc:"Replaces the whole policy. Left out, it stays as it is."`
		Branding *struct {
			Accent string `json:"accent,omitempty" doc:"Colour of buttons, like #1a5fb4, with a contrast of 3:1 or more to white; empty for Usher's own."`
		} `json:"branding,omitempty" doc:"How mails and pages look. The logo is uploaded in the console, and stays. Left out, all stays."`
		Texts *roster.Texts `json:"texts,omitempty" doc:"Own words in invitation mails, with the placeholders {organization}, {inviter} and {role}. Replaces all; left out, they stay."`
	}
}

type organizationOutput struct {
	Status int
	ETag   string `header:"ETag" doc:"Names this version, for If-Match."`
	Body   roster.Organization
}

func (s *Service) putOrganization(ctx context.Context, in *organizationInput) (*organizationOutput, error) {
	stored, created, err := s.putOrganizationAs(ctx, in)
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	failpoint.Here(failpoint.OrganizationOwned)
	out := &organizationOutput{Status: http.StatusOK, ETag: strconv.Quote(strconv.FormatUint(stored.Revision(), 10)), Body: stored}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

func (s *Service) putOrganizationAs(ctx context.Context, in *organizationInput) (stored roster.Organization, created bool, err error) {
	revision, err := revisionOf(in.IfMatch)
	if err != nil {
		return stored, false, err
	}
	var owner address.Address
	if in.Body.Owner != nil {
		if owner, err = address.Parse(in.Body.Owner.Email); err != nil {
			return stored, false, problem.Fields(events.FieldError{Location: "owner.email", Message: err.Error()})
		}
	}
	stored, created, err = s.changeOrganization(ctx, in.Org, revision, in.Body.Owner != nil, in.apply)
	if err == nil && in.Body.Owner != nil {
		failpoint.Here(failpoint.OrganizationStored)
		err = s.installOwner(ctx, in.Org, owner, in.Body.Owner.Name)
	}
	return stored, created, err
}

// apply changes what the request names.
func (in *organizationInput) apply(o *roster.Organization) {
	o.Name = in.Body.Name
	if in.Body.Locale != nil {
		o.Locale = *in.Body.Locale
	}
	if in.Body.Contact != nil {
		o.Contact = *in.Body.Contact
	}
	if in.Body.Policy != nil {
		o.Policy = *in.Body.Policy
	}
	if in.Body.Branding != nil {
		o.Branding.Accent = in.Body.Branding.Accent
	}
	if in.Body.Texts != nil {
		o.Texts = *in.Body.Texts
	}
}

// revisionOf reads an If-Match; 0 for none.
func revisionOf(ifMatch string) (uint64, error) {
	if ifMatch == "" || ifMatch == "*" {
		return 0, nil
	}
	revision, err := strconv.ParseUint(strings.Trim(ifMatch, `"`), 10, 64)
	if err != nil || revision == 0 {
		return 0, problem.Fields(events.FieldError{Location: "header.If-Match", Message: "must be an ETag that this route gave out"})
	}
	return revision, nil
}

// changeOrganization creates an organization or changes it, for every door: it checks who asks, then the whole of what came
// of the change. A revision other than 0 is that of the version which the caller saw; problem.Conflict where there is
// another by now. owner tells that an owner is named along with it.
func (s *Service) changeOrganization(ctx context.Context, org string, revision uint64, owner bool, change func(*roster.Organization)) (stored roster.Organization, created bool, err error) {
	judged := func(o *roster.Organization) error {
		change(o)
		tidyOrganization(o)
		return checkOrganization(*o)
	}
	if !events.ValidOrganization(org) { // no bucket has a key like that
		return stored, false, judged(&roster.Organization{ID: org})
	}
	if err := s.mayPut(ctx, org, owner); err != nil {
		return stored, false, err
	}
	return s.Roster.Change(ctx, org, func(o *roster.Organization, _ bool) error {
		if err := unchanged(o, revision); err != nil {
			return err
		}
		return judged(o)
	})
}

// uploadsAnHour is how many logos an organization may upload.
const uploadsAnHour = 30

// setLogo makes a file the organization's logo. The picture is kept before the organization names it, so that no mail names
// one that is not there.
func (s *Service) setLogo(ctx context.Context, org string, revision uint64, file []byte) (roster.Organization, error) {
	if err := s.mayPut(ctx, org, false); err != nil {
		return roster.Organization{}, err
	}
	ok, wait, err := s.Redis.Take(ctx, redisdb.Limit{What: "logos " + org, Most: uploadsAnHour, Per: time.Hour})
	if err != nil {
		return roster.Organization{}, err
	}
	if !ok {
		return roster.Organization{}, &problem.Error{Code: problem.TooMany, Detail: "The logo was changed many times within this hour.", RetryAfter: wait}
	}
	picture, err := logos.Read(file)
	if err != nil {
		return roster.Organization{}, err
	}
	if err := s.logos.Put(ctx, org, picture); err != nil {
		return roster.Organization{}, err
	}
	failpoint.Here(failpoint.LogoKept)
	return s.nameLogo(ctx, org, revision, picture.Name)
}

// nameLogo makes a kept picture the organization's logo, or none where the name is empty, and then removes the one before
// it. What cannot be removed takes room, and nobody is led to it.
func (s *Service) nameLogo(ctx context.Context, org string, revision uint64, name string) (roster.Organization, error) {
	if err := s.mayPut(ctx, org, false); err != nil {
		return roster.Organization{}, err
	}
	before := ""
	stored, _, err := s.Roster.Change(ctx, org, func(o *roster.Organization, known bool) error {
		if !known {
			return problem.New(problem.UnknownOrganization, "There is no such organization.")
		}
		before, o.Branding.Logo = o.Branding.Logo, name
		return unchanged(o, revision)
	})
	if err == nil && before != "" && before != name {
		failpoint.Here(failpoint.LogoNamed)
		if err := s.logos.Delete(ctx, org, before); err != nil {
			s.Logger.Warn("a logo that was replaced is still kept", "organization", org, "error", err)
		}
	}
	return stored, err
}

// unchanged refuses to change another version than the one that was seen; 0 is any.
func unchanged(o *roster.Organization, revision uint64) error {
	if revision != 0 && revision != o.Revision() {
		return problem.New(problem.Conflict, "Somebody else changed the organization since you looked at it.")
	}
	return nil
}

// tidyOrganization takes away what nobody means: spaces around a line, empty entries, capitals in host names.
func tidyOrganization(o *roster.Organization) {
	for _, line := range []*string{&o.Name, &o.Locale, &o.Contact, &o.Branding.Accent, &o.Texts.Subject, &o.Texts.Intro, &o.Texts.Button} {
		*line = strings.TrimSpace(*line)
	}
	for i, host := range o.Policy.RedirectHosts {
		o.Policy.RedirectHosts[i] = strings.ToLower(strings.TrimSpace(host))
	}
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
	return problem.Again("The organization's members are being changed by others; try again.")
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
		failpoint.Here(failpoint.MemberPublished)
		s.Roster.Learn(m, sequence, removed)
	}
	return err
}
