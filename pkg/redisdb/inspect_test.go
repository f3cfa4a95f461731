package redisdb_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

// sweep reads everything.
func sweep(t *testing.T, db *redisdb.DB) redisdb.Sweep {
	t.Helper()
	all := redisdb.Sweep{Indexes: map[string][]string{}}
	require.NoError(t, db.Sweep(t.Context(), func(part redisdb.Sweep) {
		all.Tokens, all.Claims = append(all.Tokens, part.Tokens...), append(all.Claims, part.Claims...)
		for org, names := range part.Indexes {
			all.Indexes[org] = append(all.Indexes[org], names...)
		}
	}))
	return all
}

func TestASweepTellsEveryTokenClaimAndIndex(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		for n := range 2500 { // more than one part
			require.NoError(t, db.PutToken(t.Context(), token(fmt.Sprint(n), time.Now().Add(time.Hour))))
		}
		notice := redisdb.Intent{Organization: "acme", Invitation: invitation, Sequence: 9, Notice: true}
		win(t, db, intent, "one")
		win(t, db, notice, "two")
		require.Empty(t, apply(t, db, t, "acme", added("one", 1, "c", "p"), added("two", 5000, "d:x:y", "p")))
		require.NoError(t, db.Client().Set(t.Context(), "usher:session:x", "not looked at", 0).Err())

		all := sweep(t, db)
		hashes := map[string]bool{}
		for _, found := range all.Tokens {
			hashes[string(found.Hash[:])] = true
		}
		require.GreaterOrEqual(t, len(hashes), 2500)
		intents := map[redisdb.Intent]string{}
		for _, c := range all.Claims {
			intents[c.Intent] = c.Claim.Owner
		}
		require.Equal(t, map[redisdb.Intent]string{intent: "one", notice: "two"}, intents)
		require.Subset(t, all.Indexes["acme"], []string{"0:c", "2:d:x:y"})
	})
}

func TestWhatUsherDidNotWriteIsSweptWithoutAName(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		client := db.Client()
		require.NoError(t, client.Set(t.Context(), "usher:token:short", "acme "+invitation, 0).Err())
		require.NoError(t, client.LPush(t.Context(), fmt.Sprintf("usher:token:%064d", 1), "a list").Err())
		require.NoError(t, client.Set(t.Context(), "usher:claim:{acme}:"+invitation, "garbage", 0).Err())
		all := sweep(t, db)
		require.Len(t, all.Tokens, 2)
		for _, found := range all.Tokens {
			require.Empty(t, found.Organization+found.Invitation)
			require.NoError(t, db.DropToken(t.Context(), found))
		}
		require.Zero(t, all.Claims[0].Intent.Sequence)
		require.NoError(t, db.Settle(t.Context(), all.Claims[0].Intent, all.Claims[0].Claim))
		require.Empty(t, keys(t, db, ""))
	})
}

func TestATokenThatWasPutAnewIsNotDropped(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		put := token("x", time.Now().Add(time.Hour))
		require.NoError(t, db.PutToken(t.Context(), put))
		seen := sweep(t, db).Tokens[0]
		put.Organization = "another"
		require.NoError(t, db.PutToken(t.Context(), put))
		require.NoError(t, db.DropToken(t.Context(), seen))
		_, found, err := db.Token(t.Context(), put.Hash)
		require.NoError(t, err)
		require.True(t, found)
	})
}

func TestTheTallyIsWhatTheIndexesHold(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		require.Empty(t, apply(t, db, t, "acme", added("one", 1, "c", "p"), added("two", 5000, "c", "p"), added("three", 2, "d", "q")))
		require.NoError(t, db.Client().HSet(t.Context(), "usher:{acme}:counts", "c", 7, "gone", 3, "d", "many").Err())
		counted, held, err := db.Tally(t.Context(), "acme", false)
		require.NoError(t, err)
		require.Equal(t, map[string]int{"c": 7, "gone": 3, "d": -1}, counted)
		require.Equal(t, map[string]int{"c": 2, "d": 1}, held)
		_, _, err = db.Tally(t.Context(), "acme", true)
		require.NoError(t, err)
		counts, err := db.Counts(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, held, counts)
	})
}

// TestAnEntryIsMovedOnlyWhileItIsAsItWasSeen is about the repairs: what changed since they looked is not theirs.
func TestAnEntryIsMovedOnlyWhileItIsAsItWasSeen(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		one := added("one", 1, "c", "p")
		require.Empty(t, apply(t, db, t, "acme", one))
		entry := redisdb.Entry{ID: "one", Score: 1}

		require.NoError(t, db.Enlist(t.Context(), "acme", entry, "d", []byte("another record")))
		require.NoError(t, db.Strike(t.Context(), "acme", "0:c", redisdb.Entry{ID: "one", Score: 2}))
		require.NoError(t, db.SetPerson(t.Context(), "acme", "p", "another list", ""))
		require.NoError(t, db.DropRecord(t.Context(), "acme", "one", "another record"))
		require.Equal(t, []redisdb.Entry{entry}, page(t, db, t, "acme", any1, 0, 10))
		listed, err := db.Listed(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, []string{"0:c"}, listed)

		require.NoError(t, db.Enlist(t.Context(), "acme", entry, "d", one.New))
		require.NoError(t, db.Strike(t.Context(), "acme", "0:c", entry))
		require.NoError(t, db.SetPerson(t.Context(), "acme", "p", "one", "one two"))
		people, err := db.PersonInvitations(t.Context(), "acme", "p")
		require.NoError(t, err)
		require.Equal(t, []string{"one", "two"}, people)
		listed, err = db.Listed(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, []string{"0:d"}, listed, "an index without entries is taken off")
		indexes, err := db.Indexes(t.Context(), "acme", listed)
		require.NoError(t, err)
		require.Equal(t, []redisdb.Index{{Name: "0:d", Entries: []redisdb.Entry{entry}}}, indexes)
		require.NoError(t, db.DropRecord(t.Context(), "acme", "one", string(one.New)))
		for range db.EveryRecord(t.Context(), "acme") {
			t.Error("the record is still there")
		}
	})
}
