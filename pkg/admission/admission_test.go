package admission_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
)

// desk is admission over a real broker, with organization acme and one member of each role.
type desk struct {
	*admission.Admission
	broker *brokertest.Broker
	ahead  atomic.Int64 // nanoseconds that the clock is ahead
}

func setup(t *testing.T) *desk {
	t.Helper()
	d := &desk{}
	d.broker = brokertest.Run(t)
	l, err := ledger.Open(t.Context(), d.broker.Conn(t), ledger.Options{
		Durable: ledger.Durability{Declared: true}, ClockIsMoved: true,
		Clock: func() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())).UTC() },
	})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	r, err := roster.Open(t.Context(), l, roster.DefaultRoles)
	require.NoError(t, err)
	s, err := suppressions.Open(t.Context(), l)
	require.NoError(t, err)
	k, err := apikeys.Open(t.Context(), l)
	require.NoError(t, err)
	d.Admission = &admission.Admission{Ledger: l, Roster: r, Suppressions: s, Keys: k, TTL: time.Hour}
	_, _, err = r.Put(t.Context(), roster.Organization{ID: "acme", Name: "Acme", Policy: roster.Policy{RedirectHosts: []string{"app.example.com"}}})
	require.NoError(t, err)
	for _, role := range roster.DefaultRoles {
		d.join(t, role+"@example.org", role)
	}
	return d
}

func (d *desk) person(t *testing.T, email string) string {
	a, err := address.Parse(email)
	require.NoError(t, err)
	return address.Person(d.Ledger.PersonKey(), a.Canonical)
}

func (d *desk) join(t *testing.T, email, role string) {
	m := events.Membership{Organization: "acme", Person: d.person(t, email), Email: email, Role: role, JoinedAt: time.Now()}
	e := events.Event{ID: events.NewEventID(), Source: "/test", Type: events.TypeMembershipProvisioned, Subject: m.Person, Time: time.Now(), Data: &events.MembershipProvisioned{Membership: m}}
	message, err := ledger.Fact(events.MembershipSubject("acme", m.Person), e)
	require.NoError(t, err)
	sequence, err := d.Ledger.Publish(t.Context(), events.StreamMemberships, message)
	require.NoError(t, err)
	d.Roster.Learn(m, sequence, false)
}

func request(email, role, inviter string) admission.Request {
	return admission.Request{Source: "/test", InvitationRequested: events.InvitationRequested{Organization: "acme", Email: email, Role: role, Inviter: inviter}}
}

func TestOfManyRequestsForOneAddressOneIsAdmitted(t *testing.T) {
	d := setup(t)
	var admitted, refused atomic.Int64
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			// The same mailbox, however it is written.
			_, err := d.Admit(context.Background(), request([]string{"New@example.org", "new@EXAMPLE.org"}[i%2], "member", "owner@example.org"))
			switch {
			case err == nil:
				admitted.Add(1)
			case problem.Is(err, problem.AlreadyInvited):
				refused.Add(1)
			}
		})
	}
	callers.Wait()
	require.EqualValues(t, 1, admitted.Load())
	require.EqualValues(t, 199, refused.Load())
	require.Len(t, d.requested(t), 1)
}

// Several processes, so that one may find the claim of another that has not yet said what it claimed the address for.
func TestOfManyProcessesOneAdmits(t *testing.T) {
	d := setup(t)
	var processes []*admission.Admission
	for range 4 {
		l, err := ledger.Open(t.Context(), d.broker.Conn(t), ledger.Options{Durable: ledger.Durability{Declared: true}})
		require.NoError(t, err)
		t.Cleanup(l.Close)
		other := *d.Admission
		other.Ledger = l
		processes = append(processes, &other)
	}
	const rounds = 150
	for round := range rounds {
		email := fmt.Sprintf("new-%d@example.org", round)
		var admitted atomic.Int64
		var callers sync.WaitGroup
		for i, process := range processes {
			callers.Go(func() {
				r := request(email, "member", "owner@example.org")
				if i%2 == 1 {
					r.ID = events.DerivedInvitationID("test", strconv.Itoa(round), strconv.Itoa(i))
				}
				if _, err := process.Admit(context.Background(), r); err == nil {
					admitted.Add(1)
				}
			})
		}
		callers.Wait()
		require.EqualValues(t, 1, admitted.Load(), email)
	}
	require.Len(t, d.requested(t), rounds)
}

