package invitation_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/invitation"
)

// stored is an event with its place in the ledger.
type stored struct {
	event    events.Event
	sequence uint64
	at       time.Time
}

var began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// history is everything that can be said of one invitation, in the order of the ledger; several outcomes among it, as if
// the first had not won.
func history() []stored {
	const id = "inv_01jd8x5rbgf3y8zt5s9r2h4q6w"
	data := []events.Data{
		&events.InvitationRequested{Invitation: id, Organization: "acme", Email: "a@example.org", Role: "member", Person: "p", ExpiresAt: began.Add(time.Hour)},
		&events.InvitationSent{Invitation: id, Intent: 1, Purpose: "invitation"},
		&events.InvitationDeferred{Delivery: events.Delivery{Invitation: id, Intent: 1}},
		&events.InvitationDelivered{Delivery: events.Delivery{Invitation: id, Intent: 1}},
		&events.InvitationResendRequested{Invitation: id, Generation: 1, ExpiresAt: began.Add(2 * time.Hour)},
		&events.InvitationReminded{Invitation: id, Number: 1},
		&events.InvitationSent{Invitation: id, Intent: 5, Generation: 1, Purpose: "resend"},
		&events.InvitationBounced{Delivery: events.Delivery{Invitation: id, Intent: 5, Reason: "bounce"}},
		&events.InvitationAcceptRefused{Invitation: id, Reason: events.RefusedReplaced},
		&events.InvitationAccepted{Invitation: id, Person: "p", Generation: 1},
		&events.InvitationRevoked{Invitation: id, Reason: "changed my mind"},
		&events.InvitationExpired{Invitation: id},
		&events.InvitationAcceptRefused{Invitation: id, Reason: events.RefusedAuthority, Final: true},
		&events.InvitationRenewalAsked{Invitation: id},
		&events.InvitationRenewalAsked{Invitation: id, Renewed: true},
		&events.MembershipProvisioned{Membership: events.Membership{Invitation: id}},
	}
	var all []stored
	for i, d := range data {
		e := events.Event{ID: events.NewEventID(), Type: d.EventType(), Subject: id, CorrelationID: id, Data: d}
		all = append(all, stored{e, uint64(i + 1), began.Add(time.Duration(i) * time.Minute)})
	}
	return all
}

func fold(all []stored) invitation.Record {
	r := invitation.Record{ID: "inv_01jd8x5rbgf3y8zt5s9r2h4q6w", Organization: "acme"}
	for _, s := range all {
		r.Apply(s.event, s.sequence, s.at)
	}
	return r
}

func text(t require.TestingT, r invitation.Record) string {
	data, err := json.Marshal(r)
	require.NoError(t, err)
	return string(data)
}

func TestAnyOrderAndAnyRepetitionGiveTheSameRecord(t *testing.T) {
	all := history()
	rapid.Check(t, func(t *rapid.T) {
		// Any subset, so that the whole history is not the only one that agrees.
		var some []stored
		for _, s := range all {
			if rapid.Bool().Draw(t, "in") {
				some = append(some, s)
			}
		}
		want := text(t, fold(some))
		var shuffled []stored
		for range rapid.IntRange(1, 3).Draw(t, "times") {
			shuffled = append(shuffled, some...)
		}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		require.Equal(t, want, text(t, fold(shuffled)))

		// Folds of parts add up to the same, whichever comes first.
		cut := rapid.IntRange(0, len(shuffled)).Draw(t, "cut")
		left, right := fold(shuffled[:cut]), fold(shuffled[cut:])
		forward, backward := left, right
		forward.Merge(right)
		backward.Merge(left)
		require.Equal(t, want, text(t, forward))
		require.Equal(t, want, text(t, backward))
	})
}

func TestTheFirstOutcomeWins(t *testing.T) {
	r := fold(history())
	require.Equal(t, invitation.Accepted, r.Outcome)
	require.Equal(t, "p", r.AcceptedBy)
	require.Equal(t, invitation.MembershipActive, r.MembershipState())
	require.Equal(t, invitation.Bounced, r.DeliveryState())
	require.Equal(t, 1, r.Generation)
}

func TestPastItsDeadlineAnInvitationIsExpiredToTheInstant(t *testing.T) {
	r := fold(history()[:1])
	require.Equal(t, invitation.Pending, r.StatusAt(r.Deadline.Add(-time.Nanosecond)))
	require.Equal(t, invitation.Expired, r.StatusAt(r.Deadline))
	shown := r.Resource(r.Deadline)
	require.Equal(t, invitation.Expired, shown.Status)
	require.Equal(t, r.Deadline, *shown.EndedAt)
}

