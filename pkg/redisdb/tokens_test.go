package redisdb_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

func token(text string, expires time.Time) redisdb.Token {
	return redisdb.Token{Hash: sha256.Sum256([]byte(text)), Organization: "acme", Invitation: invitation, ExpiresAt: expires}
}

func TestATokenLeadsToItsInvitation(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		want := token("secret", time.Now().Add(time.Hour))
		require.NoError(t, db.PutToken(t.Context(), want))
		got, found, err := db.Token(t.Context(), want.Hash)
		require.NoError(t, err)
		require.True(t, found)
		want.ExpiresAt = time.Time{}
		require.Equal(t, want, got)
	})
}

func TestAMissIsNoError(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		got, found, err := db.Token(t.Context(), sha256.Sum256([]byte("never put")))
		require.NoError(t, err)
		require.False(t, found)
		require.Zero(t, got)
	})
}

// T079: nothing in Redis works as a link.
func TestRedisKnowsOnlyTheHash(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		put := token("secret", time.Now().Add(time.Hour))
		require.NoError(t, db.PutToken(t.Context(), put))
		found := keys(t, db, "")
		require.Equal(t, []string{fmt.Sprintf("usher:token:%x", put.Hash)}, found)
		value, err := db.Client().Get(t.Context(), found[0]).Result()
		require.NoError(t, err)
		require.Equal(t, "acme "+invitation, value)
	})
}

func TestATokenOutlivesItsDeadlineByADay(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		require.NoError(t, db.PutToken(t.Context(), token("open", time.Now().Add(time.Hour))))
		require.InDelta(t, 25*time.Hour, ttl(t, db, keys(t, db, "usher:token:")[0]), float64(time.Minute))

		require.NoError(t, db.PutToken(t.Context(), token("late", time.Now().Add(-25*time.Hour))))
		require.Len(t, keys(t, db, "usher:token:"), 1, "what has died already is not put")
	})
}

func TestManyTokensArePutAtOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		var many []redisdb.Token
		for i := range 2000 {
			many = append(many, token(fmt.Sprint(i), time.Now().Add(time.Hour)))
		}
		many[7].ExpiresAt = time.Now().Add(-48 * time.Hour)
		require.NoError(t, db.PutTokens(t.Context(), many))
		require.NoError(t, db.PutTokens(t.Context(), nil))
		require.NoError(t, db.PutTokens(t.Context(), many[7:8]))
		require.Len(t, keys(t, db, "usher:token:"), 1999)
	})
}

// T078: another type, garbage or an older form is a miss and an alarm, never a panic and never a wrong invitation.
func TestAForeignValueUnderATokensKeyIsAMissAndAnAlarm(t *testing.T) {
	server := redistest.Run(t)
	for name, url := range map[string]string{"in-process": "", "redis-server": server.URL()} {
		t.Run(name, func(t *testing.T) {
			var alarm alarms
			db := openWith(t, url, redisdb.Options{Logger: alarm.logger()})
			hash := sha256.Sum256([]byte("secret"))
			key := fmt.Sprintf("usher:token:%x", hash)
			c := db.Client()
			for i, put := range []func() error{
				func() error { return c.LPush(t.Context(), key, "x").Err() },
				func() error { return c.HSet(t.Context(), key, "a", "b").Err() },
				func() error { return c.Set(t.Context(), key, "", 0).Err() },
				func() error { return c.Set(t.Context(), key, "garbage", 0).Err() },
				func() error { return c.Set(t.Context(), key, "\x00\xff \x00", 0).Err() },
				func() error { return c.Set(t.Context(), key, "acme inv_short", 0).Err() },
				func() error { return c.Set(t.Context(), key, "ac.me "+invitation, 0).Err() },
				func() error { return c.Set(t.Context(), key, `{"organization":"acme"}`, 0).Err() },
			} {
				require.NoError(t, c.Del(t.Context(), key).Err())
				require.NoError(t, put())
				before := len(alarm.String())
				got, found, err := db.Token(t.Context(), hash)
				require.NoError(t, err, i)
				require.False(t, found, i)
				require.Zero(t, got)
				require.Contains(t, alarm.String()[before:], `"level":"ERROR"`)
				require.Contains(t, alarm.String()[before:], `"kind":"token"`)
			}
			require.NoError(t, db.PutToken(t.Context(), token("secret", time.Now().Add(time.Hour))), "it can be put right")
			_, found, err := db.Token(t.Context(), hash)
			require.NoError(t, err)
			require.True(t, found)
		})
	}
}
