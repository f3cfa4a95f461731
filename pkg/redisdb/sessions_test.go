package redisdb_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

const sessionPrefix = "usher:session:"

func TestASessionIsFoundAgainUntilItIsEnded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		s := db.Sessions()
		data := []byte("who \x00 and more")
		require.NoError(t, s.CommitCtx(t.Context(), "token", data, time.Now().Add(time.Hour)))
		found, ok, err := s.FindCtx(t.Context(), "token")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, data, found)

		require.NoError(t, s.DeleteCtx(t.Context(), "token"))
		_, ok, err = s.FindCtx(t.Context(), "token")
		require.NoError(t, err)
		require.False(t, ok)
		require.NoError(t, s.DeleteCtx(t.Context(), "token"), "ending it twice is the same")
	})
}

// I6's kin: whoever reads Redis cannot sign in with what is there.
func TestRedisHoldsNoSessionToken(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		require.NoError(t, db.Sessions().CommitCtx(t.Context(), "secret-token", []byte("data"), time.Now().Add(time.Hour)))
		all := keys(t, db, "")
		require.Len(t, all, 1)
		require.True(t, strings.HasPrefix(all[0], sessionPrefix))
		require.NotContains(t, all[0], "secret-token")
	})
}

// V125, T128: a session ends at its own end, whatever Redis still holds, and using it never lengthens it.
func TestASessionEndsAtItsOwnEnd_V125(t *testing.T) {
	now := time.Now()
	db := openWith(t, "", redisdb.Options{Clock: func() time.Time { return now }})
	s := db.Sessions()
	require.NoError(t, s.CommitCtx(t.Context(), "token", []byte("data"), now.Add(3*time.Hour)))
	for range 3 { // used all the time
		now = now.Add(59 * time.Minute)
		_, ok, err := s.FindCtx(t.Context(), "token")
		require.NoError(t, err)
		require.True(t, ok)
	}
	now = now.Add(3 * time.Minute)
	_, ok, err := s.FindCtx(t.Context(), "token")
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, s.CommitCtx(t.Context(), "late", []byte("data"), now.Add(-time.Second)))
	found, err := s.Peek(t.Context(), "late")
	require.NoError(t, err)
	require.False(t, found)
}

func TestAnUnusedSessionRunsOut(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		s := db.Sessions()
		require.NoError(t, s.CommitCtx(t.Context(), "token", []byte("data"), time.Now().Add(10*time.Hour)))
		key := keys(t, db, sessionPrefix)[0]
		require.InDelta(t, 2*time.Hour, ttl(t, db, key), float64(time.Minute))

		require.NoError(t, db.Client().PExpire(t.Context(), key, time.Minute).Err())
		there, err := s.Peek(t.Context(), "token")
		require.NoError(t, err)
		require.True(t, there)
		require.Less(t, ttl(t, db, key), 2*time.Minute, "peeking counted as use")
		_, _, err = s.FindCtx(t.Context(), "token")
		require.NoError(t, err)
		require.Greater(t, ttl(t, db, key), time.Hour, "using it did not count")
	})
}

// A session without an end is no session.
func TestASessionWithoutItsEndIsRefused_V125(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		s := db.Sessions()
		require.NoError(t, s.CommitCtx(t.Context(), "token", []byte("data"), time.Now().Add(time.Hour)))
		for _, garbage := range []string{"", "data", "x data", " data", "-1 data"} {
			require.NoError(t, db.Client().Set(t.Context(), keys(t, db, sessionPrefix)[0], garbage, time.Hour).Err())
			_, ok, err := s.FindCtx(t.Context(), "token")
			require.NoError(t, err)
			require.False(t, ok, "%q", garbage)
		}
	})
}
