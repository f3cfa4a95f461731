package check_test

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/check"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redistest"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
	"github.com/usherhq/usher/pkg/views"
)

// TestACopyThatLostSomethingIsNamed flips bits on the disk of one of three brokers. That broker goes on without the rest of
// the block, says that it is current, and never asks the others for what it lost.
func TestACopyThatLostSomethingIsNamed(t *testing.T) {
	nodes := brokertest.Cluster(t, 3)
	l, err := ledger.Open(t.Context(), nodes[0].Conn(t), ledger.Options{Replicas: 3, Durable: ledger.Durability{Declared: true}})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	w := &world{t: t, Ledger: l}
	w.redis = redistest.Embedded(t)
	w.options = check.Options{Ledger: l, Redis: w.redis, MaxAge: time.Hour, Settle: settle}
	w.options.Roster, err = roster.Open(t.Context(), l, roster.DefaultRoles)
	require.NoError(t, err)
	w.options.Suppressions, err = suppressions.Open(t.Context(), l)
	require.NoError(t, err)
	w.views = views.New(w.redis, l, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	t.Cleanup(w.views.Close)

	for range 20 {
		w.asked().revoked().opened(900_000)
	}
	require.Empty(t, only(w.run(check.Do{}), check.ReplicaDiffers, check.ReplicaBehind, check.ReplicaOffline))
	// While brokers come and go, a check may be told "not now".
	eventually := func(kind check.Kind) (told []check.Disagreement) {
		require.Eventually(t, func() bool {
			r, err := check.New(w.options).Run(t.Context(), check.Do{Repair: true})
			if told = only(r, kind); err != nil {
				require.True(t, problem.Is(err, problem.NotNow), "%v", err)
			}
			return len(told) > 0
		}, 2*time.Minute, 100*time.Millisecond)
		return told
	}

	nodes[2].Damage(t, events.StreamInvitations)
	for _, d := range eventually(check.ReplicaDiffers) { // once the copy is said to be current again
		require.NotEmpty(t, d.Invitation)
		require.Contains(t, d.Detail, "node-2")
	}
	nodes[2].Stop()
	require.NotEmpty(t, eventually(check.ReplicaOffline))
}

// opened publishes an event so large that a few of them fill a block of the broker's files: what is missing at the end of
// the last block the broker gets again from the others.
func (i *invited) opened(size int) {
	i.w.t.Helper()
	m, err := ledger.Fact(events.InvitationSubject(i.Organization, i.Invitation, events.FactOpened),
		i.w.event(i.Invitation, &events.InvitationOpened{Invitation: i.Invitation, Generation: 1}))
	require.NoError(i.w.t, err)
	m.Data = append(m.Data, bytes.Repeat([]byte(" "), size)...)
	i.w.publish(events.StreamInvitations, m)
}

// only leaves the disagreements of some kinds.
func only(r check.Report, kinds ...check.Kind) (left []check.Disagreement) {
	for _, d := range r.Disagreements {
		for _, k := range kinds {
			if d.Kind == k {
				left = append(left, d)
			}
		}
	}
	return left
}
