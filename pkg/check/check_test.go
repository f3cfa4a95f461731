package check_test

import (
	"context"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/check"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/redisdb"
)

// found is one disagreement that is expected, or was told.
type found struct {
	kind       check.Kind
	invitation string
	repairable bool
}

// told is what a report tells, in order.
func told(r check.Report) []found {
	all := []found{}
	for _, d := range r.Disagreements {
		all = append(all, found{d.Kind, d.Invitation, d.Repairable})
	}
	return sorted(all)
}

func sorted(all []found) []found {
	sort.Slice(all, func(a, b int) bool {
		if all[a].kind != all[b].kind {
			return all[a].kind < all[b].kind
		}
		return all[a].invitation < all[b].invitation
	})
	return all
}

// healthy is some of everything that may happen to invitations.
func (w *world) healthy() {
	for range 3 {
		w.mailed()
		w.mailed().accepted().joined()
		w.mailed().revoked()
		w.asked().revoked()
		w.mailed().tell(events.FactOpened, &events.InvitationOpened{Generation: 1})
	}
}

func TestWhatAgreesIsClean(t *testing.T) {
	each(t, func(w *world) {
		w.healthy()
		w.handled()
		r := w.run(check.Do{})
		require.Empty(w.t, r.Disagreements)
		require.True(w.t, r.Clean)
		require.Equal(w.t, 15, r.Checked["invitations"])
		require.Equal(w.t, 15, r.Checked["views"])
		require.Equal(w.t, 3, r.Checked["memberships"])
	})
}

// planted is one disagreement in an otherwise healthy world. What is planted before the views are current is about streams;
// what spoil does is about Redis, and comes after.
type planted struct {
	plant func(w *world) *invited
	spoil func(i *invited)
	// raw is for what only a real redis-server can be made to hold.
	raw func(i *invited)
	// finds are the kinds told of it; with * where they are repairable, with - where they are told of no invitation.
	finds []string
}

func mailed(w *world) *invited { return w.mailed() }

// another is a person that no invitation is of.
const another = "another-person"

