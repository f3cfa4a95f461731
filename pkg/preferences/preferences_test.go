package preferences_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/preferences"
)

const person = "abcdefghijklmnopqrstuvwxyz"

func open(t *testing.T, b *brokertest.Broker) (*preferences.List, *ledger.Ledger) {
	t.Helper()
	l, err := ledger.Open(t.Context(), b.Conn(t), ledger.Options{Durable: ledger.Durability{Declared: true}})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	watching, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	list, err := preferences.Open(watching, l)
	require.NoError(t, err)
	return list, l
}

func TestWhoChoseNothingIsToldOfEverything(t *testing.T) {
	t.Parallel()
	list, _ := open(t, brokertest.Run(t))
	for _, notice := range []string{events.NoticeAccepted, events.NoticeDeclined, events.NoticeBounced, events.NoticeRenewal} {
		require.True(t, list.Get(person).Wants(notice))
	}
	require.Empty(t, list.Get(person).Locale)
}

func TestAChoiceIsKnownAtOnceAndEverywhere(t *testing.T) {
	t.Parallel()
	b := brokertest.Run(t)
	here, _ := open(t, b)
	there, _ := open(t, b)
	chosen := preferences.Preferences{Notices: map[string]bool{events.NoticeAccepted: false, events.NoticeBounced: true}, Locale: "ko"}
	require.NoError(t, here.Put(t.Context(), person, chosen))
	require.Equal(t, chosen, here.Get(person))
	require.False(t, here.Get(person).Wants(events.NoticeAccepted))
	require.True(t, here.Get(person).Wants(events.NoticeBounced))
	require.True(t, here.Get(person).Wants(events.NoticeDeclined))
	require.Eventually(t, func() bool { return there.Get(person).Locale == "ko" }, 5*time.Second, time.Millisecond)
	later, _ := open(t, b)
	require.Equal(t, chosen, later.Get(person), "who starts later knows it too")
	here.Get(person).Notices[events.NoticeAccepted] = true
	require.False(t, here.Get(person).Wants(events.NoticeAccepted), "what was asked for is a copy")
}

func TestWhatCannotBeReadChoosesNothing(t *testing.T) {
	t.Parallel()
	list, l := open(t, brokertest.Run(t))
	require.NoError(t, list.Put(t.Context(), person, preferences.Preferences{Notices: map[string]bool{events.NoticeAccepted: false}}))
	bucket, err := l.Bucket(t.Context(), ledger.BucketPreferences)
	require.NoError(t, err)
	_, err = bucket.Put(t.Context(), person, []byte("garbage"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return list.Get(person).Wants(events.NoticeAccepted) }, 5*time.Second, time.Millisecond)
}
