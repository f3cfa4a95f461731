package views_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
	"github.com/usherhq/usher/pkg/views"
)

const org = "acme"

func openLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), brokertest.Run(t).Conn(t), ledger.Options{Durable: ledger.Durability{Declared: true}})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

func open(t testing.TB, db *redisdb.DB, l *ledger.Ledger) *views.Views {
	t.Helper()
	v := views.New(db, l, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	t.Cleanup(v.Close)
	return v
}

// each runs a test against the in-process Redis and against a real one, with a way to wipe it.
func each(t *testing.T, test func(t *testing.T, db *redisdb.DB, wipe func())) {
	t.Helper()
	t.Run("in-process", func(t *testing.T) {
		server, err := redisdb.InProcess()
		require.NoError(t, err)
		t.Cleanup(server.Close)
		db, err := redisdb.Open(t.Context(), redisdb.Options{Embedded: server})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		test(t, db, server.Wipe)
	})
	t.Run("redis-server", func(t *testing.T) {
		server := redistest.Run(t)
		test(t, redistest.Open(t, server.URL()), func() { server.Flush(t) })
	})
}

func person(n int) string { return fmt.Sprintf("person%020d", n) }

// publish stores a fact about an invitation.
func publish(t *testing.T, l *ledger.Ledger, id, fact string, data events.Data) uint64 {
	t.Helper()
	e := events.Event{ID: events.NewEventID(), Source: "/test", Type: data.EventType(), Subject: id, CorrelationID: id, Time: l.Now(), Data: data}
	m, err := ledger.Fact(events.InvitationSubject(org, id, fact), e)
	require.NoError(t, err)
	sequence, err := l.Publish(t.Context(), events.StreamInvitations, m)
	require.NoError(t, err)
	return sequence
}

func request(t *testing.T, l *ledger.Ledger, n int) (id string, sequence uint64) {
	t.Helper()
	id = events.NewInvitationID()
	return id, publish(t, l, id, events.FactRequested, &events.InvitationRequested{
		Organization: org, Email: fmt.Sprintf("person-%d@example.org", n), Role: []string{"member", "admin"}[n%2],
		Inviter: "owner@example.org", Invitation: id, Person: person(n), ExpiresAt: l.Now().Add(time.Hour),
	})
}

// history publishes what may happen to eight invitations.
func history(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	for n := range 8 {
		id, intent := request(t, l, n)
		report := events.Delivery{Invitation: id, Intent: intent, OccurredAt: l.Now()}
		publish(t, l, id, events.FactSent, &events.InvitationSent{Invitation: id, Generation: 1, Purpose: "invitation", Intent: intent, MessageID: "m"})
		switch n % 4 {
		case 0:
			publish(t, l, id, events.FactDelivered, &events.InvitationDelivered{Delivery: report})
			publish(t, l, id, events.FactAccepted, &events.InvitationAccepted{Invitation: id, Generation: 1, Person: person(n), Invitee: events.InviteeNew})
			m := events.Membership{Organization: org, Person: person(n), Email: "a@example.org", Role: "member", Invitation: id, JoinedAt: l.Now()}
			e := events.Event{ID: events.NewEventID(), Source: "/test", Type: events.TypeMembershipProvisioned, Time: l.Now(), Data: &events.MembershipProvisioned{Membership: m}}
			fact, err := ledger.Fact(events.MembershipSubject(org, person(n)), e)
			require.NoError(t, err)
			_, err = l.Publish(t.Context(), events.StreamMemberships, fact)
			require.NoError(t, err)
		case 1:
			publish(t, l, id, events.FactBounced, &events.InvitationBounced{Delivery: report})
		case 2:
			publish(t, l, id, events.FactResend, &events.InvitationResendRequested{Invitation: id, Generation: 2, ExpiresAt: l.Now().Add(2 * time.Hour)})
			publish(t, l, id, events.FactRevoked, &events.InvitationRevoked{Invitation: id})
		}
	}
}

func stored(t *testing.T, l *ledger.Ledger) (all []ledger.Record) {
	t.Helper()
	for _, stream := range []string{events.StreamInvitations, events.StreamMemberships} {
		for r, err := range l.Scan(t.Context(), stream, "", 1) {
			require.NoError(t, err)
			all = append(all, r)
		}
	}
	return all
}

// look is all that the views tell of the organization.
func look(ctx context.Context, t require.TestingT, v *views.Views) string {
	page, err := v.List(ctx, org, views.Query{Limit: 100})
	require.NoError(t, err)
	pending, err := v.List(ctx, org, views.Query{Status: invitation.Pending, Role: "admin", Limit: 100})
	require.NoError(t, err)
	counts := tally(ctx, t, v)
	text, err := json.MarshalIndent([]any{page, pending, counts}, "", " ")
	require.NoError(t, err)
	return string(text)
}

func TestViewsAreTheSameInAnyOrderAndWithAnyRepetition(t *testing.T) {
	l := openLedger(t)
	history(t, l)
	all := stored(t, l)
	inOrder := open(t, redistest.Embedded(t), l)
	require.NoError(t, inOrder.Apply(t.Context(), all))
	want := look(t.Context(), t, inOrder)
	require.Equal(t, map[string]int{
		"accepted delivered": 2, "pending bounced": 2, "pending sent": 2, "revoked queued": 2,
	}, tally(t.Context(), t, inOrder))

	each(t, func(t *testing.T, db *redisdb.DB, wipe func()) {
		rapid.Check(t, func(rt *rapid.T) {
			wipe()
			v := views.New(db, l, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			defer v.Close()
			order := rapid.Permutation(slices.Concat(all, all[:rapid.IntRange(0, len(all)).Draw(rt, "repeated")])).Draw(rt, "order")
			var processes errgroup.Group // several take in a part each, at once
			for len(order) > 0 {
				n := rapid.IntRange(1, len(order)).Draw(rt, "batch")
				part := order[:n]
				processes.Go(func() error { return v.Apply(t.Context(), part) })
				order = order[n:]
			}
			require.NoError(rt, processes.Wait())
			require.Equal(rt, want, look(t.Context(), rt, v))
		})
	})
}

// tally is how many invitations stand where.
func tally(ctx context.Context, t require.TestingT, v *views.Views) map[string]int {
	tallies, err := v.Tallies(ctx, org)
	require.NoError(t, err)
	counts := map[string]int{}
	for _, one := range tallies {
		if one.Count != 0 {
			counts[string(one.Status)+" "+string(one.Delivery)] += one.Count
		}
	}
	return counts
}

func TestARebuildFillsWhatWasWiped(t *testing.T) {
	l := openLedger(t)
	history(t, l)
	each(t, func(t *testing.T, db *redisdb.DB, wipe func()) {
		v := open(t, db, l)
		require.NoError(t, v.Apply(t.Context(), stored(t, l)))
		before := look(t.Context(), t, v)
		wipe()
		empty, err := v.List(t.Context(), org, views.Query{Limit: 100})
		require.NoError(t, err)
		require.Empty(t, empty.Records)

		links := map[string]bool{}
		var last views.Progress
		require.NoError(t, v.Rebuild(t.Context(), func(_ context.Context, open []invitation.Record) error {
			for _, r := range open {
				links[r.ID] = true
			}
			return nil
		}, func(p views.Progress) { last = p }))
		require.Equal(t, before, look(t.Context(), t, v))
		require.Len(t, links, 4, "the open invitations are those whose links must be known again")
		require.Equal(t, last.Of, last.Events)
	})
}

func TestTheViewsFollowTheStreamsAndWhatIsLearnedShowsAtOnce(t *testing.T) {
	l := openLedger(t)
	db := redistest.Embedded(t)
	v, other := open(t, db, l), open(t, db, l)
	id, sequence := request(t, l, 99)
	v.Learn(t.Context(), invitation.Record{
		ID: id, Organization: org, Requested: sequence, RequestedAt: l.Now(), Deadline: l.Now().Add(time.Hour), DeadlineSeq: sequence, Generation: 1,
		Mail: invitation.Queued, Intent: sequence,
		Request: &events.InvitationRequested{Organization: org, Email: "person-99@example.org", Role: "admin", Invitation: id, Person: person(99)},
	})
	page, err := v.List(t.Context(), org, views.Query{Limit: 10})
	require.NoError(t, err)
	require.Len(t, page.Records, 1, "before the stream brought it")

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for _, each := range []*views.Views{v, other} { // two processes share the work
		go func() { ended <- each.Run(ctx) }()
	}
	for n := range 50 {
		request(t, l, n)
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.Equal(c, map[string]int{"pending queued": 51}, tally(ctx, c, v))
	}, 20*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	require.NoError(t, <-ended)
}

func TestPagesHoldStillWhileRowsArrive(t *testing.T) {
	l := openLedger(t)
	each(t, func(t *testing.T, db *redisdb.DB, wipe func()) {
		wipe()
		v := open(t, db, l)
		began := l.Now()
		var ids []string
		add := func() {
			n := uint64(len(ids) + 1)
			id := fmt.Sprintf("inv_%026d", n)
			ids = append(ids, id)
			v.Learn(t.Context(), invitation.Record{
				ID: id, Organization: org, Requested: 1000 * n, RequestedAt: began, Deadline: began.Add(time.Hour), DeadlineSeq: n,
				Request: &events.InvitationRequested{Organization: org, Email: fmt.Sprintf("p%d@example.org", n), Role: "member", Invitation: id, Person: person(int(n))},
			})
		}
		for range 25 {
			add()
		}
		first := slices.Clone(ids)
		slices.Reverse(first)
		var seen []string
		for cursor := ""; ; {
			page, err := v.List(t.Context(), org, views.Query{Limit: 7, Cursor: cursor})
			require.NoError(t, err)
			for _, r := range page.Records {
				seen = append(seen, r.ID)
			}
			if cursor = page.Next; cursor == "" {
				break
			}
			add() // newer than all pages that are still to come
		}
		require.Equal(t, first, seen)

		one, err := v.List(t.Context(), org, views.Query{Person: person(3), Limit: 7})
		require.NoError(t, err)
		require.Equal(t, ids[2], one.Records[0].ID)
		found, err := v.List(t.Context(), org, views.Query{Text: "P11@", Limit: 7})
		require.NoError(t, err)
		require.Equal(t, ids[10], found.Records[0].ID)
		require.Len(t, found.Records, 1)
	})
}

func TestAForeignCursorIsRefused(t *testing.T) {
	v := open(t, redistest.Embedded(t), openLedger(t))
	for _, cursor := range []string{"x", "cw", "czEyMzQ=", "****", "c3p6enp6enp6enp6enp6enp6"} {
		_, err := v.List(t.Context(), org, views.Query{Limit: 7, Cursor: cursor})
		require.True(t, problem.Is(err, problem.Invalid), "%q: %v", cursor, err)
	}
}

// T107: one invitation for each of the 5,040 orders of seven events, so that the n-th events of all can be taken in at once.
func TestT107InWhateverOrderEventsComeTheListsAreTheSame(t *testing.T) {
	l := openLedger(t)
	records, orders := map[string][]ledger.Record{}, map[string][]int{}
	want := map[string]invitation.Record{}
	permutations(7, func(order []int) {
		n := len(want)
		id := events.NewInvitationID()
		orders[id] = slices.Clone(order)
		records[id], want[id] = permuted(t, id, n)
	})
	require.Len(t, want, 5040)
	each(t, func(t *testing.T, db *redisdb.DB, wipe func()) {
		wipe()
		v := open(t, db, l)
		for n := range 7 {
			var some []ledger.Record
			for id, order := range orders {
				some = append(some, records[id][order[n]])
			}
			require.NoError(t, v.Apply(t.Context(), some))
		}
		require.Equal(t, map[string]int{"revoked queued": 5040}, tally(t.Context(), t, v))
		for cursor, seen := "", 0; ; {
			page, err := v.List(t.Context(), org, views.Query{Limit: 200, Cursor: cursor})
			require.NoError(t, err)
			for _, r := range page.Records {
				require.Equal(t, want[r.ID], r, "order %v", orders[r.ID])
				seen++
			}
			if cursor = page.Next; cursor == "" {
				require.Equal(t, 5040, seen)
				return
			}
		}
	})
}

// permuted are the seven events of the n-th invitation as they are stored, and the record they make in that order.
func permuted(t *testing.T, id string, n int) (stored []ledger.Record, want invitation.Record) {
	t.Helper()
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	first := uint64(7*n + 1)
	want = invitation.Record{ID: id, Organization: org}
	for i, f := range []struct {
		fact string
		data events.Data
	}{
		{events.FactRequested, &events.InvitationRequested{
			Organization: org, Email: "a@example.org", Role: "member", Inviter: "owner@example.org", Invitation: id, Person: person(n), ExpiresAt: at.Add(time.Hour),
		}},
		{events.FactSent, &events.InvitationSent{Invitation: id, Generation: 1, Purpose: "invitation", Intent: first, MessageID: "m"}},
		{events.FactResend, &events.InvitationResendRequested{Invitation: id, Generation: 2, ExpiresAt: at.Add(2 * time.Hour)}},
		{events.FactRevoked, &events.InvitationRevoked{Invitation: id}},
		{events.FactExpired, &events.InvitationExpired{Invitation: id, ExpiresAt: at.Add(time.Hour)}},
		{events.FactAccepted, &events.InvitationAccepted{Invitation: id, Generation: 1, Person: person(n), Invitee: events.InviteeNew}},
		{"", &events.MembershipProvisioned{Membership: events.Membership{
			Organization: org, Person: person(n), Email: "a@example.org", Role: "member", Invitation: id, JoinedAt: at,
		}}},
	} {
		subject := events.InvitationSubject(org, id, f.fact)
		if f.fact == "" {
			subject = events.MembershipSubject(org, person(n))
		}
		e := events.Event{ID: events.NewEventID(), Source: "/test", Type: f.data.EventType(), Subject: id, Time: at, CorrelationID: id, Data: f.data}
		m, err := ledger.Fact(subject, e)
		require.NoError(t, err)
		one := ledger.Record{Subject: subject, Sequence: first + uint64(i), Time: at, Header: m.Header, Data: m.Data}
		read, err := one.Event()
		require.NoError(t, err)
		want.Apply(read, one.Sequence, one.Time)
		stored = append(stored, one)
	}
	return stored, want
}

// permutations calls visit with every order of n things.
func permutations(n int, visit func(order []int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var swap func(k int)
	swap = func(k int) {
		if k == n {
			visit(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			swap(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	swap(0)
}
