package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
)

func open(t *testing.T, b *brokertest.Broker) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), b.Conn(t), Options{Durable: Durability{Declared: true}})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

// fact makes a valid event of the ledger.
func fact(t *testing.T, subject, id string) Message {
	t.Helper()
	m, err := Fact(subject, events.Event{
		ID: events.NewEventID(), Source: "/test", Type: events.TypeInvitationDeclined, Subject: id, Time: time.Now(),
		Data: &events.InvitationDeclined{Invitation: id},
	})
	require.NoError(t, err)
	return m
}

func TestASecondOpenFindsTheStreamsAndTheSamePersonKey(t *testing.T) {
	b := brokertest.Run(t)
	first, second := open(t, b), open(t, b)
	require.Len(t, first.PersonKey(), 32)
	require.Equal(t, first.PersonKey(), second.PersonKey())
	require.NoError(t, second.Ping(t.Context()))
}

func TestADeploymentFromBeforeTheUndeliveredWereKeptIsBroughtUp(t *testing.T) {
	b := brokertest.Run(t)
	open(t, b)
	require.NoError(t, b.JetStream(t).DeleteStream(t.Context(), events.StreamUndelivered))
	l := open(t, b)
	require.NoError(t, l.Ping(t.Context()))
	_, err := l.State(t.Context(), events.StreamUndelivered)
	require.NoError(t, err)
}

func TestAnotherStreamThatKeepsWhatTheBrokerSaysIsNamed(t *testing.T) {
	b := brokertest.Run(t)
	_, err := b.JetStream(t).CreateStream(t.Context(), jetstream.StreamConfig{Name: "MONITORING", Subjects: []string{"$JS.EVENT.ADVISORY.>"}})
	require.NoError(t, err)
	_, err = Open(t.Context(), b.Conn(t), Options{Durable: Durability{Declared: true}})
	require.ErrorContains(t, err, "another stream keeps some of its subjects already ($JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.REQUESTS.*")
}

func TestALazyBrokerIsRefused(t *testing.T) {
	lazy := brokertest.Run(t, brokertest.Lazy())
	_, err := Open(t.Context(), lazy.Conn(t), Options{Durable: Durability{MonitoringURL: lazy.MonitoringURL}})
	require.ErrorContains(t, err, "sync_interval: always")

	safe := brokertest.Run(t)
	l, err := Open(t.Context(), safe.Conn(t), Options{Durable: Durability{MonitoringURL: safe.MonitoringURL}})
	require.NoError(t, err)
	l.Close()

	_, err = Open(t.Context(), safe.Conn(t), Options{})
	require.ErrorContains(t, err, "USHER_NATS_MONITORING_URL")

	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	_, err = Open(t.Context(), safe.Conn(t), Options{Durable: Durability{MonitoringURL: other.URL}})
	require.ErrorContains(t, err, "does not answer as nats-server does")
}

func TestOldServersAreRefused(t *testing.T) {
	for version, ok := range map[string]bool{
		"2.9.25": false, "2.12.12": false, "2.14.2": false, "2.14.3": true, "2.14.10": true, "2.15.2": true, "2.15.0-RC.1": true, "3.0.0": true, "": false, "dev": false,
	} {
		require.Equal(t, ok, newEnough(version), version)
	}
}

func TestOneRefusedUnitNeverFailsItsNeighbours(t *testing.T) {
	l := open(t, brokertest.Run(t))
	taken := "invitations.acme.p0.timer.expiry"
	_, err := l.Publish(t.Context(), events.StreamInvitations, fact(t, taken, "inv_0"))
	require.NoError(t, err)

	var units [][]Message
	for i := range 200 {
		id := events.NewInvitationID()
		claim := fmt.Sprintf("invitations.acme.p%d.timer.expiry", i%100) // every claim twice, and p0 is taken
		units = append(units, []Message{fact(t, claim, id).Expecting(claim, 0), fact(t, events.InvitationSubject("acme", id, "requested"), id)})
	}
	results := l.PublishAll(t.Context(), events.StreamInvitations, units)
	sequences := map[uint64]bool{}
	winners := map[string]int{}
	for i, r := range results {
		if errors.Is(r.Err, ErrConflict) {
			continue
		}
		require.NoError(t, r.Err, i)
		winners[units[i][0].Subject]++
		require.False(t, sequences[r.Value])
		sequences[r.Value] = true
		last, err := l.Last(t.Context(), events.StreamInvitations, units[i][1].Subject)
		require.NoError(t, err)
		require.Equal(t, r.Value, last.Sequence)
	}
	require.Len(t, winners, 99)
	require.NotContains(t, winners, taken)
	for claim, n := range winners {
		require.Equal(t, 1, n, claim)
	}
	state, err := l.State(t.Context(), events.StreamInvitations)
	require.NoError(t, err)
	require.EqualValues(t, 1+2*99, state.Messages)
}

