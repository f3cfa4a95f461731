package redeem_test

import (
	"context"
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
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
)

const (
	owner   = "owner@example.org"
	invitee = "nell@example.org"
)

// desk is a redeemer over a real broker, with an owner in each of the organizations acme and umbrella.
type desk struct {
	*redeem.Redeemer
	Suppressions *suppressions.List
	ahead        atomic.Int64 // nanoseconds that the clock is ahead
}

func (d *desk) now() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())).UTC() }

func (d *desk) pass(by time.Duration) { d.ahead.Add(int64(by)) }

func setup(t *testing.T, policy ...roster.Policy) *desk {
	t.Helper()
	d := &desk{}
	// Ten past some hour, so that no test crosses into the next, where limits begin anew.
	d.ahead.Store(int64(time.Until(time.Now().Truncate(time.Hour).Add(70 * time.Minute))))
	l, err := ledger.Open(t.Context(), brokertest.Run(t).Conn(t), ledger.Options{Durable: ledger.Durability{Declared: true}, Clock: d.now, ClockIsMoved: true})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	r, err := roster.Open(t.Context(), l, roster.DefaultRoles)
	require.NoError(t, err)
	d.Suppressions, err = suppressions.Open(t.Context(), l)
	require.NoError(t, err)
	keys, err := apikeys.Open(t.Context(), l)
	require.NoError(t, err)
	ring, err := links.ParseRing(links.NewKey())
	require.NoError(t, err)
	server, err := redisdb.InProcess()
	require.NoError(t, err)
	t.Cleanup(server.Close)
	redis, err := redisdb.Open(t.Context(), redisdb.Options{Embedded: server, Clock: d.now})
	require.NoError(t, err)
	t.Cleanup(func() { _ = redis.Close() }) // a test may have closed it
	d.Redeemer = &redeem.Redeemer{
		Ledger: l, Roster: r, Keys: keys, Links: ring, Redis: redis, Authority: roster.AuthorityBlock,
		Admission: &admission.Admission{Ledger: l, Roster: r, Suppressions: d.Suppressions, Keys: keys, TTL: time.Hour},
	}
	for _, org := range []string{"acme", "umbrella"} {
		o := roster.Organization{ID: org, Name: org}
		if len(policy) > 0 {
			o.Policy = policy[0]
		}
		_, _, err = r.Put(t.Context(), o)
		require.NoError(t, err)
		d.member(t, org, owner, "owner", false)
	}
	return d
}

func (d *desk) person(t *testing.T, email string) string {
	t.Helper()
	a, err := address.Parse(email)
	require.NoError(t, err)
	return address.Person(d.Ledger.PersonKey(), a.Canonical)
}

// member makes somebody a member, or takes that away.
func (d *desk) member(t *testing.T, org, email, role string, removed bool) {
	t.Helper()
	m := events.Membership{Organization: org, Person: d.person(t, email), Email: email, Name: "Name of " + email, Role: role, JoinedAt: d.now()}
	var data events.Data = &events.MembershipProvisioned{Membership: m}
	if removed {
		data = &events.MembershipRemoved{Membership: m}
	}
	e := events.Event{ID: events.NewEventID(), Source: "/test", Type: data.EventType(), Subject: m.Person, Time: d.now(), Data: data}
	message, err := ledger.Fact(events.MembershipSubject(org, m.Person), e)
	require.NoError(t, err)
	sequence, err := d.Ledger.Publish(t.Context(), events.StreamMemberships, message)
	require.NoError(t, err)
	d.Roster.Learn(m, sequence, removed)
}

func (d *desk) invite(t *testing.T, org, email string, change ...func(*events.InvitationRequested)) invitation.Record {
	t.Helper()
	q := events.InvitationRequested{Organization: org, Email: email, Role: "member", Inviter: owner}
	for _, c := range change {
		c(&q)
	}
	record, err := d.Admission.Admit(t.Context(), admission.Request{Source: "/test", InvitationRequested: q})
	require.NoError(t, err)
	return record
}

func (d *desk) token(t *testing.T, record invitation.Record) string {
	t.Helper()
	token, err := d.Links.Derive(links.PurposeInvite, record.ID, record.Generation)
	require.NoError(t, err)
	return token.Reveal()
}

// expired is an invitation whose time is over, and its token.
func (d *desk) expired(t *testing.T, change ...func(*events.InvitationRequested)) (invitation.Record, string) {
	t.Helper()
	record := d.invite(t, "acme", invitee, change...)
	d.pass(2 * time.Hour)
	return record, d.token(t, record)
}

// said lists the stored events of one fact of an organization's invitations.
func said[T any](t *testing.T, d *desk, fact string) (all []*T) {
	t.Helper()
	for stored, err := range d.Ledger.Scan(t.Context(), events.StreamInvitations, events.InvitationSubject("acme", "*", fact), 1) {
		require.NoError(t, err)
		e, err := stored.Event()
		require.NoError(t, err)
		all = append(all, any(e.Data).(*T))
	}
	return all
}

