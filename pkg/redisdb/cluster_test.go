package redisdb_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

// A cluster of one node still refuses a command whose keys are of different slots.
func TestEverythingWorksOnACluster(t *testing.T) {
	server := redistest.Run(t, "--cluster-enabled", "yes", "--appendonly", "yes")
	server.Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	require.Eventually(t, func() bool { return redistest.Open(t, "redis+cluster://"+server.Addr()).Healthy() }, 5*time.Second, 50*time.Millisecond)
	db := redistest.Open(t, "redis+cluster://"+server.Addr())
	require.NoError(t, db.Check(t.Context(), true))
	require.Eventually(t, func() bool { return db.PutToken(t.Context(), token("x", time.Now().Add(time.Hour))) == nil }, 10*time.Second, 50*time.Millisecond,
		"the cluster takes its slots up")
	for range 2 {
		for name, err := range everything(t.Context(), db) {
			require.NoError(t, err, name)
		}
		win(t, db, intent, "one")
		require.NoError(t, db.Release(t.Context(), intent, "one"))
		server.Flush(t)
		forget(t, db)
	}
	var all sync.WaitGroup
	for n := range 100 {
		all.Go(func() { // so that several travel in one script
			i := redisdb.Intent{Organization: fmt.Sprintf("org%d", n%3), Invitation: fmt.Sprintf("inv_%d", n)}
			_, err := db.Claim(t.Context(), i, "one", redisdb.Token{})
			if err = errors.Join(err, db.Release(t.Context(), i, "one")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.False(t, claimed(t, db))
	require.Empty(t, apply(t, db, t, "acme", added("one", 1, "c", "p"), added("two", 5000, "d", "p")))
	require.Len(t, page(t, db, t, "acme", any1, 0, 10), 2)
}

func TestCheckLooksAtEveryMasterOfACluster(t *testing.T) {
	server := redistest.Run(t, "--cluster-enabled", "yes", "--maxmemory-policy", "allkeys-lfu")
	server.Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	db := redistest.Open(t, "redis+cluster://"+server.Addr())
	err := db.Check(t.Context(), true)
	require.ErrorContains(t, err, `"allkeys-lfu"`)
	require.ErrorContains(t, err, `appendonly "no"`)
	require.ErrorContains(t, err, fmt.Sprint(server.Port))
}

func TestSentinelsAreAskedForTheMaster(t *testing.T) {
	master := redistest.Run(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "sentinel monitor mymaster 127.0.0.1 %d 1\n", master.Port), 0o600))
	sentinel := redistest.RunSentinel(t, conf)
	for _, url := range []string{
		"redis+sentinel://" + sentinel.Addr() + "/mymaster", "redis://" + sentinel.Addr() + "?master_name=mymaster",
	} {
		db := redistest.Open(t, url)
		require.True(t, db.Healthy())
		win(t, db, intent, "one")
		require.NoError(t, db.Release(t.Context(), intent, "one"))
		require.NoError(t, db.Check(t.Context(), false))
	}
	require.Equal(t, ":1", master.Do(t, "DBSIZE"), "the token of the claims")
}