func TestAGuardedMessageIsRefusedOnceItsGuardIsTaken(t *testing.T) {
	l := open(t, brokertest.Run(t))
	id, claim := events.NewInvitationID(), "invitations.acme.p1.timer.expiry"
	requested := events.InvitationSubject("acme", id, "requested")
	unit := []Message{fact(t, claim, id).Expecting(claim, 0), fact(t, requested, id).Guarded()}
	sequence, err := l.Publish(t.Context(), events.StreamInvitations, unit...)
	require.NoError(t, err)
	last, err := l.Last(t.Context(), events.StreamInvitations, requested)
	require.NoError(t, err)
	require.Equal(t, sequence, last.Sequence)
	require.Equal(t, []string{claim}, last.Header[jetstream.ExpectedLastSubjSeqSubjHeader])
	require.Equal(t, []string{fmt.Sprint(sequence - 1)}, last.Header[jetstream.ExpectedLastSubjSeqHeader])

	guard, err := l.storeOne(fact(t, claim, id)) // as a publisher that died after its first message leaves it
	require.NoError(t, err)
	taken, err := l.storeOne(fact(t, claim, id).Expecting(claim, guard))
	require.NoError(t, err)
	_, err = l.storeOne(fact(t, requested, id).Expecting(claim, guard))
	require.ErrorIs(t, verdict(err), ErrConflict)
	require.Greater(t, taken, guard)
}

func TestADuplicateIDIsToldApartFromItsNeighbours(t *testing.T) {
	l := open(t, brokertest.Run(t))
	id := events.NewInvitationID()
	again := fact(t, events.InvitationSubject("acme", id, "sent"), id)
	_, err := l.Publish(t.Context(), events.StreamInvitations, again)
	require.NoError(t, err)
	results := l.PublishAll(t.Context(), events.StreamInvitations, [][]Message{
		{fact(t, events.InvitationSubject("acme", id, "reminded"), id)}, {again}, {fact(t, events.InvitationSubject("acme", id, "resend"), id)},
	})
	require.NoError(t, results[0].Err)
	require.ErrorIs(t, results[1].Err, ErrDuplicate)
	require.NoError(t, results[2].Err)
}

func TestOf64RacersOneOutcomeWins(t *testing.T) {
	l := open(t, brokertest.Run(t))
	id := events.NewInvitationID()
	var won, lost sync.Map
	var racers sync.WaitGroup
	for i := range 64 {
		m := fact(t, events.InvitationSubject("acme", id, []string{"outcome.accepted", "outcome.revoked"}[i%2]), id)
		m = m.Expecting(events.OutcomeFilter("acme", id), 0).Stopping(events.ClaimSubject("acme", "nobody"))
		racers.Go(func() {
			if sequence, err := l.Publish(context.Background(), events.StreamInvitations, m); err == nil {
				won.Store(i, sequence)
			} else if errors.Is(err, ErrConflict) {
				lost.Store(i, true)
			}
		})
	}
	racers.Wait()
	require.Equal(t, 1, size(&won))
	require.Equal(t, 63, size(&lost))
}