func requests(t *testing.T, d *desk) []*events.InvitationRequested {
	return said[events.InvitationRequested](t, d, events.FactRequested)
}

func wishes(t *testing.T, d *desk) []*events.InvitationRenewalAsked {
	return said[events.InvitationRenewalAsked](t, d, events.FactRenewal)
}

var selfService = roster.Policy{SelfServiceRenewal: true, RedirectHosts: []string{"app.example.org"}}

func TestWithoutLeaveToRenewTheWishIsPassedOnAndNothingIsMailed(t *testing.T) {
	d := setup(t)
	record, token := d.expired(t)
	answer, err := d.Renew(t.Context(), token)
	require.NoError(t, err)
	require.False(t, answer.Renewed)
	require.Len(t, requests(t, d), 1)
	require.Equal(t, []*events.InvitationRenewalAsked{{Invitation: record.ID}}, wishes(t, d))

	shown, err := d.Lookup(t.Context(), token)
	require.True(t, problem.Is(err, problem.Expired))
	require.True(t, redeem.Asked(shown.Record, d.now()), "the page knows of it")
}

func TestWithLeaveToRenewANewInvitationGoesToTheSameAddress(t *testing.T) {
	d := setup(t, selfService)
	var learned []string
	d.Learned = func(_ context.Context, r invitation.Record) { learned = append(learned, r.ID) }
	record, token := d.expired(t, func(q *events.InvitationRequested) {
		q.Name, q.Locale, q.ExpiresIn = "Nell", "de", "90m"
		q.Metadata, q.RedirectURL = map[string]string{"team": "blue"}, "https://app.example.org/welcome"
	})
	answer, err := d.Renew(t.Context(), token)
	require.NoError(t, err)
	require.True(t, answer.Renewed)
	all := requests(t, d)
	require.Len(t, all, 2)
	first, second := *all[0], *all[1]
	require.Equal(t, record.ID, second.Replaces)
	require.True(t, second.Renewal)
	require.Equal(t, 90*time.Minute, second.ExpiresAt.Sub(d.now()).Round(time.Minute))
	second.Invitation, second.Replaces, second.Renewal, second.ExpiresAt = first.Invitation, "", false, first.ExpiresAt
	require.Equal(t, first, second, "in all else it is the old one: address, role, inviter, name, language, metadata, where it leads")
	require.Equal(t, []*events.InvitationRenewalAsked{{Invitation: record.ID, Renewed: true}}, wishes(t, d))
	require.Equal(t, []string{all[1].Invitation, record.ID}, learned)
}

func TestAskingAgainIsTheSameWish(t *testing.T) {
	for _, policy := range []roster.Policy{{}, selfService} {
		d := setup(t, policy)
		_, token := d.expired(t)
		var callers sync.WaitGroup
		var failed atomic.Value
		for range 50 { // clicks at once
			callers.Go(func() {
				if _, err := d.Renew(context.Background(), token); err != nil {
					failed.Store(err)
				}
			})
		}
		callers.Wait()
		require.Nil(t, failed.Load())
		for range 3 { // and later ones
			d.pass(time.Hour / 4)
			answer, err := d.Renew(t.Context(), token)
			require.NoError(t, err)
			require.Equal(t, policy.SelfServiceRenewal, answer.Renewed)
		}
		require.Len(t, wishes(t, d), 1)
		require.Len(t, requests(t, d), map[bool]int{false: 1, true: 2}[policy.SelfServiceRenewal])
	}
}

// A process that died after the new invitation was stored, and before the wish was: the next click finds both.
func TestAWishThatWasInterruptedIsFinishedByTheNextClick(t *testing.T) {
	d := setup(t, selfService)
	_, token := d.expired(t)
	d.Learned = func(context.Context, invitation.Record) { panic("dies") } // right after the first of the two writes
	require.Panics(t, func() { _, _ = d.Renew(t.Context(), token) })
	require.Len(t, requests(t, d), 2)
	require.Empty(t, wishes(t, d))

	d.Learned = nil
	answer, err := d.Renew(t.Context(), token)
	require.NoError(t, err)
	require.True(t, answer.Renewed)
	require.Len(t, requests(t, d), 2, "not a third")
	require.Len(t, wishes(t, d), 1)
}

func TestAfterADayTheWishIsANewOne(t *testing.T) {
	d := setup(t, selfService)
	_, token := d.expired(t)
	_, err := d.Renew(t.Context(), token)
	require.NoError(t, err)
	d.pass(redeem.RenewalEvery)
	answer, err := d.Renew(t.Context(), token)
	require.NoError(t, err)
	require.True(t, answer.Renewed)
	require.Len(t, requests(t, d), 3)
	require.Len(t, wishes(t, d), 2)
}

