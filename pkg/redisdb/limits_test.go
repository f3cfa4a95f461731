package redisdb_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

func TestALimitLetsSoManyThroughInEachWindow(t *testing.T) {
	var ahead atomic.Int64
	began := time.Date(2026, 11, 23, 12, 10, 0, 0, time.UTC)
	now := func() time.Time { return began.Add(time.Duration(ahead.Load())) }
	for name, url := range map[string]string{"in-process": "", "server": redistest.Run(t).URL()} {
		t.Run(name, func(t *testing.T) {
			ahead.Store(0)
			db := openWith(t, url, redisdb.Options{Clock: now})
			limit := redisdb.Limit{What: "renewals of acme {} : *", Most: 3, Per: time.Hour}
			take := func(l redisdb.Limit) (bool, time.Duration) {
				ok, wait, err := db.Take(t.Context(), l)
				require.NoError(t, err)
				return ok, wait
			}
			for range 3 {
				ok, wait := take(limit)
				require.True(t, ok)
				require.Zero(t, wait)
			}
			ok, wait := take(limit)
			require.False(t, ok)
			require.Equal(t, 50*time.Minute, wait)
			other := limit
			other.What = "renewals of umbrella"
			ok, _ = take(other)
			require.True(t, ok, "somebody else's limit")

			ahead.Add(int64(wait))
			ok, _ = take(limit)
			require.True(t, ok, "the next window")
			for _, key := range keys(t, db, "usher:limit:") {
				require.LessOrEqual(t, ttl(t, db, key), 2*time.Hour)
				require.Positive(t, ttl(t, db, key), "a count that never ends")
				require.NotContains(t, key, "acme")
			}
		})
	}
}