func size(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

func TestAnOutcomeStopsItsTimerInTheSameWrite(t *testing.T) {
	l := open(t, brokertest.Run(t))
	id, claim := events.NewInvitationID(), events.ClaimSubject("acme", "person")
	due := events.InvitationSubject("acme", id, events.FactExpiryDue)
	timer, err := Timer(claim, due, time.Now().Add(time.Hour), dueEvent(id))
	require.NoError(t, err)
	_, err = l.Publish(t.Context(), events.StreamInvitations, timer.Expecting(claim, 0))
	require.NoError(t, err)

	outcome := fact(t, events.InvitationSubject("acme", id, events.FactDeclined), id).Expecting(events.OutcomeFilter("acme", id), 0).Stopping(claim)
	_, err = l.Publish(t.Context(), events.StreamInvitations, outcome)
	require.NoError(t, err)
	_, err = l.Last(t.Context(), events.StreamInvitations, claim)
	require.ErrorIs(t, err, ErrNotFound)
}

func dueEvent(id string) events.Event {
	return events.Event{
		ID: events.NewEventID(), Source: "/test", Type: events.TypeInvitationExpiryDue, Subject: id, Time: time.Now(),
		Data: &events.InvitationExpiryDue{Invitation: id, ExpiresAt: time.Now()},
	}
}

func TestATimerFiresOnceAndNotEarlyAndGivesItsSubjectFree(t *testing.T) {
	b := brokertest.Run(t)
	l := open(t, b)
	id, claim := events.NewInvitationID(), events.ClaimSubject("acme", "person")
	due := events.InvitationSubject("acme", id, events.FactExpiryDue)
	at := time.Now().Add(1500 * time.Millisecond)
	moved, err := Timer(claim, due, at.Add(-time.Second), dueEvent(id))
	require.NoError(t, err)
	sequence, err := l.Publish(t.Context(), events.StreamInvitations, moved)
	require.NoError(t, err)
	timer, err := Timer(claim, due, at, dueEvent(id)) // moves the first one
	require.NoError(t, err)
	_, err = l.Publish(t.Context(), events.StreamInvitations, timer.Expecting(claim, sequence))
	require.NoError(t, err)

	var fired Record
	require.Eventually(t, func() bool { fired, err = l.Last(t.Context(), events.StreamInvitations, due); return err == nil }, 10*time.Second, 20*time.Millisecond)
	require.False(t, fired.Time.Before(at), "fired %s early", at.Sub(fired.Time))
	e, err := fired.Event()
	require.NoError(t, err)
	require.Equal(t, events.TypeInvitationExpiryDue, e.Type)
	_, err = l.Last(t.Context(), events.StreamInvitations, claim)
	require.ErrorIs(t, err, ErrNotFound)
	var times int
	for _, err := range l.Scan(t.Context(), events.StreamInvitations, due, 1) {
		require.NoError(t, err)
		times++
	}
	require.Equal(t, 1, times)
}

func TestFactsOfManyCallersAreNotMixedUp(t *testing.T) {
	l := open(t, brokertest.Run(t))
	var ids []string
	for range 100 {
		id := events.NewInvitationID()
		ids = append(ids, id)
		_, err := l.Publish(t.Context(), events.StreamInvitations,
			fact(t, events.InvitationSubject("acme", id, "requested"), id), fact(t, events.InvitationSubject("acme", id, "sent"), id))
		require.NoError(t, err)
	}
	var readers sync.WaitGroup
	answers := make([][]string, len(ids))
	for i, id := range ids {
		readers.Go(func() {
			records, err := l.Facts(context.Background(), "acme", id, "requested", "sent", "outcome.*")
			for _, r := range records {
				answers[i] = append(answers[i], r.Subject)
			}
			if err != nil {
				answers[i] = append(answers[i], err.Error())
			}
		})
	}
	readers.Wait()
	for i, id := range ids {
		slices.Sort(answers[i])
		require.Equal(t, []string{events.InvitationSubject("acme", id, "requested"), events.InvitationSubject("acme", id, "sent")}, answers[i])
	}
}

func TestScanGivesEverythingInOrder(t *testing.T) {
	l := open(t, brokertest.Run(t))
	id := events.NewInvitationID()
	var units [][]Message
	for range 1200 { // more than two pages
		units = append(units, []Message{fact(t, events.InvitationSubject("acme", id, "refused"), id)})
	}
	for _, r := range l.PublishAll(t.Context(), events.StreamInvitations, units) {
		require.NoError(t, r.Err)
	}
	next := uint64(1)
	for r, err := range l.Scan(t.Context(), events.StreamInvitations, events.InvitationFilter("acme", id), 1) {
		require.NoError(t, err)
		require.Equal(t, next, r.Sequence)
		next++
	}
	require.EqualValues(t, 1201, next)
}

func TestFollowHandsAFailedBatchOutAgainAndSurvivesALostConsumer(t *testing.T) {
	b := brokertest.Run(t)
	l := open(t, b)
	ctx, stop := context.WithCancel(t.Context())
	seen := make(chan uint64, 100)
	failed := false
	done := make(chan error)
	go func() {
		done <- l.Follow(ctx, Following{Stream: events.StreamInvitations, Durable: "test", Filters: []string{"invitations.>"}}, func(_ context.Context, records []Record) error {
			if !failed {
				failed = true
				return errors.New("not this time")
			}
			for _, r := range records {
				seen <- r.Sequence
			}
			return nil
		})
	}()
	publish := func() uint64 {
		id := events.NewInvitationID()
		sequence, err := l.Publish(t.Context(), events.StreamInvitations, fact(t, events.InvitationSubject("acme", id, "refused"), id))
		require.NoError(t, err)
		return sequence
	}
	first := publish()
	require.Equal(t, first, <-seen)
	require.NoError(t, l.js.DeleteConsumer(t.Context(), events.StreamInvitations, "test"))
	second := publish()
	for sequence := range seen { // a consumer made anew starts from the beginning
		if sequence == second {
			break
		}
	}
	stop()
	require.NoError(t, <-done)
}

func TestWatchGivesWhatIsThereAndWhatComes(t *testing.T) {
	l := open(t, brokertest.Run(t))
	id := events.NewInvitationID()
	for range 3 {
		_, err := l.Publish(t.Context(), events.StreamMemberships, fact(t, events.MembershipSubject("acme", "p1"), id))
		require.NoError(t, err)
	}
	seen := make(chan uint64, 10)
	require.NoError(t, l.Watch(t.Context(), events.StreamMemberships, "memberships.>", func(r Record) { seen <- r.Sequence }))
	require.EqualValues(t, 3, <-seen) // the last of the subject alone
	_, err := l.Publish(t.Context(), events.StreamMemberships, fact(t, events.MembershipSubject("acme", "p2"), id))
	require.NoError(t, err)
	require.EqualValues(t, 4, <-seen)
}

func TestWithoutABrokerTheAnswerIsNotNow(t *testing.T) {
	b := brokertest.Run(t)
	l := open(t, b)
	b.Stop()
	require.Eventually(t, func() bool { return !l.nc.IsConnected() }, 10*time.Second, 10*time.Millisecond)
	id := events.NewInvitationID()
	_, err := l.Publish(t.Context(), events.StreamInvitations, fact(t, events.InvitationSubject("acme", id, "refused"), id))
	require.ErrorContains(t, err, "not-now")
	_, err = l.Facts(t.Context(), "acme", id, "requested")
	require.ErrorContains(t, err, "not-now")
}

// TestBehindABrokerThatSaysNothingNobodyWaitsForLong: a stream that could not write once (a full disk, a failed fsync) answers
// no publish until the broker is started again, and whoever waits behind several of them is told "not now" all the same.
func TestBehindABrokerThatSaysNothingNobodyWaitsForLong(t *testing.T) {
	t.Parallel()
	b := brokertest.Process(t)
	l, err := Open(t.Context(), b.Conn(t), Options{Durable: Durability{Declared: true}})
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(b.Pid(), syscall.SIGSTOP))
	id, began := events.NewInvitationID(), time.Now()
	var racers sync.WaitGroup
	for range 4 { // one at a time: each expects to be the first
		m := fact(t, events.InvitationSubject("acme", id, "outcome.declined"), id).Expecting(events.OutcomeFilter("acme", id), 0)
		racers.Go(func() {
			_, err := l.Publish(context.Background(), events.StreamInvitations, m)
			assert.ErrorContains(t, err, "not-now")
		})
	}
	racers.Wait()
	require.Less(t, time.Since(began), answerTimeout+2*time.Second)
	require.NoError(t, syscall.Kill(b.Pid(), syscall.SIGCONT))
	l.Close()
}