var plants = map[string]planted{
	"an event nobody can read": {
		plant: func(w *world) *invited {
			i := w.mailed()
			w.publish(events.StreamInvitations, ledger.Message{Subject: events.InvitationSubject(org, i.Invitation, events.FactOpened), Header: map[string][]string{}, Data: []byte("{")})
			return i
		},
		finds: []string{"unreadable-event"},
	},
	"an answer to nothing": {
		plant: func(w *world) *invited {
			i := &invited{w: w, InvitationRequested: &events.InvitationRequested{Organization: org, Invitation: events.NewInvitationID()}}
			i.tell(events.FactDeclined, &events.InvitationDeclined{Invitation: i.Invitation, Generation: 1})
			return i
		},
		finds: []string{"request-missing"},
	},
	"two outcomes": {
		plant: func(w *world) *invited {
			i := w.mailed().accepted().joined()
			i.tell(events.FactRevoked, &events.InvitationRevoked{Invitation: i.Invitation})
			return i
		},
		finds: []string{"second-outcome"},
	},
	"an acceptance after the deadline": {
		plant: func(w *world) *invited {
			i := w.mailed()
			i.ended(events.FactAccepted, &events.InvitationAccepted{Invitation: i.Invitation, Generation: 1, Person: i.Person, Invitee: events.InviteeNew}, i.ExpiresAt.Add(time.Minute))
			return i.joined()
		},
		finds: []string{"late-acceptance"},
	},
	"an organization that is not there": {
		plant: func(w *world) *invited {
			return w.mailed(func(q *events.InvitationRequested) { q.Organization = "nowhere" }).revoked()
		},
		finds: []string{"organization-gone-"},
	},
	"an acceptance without membership": {
		plant: func(w *world) *invited { return w.mailed().accepted() },
		finds: []string{"membership-missing*"},
	},
	"a membership nobody accepted": {
		plant: func(w *world) *invited { return w.mailed().joined() },
		finds: []string{"membership-unasked"},
	},
	"a membership of a higher role": {
		plant: func(w *world) *invited {
			return w.mailed().accepted().joined(func(m *events.Membership) { m.Role = "owner" })
		},
		finds: []string{"membership-differs"},
	},
	"a membership of another address": {
		plant: func(w *world) *invited {
			return w.mailed().accepted().joined(func(m *events.Membership) { m.Email = "mallory@example.org" })
		},
		finds: []string{"membership-differs"},
	},
	"two memberships": {
		plant: func(w *world) *invited { return w.mailed().accepted().joined().joined() },
		finds: []string{"membership-twice"},
	},
	"a membership on the wrong subject": {
		plant: func(w *world) *invited {
			i := w.mailed().accepted()
			i.joinedOn(events.MembershipSubject(org, another), events.Membership{
				Organization: org, Person: i.Person, Email: i.Email, Role: i.Role, Invitation: i.Invitation, JoinedAt: w.Now(),
			})
			return i
		},
		finds: []string{"membership-misplaced"},
	},
	"a membership that was refused": {
		plant: func(w *world) *invited {
			i := w.mailed().accepted()
			i.tell(events.FactRefused, &events.InvitationAcceptRefused{Invitation: i.Invitation, Reason: events.RefusedAuthority, Final: true})
			return i.joined()
		},
		finds: []string{"membership-refused"},
	},
	"a record that is gone": {
		plant: mailed,
		spoil: func(i *invited) {
			_, value := i.record()
			require.NoError(i.w.t, i.w.redis.DropRecord(i.w.t.Context(), org, i.Invitation, string(value)))
		},
		finds: []string{"view-missing*", "index-orphan*", "person-orphan*"},
	},
	"a record of yesterday": {
		plant: func(w *world) *invited { return w.mailed().revoked() },
		spoil: func(i *invited) {
			i.rewrite(func(r *invitation.Record) { r.Outcome, r.OutcomeSeq, r.EndedAt = "", 0, time.Time{} })
		},
		finds: []string{"view-stale*"},
	},
	"a record that promotes": {
		plant: mailed,
		spoil: func(i *invited) { i.rewrite(func(r *invitation.Record) { r.Request.Role = "owner" }) },
		finds: []string{"view-wrong*"},
	},
	"a record of garbage": {
		plant: mailed,
		spoil: func(i *invited) {
			r, old := i.record()
			i.w.apply(org, redisdb.Change{ID: i.Invitation, Old: old, New: []byte("garbage"), OldCombo: "pending:sent:member", Score: r.Requested})
		},
		finds: []string{"view-unreadable*", "person-orphan*"},
	},
	"a record that knows more": {
		plant: mailed,
		spoil: func(i *invited) {
			i.rewrite(func(r *invitation.Record) {
				r.Apply(i.w.event(i.Invitation, &events.InvitationRevoked{Invitation: i.Invitation}), 1_000_000, i.w.Now())
			})
		},
		finds: []string{"view-ahead"},
	},
	"a record of nobody's": {
		plant: func(w *world) *invited {
			return &invited{w: w, InvitationRequested: &events.InvitationRequested{Organization: org, Invitation: events.NewInvitationID()}}
		},
		spoil: func(i *invited) {
			r := invitation.Record{ID: i.Invitation, Organization: org, Reason: "invented"}
			i.w.apply(org, redisdb.Change{ID: i.Invitation, New: r.Encode()})
		},
		finds: []string{"view-unknown*"},
	},
	"an invitation that no list shows": {
		plant: mailed,
		spoil: func(i *invited) {
			index, entry := i.place()
			require.NoError(i.w.t, i.w.redis.Strike(i.w.t.Context(), org, index, entry))
		},
		finds: []string{"index-missing*", "count-wrong*-"},
	},
	"an invitation that two lists show": {
		plant: func(w *world) *invited { return w.mailed().revoked() },
		spoil: func(i *invited) {
			_, value := i.record()
			_, entry := i.place()
			require.NoError(i.w.t, i.w.redis.Enlist(i.w.t.Context(), org, entry, "declined:sent:viewer", value))
		},
		finds: []string{"index-orphan*", "count-wrong*-"},
	},
	"an invitation that its person lost": {
		plant: mailed,
		spoil: func(i *invited) {
			require.NoError(i.w.t, i.w.redis.SetPerson(i.w.t.Context(), org, i.Person, i.Invitation, ""))
		},
		finds: []string{"person-missing*"},
	},
	"an invitation among a stranger's": {
		plant: mailed,
		spoil: func(i *invited) {
			require.NoError(i.w.t, i.w.redis.SetPerson(i.w.t.Context(), org, another, "", i.Invitation))
		},
		finds: []string{"person-orphan*"},
	},
	"an index that nothing is read from": {
		plant: func(w *world) *invited {
			return w.mailed(func(q *events.InvitationRequested) { q.Role = "viewer" })
		},
		raw: func(i *invited) {
			index, _ := i.place()
			i.w.server.Do(i.w.t, "ZREM", "usher:{"+org+"}:buckets", index)
		},
		finds: []string{"index-unlisted*-", "count-wrong*-"},
	},
	"an index that is not there": {
		plant: mailed,
		raw:   func(i *invited) { i.w.server.Do(i.w.t, "ZADD", "usher:{"+org+"}:buckets", "7", "7:pending:sent:admin") },
		finds: []string{"index-empty*-"},
	},
	"a link that is gone": {
		plant: mailed,
		spoil: func(i *invited) { i.w.dropToken(i.token()) },
		finds: []string{"token-missing*"},
	},
	"a link of nobody's": {
		plant: mailed,
		spoil: func(i *invited) {
			token := i.token()
			token.Hash[0]++
			require.NoError(i.w.t, i.w.redis.PutToken(i.w.t.Context(), token))
		},
		finds: []string{"token-foreign*"},
	},
	"an open invitation without timer": {
		plant: func(w *world) *invited {
			i := w.mailed()
			timer, err := w.Last(w.t.Context(), events.StreamInvitations, i.claim())
			require.NoError(w.t, err)
			brokertest.Lose(w.t, w.broker.JetStream(w.t), events.StreamInvitations, timer.Sequence)
			return i
		},
		finds: []string{"expiry-timer-missing*"},
	},
	"a timer for another hour": {
		plant: func(w *world) *invited {
			i := w.mailed()
			i.timer(i.ExpiresAt.Add(time.Hour))
			return i
		},
		finds: []string{"expiry-timer-wrong*"},
	},
	"a timer of an ended invitation": {
		plant: func(w *world) *invited {
			i := w.mailed().revoked()
			i.timer(i.ExpiresAt)
			return i
		},
		finds: []string{"expiry-timer-left*"},
	},
	"a deadline nobody announced": {
		plant: func(w *world) *invited {
			i := w.mailed(func(q *events.InvitationRequested) { q.ExpiresAt = w.Now().Add(-time.Hour) })
			require.Eventually(w.t, func() bool {
				_, err := w.Last(w.t.Context(), events.StreamInvitations, events.InvitationSubject(org, i.Invitation, events.FactExpiryDue))
				return err == nil
			}, 10*time.Second, 10*time.Millisecond, "the broker fires no timers")
			return i
		},
		finds: []string{"expiry-overdue*"},
	},
	"a reminder without timer": {
		plant: func(w *world) *invited {
			i := w.asked()
			i.index()
			i.sent("p")
			return i
		},
		finds: []string{"reminder-timer-missing*"},
	},
	"a mail that never left": {
		plant: func(w *world) *invited { return w.asked() },
		finds: []string{"mail-missing*"},
	},
	"a mail nobody asked for": {
		plant: func(w *world) *invited {
			i := w.mailed()
			i.tell(events.FactSent, &events.InvitationSent{Invitation: i.Invitation, Generation: 1, Purpose: events.PurposeResend, Intent: i.sequence - 1, MessageID: "m"})
			return i
		},
		finds: []string{"mail-unasked"},
	},
	"a mail that left twice": {
		plant: func(w *world) *invited {
			i := w.mailed()
			i.sent("another")
			return i
		},
		finds: []string{"mail-twice"},
	},
	"a delivery of nothing": {
		plant: func(w *world) *invited {
			i := w.mailed()
			i.tell(events.FactDelivered, &events.InvitationDelivered{Delivery: events.Delivery{Invitation: i.Invitation, Intent: i.sequence - 1, OccurredAt: w.Now()}})
			return i
		},
		finds: []string{"delivery-unasked"},
	},
	"a claim on a mail that left": {
		plant: mailed,
		spoil: func(i *invited) { i.claimed(i.sequence) },
		finds: []string{"claim-left*"},
	},
	"a claim on no mail": {
		plant: mailed,
		spoil: func(i *invited) { i.claimed(i.sequence - 1) },
		finds: []string{"claim-unknown*"},
	},
	"a bounce that suppresses nobody": {
		plant: func(w *world) *invited {
			i := w.mailed()
			i.tell(events.FactBounced, &events.InvitationBounced{Delivery: events.Delivery{Invitation: i.Invitation, Intent: i.sequence, ProviderEvent: "x", OccurredAt: w.Now()}})
			return i
		},
		finds: []string{"suppression-missing*"},
	},
}