func TestWhereANewerInvitationIsOpenItsMailIsNamed(t *testing.T) {
	for _, policy := range []roster.Policy{{}, selfService} {
		d := setup(t, policy)
		_, token := d.expired(t)
		d.invite(t, "acme", invitee)
		_, err := d.Renew(t.Context(), token)
		require.True(t, problem.Is(err, problem.Replaced), "%v", err)
		require.Empty(t, wishes(t, d))
	}
}

func TestOnlyWhatExpiredIsRenewed(t *testing.T) {
	d := setup(t, selfService)
	open := d.invite(t, "acme", invitee)
	_, err := d.Renew(t.Context(), d.token(t, open))
	require.True(t, problem.Is(err, problem.NotExpired), "%v", err)
	_, err = d.Decline(t.Context(), d.token(t, open), "")
	require.NoError(t, err)
	_, err = d.Renew(t.Context(), d.token(t, open))
	require.True(t, problem.Is(err, problem.Declined), "%v", err)
	_, err = d.Renew(t.Context(), "forged")
	require.True(t, problem.Is(err, problem.NotFound), "%v", err)
	require.Empty(t, wishes(t, d))
}

func TestWhoIsAMemberByNowIsToldSo(t *testing.T) {
	d := setup(t, selfService)
	_, token := d.expired(t)
	d.member(t, "acme", invitee, "member", false)
	_, err := d.Renew(t.Context(), token)
	require.True(t, problem.Is(err, problem.AlreadyMember), "%v", err)
}

func TestAnInviterWhoLostTheirAuthorityRenewsNothing(t *testing.T) {
	d := setup(t, selfService)
	_, token := d.expired(t)
	d.member(t, "acme", owner, "owner", true)
	_, err := d.Renew(t.Context(), token)
	require.True(t, problem.Is(err, problem.AuthorityLost), "%v", err)
	require.Len(t, requests(t, d), 1)
	require.Empty(t, wishes(t, d), "nobody is left to be told")
}

func TestASuppressedAddressIsLeftToTheInviter(t *testing.T) {
	d := setup(t, selfService)
	record, token := d.expired(t)
	require.NoError(t, d.Suppressions.Add(t.Context(), record.Request.Person, suppressions.Suppression{Reason: suppressions.Bounced}))
	answer, err := d.Renew(t.Context(), token)
	require.NoError(t, err)
	require.False(t, answer.Renewed)
	require.Len(t, requests(t, d), 1)
}

func TestAnInvitationByAnAPIKeyIsRenewedByThatKeyWhileItWorks(t *testing.T) {
	d := setup(t, selfService)
	_, key, err := d.Keys.Create(t.Context(), "crm", "acme")
	require.NoError(t, err)
	record, err := d.Admission.Admit(t.Context(), admission.Request{
		Source: "/test", Key: &key, InvitationRequested: events.InvitationRequested{Organization: "acme", Email: invitee, Role: "member"},
	})
	require.NoError(t, err)
	d.pass(2 * time.Hour)
	answer, err := d.Renew(t.Context(), d.token(t, record))
	require.NoError(t, err)
	require.True(t, answer.Renewed)
	require.Equal(t, key.ID, requests(t, d)[1].Inviter)

	require.NoError(t, d.Keys.Revoke(t.Context(), key.ID))
	d.pass(redeem.RenewalEvery)
	_, err = d.Renew(t.Context(), d.token(t, record))
	require.True(t, problem.Is(err, problem.AuthorityLost), "%v", err)
}

func TestOneOrganizationsInviteesAskSoOftenAnHour(t *testing.T) {
	d := setup(t)
	var last error
	asked := 0
	var tokens []string
	for i := range 110 {
		tokens = append(tokens, d.token(t, d.invite(t, "acme", "n"+string(rune('a'+i/26))+string(rune('a'+i%26))+"@example.org")))
	}
	elsewhere := d.token(t, d.invite(t, "umbrella", invitee))
	d.pass(2 * time.Hour)
	for _, token := range tokens {
		if _, last = d.Renew(t.Context(), token); last == nil {
			asked++
		}
	}
	require.Equal(t, 100, asked)
	require.True(t, problem.Is(last, problem.TooMany), "%v", last)
	require.Positive(t, problem.As(last).RetryAfter)
	_, err := d.Renew(t.Context(), elsewhere)
	require.NoError(t, err, "another organization's are not held up")
}

// V098: a limit that cannot be counted lets nobody through.
func TestV098WithoutRedisNobodyRenews(t *testing.T) {
	d := setup(t, selfService)
	_, token := d.expired(t)
	require.NoError(t, d.Redis.Close())
	_, err := d.Renew(t.Context(), token)
	require.True(t, problem.Is(err, problem.NotNow), "%v", err)
	require.Len(t, requests(t, d), 1)
}

