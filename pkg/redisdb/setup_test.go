package redisdb_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/usherhq/usher/pkg/redisdb"
)

const invitation = "inv_01h455vb4pex5vsknk084sn02q"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alarms collects what was logged.
type alarms struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (a *alarms) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.Write(p)
}

func (a *alarms) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.String()
}

func (a *alarms) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(a, nil)) }

// ttl is what is left of a key's life.
func ttl(t testing.TB, db *redisdb.DB, key string) time.Duration {
	t.Helper()
	left, err := db.Client().PTTL(t.Context(), key).Result()
	require.NoError(t, err)
	return left
}

// keys lists all keys that begin so.
func keys(t testing.TB, db *redisdb.DB, prefix string) []string {
	t.Helper()
	found, err := db.Client().Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	var matching []string
	for _, k := range found {
		if strings.HasPrefix(k, prefix) {
			matching = append(matching, k)
		}
	}
	return matching
}

// forget makes the server forget its scripts.
func forget(t testing.TB, db *redisdb.DB) {
	t.Helper()
	require.NoError(t, db.Client().ScriptFlush(t.Context()).Err())
}

// within bounds a call that must not hang.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// openWith opens the server at url, or an in-process one where url is empty, until the test ends.
func openWith(t testing.TB, url string, o redisdb.Options) *redisdb.DB {
	t.Helper()
	if o.URL = url; url == "" {
		server, err := redisdb.InProcess()
		require.NoError(t, err)
		t.Cleanup(server.Close)
		o.Embedded = server
	}
	db, err := redisdb.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func count(s, part string) int { return strings.Count(s, part) }