// timer replaces the expiry timer.
func (i *invited) timer(at time.Time) {
	i.w.t.Helper()
	m, err := ledger.Timer(i.claim(), events.InvitationSubject(i.Organization, i.Invitation, events.FactExpiryDue), at,
		i.w.event(i.Invitation, &events.InvitationExpiryDue{Invitation: i.Invitation, ExpiresAt: at}))
	require.NoError(i.w.t, err)
	i.w.publish(events.StreamInvitations, m)
}

func (w *world) dropToken(token redisdb.Token) {
	w.t.Helper()
	require.NoError(w.t, w.redis.Sweep(w.t.Context(), func(part redisdb.Sweep) {
		for _, stored := range part.Tokens {
			if stored.Hash == token.Hash {
				require.NoError(w.t, w.redis.DropToken(w.t.Context(), stored))
			}
		}
	}))
}

// plant plants everything, each in an invitation of its own, and gives what is to be found.
func (w *world) plant() []found {
	w.t.Helper()
	var expected []found
	about := map[string]*invited{}
	for name, p := range plants {
		about[name] = p.plant(w)
	}
	w.handled()
	for name, p := range plants {
		if p.raw != nil && w.server == nil {
			continue
		}
		i := about[name]
		if p.spoil != nil {
			p.spoil(i)
		}
		if p.raw != nil {
			p.raw(i)
		}
		for _, f := range p.finds {
			expected = append(expected, i.finds(f))
		}
	}
	return expected
}