// requested lists the invitations that stand in the ledger.
func (d *desk) requested(t *testing.T) (ids []string) {
	for r, err := range d.Ledger.Scan(t.Context(), events.StreamInvitations, events.InvitationSubject("acme", "*", events.FactRequested), 1) {
		require.NoError(t, err)
		_, id, _, _ := events.SplitInvitation(r.Subject)
		ids = append(ids, id)
	}
	return ids
}

// end declines an invitation, which frees the address.
func (d *desk) end(t *testing.T, r invitation.Record) {
	t.Helper()
	outcome, err := ledger.Fact(events.InvitationSubject("acme", r.ID, events.FactDeclined), events.Event{
		ID: events.NewEventID(), Source: "/test", Type: events.TypeInvitationDeclined, Subject: r.ID, Time: time.Now(), Data: &events.InvitationDeclined{Invitation: r.ID},
	})
	require.NoError(t, err)
	outcome = outcome.Expecting(events.OutcomeFilter("acme", r.ID), 0).Stopping(events.ClaimSubject("acme", r.Request.Person))
	_, err = d.Ledger.Publish(t.Context(), events.StreamInvitations, outcome)
	require.NoError(t, err)
}

func TestARepeatIsTheSameInvitationForEver(t *testing.T) {
	d := setup(t)
	r := request("new@example.org", "member", "owner@example.org")
	r.ID = events.DerivedInvitationID("test", "crm", "42")
	first, err := d.Admit(t.Context(), r)
	require.NoError(t, err)
	again, err := d.Admit(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, first.Requested, again.Requested)

	// After it has ended, and its claim on the address with it, the repeat still makes no second one.
	d.end(t, first)
	again, err = d.Admit(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, invitation.Declined, again.Outcome)
	require.Len(t, d.requested(t), 1)

	_, err = d.Admit(t.Context(), request("new@example.org", "member", "owner@example.org"))
	require.NoError(t, err, "an ended invitation never blocks a new one")
}

// Seed 1266 of the fault runs: two processes had the same row of an import, and one of them was so slow that the other's invitation
// had been accepted by then, which frees the address.
func TestARepeatOfWhatWasUnsaidAMomentAgoIsTheSameInvitation(t *testing.T) {
	d := setup(t)
	r := request("ada@example.org", "member", "owner@example.org")
	r.ID, r.Unsaid = events.NewInvitationID(), true
	first, err := d.Admit(t.Context(), r)
	require.NoError(t, err)
	d.end(t, first)
	again, err := d.Admit(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, invitation.Declined, again.Outcome)
	require.Len(t, d.requested(t), 1)
}

func TestARequestThatWasRejectedStaysRejected(t *testing.T) {
	d := setup(t)
	r := request("new@example.org", "member", "owner@example.org")
	r.ID = events.DerivedInvitationID("bus", "crm", "42")
	rejected, err := ledger.Fact(events.InvitationSubject("acme", r.ID, events.FactRejected), events.Event{
		ID: events.NewEventID(), Source: "/test", Type: events.TypeInvitationRejected, Subject: r.ID, Time: time.Now(),
		Data: &events.InvitationRejected{Invitation: r.ID, App: "crm", Request: "42", Reason: "no-authority", Detail: "No."},
	})
	require.NoError(t, err)
	_, err = d.Ledger.Publish(t.Context(), events.StreamInvitations, rejected)
	require.NoError(t, err)
	_, err = d.Admit(t.Context(), r)
	require.True(t, problem.Is(err, problem.Ended), "%v", err)
	require.Empty(t, d.requested(t))
	_, err = d.Admit(t.Context(), request("new@example.org", "member", "owner@example.org"))
	require.NoError(t, err, "the address is free")
}

