package redisdb_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

var intent = redisdb.Intent{Organization: "acme", Invitation: invitation, Sequence: 7}

func claim(t testing.TB, db *redisdb.DB, i redisdb.Intent, owner string) redisdb.Claim {
	t.Helper()
	c, err := db.Claim(t.Context(), i, owner, token("secret", time.Now().Add(time.Hour)))
	require.NoError(t, err)
	return c
}

func win(t testing.TB, db *redisdb.DB, i redisdb.Intent, owner string) redisdb.Claim {
	t.Helper()
	c := claim(t, db, i, owner)
	require.True(t, c.Won)
	return c
}

func claimed(t testing.TB, db *redisdb.DB) bool { return len(keys(t, db, "usher:claim:")) > 0 }

func TestOneOfManyWorkersWinsAClaim(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		for round := range 20 {
			i := intent
			i.Invitation = fmt.Sprintf("inv_%d", round)
			var won, lost atomic.Int64
			var workers sync.WaitGroup
			for w := range 64 {
				workers.Go(func() {
					switch c, err := db.Claim(t.Context(), i, fmt.Sprintf("worker %d", w), redisdb.Token{}); {
					case err != nil:
						t.Error(err)
					case c.Won:
						won.Add(1)
					default:
						lost.Add(1)
					}
				})
			}
			workers.Wait()
			require.EqualValues(t, 1, won.Load())
			require.EqualValues(t, 63, lost.Load())
		}
	})
}

func TestAClaimTellsWhoHasItSinceWhenAndForWhat(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		before := time.Now()
		won := win(t, db, intent, "mailer one")
		require.Equal(t, "mailer one", won.Owner)
		require.EqualValues(t, 7, won.Intent)
		require.WithinRange(t, won.Since, before, time.Now())

		for _, owner := range []string{"mailer one", "mailer two"} {
			again := claim(t, db, intent, owner)
			require.False(t, again.Won, "a worker does not win what it has: it must find out what became of it")
			require.Equal(t, "mailer one", again.Owner)
			require.Equal(t, won.Since, again.Since)
			require.EqualValues(t, 7, again.Intent)
		}
	})
}

func TestTwoMailsOfOneInvitationNeverLeaveSideBySide(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "one")
		resend := intent
		resend.Sequence = 8
		second := claim(t, db, resend, "two")
		require.False(t, second.Won)
		require.EqualValues(t, 7, second.Intent)
		require.NoError(t, db.Release(t.Context(), resend, "one"), "only the intent that holds the claim gives it up")
		require.True(t, claimed(t, db))

		for _, other := range []redisdb.Intent{
			{Organization: "other", Invitation: invitation, Sequence: 7}, {Organization: "acme", Invitation: "inv_01h455vb4pex5vsknk084sn02r", Sequence: 7},
		} {
			win(t, db, other, "two")
		}
	})
}

func TestANoticeWaitsForNoMailAndNoMailForIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "one")
		notice := intent
		notice.Notice = true
		win(t, db, notice, "one")
		require.False(t, claim(t, db, notice, "two").Won)
		later := notice
		later.Sequence++
		win(t, db, later, "two")
		require.NoError(t, db.Release(t.Context(), intent, "one"))
		_, held, err := db.MailInFlight(t.Context(), "acme", invitation)
		require.NoError(t, err)
		require.False(t, held, "whoever revokes waits for mails to the invitee alone")
	})
}

func TestAMailInFlightIsSeen(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		_, held, err := db.MailInFlight(t.Context(), "acme", invitation)
		require.NoError(t, err)
		require.False(t, held)

		win(t, db, intent, "one")
		seen, held, err := db.MailInFlight(t.Context(), "acme", invitation)
		require.NoError(t, err)
		require.True(t, held)
		require.Equal(t, claim(t, db, intent, "two"), seen)
	})
}

func TestAClaimPutsTheTokenBeforeTheMail(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		put := token("secret", time.Now().Add(time.Hour))
		win(t, db, intent, "one")
		_, found, err := db.Token(t.Context(), put.Hash)
		require.NoError(t, err)
		require.True(t, found)
	})
}

func TestAClaimThatNobodySettlesEndsAfterTwoDays(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "one")
		require.InDelta(t, 48*time.Hour, ttl(t, db, keys(t, db, "usher:claim:")[0]), float64(time.Minute))
	})
}

func TestAReleasedClaimCanBeWonAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "one two")
		require.NoError(t, db.Release(t.Context(), intent, "one two"))
		require.False(t, claimed(t, db))
		require.NoError(t, db.Release(t.Context(), intent, "one two"), "releasing twice does no harm")
		win(t, db, intent, "three")
	})
}

