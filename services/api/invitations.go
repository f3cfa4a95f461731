package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/views"
)

// maxRows is the most invitations one bulk request may have.
const maxRows = 1000

// invite is the body of a request for one invitation.
type invite struct {
	Email       string            `json:"email" doc:"Address of the invitee."`
	Role        string            `json:"role" doc:"Role the invitee will have."`
	Name        string            `json:"name,omitempty" doc:"Name of the invitee, where it is known."`
	Inviter     string            `json:"inviter,omitempty" doc:"Address of the member who invites; without it the API key does."`
	Locale      string            `json:"locale,omitempty" doc:"Language of the mail, as BCP 47." example:"en"`
	ExpiresIn   string            `json:"expires_in,omitempty" doc:"How long the invitation stays open: 5m to 8760h." example:"168h"`
	Metadata    map[string]string `json:"metadata,omitempty" doc:"Handed on to the membership untouched."`
	RedirectURL string            `json:"redirect_url,omitempty" doc:"Where the invitee goes after joining; the organization's policy must list its host."`
	Note        string            `json:"note,omitempty" doc:"What the inviter says in the mail: one paragraph of at most 500 characters, where the organization allows it."`
	SendAnyway  bool              `json:"send_anyway,omitempty" doc:"Invite although the address bounced, complained or unsubscribed."`
}

// row is one row of a bulk request.
type invitationRow struct {
	invite
	Organization string `json:"organization" doc:"Short name of the organization."`
}

func (i invite) requested(org string) events.InvitationRequested {
	return events.InvitationRequested{
		Organization: org, Email: i.Email, Role: i.Role, Name: i.Name, Inviter: i.Inviter, Locale: i.Locale, ExpiresIn: i.ExpiresIn,
		Metadata: i.Metadata, RedirectURL: i.RedirectURL, SendAnyway: i.SendAnyway, Note: i.Note,
	}
}

// request makes the admission request of the n-th invitation of this HTTP request.
func (s *Service) request(ctx context.Context, asked events.InvitationRequested, n int) (admission.Request, error) {
	c := callerOf(ctx)
	if c.actor != "" {
		if asked.Inviter != "" && !sameAddress(asked.Inviter, c.actor) {
			return admission.Request{}, problem.New(problem.Forbidden, "Usher-Actor and inviter are different people.")
		}
		asked.Inviter = c.actor
	}
	r := admission.Request{InvitationRequested: asked, Key: c.key, Source: source}
	if key := idempotencyKeyOf(ctx); key != "" {
		r.ID = events.DerivedInvitationID("http", c.key.ID, key, strconv.Itoa(n))
	}
	return r, nil
}

func sameAddress(a, b string) bool {
	x, errA := address.Parse(a)
	y, errB := address.Parse(b)
	return errA == nil && errB == nil && x.Canonical == y.Canonical
}

type inviteInput struct {
	Org  string `path:"org" doc:"Short name of the organization."`
	Body invite
}

type acceptedOutput struct {
	Location string `header:"Location"`
	Body     invitation.Resource
}

func (s *Service) invite(ctx context.Context, in *inviteInput) (*acceptedOutput, error) {
	if err := s.ready(); err != nil {
		return nil, s.refusal(err, "")
	}
	request, err := s.request(ctx, in.Body.requested(in.Org), 0)
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	record, err := s.admission.Admit(ctx, request)
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	failpoint.Here(failpoint.APIAdmitted)
	s.Views.Learn(ctx, record)
	return s.accepted(record), nil
}

func (s *Service) accepted(record invitation.Record) *acceptedOutput {
	return &acceptedOutput{Location: "/v1/invitations/" + record.ID, Body: record.Resource(s.Ledger.Now())}
}

// bulkInput names no content type: with "application/json" huma would want the body to be one JSON string.
type bulkInput struct {
	RawBody []byte
}

// rowsType is what the bulk route reads, for the OpenAPI document.
var rowsType = reflect.TypeFor[struct {
	Invitations []invitationRow `json:"invitations" minItems:"1" maxItems:"1000"`
}]()

// bulkBody is the body of a bulk request; its rows are read one by one, so that a bad one is refused alone.
type bulkBody struct {
	Invitations []json.RawMessage `json:"invitations"`
}

type bulkResult struct {
	Status     int                  `json:"status" doc:"The HTTP status this row would have had alone."`
	Invitation *invitation.Resource `json:"invitation,omitempty"`
	Problem    *Problem             `json:"problem,omitempty"`
}

type bulkOutput struct {
	RetryAfter string `header:"Retry-After" doc:"Some rows were answered 503: the same request with the same Idempotency-Key, so many seconds later, does those, and answers the others as before."`
	Body       struct {
		Results []bulkResult `json:"results" doc:"One verdict a row, in order."`
	}
}