func TestAnExpiredInvitationNeverBlocksANewOne(t *testing.T) {
	d := setup(t)
	first, err := d.Admit(t.Context(), request("new@example.org", "member", "owner@example.org"))
	require.NoError(t, err)
	_, err = d.Admit(t.Context(), request("new@example.org", "member", "owner@example.org"))
	require.True(t, problem.Is(err, problem.AlreadyInvited))
	require.Equal(t, first.ID, problem.As(err).Other)

	d.ahead.Store(int64(time.Hour + time.Second)) // the broker's timer has not fired: its clock is the machine's
	second, err := d.Admit(t.Context(), request("new@example.org", "viewer", "owner@example.org"))
	require.NoError(t, err)
	old, err := invitation.Load(t.Context(), d.Ledger, "acme", first.ID)
	require.NoError(t, err)
	require.Equal(t, invitation.Expired, old.Outcome)
	stored, err := invitation.Load(t.Context(), d.Ledger, "acme", second.ID)
	require.NoError(t, err)
	require.Equal(t, stored.Requested, second.Requested)
	_, err = d.Admit(t.Context(), request("new@example.org", "member", "owner@example.org"))
	require.Equal(t, second.ID, problem.As(err).Other)
}

func TestAClaimWhoseInvitationWasNeverMadeIsTakenOver(t *testing.T) {
	d := setup(t)
	ghost := events.NewInvitationID()
	cause := events.Event{ID: events.NewEventID(), Source: "/test", Subject: ghost, Time: time.Now()}
	claim, err := admission.ExpiryTimer(cause, "acme", d.person(t, "new@example.org"), time.Now().Add(time.Hour))
	require.NoError(t, err)
	_, err = d.Ledger.Publish(t.Context(), events.StreamInvitations, claim)
	require.NoError(t, err)
	made, err := d.Admit(t.Context(), request("new@example.org", "member", "owner@example.org"))
	require.NoError(t, err)
	require.Equal(t, []string{made.ID}, d.requested(t))
}

func TestARefusalSaysWhy(t *testing.T) {
	d := setup(t)
	require.NoError(t, d.Suppressions.Add(t.Context(), d.person(t, "bounced@example.org"), suppressions.Suppression{Reason: suppressions.Bounced}))
	with := func(change func(*admission.Request)) admission.Request {
		r := request("new@example.org", "member", "owner@example.org")
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		request admission.Request
		code    problem.Code
		field   string
	}{
		"no address":            {request("", "member", "owner@example.org"), problem.Invalid, "email"},
		"a display name":        {request("Bob <b@example.org>", "member", "owner@example.org"), problem.Invalid, "email"},
		"no such role":          {request("new@example.org", "emperor", "owner@example.org"), problem.Invalid, "role"},
		"no inviter":            {request("new@example.org", "member", ""), problem.Invalid, "inviter"},
		"a stranger invites":    {request("new@example.org", "member", "stranger@example.org"), problem.NoAuthority, ""},
		"a member invites":      {request("new@example.org", "viewer", "member@example.org"), problem.NoAuthority, ""},
		"an admin makes owners": {request("new@example.org", "owner", "admin@example.org"), problem.RoleTooHigh, ""},
		"a member already":      {request("Viewer@example.org", "member", "owner@example.org"), problem.AlreadyMember, ""},
		"bounced before":        {request("bounced@example.org", "member", "owner@example.org"), problem.Suppressed, ""},
		"too short":             {with(func(r *admission.Request) { r.ExpiresIn = "4m59s" }), problem.Invalid, "expires_in"},
		"too long":              {with(func(r *admission.Request) { r.ExpiresIn = "8761h" }), problem.Invalid, "expires_in"},
		"a past deadline":       {with(func(r *admission.Request) { r.ExpiresIn = "-1h" }), problem.Invalid, "expires_in"},
		"a foreign redirect":    {with(func(r *admission.Request) { r.RedirectURL = "https://evil.example/" }), problem.Invalid, "redirect_url"},
		"a suffix redirect":     {with(func(r *admission.Request) { r.RedirectURL = "https://evil-app.example.com/" }), problem.Invalid, "redirect_url"},
		"a script redirect":     {with(func(r *admission.Request) { r.RedirectURL = "javascript:alert(1)" }), problem.Invalid, "redirect_url"},
		"a user in a redirect":  {with(func(r *admission.Request) { r.RedirectURL = "https://app.example.com@evil.example/" }), problem.Invalid, "redirect_url"},
		"no language":           {with(func(r *admission.Request) { r.Locale = "klingonese!" }), problem.Invalid, "locale"},
		"no organization":       {with(func(r *admission.Request) { r.Organization = "nowhere" }), problem.UnknownOrganization, ""},
		"another's key":         {with(func(r *admission.Request) { r.Key = &apikeys.Key{ID: "key_1", Organization: "other"} }), problem.Forbidden, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Admit(t.Context(), c.request)
			require.Equal(t, c.code, problem.As(err).Code, "%v", err)
			if c.field != "" {
				require.Equal(t, c.field, problem.As(err).Fields[0].Location)
			}
		})
	}
	require.Empty(t, d.requested(t))
}

