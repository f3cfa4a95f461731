package redisdb_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

// everything is one call of every method that asks the server.
func everything(ctx context.Context, db *redisdb.DB) map[string]error {
	errs := map[string]error{}
	_, _, errs["Token"] = db.Token(ctx, sha256.Sum256(nil))
	errs["PutToken"] = db.PutToken(ctx, token("secret", time.Now().Add(time.Hour)))
	errs["PutTokens"] = db.PutTokens(ctx, []redisdb.Token{token("secret", time.Now().Add(time.Hour))})
	_, errs["Claim"] = db.Claim(ctx, intent, "one", redisdb.Token{})
	_, _, errs["MailInFlight"] = db.MailInFlight(ctx, "acme", invitation)
	_, errs["TakeOver"] = db.TakeOver(ctx, intent, redisdb.Claim{}, "one")
	errs["Settle"] = db.Settle(ctx, intent, redisdb.Claim{})
	errs["Release"] = db.Release(ctx, intent, "one")
	_, errs["Begin"] = db.Begin(ctx, "key", "k", "f")
	errs["Finish"] = db.Finish(ctx, "key", "k", "f", redisdb.Answer{})
	errs["Abandon"] = db.Abandon(ctx, "key", "k")
	_, errs["FirstSeen"] = db.FirstSeen(ctx, "token")
	errs["Seen"] = db.Seen(ctx, "token", time.Hour)
	errs["ForgetSeen"] = db.ForgetSeen(ctx, "token")
	_, _, errs["Take"] = db.Take(ctx, redisdb.Limit{What: "renewals", Most: 1, Per: time.Hour})
	_, errs["Records"] = db.Records(ctx, "acme", []string{"one"})
	_, errs["Apply"] = db.Apply(ctx, "acme", []redisdb.Change{{ID: "one", New: []byte("x")}})
	_, errs["Page"] = db.Page(ctx, "acme", any1, 0, 10)
	_, errs["Counts"] = db.Counts(ctx, "acme")
	_, errs["PersonInvitations"] = db.PersonInvitations(ctx, "acme", "p")
	errs["Ping"] = db.Ping(ctx)
	whole(ctx, db, errs)
	return errs
}

// whole calls what reads everything, and what mends it.
func whole(ctx context.Context, db *redisdb.DB, errs map[string]error) {
	var one redisdb.StoredToken
	errs["Sweep"] = db.Sweep(ctx, func(part redisdb.Sweep) { one = part.Tokens[0] })
	for _, err := range db.EveryRecord(ctx, "acme") {
		errs["EveryRecord"] = err
	}
	for _, err := range db.EveryPerson(ctx, "acme") {
		errs["EveryPerson"] = err
	}
	_, errs["Listed"] = db.Listed(ctx, "acme")
	_, errs["Indexes"] = db.Indexes(ctx, "acme", []string{"0:combo"})
	_, _, errs["Tally"] = db.Tally(ctx, "acme", true)
	errs["DropToken"] = db.DropToken(ctx, one)
	errs["Enlist"] = db.Enlist(ctx, "acme", redisdb.Entry{ID: "one", Score: 1}, "combo", []byte("x"))
	errs["Strike"] = db.Strike(ctx, "acme", "0:combo", redisdb.Entry{ID: "one", Score: 1})
	errs["Announce"] = db.Announce(ctx, "acme", redisdb.Index{Name: "0:combo"})
	errs["SetPerson"] = db.SetPerson(ctx, "acme", "p", "", "one")
	errs["DropRecord"] = db.DropRecord(ctx, "acme", "one", "x")
}

func requireNotNow(t *testing.T, errs map[string]error) {
	t.Helper()
	for name, err := range errs {
		require.True(t, problem.Is(err, problem.NotNow), "%s: %v", name, err)
	}
}

// T064: whatever is asked of a Redis that is not there, the answer is "not now", at once and with the time to come back.
func TestARedisThatIsNotThereIsNotNow(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close()) // so that nobody listens there

	start := time.Now()
	db := redistest.Open(t, "redis://"+l.Addr().String())
	require.False(t, db.Healthy())
	errs := everything(t.Context(), db)
	requireNotNow(t, errs)
	require.Less(t, time.Since(start), 300*time.Millisecond)
	require.Positive(t, problem.As(errs["Claim"]).RetryAfter)
	require.True(t, redisdb.Down(db.Check(t.Context(), true)))
}