func (i *invited) finds(what string) found {
	f := found{invitation: i.Invitation}
	for n := len(what); ; n-- {
		switch what[n-1] {
		case '*':
			f.repairable = true
		case '-':
			f.invitation = ""
		default:
			f.kind = check.Kind(what[:n])
			return f
		}
	}
}

// once leaves out what several plants are told by together: one count may be wrong because of two of them.
func once(all []found) []found {
	var distinct []found
	for _, f := range sorted(all) {
		if f.kind != check.CountWrong || len(distinct) == 0 || distinct[len(distinct)-1].kind != check.CountWrong {
			distinct = append(distinct, f)
		}
	}
	return distinct
}

func TestEveryPlantedDisagreementIsFoundNamedAndMended(t *testing.T) {
	each(t, func(w *world) {
		w.healthy()
		expected := w.plant()
		first := w.run(check.Do{})
		require.False(w.t, first.Clean)
		require.Equal(w.t, once(expected), once(told(first)))
		kinds := map[check.Kind]bool{}
		for _, d := range first.Disagreements {
			kinds[d.Kind] = true
			require.False(w.t, d.Repaired)
			require.NotEmpty(w.t, d.Detail)
		}
		require.Greater(w.t, len(kinds), 20)

		w.work()
		for _, d := range w.run(check.Do{Repair: true}).Disagreements {
			require.Equal(w.t, d.Repairable, d.Repaired, "%s of %s: %s", d.Kind, d.Invitation, d.Detail)
		}
		for _, d := range w.run(check.Do{}).Disagreements {
			require.False(w.t, d.Repairable, "not mended: %s of %s: %s", d.Kind, d.Invitation, d.Detail)
		}
	})
}

// TestWhatMayRestOnALossIsNotRepaired loses a message, and has an operator say that this is known.
func TestWhatMayRestOnALossIsNotRepaired(t *testing.T) {
	each(t, func(w *world) {
		i := w.asked()
		i.index()
		lost := i.tell(events.FactSent, &events.InvitationSent{
			Invitation: i.Invitation, Generation: 1, Purpose: events.PurposeInvitation, Intent: i.sequence, MessageID: "m",
		})
		i.remind()
		w.handled()
		brokertest.Lose(w.t, w.broker.JetStream(w.t), events.StreamInvitations, lost)
		w.hear("mailer", func(string) {
			i.sent("again")
		})
		about := i.Invitation
		first := []found{{check.MailMissing, about, false}, {check.SequenceGap, "", false}, {check.ViewWrong, about, false}}
		require.Equal(w.t, first, told(w.run(check.Do{Repair: true})), "it may have been mailed: what told of that is lost")

		accepted := w.run(check.Do{Repair: true, AcceptGaps: true})
		require.True(w.t, accepted.Clean)
		require.Empty(w.t, w.run(check.Do{}).Disagreements)
	})
}