func TestABucketRefusesTheSecondWriter(t *testing.T) {
	l := open(t, brokertest.Run(t))
	bucket, err := l.Bucket(t.Context(), BucketOrganizations)
	require.NoError(t, err)
	revision, err := bucket.Create(t.Context(), "acme", []byte("1"))
	require.NoError(t, err)
	_, err = bucket.Create(t.Context(), "acme", []byte("2"))
	require.ErrorIs(t, err, ErrConflict)
	_, err = bucket.Update(t.Context(), "acme", []byte("2"), revision)
	require.NoError(t, err)
	_, err = bucket.Update(t.Context(), "acme", []byte("3"), revision)
	require.ErrorIs(t, err, ErrConflict)
}

func BenchmarkPublishConcurrently(b *testing.B) {
	broker := brokertest.Run(b)
	l, err := Open(b.Context(), broker.Conn(b), Options{Durable: Durability{Declared: true}})
	require.NoError(b, err)
	defer l.Close()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := events.NewInvitationID()
			data := &events.InvitationDeclined{Invitation: id}
			e := events.Event{ID: events.NewEventID(), Source: "/test", Type: data.EventType(), Subject: id, Time: time.Now(), Data: data}
			m, _ := Fact(events.InvitationSubject("acme", id, "outcome.declined"), e)
			if _, err := l.Publish(context.Background(), events.StreamInvitations, m.Expecting(events.OutcomeFilter("acme", id), 0)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestABucketForgetsAFamilyOfKeysAndNoOther(t *testing.T) {
	l := open(t, brokertest.Run(t))
	bucket, err := l.Bucket(t.Context(), BucketImportPages)
	require.NoError(t, err)
	for _, key := range []string{"imp_a.0", "imp_a.1", "imp_ab.0", "imp_b.0"} {
		_, err := bucket.Put(t.Context(), key, []byte("x"))
		require.NoError(t, err)
	}
	require.NoError(t, bucket.Drop(t.Context(), "imp_a"))
	for key, want := range map[string]error{"imp_a.0": ErrNotFound, "imp_a.1": ErrNotFound, "imp_ab.0": nil, "imp_b.0": nil} {
		_, err := bucket.Get(t.Context(), key)
		require.ErrorIs(t, err, want, key)
	}
	state, err := l.State(t.Context(), "KV_"+BucketImportPages)
	require.NoError(t, err)
	require.EqualValues(t, 2, state.Messages, "nothing is left to tell of them")
}

func TestABucketThatForgetsTooSoonIsRefused(t *testing.T) {
	b := brokertest.Run(t)
	js, err := jetstream.New(b.Conn(t))
	require.NoError(t, err)
	_, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: BucketImports, TTL: time.Hour})
	require.NoError(t, err)
	_, err = Open(t.Context(), b.Conn(t), Options{Durable: Durability{Declared: true}})
	require.ErrorContains(t, err, "bucket imports exists with weaker settings (max age: is 1h0m0s, needs 720h0m0s)")
}