func TestAKilledRedisIsNotNowUntilItIsBack(t *testing.T) {
	server := redistest.Run(t)
	db := redistest.Open(t, server.URL())
	require.True(t, db.Healthy())
	for name, err := range everything(t.Context(), db) {
		require.NoError(t, err, name)
	}
	server.Kill9()
	requireNotNow(t, everything(t.Context(), db))
	require.Eventually(t, func() bool { return !db.Healthy() }, time.Second, time.Millisecond)

	server.Start(t)
	require.Eventually(t, db.Healthy, 5*time.Second, 10*time.Millisecond)
	for name, err := range everything(t.Context(), db) {
		require.NoError(t, err, name)
	}
}

// A failed operation has the server asked at once, and not when the next look is due.
func TestAnOutageIsNoticedByTheFirstCaller(t *testing.T) {
	server := redistest.Run(t)
	db := redistest.Open(t, server.URL())
	for range 4 {
		for name, call := range map[string]func() error{
			"a shared pipeline":    func() error { _, _, err := db.Token(t.Context(), sha256.Sum256(nil)); return err },
			"a command of its own": func() error { _, err := db.Records(t.Context(), "acme", []string{"one"}); return err },
		} {
			server.Kill9()
			require.Error(t, call(), name)
			require.Eventually(t, func() bool { return !db.Healthy() }, 200*time.Millisecond, time.Millisecond, name)
			server.Start(t)
			require.Eventually(t, db.Healthy, 5*time.Second, 10*time.Millisecond)
		}
	}
}

// T065: a Redis that hangs costs each caller a bounded wait, and after the first ones none at all.
func TestAHangingRedisCostsABoundedWait(t *testing.T) {
	server := redistest.Run(t)
	db := redistest.Open(t, server.URL())
	require.NoError(t, db.PutToken(t.Context(), token("secret", time.Now().Add(time.Hour))))
	require.NoError(t, syscall.Kill(server.Pid(), syscall.SIGSTOP))

	start := time.Now()
	_, err := db.Records(within(t, 100*time.Millisecond), "acme", []string{"one"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), time.Second)
	_, _, err = db.Token(t.Context(), sha256.Sum256(nil))
	require.True(t, problem.Is(err, problem.NotNow))
	require.Less(t, time.Since(start), 5*time.Second)

	require.Eventually(t, func() bool { return !db.Healthy() }, 5*time.Second, 10*time.Millisecond)
	start = time.Now()
	for range 1000 {
		_, _, err = db.Token(t.Context(), sha256.Sum256(nil))
		require.True(t, problem.Is(err, problem.NotNow))
		_, err = db.Records(t.Context(), "acme", []string{"one"})
		require.True(t, problem.Is(err, problem.NotNow))
		require.True(t, problem.Is(db.Release(t.Context(), intent, "one"), problem.NotNow))
	}
	require.Less(t, time.Since(start), time.Second)

	require.NoError(t, syscall.Kill(server.Pid(), syscall.SIGCONT))
	require.Eventually(t, db.Healthy, 5*time.Second, 10*time.Millisecond)
	_, found, err := db.Token(t.Context(), token("secret", time.Time{}).Hash)
	require.NoError(t, err)
	require.True(t, found)
}

func TestAnOutageIsLoggedOnceAndSoIsItsEnd(t *testing.T) {
	var alarm alarms
	server := redistest.Run(t)
	db := openWith(t, server.URL(), redisdb.Options{Logger: alarm.logger()})
	server.Kill9()
	require.Eventually(t, func() bool { return !db.Healthy() }, 5*time.Second, 10*time.Millisecond)
	requireNotNow(t, everything(t.Context(), db))
	require.Never(t, func() bool { return count(alarm.String(), "Redis does not answer") > 1 }, 500*time.Millisecond, 50*time.Millisecond)
	server.Start(t)
	require.Eventually(t, func() bool { return count(alarm.String(), "Redis answers again") == 1 }, 5*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, count(alarm.String(), "Redis does not answer"))
}