// work has workers that do what is handed to them again.
func (w *world) work() {
	w.t.Helper()
	again := func(subject string) *invited {
		org, id, _, _ := events.SplitInvitation(subject)
		r, err := invitation.Load(w.t.Context(), w.Ledger, org, id)
		require.NoError(w.t, err)
		return &invited{w: w, InvitationRequested: r.Request, sequence: r.Requested, event: w.event(id, r.Request)}
	}
	w.hear("acceptance", func(original string) { again(original).joined() })
	w.hear("mailer", func(original string) {
		i := again(original)
		i.index()
		i.sent("p")
		i.remind()
	})
	require.NoError(w.t, w.Tail(w.t.Context(), events.StreamInvitations, []string{events.InvitationSubject("*", "*", events.FactExpiryDue)}, func(subject string) {
		i := again(subject)
		i.tell(events.FactExpired, &events.InvitationExpired{Invitation: i.Invitation, ExpiresAt: i.ExpiresAt})
	}))
}

// hear has a worker hear what is handed to it again, by the subject that it was published on first.
func (w *world) hear(worker string, do func(original string)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- w.Follow(ctx, ledger.Following{
			Stream: events.StreamDeadLetters, Durable: "test-" + worker, Filters: []string{events.RedriveSubject(worker)},
		}, func(_ context.Context, letters []ledger.Record) error {
			for _, l := range letters {
				do(l.Header[bus.DeadSubject][0])
			}
			return nil
		})
	}()
	w.t.Cleanup(func() {
		stop()
		require.NoError(w.t, <-done)
	})
}

// TestTimersThatWentAreNoGaps takes timers away in every way in which they go by themselves.
func TestTimersThatWentAreNoGaps(t *testing.T) {
	each(t, func(w *world) {
		w.mailed().revoked()                                                                                  // stopped by an outcome
		resent := w.mailed()                                                                                  // replaced by a resend
		resent.resent(time.Hour + time.Minute)                                                                // and another
		resent.resent(2 * time.Hour)                                                                          //
		w.mailed(func(q *events.InvitationRequested) { q.ExpiresAt = w.Now().Add(-admission.Grace) }).fired() // fired
		w.taken()                                                                                             // taken over from a publisher that died
		reminded := w.asked()
		m, err := admission.ReminderTimer(reminded.event, org, 1, w.Now())
		require.NoError(w.t, err)
		w.publish(events.StreamInvitations, m)
		reminded.awaits(events.FactReminderDue)
		w.mailed()
		w.handled()
		require.Empty(w.t, only(w.run(check.Do{}), check.SequenceGap))

		brokertest.Lose(w.t, w.broker.JetStream(w.t), events.StreamInvitations, reminded.tell(events.FactOpened, &events.InvitationOpened{Invitation: reminded.Invitation, Generation: 1}))
		w.mailed()
		require.Len(w.t, only(w.run(check.Do{}), check.SequenceGap), 1, "what was lost passed for a timer")
	})
}

// resent publishes a resend, with its timer, as the API does.
func (i *invited) resent(ttl time.Duration) {
	i.w.t.Helper()
	held, err := i.w.Last(i.w.t.Context(), events.StreamInvitations, i.claim())
	require.NoError(i.w.t, err)
	e := i.w.event(i.Invitation, &events.InvitationResendRequested{Invitation: i.Invitation, Generation: 1, ExpiresAt: i.w.Now().Add(ttl)})
	asked, err := ledger.Fact(events.InvitationSubject(org, i.Invitation, events.FactResend), e)
	require.NoError(i.w.t, err)
	timer, err := admission.ExpiryTimer(e, org, i.Person, i.w.Now().Add(ttl))
	require.NoError(i.w.t, err)
	i.w.publish(events.StreamInvitations, timer.Expecting(i.claim(), held.Sequence), asked.Succeeding(held.Sequence).Guarded())
}

// awaits waits until a timer has said something.
func (i *invited) awaits(fact string) {
	i.w.t.Helper()
	require.Eventually(i.w.t, func() bool {
		_, err := i.w.Last(i.w.t.Context(), events.StreamInvitations, events.InvitationSubject(org, i.Invitation, fact))
		return err == nil
	}, 20*time.Second, 10*time.Millisecond, "the broker fires no timers")
}

// fired waits until its deadline was announced, and ends it.
func (i *invited) fired() {
	i.w.t.Helper()
	i.awaits(events.FactExpiryDue)
	i.tell(events.FactExpired, &events.InvitationExpired{Invitation: i.Invitation, ExpiresAt: i.ExpiresAt})
}