func TestABacklogCountsWhatAConsumerHasNotFinishedWith(t *testing.T) {
	l := open(t, brokertest.Run(t))
	n, err := l.Backlog(t.Context(), events.StreamInvitations, "nobody")
	require.NoError(t, err)
	require.Zero(t, n, "where nobody listens, nothing waits")
	consumer, err := l.JetStream().CreateConsumer(t.Context(), events.StreamInvitations, jetstream.ConsumerConfig{Durable: "slow", AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	for range 3 {
		id := events.NewInvitationID()
		_, err := l.Publish(t.Context(), events.StreamInvitations, fact(t, events.InvitationSubject("acme", id, events.FactDeclined), id))
		require.NoError(t, err)
	}
	backlog := func() uint64 {
		n, err := l.Backlog(t.Context(), events.StreamInvitations, "slow")
		require.NoError(t, err)
		return n
	}
	require.EqualValues(t, 3, backlog())
	m, err := consumer.Next()
	require.NoError(t, err)
	require.EqualValues(t, 3, backlog(), "what is being handled counts")
	require.NoError(t, m.DoubleAck(t.Context()))
	require.EqualValues(t, 2, backlog())
}

func TestAWeakerConsumerIsNotFollowed(t *testing.T) {
	l := open(t, brokertest.Run(t))
	for says, config := range map[string]jetstream.ConsumerConfig{
		"memory storage: is true, needs false": {Durable: "forgetful", AckPolicy: jetstream.AckExplicitPolicy, MemoryStorage: true},
		"headers only: is true, needs false":   {Durable: "blind", AckPolicy: jetstream.AckExplicitPolicy, HeadersOnly: true},
	} {
		_, err := l.js.CreateConsumer(t.Context(), events.StreamInvitations, config)
		require.NoError(t, err)
		err = l.follow(t.Context(), Following{Stream: events.StreamInvitations, Durable: config.Durable, Filters: []string{"invitations.>"}, Batch: 1}, nil)
		require.ErrorContains(t, err, "ledger: consumer "+config.Durable+" exists with weaker settings ("+says+")")
	}
}

// A stream takes a thousand consumers, and mailer and acceptance need theirs: what ended must not fill the places.
func TestATailThatEndedLeavesNothingBehind(t *testing.T) {
	l := open(t, brokertest.Run(t))
	filters := []string{"invitations.acme.>"}
	for range 20 {
		ctx, stop := context.WithCancel(t.Context())
		for range 60 {
			require.NoError(t, l.Tail(ctx, events.StreamInvitations, filters, func(string) {}))
		}
		stop()
		require.Eventually(t, func() bool {
			stream, err := l.js.Stream(t.Context(), events.StreamInvitations)
			return err == nil && stream.CachedInfo().State.Consumers == 0
		}, 20*time.Second, 5*time.Millisecond)
	}
	told := make(chan string, 1)
	require.NoError(t, l.Tail(t.Context(), events.StreamInvitations, filters, func(subject string) { told <- subject }))
	id := events.NewInvitationID()
	_, err := l.Publish(t.Context(), events.StreamInvitations, fact(t, events.InvitationSubject("acme", id, events.FactDeclined), id))
	require.NoError(t, err)
	require.Equal(t, events.InvitationSubject("acme", id, events.FactDeclined), <-told)
}