func TestACallerWhoGivesUpIsNoOutage(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			_, _ = db.Records(gone, "acme", []string{"one"})
			_, _, _ = db.Token(gone, sha256.Sum256(nil))
			_ = db.Ping(gone)
		}
		require.True(t, db.Healthy())
		_, _, err := db.Token(gone, sha256.Sum256(nil))
		require.ErrorIs(t, err, context.Canceled)
	})
}

// T066
func TestAFlushedRedisGoesOnWorking(t *testing.T) {
	server := redistest.Run(t)
	db := redistest.Open(t, server.URL())
	for range 3 {
		for name, err := range everything(t.Context(), db) {
			require.NoError(t, err, name)
		}
		server.Flush(t)
		server.Do(t, "SCRIPT", "FLUSH")
	}
}

func TestAClosedDBRefuses(t *testing.T) {
	server, err := redisdb.InProcess()
	require.NoError(t, err)
	defer server.Close()
	db, err := redisdb.Open(t.Context(), redisdb.Options{Embedded: server})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	requireNotNow(t, everything(t.Context(), db))
}

// A server of the wrong settings is refused with all that is wrong, and with what it should be.
func TestCheckNamesEveryDifference(t *testing.T) {
	for _, c := range []struct {
		name       string
		args       []string
		production bool
		want       []string
	}{
		{"as it should be", []string{"--appendonly", "yes"}, true, nil},
		{"no append-only file in development", nil, false, nil},
		{"no append-only file in production", nil, true, []string{`appendonly "no"`, `must have "yes" in production`}},
		{"eviction of anything", []string{"--maxmemory-policy", "allkeys-lru"}, false, []string{`maxmemory-policy "allkeys-lru"`, `must have "noeviction"`}},
		{"eviction of what ends anyway", []string{"--maxmemory-policy", "volatile-ttl", "--appendonly", "yes"}, true, []string{`"volatile-ttl"`}},
		{"both", []string{"--maxmemory-policy", "volatile-lru"}, true, []string{`"volatile-lru"`, `appendonly "no"`}},
		{"settings out of sight", []string{"--rename-command", "INFO", ""}, false, []string{"unknown command"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := redistest.Open(t, redistest.Run(t, c.args...).URL())
			err := db.Check(t.Context(), c.production)
			if len(c.want) == 0 {
				require.NoError(t, err)
			}
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestCheckSaysWhichRightIsMissing(t *testing.T) {
	server := redistest.Run(t)
	server.Do(t, "ACL", "SETUSER", "usher", "on", ">secret", "~*", "+@all", "-info")
	db := redistest.Open(t, "redis://usher:secret@"+server.Addr())
	err := db.Check(t.Context(), false)
	require.ErrorContains(t, err, "allow the user +info")
	require.False(t, redisdb.Down(err))
}

func TestTheInProcessServerPassesEveryCheck(t *testing.T) {
	require.NoError(t, redistest.Embedded(t).Check(t.Context(), true))
}

// The user of T080: what Usher does needs these rights and no more.
func TestUsherNeedsNoDangerousCommands(t *testing.T) {
	server := redistest.Run(t)
	server.Do(t, "ACL", "SETUSER", "usher", "on", ">secret", "~usher:*", "resetchannels", "-@all",
		"+@read", "+@write", "+@connection", "+eval", "+evalsha", "+info", "-@dangerous", "+info", "-keys")
	db := redistest.Open(t, "redis://usher:secret@"+server.Addr())
	for name, err := range everything(t.Context(), db) {
		require.NoError(t, err, name)
	}
	require.NoError(t, db.Check(t.Context(), false))
	require.Error(t, db.Client().FlushAll(t.Context()).Err())
	require.Error(t, db.Client().Get(t.Context(), "other:key").Err())
}

func TestAWrongPasswordIsNotNowAndNeverShown(t *testing.T) {
	server := redistest.Run(t, "--requirepass", "right")
	db := redistest.Open(t, "redis://:wrong-secret@"+server.Addr())
	errs := everything(t.Context(), db)
	requireNotNow(t, errs)
	require.NotContains(t, errors.Join(errs["Ping"], errs["Claim"]).Error(), "wrong-secret")
	require.True(t, redistest.Open(t, "redis://:right@"+server.Addr()).Healthy())
}