func TestWhatOnlyAdmissionMayWriteIsNotTakenFromARequest(t *testing.T) {
	d := setup(t)
	r := request("new@example.org", "member", "admin@example.org")
	r.Invitation, r.Person, r.InviterPerson, r.InviterName = events.NewInvitationID(), "aaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbb", "The President"
	r.ExpiresAt = time.Now().Add(100 * 365 * 24 * time.Hour)
	made, err := d.Admit(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, d.person(t, "new@example.org"), made.Request.Person)
	require.Equal(t, d.person(t, "admin@example.org"), made.Request.InviterPerson)
	require.NotEqual(t, r.Invitation, made.ID)
	require.Empty(t, made.Request.InviterName)
	require.WithinDuration(t, time.Now().Add(time.Hour), made.Deadline, time.Minute)
}

func TestVerdictsOfManyStandInOrder(t *testing.T) {
	d := setup(t)
	var requests []admission.Request
	for i := range 1000 {
		email := fmt.Sprintf("p%d@example.org", i)
		switch i % 10 {
		case 3:
			email = "not an address"
		case 5:
			email = fmt.Sprintf("p%d@example.org", i-1) // the row before, again
		case 7:
			email = "member@example.org"
		}
		requests = append(requests, request(email, "viewer", "admin@example.org"))
	}
	for i, v := range d.AdmitAll(t.Context(), requests) {
		want, refused := map[int]problem.Code{3: problem.Invalid, 5: problem.AlreadyInvited, 7: problem.AlreadyMember}[i%10]
		if refused {
			require.True(t, problem.Is(v.Err, want), "row %d: %v", i, v.Err)
			continue
		}
		require.NoError(t, v.Err, i)
		require.Equal(t, requests[i].Email, v.Record.Request.Email)
	}
	require.Len(t, d.requested(t), 700)
}

func TestTwoDoorsSeeOneAnothersInvitations(t *testing.T) {
	d := setup(t)
	fromBus := request("new@example.org", "member", "owner@example.org")
	fromBus.ID = events.DerivedInvitationID("bus", "crm", "1")
	made, err := d.Admit(t.Context(), fromBus)
	require.NoError(t, err)
	overHTTP := request("new@example.org", "member", "")
	overHTTP.Key = &apikeys.Key{ID: "key_1"}
	_, err = d.Admit(t.Context(), overHTTP)
	require.Equal(t, made.ID, problem.As(err).Other)
}

func TestACheckSaysWhatAdmitWouldSay(t *testing.T) {
	d := setup(t)
	made, err := d.Admit(t.Context(), request("open@example.org", "member", "owner@example.org"))
	require.NoError(t, err)
	requests := []admission.Request{
		request("new@example.org", "member", "owner@example.org"),
		request("Open@example.org", "member", "owner@example.org"),
		request("member@example.org", "member", "owner@example.org"),
		request("nothing", "member", "owner@example.org"),
		request("two@example.org", "owner", "admin@example.org"),
	}
	answers := d.CheckAll(t.Context(), requests)
	require.NoError(t, answers[0])
	require.Equal(t, made.ID, problem.As(answers[1]).Other)
	for i, v := range d.AdmitAll(t.Context(), requests) {
		if v.Err != nil {
			require.Equal(t, problem.As(v.Err).Code, problem.As(answers[i]).Code)
		}
	}
	d.ahead.Store(int64(2 * time.Hour))
	require.NoError(t, d.CheckAll(t.Context(), requests[1:2])[0], "an invitation that has ended stands in nobody's way")
}