func (s *Service) inviteMany(ctx context.Context, in *bulkInput) (*bulkOutput, error) {
	if err := s.ready(); err != nil {
		return nil, s.refusal(err, "")
	}
	var body bulkBody
	if err := strictJSON(in.RawBody, &body); err != nil {
		return nil, s.refusal(problem.New(problem.Malformed, "The body cannot be read: %s.", printable(err.Error())), "")
	}
	if n := len(body.Invitations); n == 0 || n > maxRows {
		return nil, s.refusal(problem.Fields(events.FieldError{Location: "invitations", Message: fmt.Sprintf("must have 1 to %d rows, has %d", maxRows, n)}), "body.")
	}
	out := &bulkOutput{}
	out.Body.Results = s.rows(ctx, body.Invitations)
	for _, r := range out.Body.Results {
		if r.Problem != nil && r.Problem.retryAfter != "" {
			out.RetryAfter = r.Problem.retryAfter
		}
	}
	return out, nil
}

func (s *Service) rows(ctx context.Context, raw []json.RawMessage) []bulkResult {
	results := make([]bulkResult, len(raw))
	refuse := func(i int, err error) {
		p := s.refusal(err, fmt.Sprintf("body.invitations[%d].", i))
		results[i] = bulkResult{Status: p.Status, Problem: p}
	}
	requests := make([]admission.Request, 0, len(raw))
	at := make([]int, 0, len(raw))
	for i, data := range raw {
		var one invitationRow
		if err := strictJSON(data, &one); err != nil {
			refuse(i, problem.New(problem.Malformed, "The row cannot be read: %s.", printable(err.Error())))
			continue
		}
		request, err := s.request(ctx, one.requested(one.Organization), i)
		if err != nil {
			refuse(i, err)
			continue
		}
		requests, at = append(requests, request), append(at, i)
	}
	now := s.Ledger.Now()
	var admitted []invitation.Record
	for j, verdict := range s.admission.AdmitAll(ctx, requests) {
		i := at[j]
		if verdict.Err != nil {
			refuse(i, verdict.Err)
			continue
		}
		resource := verdict.Record.Resource(now)
		results[i] = bulkResult{Status: http.StatusAccepted, Invitation: &resource}
		admitted = append(admitted, verdict.Record)
	}
	failpoint.Here(failpoint.BulkAdmitted)
	s.Views.Learn(ctx, admitted...)
	return results
}

