package check_test

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/check"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/views"
)

// many is how large a ledger is checked: each invitation was mailed, and every third accepted.
const many = 100_000

// BenchmarkAHundredThousandInvitations checks them all, on servers in processes of their own. kept-MB is what a check
// keeps in memory, cpu-s what of the time it worked itself.
func BenchmarkAHundredThousandInvitations(b *testing.B) {
	w := newWorld(b, redistest.Run(b))
	for n := range many / organization {
		_, _, err := w.options.Roster.Put(b.Context(), roster.Organization{ID: fmt.Sprintf("org-%d", n), Name: "Org"})
		require.NoError(b, err)
	}
	for n := 0; n < many; n += 200 {
		w.fill(n, 200)
	}
	w.rebuild()
	w.handled()
	for b.Loop() {
		c := check.New(w.options)
		before := live()
		began, worked := time.Now(), processor(b)
		r, err := c.Run(b.Context(), check.Do{})
		require.NoError(b, err)
		require.Empty(b, r.Disagreements)
		require.Equal(b, many, r.Checked["invitations"])
		b.ReportMetric(time.Since(began).Seconds(), "s/check")
		b.ReportMetric((processor(b) - worked).Seconds(), "cpu-s/check")
		b.ReportMetric(float64(live()-before), "kept-MB")
		runtime.KeepAlive(c)
	}
}

// processor is the time that this process has worked: on a machine that others use, the better measure.
func processor(b *testing.B) time.Duration {
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc >> 20
}

// fill publishes size invitations at once, and what became of them.
func (w *world) fill(from, size int) {
	w.t.Helper()
	var told, joined []ledger.Message // each one unit, so that sequences are known beforehand
	for n := from; n < from+size; n++ {
		unit, membership := w.story(n)
		told = append(told, unit...)
		if membership != nil {
			joined = append(joined, *membership)
		}
	}
	w.publish(events.StreamInvitations, told...)
	w.publish(events.StreamMemberships, joined...)
}

// organization is how many invitations one has.
const organization = 10_000

// story is one invitation and what became of it.
func (w *world) story(n int) (unit []ledger.Message, membership *ledger.Message) {
	in := fmt.Sprintf("org-%d", n/organization)
	q := &events.InvitationRequested{
		Organization: in, Invitation: events.NewInvitationID(), Email: fmt.Sprintf("person-%d@example.org", n), Role: "member", Name: "Nell New",
		Inviter: "owner@example.org", InviterPerson: "inviter", Person: fmt.Sprintf("person%020d", n), ExpiresAt: w.Now().Add(24 * time.Hour),
	}
	e := w.event(q.Invitation, q)
	timer, err := admission.ExpiryTimer(e, in, q.Person, q.ExpiresAt)
	require.NoError(w.t, err)
	add := func(fact string, data events.Data) *ledger.Message {
		m, err := ledger.Fact(events.InvitationSubject(in, q.Invitation, fact), w.event(q.Invitation, data))
		require.NoError(w.t, err)
		unit = append(unit, m)
		return &unit[len(unit)-1]
	}
	unit = append(unit, timer)
	add(events.FactRequested, q)
	w.published += 2
	intent := w.published
	add(events.FactSent, &events.InvitationSent{Invitation: q.Invitation, Generation: 1, Purpose: events.PurposeInvitation, Intent: intent, MessageID: "m"})
	add(events.FactDelivered, &events.InvitationDelivered{Delivery: events.Delivery{Invitation: q.Invitation, Intent: intent, OccurredAt: w.Now()}})
	w.published += 2
	if n%3 != 0 {
		return unit, nil
	}
	w.published++
	accepted := add(events.FactAccepted, &events.InvitationAccepted{Invitation: q.Invitation, Generation: 1, Person: q.Person, Invitee: events.InviteeNew})
	*accepted = accepted.Stopping(events.ClaimSubject(in, q.Person))
	m, err := ledger.Fact(events.MembershipSubject(in, q.Person), w.event(q.Person, &events.MembershipProvisioned{Membership: events.Membership{
		Organization: in, Person: q.Person, Email: q.Email, Role: q.Role, Invitation: q.Invitation, JoinedAt: w.Now(),
	}}))
	require.NoError(w.t, err)
	return unit, &m
}

// rebuild fills Redis.
func (w *world) rebuild() {
	w.t.Helper()
	require.NoError(w.t, w.views.Rebuild(w.t.Context(), func(ctx context.Context, open []invitation.Record) error {
		tokens := make([]redisdb.Token, 0, len(open))
		for _, r := range open {
			token, err := w.links.Derive(links.PurposeInvite, r.ID, r.Generation)
			if err != nil {
				return err
			}
			tokens = append(tokens, redisdb.Token{Hash: token.Hash(), Organization: r.Organization, Invitation: r.ID, ExpiresAt: r.Deadline})
		}
		return w.redis.PutTokens(ctx, tokens)
	}, func(views.Progress) {}))
}