func TestAResendStartsDeliveryOver(t *testing.T) {
	all := history()
	require.Equal(t, invitation.Delivered, fold(all[:4]).Mail)
	require.Equal(t, invitation.Queued, fold(all[:5]).Mail)
	late := append(all[:5:5], all[2]) // a report about the first mail comes late
	require.Equal(t, invitation.Queued, fold(late).Mail)
}

// permuted are the events whose orders are gone through: all 5,040 of them.
func permuted() []events.Data {
	const id = "inv_01jd8x5rbgf3y8zt5s9r2h4q6w"
	return []events.Data{
		&events.InvitationRequested{Invitation: id, Organization: "acme", Email: "a@example.org", Role: "member", Person: "p", ExpiresAt: began.Add(time.Hour)},
		&events.InvitationSent{Invitation: id, Intent: 1, Purpose: "invitation"},
		&events.InvitationResendRequested{Invitation: id, Generation: 2, ExpiresAt: began.Add(2 * time.Hour)},
		&events.InvitationRevoked{Invitation: id, Reason: "changed my mind"},
		&events.InvitationExpired{Invitation: id},
		&events.InvitationAccepted{Invitation: id, Person: "p", Generation: 1},
		&events.MembershipProvisioned{Membership: events.Membership{Invitation: id}},
	}
}

// at makes events of the data, stored at the given sequences.
func at(data []events.Data, sequences []int) []stored {
	all := make([]stored, len(data))
	for i, d := range data {
		e := events.Event{ID: "evt", Type: d.EventType(), Subject: "inv_01jd8x5rbgf3y8zt5s9r2h4q6w", CorrelationID: "inv", Data: d}
		all[i] = stored{e, uint64(sequences[i]), began.Add(time.Duration(sequences[i]) * time.Minute)}
	}
	return all
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

func TestT107InWhateverOrderEventsComeTheirRecordIsTheSameAndNothingThatEndedOpensAgain(t *testing.T) {
	all := at(permuted(), []int{1, 2, 3, 4, 5, 6, 7})
	want := fold(all)
	orders := 0
	permutations(len(all), func(order []int) {
		orders++
		r := invitation.Record{ID: want.ID, Organization: want.Organization}
		ended, member := false, false
		for _, n := range order {
			r.Apply(all[n].event, all[n].sequence, all[n].at)
			require.False(t, ended && r.StatusAt(began) == invitation.Pending, "open again in order %v", order)
			require.False(t, member && r.MembershipState() != invitation.MembershipActive, "no member any more in order %v", order)
			ended, member = r.Outcome != "", r.Provisioned
		}
		require.Equal(t, want, r, "order %v", order)
	})
	require.Equal(t, 5040, orders)
}

// The model is written down without a look at how the fold does it: the earliest outcome counts, the latest of request and
// resend says deadline and generation, and the mail that was sent is the request's.
func TestT107InWhateverOrderEventsAreStoredTheirRecordIsTheModels(t *testing.T) {
	outcomes := map[events.Type]invitation.Status{
		events.TypeInvitationAccepted: invitation.Accepted, events.TypeInvitationRevoked: invitation.Revoked, events.TypeInvitationExpired: invitation.Expired,
	}
	data := permuted()
	permutations(len(data), func(order []int) {
		sequences := make([]int, len(data)) // of each event
		first, firstAt := invitation.Pending, len(data)+1
		for n := range data {
			sequences[n] = order[n] + 1
			if s, ends := outcomes[data[n].EventType()]; ends && sequences[n] < firstAt {
				first, firstAt = s, sequences[n]
			}
		}
		sent := data[1].(*events.InvitationSent)
		sent.Intent = uint64(sequences[0])
		generation, deadline, mail := 1, began.Add(time.Hour), invitation.Sent
		if sequences[2] > sequences[0] { // the resend came after the request
			generation, deadline, mail = 2, began.Add(2*time.Hour), invitation.Queued
		}
		r := fold(at(data, sequences))
		require.Equal(t, first, r.Outcome, "order %v", order)
		require.Equal(t, []any{generation, deadline, mail}, []any{r.Generation, r.Deadline, r.DeliveryState()}, "order %v", order)
		require.True(t, r.Provisioned)
		require.Equal(t, first == invitation.Accepted, r.AcceptedBy != "")
	})
}