type listInput struct {
	Org      string              `path:"org"`
	Status   invitation.Status   `query:"status" enum:"pending,accepted,declined,revoked,expired,rejected"`
	Delivery invitation.Delivery `query:"delivery" enum:"queued,sent,deferred,delivered,bounced,complained"`
	Email    string              `query:"email" doc:"Only invitations of this address."`
	Role     string              `query:"role"`
	Limit    int                 `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor   string              `query:"cursor" doc:"next_cursor of the page before."`
}

type listOutput[T any] struct {
	Link string `header:"Link"`
	Body struct {
		Items      []T    `json:"items"`
		NextCursor string `json:"next_cursor,omitempty" doc:"Where the next page begins; absent on the last."`
	}
}

func (s *Service) list(ctx context.Context, in *listInput) (*listOutput[invitation.Resource], error) {
	q := views.Query{Status: in.Status, Delivery: in.Delivery, Role: in.Role, Limit: in.Limit, Cursor: in.Cursor}
	if in.Email != "" {
		who, err := address.Parse(in.Email)
		if err != nil {
			return nil, s.refusal(problem.Fields(events.FieldError{Location: "query.email", Message: err.Error()}), "")
		}
		q.Person = address.Person(s.Ledger.PersonKey(), who.Canonical)
	}
	page, err := s.listed(ctx, in.Org, q)
	if err != nil {
		return nil, s.refusal(err, "")
	}
	out := &listOutput[invitation.Resource]{}
	out.Body.Items = make([]invitation.Resource, len(page.Records))
	now := s.Ledger.Now()
	for i := range page.Records {
		out.Body.Items[i] = page.Records[i].Resource(now)
	}
	if out.Body.NextCursor = page.Next; page.Next != "" {
		out.Link = nextLink(ctx, page.Next)
	}
	return out, nil
}

// listed reads a page of an organization's invitations for whoever may manage them.
func (s *Service) listed(ctx context.Context, org string, q views.Query) (views.Page, error) {
	if _, err := s.manages(ctx, org); err != nil {
		return views.Page{}, err
	}
	return s.Views.List(ctx, org, q)
}

type idInput struct {
	ID string `path:"id" doc:"Id of the invitation."`
}

type invitationOutput struct{ Body invitation.Resource }

// find reads an invitation that the caller may manage. To others it is not there.
func (s *Service) find(ctx context.Context, id string) (invitation.Record, string, error) {
	missing := problem.New(problem.NotFound, "There is no such invitation.")
	if !events.IsInvitationID(id) {
		return invitation.Record{}, "", missing
	}
	record, err := invitation.Find(ctx, s.Ledger, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return record, "", missing
	}
	if err != nil {
		return record, "", err
	}
	if record.Request == nil { // rejected at the bus door: the organization may not even exist
		if c := callerOf(ctx); !c.may(record.Organization) || !c.machine() {
			return record, "", missing
		}
		return record, s.Roster.Roles().Owner(), nil
	}
	role, err := s.manages(ctx, record.Organization)
	if problem.Is(err, problem.Forbidden) || problem.Is(err, problem.NoAuthority) {
		return record, "", missing
	}
	return record, role, err
}

func (s *Service) show(ctx context.Context, in *idInput) (*invitationOutput, error) {
	record, _, err := s.whole(ctx, in.ID)
	if err != nil {
		return nil, s.refusal(err, "")
	}
	return &invitationOutput{Body: record.Resource(s.Ledger.Now())}, nil
}

// whole is find with all that is known.
func (s *Service) whole(ctx context.Context, id string) (record invitation.Record, role string, err error) {
	if record, role, err = s.find(ctx, id); err == nil {
		err = s.complete(ctx, &record)
	}
	return record, role, err
}

// complete adds what the deciding facts leave out: delivery, and what became of the acceptance.
func (s *Service) complete(ctx context.Context, record *invitation.Record) error {
	facts, err := s.Ledger.Facts(ctx, record.Organization, record.ID, "delivery.*", events.FactRefused, events.FactOpened, events.FactRenewal)
	if err != nil {
		return err
	}
	for _, stored := range facts {
		if e, err := stored.Event(); err == nil {
			record.Apply(e, stored.Sequence, stored.Time)
		}
	}
	if record.Outcome == invitation.Accepted && record.Request != nil {
		place, err := s.Roster.Current(ctx, record.Organization, record.Request.Person)
		if err != nil {
			return err
		}
		for _, m := range []*events.Membership{place.Membership, place.Left} {
			record.Provisioned = record.Provisioned || m != nil && m.Invitation == record.ID
		}
	}
	return nil
}

// timelineEvent is one line of an invitation's history. It holds no address, name or secret.
type timelineEvent struct {
	Sequence uint64      `json:"sequence" doc:"Place in its stream."`
	Time     time.Time   `json:"time" doc:"When it was stored."`
	ID       string      `json:"id"`
	Type     events.Type `json:"type"`
	Source   string      `json:"source,omitempty"`
	Subject  string      `json:"subject"`
	Data     any         `json:"data"`
}

type timelineOutput struct {
	Body struct {
		Items []timelineEvent `json:"items"`
	}
}

func (s *Service) timeline(ctx context.Context, in *idInput) (*timelineOutput, error) {
	record, _, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, s.refusal(err, "")
	}
	out := &timelineOutput{}
	err = s.history(ctx, record, func(stored ledger.Record, e events.Event) {
		out.Body.Items = append(out.Body.Items, timelineEvent{
			Sequence: stored.Sequence, Time: stored.Time, ID: e.ID, Type: e.Type, Source: e.Source, Subject: stored.Subject, Data: e.Data,
		})
	})
	if err != nil {
		return nil, s.refusal(err, "")
	}
	return out, nil
}

// history hands over everything the ledger says of an invitation, oldest first, and then of the membership it led to.
func (s *Service) history(ctx context.Context, record invitation.Record, add func(ledger.Record, events.Event)) error {
	read := func(stream, filter string) error {
		for stored, err := range s.Ledger.Scan(ctx, stream, filter, 1) {
			if err != nil {
				return err
			}
			e, err := stored.Event()
			if err != nil {
				continue
			}
			if m, ok := e.Data.(*events.MembershipProvisioned); ok && m.Invitation != record.ID {
				continue
			}
			add(stored, e)
		}
		return nil
	}
	if err := read(events.StreamInvitations, events.InvitationFilter(record.Organization, record.ID)); err != nil {
		return err
	}
	if record.Request == nil {
		return nil
	}
	return read(events.StreamMemberships, events.MembershipSubject(record.Organization, record.Request.Person))
}

func nextLink(ctx context.Context, cursor string) string {
	u, ok := ctx.Value(urlKey{}).(string)
	if !ok {
		return ""
	}
	path, query, _ := strings.Cut(u, "?")
	kept := []string{"cursor=" + cursor}
	for _, pair := range strings.Split(query, "&") {
		if pair != "" && !strings.HasPrefix(pair, "cursor=") {
			kept = append(kept, pair)
		}
	}
	return "<" + path + "?" + strings.Join(kept, "&") + `>; rel="next"`
}

type urlKey struct{}

var _ huma.StatusError = (*Problem)(nil)