func TestAHostThatLeftTheListIsLeftByOlderInvitations(t *testing.T) {
	d := setup(t, selfService)
	record := d.invite(t, "acme", invitee, func(q *events.InvitationRequested) { q.RedirectURL = "https://app.example.org/welcome" })
	p, err := d.Lookup(t.Context(), d.token(t, record))
	require.NoError(t, err)
	require.Equal(t, "https://app.example.org/welcome", p.Continue())
	_, _, err = d.Roster.Put(t.Context(), roster.Organization{ID: "acme", Name: "acme"})
	require.NoError(t, err)
	p, err = d.Lookup(t.Context(), d.token(t, record))
	require.NoError(t, err)
	require.Empty(t, p.Continue())
}

func TestV028TheVerifiedAddressMustBeTheInvitedOne(t *testing.T) {
	d := setup(t)
	record := d.invite(t, "acme", invitee)
	token := d.token(t, record)
	for _, email := range []string{"mallory@example.org", "nell@example.com", "nell@", "nell+x@example.org"} {
		_, err := d.Accept(t.Context(), token, redeem.By{Name: "M", Email: email})
		require.True(t, problem.Is(err, problem.WrongAccount), "%s: %v", email, err)
		_, err = d.AcceptOwn(t.Context(), record.ID, redeem.By{Name: "M", Email: email})
		require.True(t, problem.Is(err, problem.NotFound), "%s: %v", email, err)
		_, err = d.DeclineOwn(t.Context(), record.ID, email)
		require.True(t, problem.Is(err, problem.NotFound), "%s: %v", email, err)
		_, err = d.Own(t.Context(), record.ID, email)
		require.True(t, problem.Is(err, problem.NotFound), "%s: %v", email, err)
	}
	refused := said[events.InvitationAcceptRefused](t, d, events.FactRefused)
	require.NotEmpty(t, refused)
	require.Equal(t, events.RefusedWrongAccount, refused[0].Reason)

	_, err := d.Accept(t.Context(), token, redeem.By{Name: "Nell", Locale: "de-at", Email: "NELL@EXAMPLE.org"})
	require.NoError(t, err, "the same mailbox, written otherwise")
	accepted := said[events.InvitationAccepted](t, d, events.FactAccepted)
	require.Len(t, accepted, 1)
	require.Equal(t, "de-AT", accepted[0].Locale)
	require.Equal(t, d.person(t, invitee), accepted[0].Person)
}

func TestALanguageThatIsNoneRefusesNobody(t *testing.T) {
	for _, wish := range []string{"", "klingon-on-the-starboard-bow", "x\x00", "de_DE@euro"} {
		d := setup(t)
		_, err := d.Accept(t.Context(), d.token(t, d.invite(t, "acme", invitee)), redeem.By{Name: "Nell", Locale: wish})
		require.NoError(t, err, wish)
		require.Empty(t, said[events.InvitationAccepted](t, d, events.FactAccepted)[0].Locale, wish)
	}
}

func TestAPersonSeesTheirOpenInvitationsInAllOrganizationsAndNobodyElses(t *testing.T) {
	d := setup(t)
	acme, umbrella := d.invite(t, "acme", invitee), d.invite(t, "umbrella", "Nell@Example.org", func(q *events.InvitationRequested) { q.ExpiresIn = "30m" })
	d.invite(t, "acme", "other@example.org")
	list := func(email string) (ids []string) {
		open, err := d.OpenFor(t.Context(), email)
		require.NoError(t, err)
		for _, p := range open {
			ids = append(ids, p.Record.ID)
		}
		return ids
	}
	require.Equal(t, []string{umbrella.ID, acme.ID}, list(invitee))
	require.Empty(t, list("nobody@example.org"))
	require.Empty(t, list("no address"))

	_, err := d.DeclineOwn(t.Context(), umbrella.ID, invitee)
	require.NoError(t, err)
	require.Equal(t, []string{acme.ID}, list(invitee))
	_, err = d.AcceptOwn(t.Context(), acme.ID, redeem.By{Name: "Nell", Email: invitee})
	require.NoError(t, err)
	require.Empty(t, list(invitee))
	_, err = d.Own(t.Context(), acme.ID, invitee)
	require.True(t, problem.Is(err, problem.Accepted), "%v", err)
	_, err = d.AcceptOwn(t.Context(), acme.ID, redeem.By{Name: "Nell", Email: invitee})
	require.NoError(t, err, "again is the same success")
}

func TestWhatExpiredIsNotOpen(t *testing.T) {
	d := setup(t)
	d.expired(t)
	open, err := d.OpenFor(t.Context(), invitee)
	require.NoError(t, err)
	require.Empty(t, open)
}