func TestNobodyReleasesAnothersClaim(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "one")
		for _, other := range []string{"two", "on", "", "7 one"} {
			require.NoError(t, db.Release(t.Context(), intent, other))
		}
		require.False(t, claim(t, db, intent, "two").Won)
	})
}

func TestReleasesOfManyOrganizationsTravelTogether(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		var workers sync.WaitGroup
		for w := range 200 {
			workers.Go(func() {
				i := redisdb.Intent{Organization: fmt.Sprintf("org%d", w%7), Invitation: fmt.Sprintf("inv_%d", w), Sequence: 1}
				_, err := db.Claim(t.Context(), i, "one", redisdb.Token{})
				if err == nil {
					err = db.Release(t.Context(), i, "one")
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		workers.Wait()
		require.False(t, claimed(t, db))
	})
}

func TestOneOfManyTakesADeadWorkersClaimOver(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "dead")
		seen := claim(t, db, intent, "one")
		var taken atomic.Int64
		var workers sync.WaitGroup
		for w := range 32 {
			workers.Go(func() {
				ok, err := db.TakeOver(t.Context(), intent, seen, fmt.Sprintf("worker %d", w))
				if err == nil && ok {
					taken.Add(1)
				}
			})
		}
		workers.Wait()
		require.EqualValues(t, 1, taken.Load())
		now := claim(t, db, intent, "one")
		require.Contains(t, now.Owner, "worker ")
		require.InDelta(t, 48*time.Hour, ttl(t, db, keys(t, db, "usher:claim:")[0]), float64(time.Minute))

		require.NoError(t, db.Release(t.Context(), intent, "dead"), "the dead come back")
		require.NoError(t, db.Settle(t.Context(), intent, seen), "and change nothing")
		require.Equal(t, now, claim(t, db, intent, "one"))
	})
}

func TestASettledClaimIsGoneWhoeverHadIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "dead")
		require.NoError(t, db.Settle(t.Context(), intent, claim(t, db, intent, "one")))
		require.False(t, claimed(t, db))
	})
}

func TestAClaimThatWasReleasedMeanwhileIsNotTakenOver(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "one")
		seen := claim(t, db, intent, "two")
		require.NoError(t, db.Release(t.Context(), intent, "one"))
		ok, err := db.TakeOver(t.Context(), intent, seen, "two")
		require.NoError(t, err)
		require.False(t, ok)
		require.False(t, claimed(t, db))
	})
}

func TestAForeignClaimIsNobodysAndCanBeTakenOver(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "one")
		key := keys(t, db, "usher:claim:")[0]
		for _, garbage := range []string{"garbage", "", "x y", "123456", "1 x one", "x 1 one", "1 7"} {
			require.NoError(t, db.Client().Set(t.Context(), key, garbage, 0).Err())
			seen := claim(t, db, intent, "two")
			require.False(t, seen.Won)
			require.Empty(t, seen.Owner)
			require.Zero(t, seen.Intent)
			require.True(t, seen.Since.IsZero())
			_, held, err := db.MailInFlight(t.Context(), "acme", invitation)
			require.NoError(t, err)
			require.True(t, held, "in doubt a mail is on its way")
			ok, err := db.TakeOver(t.Context(), intent, seen, "two")
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, "two", claim(t, db, intent, "two").Owner)
		}
		require.NoError(t, db.Client().Del(t.Context(), key).Err())
		require.NoError(t, db.Client().LPush(t.Context(), key, "x").Err())
		_, err := db.Claim(t.Context(), intent, "two", redisdb.Token{})
		require.Error(t, err, "a key of another type says nothing, so nobody sends")
		_, _, err = db.MailInFlight(t.Context(), "acme", invitation)
		require.Error(t, err)
	})
}

// T081
func TestClaimsOutliveForgottenScripts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		win(t, db, intent, "one")
		forget(t, db)
		ok, err := db.TakeOver(t.Context(), intent, claim(t, db, intent, "two"), "two")
		require.NoError(t, err)
		require.True(t, ok)
		forget(t, db)
		require.NoError(t, db.Release(t.Context(), intent, "two"))
		require.False(t, claimed(t, db))
		win(t, db, intent, "one")
		forget(t, db)
		require.NoError(t, db.Settle(t.Context(), intent, claim(t, db, intent, "two")))
		require.False(t, claimed(t, db))
	})
}
