package redisdb_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

func begin(t testing.TB, db *redisdb.DB, scope, key, fingerprint string) redisdb.Idempotency {
	t.Helper()
	found, err := db.Begin(t.Context(), scope, key, fingerprint)
	require.NoError(t, err)
	return found
}

var answer = redisdb.Answer{
	Status: 202, Header: http.Header{"Location": {"/v1/invitations/x"}, "Link": {"a", "b"}}, Body: []byte("{\"a\": \"\x00\xff\"}"),
}

func TestARepeatGetsTheFirstAnswer(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		require.Equal(t, redisdb.IdempotencyNew, begin(t, db, "key_1", "k", "f").State)
		require.Equal(t, redisdb.IdempotencyRunning, begin(t, db, "key_1", "k", "f").State)
		require.NoError(t, db.Finish(t.Context(), "key_1", "k", "f", answer))
		require.Equal(t, redisdb.Idempotency{State: redisdb.IdempotencyDone, Answer: answer}, begin(t, db, "key_1", "k", "f"))
	})
}

func TestAnotherRequestUnderTheSameKeyIsAMismatch(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		begin(t, db, "key_1", "k", "f")
		require.Equal(t, redisdb.IdempotencyMismatch, begin(t, db, "key_1", "k", "g").State)
		require.NoError(t, db.Finish(t.Context(), "key_1", "k", "f", answer))
		require.Equal(t, redisdb.IdempotencyMismatch, begin(t, db, "key_1", "k", "g").State)
	})
}

// T227: a delimiter in one part must not reach into another.
func TestCallersDoNotShareKeys(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		for _, caller := range [][2]string{{"a", "k"}, {"b", "k"}, {"a", "bk"}, {"ab", "k"}, {"a:b", "k"}, {"a", "b:k"}, {"1:a", "k"}, {"", "1:ak"}} {
			require.Equal(t, redisdb.IdempotencyNew, begin(t, db, caller[0], caller[1], "f").State, caller)
		}
		require.NotContains(t, keys(t, db, "")[0], "a:b")
	})
}

func TestOneOfManyRepeatsDoesTheWork(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		var begun atomic.Int64
		var callers sync.WaitGroup
		for range 64 {
			callers.Go(func() {
				if found, err := db.Begin(t.Context(), "key_1", "k", "f"); err == nil && found.State == redisdb.IdempotencyNew {
					begun.Add(1)
				}
			})
		}
		callers.Wait()
		require.EqualValues(t, 1, begun.Load())
	})
}

// T002: a process that died leaves no key in progress for ever.
func TestALeaseLastsTenSecondsAndAnAnswerADay(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		begin(t, db, "key_1", "k", "f")
		require.InDelta(t, 10*time.Second, ttl(t, db, keys(t, db, "usher:idempotency:")[0]), float64(5*time.Second))
		require.NoError(t, db.Finish(t.Context(), "key_1", "k", "f", answer))
		require.InDelta(t, 24*time.Hour, ttl(t, db, keys(t, db, "usher:idempotency:")[0]), float64(time.Minute))
	})
}

func TestALeaseThatIsHeldDoesNotRunOut(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		begin(t, db, "key_1", "answered", "f")
		require.NoError(t, db.Finish(t.Context(), "key_1", "answered", "f", answer))
		answered := keys(t, db, "usher:idempotency:")[0]
		defer db.Hold(t.Context(), "key_1", "answered")()

		begin(t, db, "key_1", "running", "f")
		defer db.Hold(t.Context(), "key_1", "running")()
		for _, key := range keys(t, db, "usher:idempotency:") {
			if key != answered {
				require.NoError(t, db.Client().PExpire(t.Context(), key, 9*time.Second).Err())
				require.Eventually(t, func() bool { return ttl(t, db, key) > 9*time.Second }, 15*time.Second, 50*time.Millisecond)
			}
		}
		require.InDelta(t, 24*time.Hour, ttl(t, db, answered), float64(time.Minute), "an answer is kept as long as before")
	})
}

func TestAnAbandonedRequestStartsOver(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		begin(t, db, "key_1", "k", "f")
		require.NoError(t, db.Abandon(t.Context(), "key_1", "k"))
		require.Equal(t, redisdb.IdempotencyNew, begin(t, db, "key_1", "k", "other").State)
		require.NoError(t, db.Finish(t.Context(), "key_1", "k", "other", answer))
		forget(t, db)
		require.NoError(t, db.Abandon(t.Context(), "key_1", "k"))
		require.Equal(t, redisdb.IdempotencyDone, begin(t, db, "key_1", "k", "other").State, "an answer stays")
	})
}

func TestAForeignIdempotencyRecordIsNotNow(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		begin(t, db, "key_1", "k", "f")
		key := keys(t, db, "usher:idempotency:")[0]
		for _, garbage := range []string{"", "garbage", "done f {", "done f", "running"} {
			require.NoError(t, db.Client().Set(t.Context(), key, garbage, 0).Err())
			found, err := db.Begin(t.Context(), "key_1", "k", "f")
			if garbage == "running" {
				require.NoError(t, err)
				require.Equal(t, redisdb.IdempotencyMismatch, found.State)
				continue
			}
			require.True(t, problem.Is(err, problem.NotNow), garbage)
			require.Zero(t, found)
		}
	})
}

func TestAWebhookIsSeenFirstOnlyOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		var first atomic.Int64
		var calls sync.WaitGroup
		for range 64 {
			calls.Go(func() {
				if ok, err := db.FirstSeen(t.Context(), "token"); err == nil && ok {
					first.Add(1)
				}
			})
		}
		calls.Wait()
		require.EqualValues(t, 1, first.Load())

		other, err := db.FirstSeen(t.Context(), "another")
		require.NoError(t, err)
		require.True(t, other)

		require.NoError(t, db.ForgetSeen(t.Context(), "token"))
		again, err := db.FirstSeen(t.Context(), "token")
		require.NoError(t, err)
		require.True(t, again)
	})
}

// T027: a process that died between the mark and the ledger must not make the provider's next try look like a replay.
func TestAWebhookIsAReplayOnlyOnceItsWordIsKept(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		first, err := db.FirstSeen(t.Context(), "token")
		require.NoError(t, err)
		require.True(t, first)
		require.InDelta(t, time.Minute, ttl(t, db, keys(t, db, "usher:webhook:")[0]), float64(5*time.Second))
		_, err = db.FirstSeen(t.Context(), "token")
		require.True(t, problem.Is(err, problem.NotNow), "the provider is to come again")

		require.NoError(t, db.Seen(t.Context(), "token", time.Hour))
		require.InDelta(t, time.Hour, ttl(t, db, keys(t, db, "usher:webhook:")[0]), float64(time.Minute))
		again, err := db.FirstSeen(t.Context(), "token")
		require.NoError(t, err)
		require.False(t, again)
	})
}
