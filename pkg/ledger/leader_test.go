package ledger_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
)

// TestWhatWasAcknowledgedIsSeenByEveryReplica: a process reads at once what another has just been told is stored, whichever
// of three brokers either is connected to.
func TestWhatWasAcknowledgedIsSeenByEveryReplica(t *testing.T) {
	t.Parallel()
	brokers := brokertest.Cluster(t, 3, brokertest.Lazy())
	ledgers := make([]*ledger.Ledger, len(brokers))
	for i, b := range brokers {
		require.Eventually(t, func() bool {
			l, err := ledger.Open(t.Context(), b.Conn(t), ledger.Options{Replicas: 3, Durable: ledger.Durability{Lax: true}})
			ledgers[i] = l
			return err == nil
		}, time.Minute, 100*time.Millisecond)
		t.Cleanup(ledgers[i].Close)
	}
	buckets := make([]*ledger.Bucket, len(ledgers))
	for i, l := range ledgers {
		var err error
		buckets[i], err = l.Bucket(t.Context(), ledger.BucketOrganizations)
		require.NoError(t, err)
	}
	seen := func(n int) error {
		writer, reader := ledgers[n%3], ledgers[(n+1)%3]
		id := "inv_" + strconv.Itoa(n)
		m := ledger.Message{Subject: events.InvitationSubject("acme", id, events.FactRevoked), Header: map[string][]string{}, Data: []byte(`{}`)}
		sequence, err := writer.Publish(t.Context(), events.StreamInvitations, m)
		if err != nil {
			return err
		}
		facts, err := reader.Facts(t.Context(), "acme", id, "outcome.*", events.FactRequested)
		if err != nil || len(facts) != 1 || facts[0].Sequence != sequence {
			return fmt.Errorf("outcome %d was acknowledged at %d, and seen is %v, %w", n, sequence, facts, err)
		}
		last, err := reader.Last(t.Context(), events.StreamInvitations, m.Subject)
		if err != nil || last.Sequence != sequence {
			return fmt.Errorf("outcome %d was acknowledged at %d, and the last is %d, %w", n, sequence, last.Sequence, err)
		}
		revision, err := buckets[n%3].Put(t.Context(), "org"+strconv.Itoa(n), []byte(id))
		if err != nil {
			return err
		}
		entry, err := buckets[(n+1)%3].Get(t.Context(), "org"+strconv.Itoa(n))
		if err != nil || entry.Revision != revision || string(entry.Value) != id {
			return fmt.Errorf("organization %d was acknowledged at %d, and seen is %+v, %w", n, revision, entry, err)
		}
		return nil
	}
	var all errgroup.Group
	all.SetLimit(32) // replicas lag where there is much to do
	for n := range 3000 {
		all.Go(func() error { return seen(n) })
	}
	require.NoError(t, all.Wait())
}

// Seed 50 of the failovers: an acceptance was handed out, the leader that was elected then had not come to it yet, and the acceptance
// was taken for none.
func TestNobodyReadsLessThanWhatWasHandedToThem(t *testing.T) {
	t.Parallel()
	brokers := brokertest.Cluster(t, 3, brokertest.Lazy())
	var l *ledger.Ledger
	require.Eventually(t, func() bool {
		var err error
		l, err = ledger.Open(t.Context(), brokers[0].Conn(t), ledger.Options{Replicas: 3, Durable: ledger.Durability{Lax: true}})
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	t.Cleanup(l.Close)
	m := ledger.Message{Subject: events.InvitationSubject("acme", "inv_1", events.FactRevoked), Header: map[string][]string{}, Data: []byte(`{}`)}
	sequence, err := l.Publish(t.Context(), events.StreamInvitations, m)
	require.NoError(t, err)
	facts := func() error {
		found, err := l.Facts(t.Context(), "acme", "inv_1", "outcome.*")
		require.Equal(t, err == nil, len(found) == 1)
		return err
	}
	require.NoError(t, facts())

	l.Saw(events.StreamInvitations, sequence+1)
	require.True(t, problem.Is(facts(), problem.NotNow), "nobody has what was handed out")
	require.NoError(t, facts(), "and nobody will: the stream is another one")

	l.Saw(events.StreamInvitations, sequence+1)
	_, err = l.Publish(t.Context(), events.StreamInvitations, ledger.Message{
		Subject: events.InvitationSubject("acme", "inv_2", events.FactRevoked), Header: map[string][]string{}, Data: []byte(`{}`),
	})
	require.NoError(t, err)
	require.NoError(t, facts(), "it was there in the end")
}