// taken publishes a timer without its request, and then another invitation of that person, as admission does, which ends.
func (w *world) taken() {
	w.t.Helper()
	dead := w.event(events.NewInvitationID(), &events.InvitationDeclined{})
	person := "taken-person"
	timer, err := admission.ExpiryTimer(dead, org, person, w.Now().Add(time.Hour))
	require.NoError(w.t, err)
	held := w.publish(events.StreamInvitations, timer)
	id := events.NewInvitationID()
	e := w.event(id, &events.InvitationRequested{
		Organization: org, Invitation: id, Email: "taken@example.org", Role: "member", Inviter: "owner@example.org", Person: person, ExpiresAt: w.Now().Add(time.Hour),
	})
	asked, err := ledger.Fact(events.InvitationSubject(org, id, events.FactRequested), e)
	require.NoError(w.t, err)
	timer, err = admission.ExpiryTimer(e, org, person, w.Now().Add(time.Hour))
	require.NoError(w.t, err)
	w.publish(events.StreamInvitations, timer.Expecting(events.ClaimSubject(org, person), held),
		asked.Succeeding(held).Expecting(events.InvitationSubject(org, dead.Subject, events.FactRequested), 0))
	(&invited{w: w, InvitationRequested: e.Data.(*events.InvitationRequested)}).revoked()
}

// TestTwoOpenInvitationsOfOneAddressAreForTheOperator: which of them is right, nobody can tell.
func TestTwoOpenInvitationsOfOneAddressAreForTheOperator(t *testing.T) {
	w := newWorld(t, nil)
	first := w.mailed()
	timer, err := w.Last(t.Context(), events.StreamInvitations, first.claim())
	require.NoError(t, err)
	brokertest.Lose(t, w.broker.JetStream(t), events.StreamInvitations, timer.Sequence)
	second := w.mailed(func(q *events.InvitationRequested) { q.Person = first.Person })
	w.handled()
	r := w.run(check.Do{Repair: true})
	require.Equal(t, []found{{check.ExpiryTimerMissing, first.Invitation, false}}, told(r))
	require.Contains(t, r.Disagreements[0].Detail, second.Invitation)
}

// TestATimerSetByARepairIsNoGapOnceItWent is the one timer that no event tells of.
func TestATimerSetByARepairIsNoGapOnceItWent(t *testing.T) {
	each(t, func(w *world) {
		i := w.mailed()
		timer, err := w.Last(w.t.Context(), events.StreamInvitations, i.claim())
		require.NoError(w.t, err)
		brokertest.Lose(w.t, w.broker.JetStream(w.t), events.StreamInvitations, timer.Sequence)
		w.handled()
		require.True(w.t, w.run(check.Do{Repair: true}).Clean)
		i.revoked()
		w.handled()
		require.Empty(w.t, w.run(check.Do{}).Disagreements)
	})
}

func TestABrokerThatFiresNoTimersIsTold(t *testing.T) {
	w := newWorld(t, nil)
	i := w.mailed()
	w.handled()
	later, err := ledger.Open(t.Context(), w.broker.Conn(t), ledger.Options{
		Durable: ledger.Durability{Declared: true}, Clock: func() time.Time { return time.Now().Add(2 * time.Hour) },
		ClockIsMoved: true,
	})
	require.NoError(t, err)
	t.Cleanup(later.Close)
	w.options.Ledger = later
	overdue := only(w.run(check.Do{}), check.TimerOverdue)
	require.Len(t, overdue, 2, "expiry and reminder")
	require.Equal(t, i.Invitation, overdue[0].Invitation)
}

func TestAConsumerThatIsNotThereIsTold(t *testing.T) {
	w := newWorld(t, nil)
	require.Eventually(t, func() bool { return len(only(w.run(check.Do{}), check.ConsumerMissing)) == 7 }, 20*time.Second, 10*time.Millisecond)
	w.handled()
	require.Empty(t, w.run(check.Do{}).Disagreements)
}

// TestWhatIsStillToBeDoneIsNotMissing leaves every worker's work undone: they have not come to it.
func TestWhatIsStillToBeDoneIsNotMissing(t *testing.T) {
	w := newWorld(t, nil)
	w.mailed().revoked()
	w.handled()
	w.asked()
	w.mailed().accepted()
	r := w.run(check.Do{})
	require.Empty(t, r.Disagreements)
	require.NotZero(t, r.Waiting["mailer"])
	require.NotZero(t, r.Waiting["acceptance"])
}
