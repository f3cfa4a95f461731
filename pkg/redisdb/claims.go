package redisdb

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/usherhq/usher/pkg/coalesce"
)

// Intent is one mail that is to be sent: an invitation's, for one generation of its link and one purpose.
type Intent struct {
	Organization, Invitation string
	Generation               int
	Purpose                  string
}

// ClaimState tells who may send a mail.
type ClaimState int

// The states.
const (
	// Won: nobody had the intent; the caller sends.
	Won ClaimState = iota + 1
	// Mine: the caller claimed it before and did not release it, so whether the mail went out is unknown.
	Mine
	// Held: somebody else has it, and is sending, or died over it.
	Held
)

// Claim is the answer to who may send.
type Claim struct {
	State ClaimState
	// Owner has the intent since Since. Both are zero where the claim is one Usher did not write.
	Owner string
	Since time.Time

	value string // as it stands in Redis, to compare with
}

func parseClaim(value string) Claim {
	c := Claim{value: value}
	nanos, owner, ok := strings.Cut(value, " ")
	if n, err := strconv.ParseInt(nanos, 10, 64); err == nil && ok {
		c.Owner, c.Since = owner, time.Unix(0, n).UTC()
	}
	return c
}

func (db *DB) claimValue(owner string) string {
	return strconv.FormatInt(db.clock().UnixNano(), 10) + " " + owner
}

// Claim asks for the right to send one mail, and adds its token to the index in the same round trip, so that no mail goes
// out whose link is unknown. It returns problem.NotNow while Redis is down; the claim may then be taken all the same, and
// the next try will find it Mine.
func (db *DB) Claim(ctx context.Context, i Intent, owner string, t Token) (Claim, error) {
	value := db.claimValue(owner)
	set := redis.NewStringCmd(ctx, "set", claimKey(i), value, "ex", int64(claimLife/time.Second), "nx", "get")
	commands := []redis.Cmder{set}
	if put := db.putToken(ctx, t); put != nil {
		commands = append(commands, put)
	}
	if err := db.do(ctx, commands...); err != nil {
		if wrongType(set.Err()) {
			db.foreign("claim", set.Err())
		}
		return Claim{}, err
	}
	// An earlier try of this same call may have set the value before its connection broke: that is a win too.
	if set.Err() != nil || set.Val() == value {
		won := parseClaim(value)
		won.State = Won
		return won, nil
	}
	claim := parseClaim(set.Val())
	claim.State = Held
	if claim.Owner == owner {
		claim.State = Mine
	}
	return claim, nil
}

// takeOver replaces a claim that is still as it was seen.
//
//	KEYS[1]  the claim
//	ARGV[1]  its value as it was seen
//	ARGV[2]  its new value
//	ARGV[3]  seconds to live
//	returns  1 when it was replaced, 0 when it was gone or another
var takeOver = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
`)

// TakeOver moves a claim that was seen Held or Mine to another owner, once it is known that the mail did not go out. It
// reports false when the claim is not any more as it was seen: whoever changed it has it. It returns problem.NotNow while
// Redis is down.
func (db *DB) TakeOver(ctx context.Context, i Intent, seen Claim, owner string) (bool, error) {
	c, err := db.evaluate(ctx, takeOver, []string{claimKey(i)}, seen.value, db.claimValue(owner), int64(claimLife/time.Second))
	if err != nil {
		return false, err
	}
	done, err := c.Int()
	return done == 1, unavailable(err)
}

// release is one claim to give up.
type release struct {
	slot, key, owner string
}

// giveUp deletes claims that are still their owner's.
//
//	KEYS     the claims, all of one organization
//	ARGV     the owner of each
//	returns  how many were deleted
var giveUp = newScript(`
local deleted = 0
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if value and string.match(value, '^%d+ (.*)$') == ARGV[i] then
    deleted = deleted + redis.call('DEL', key)
  end
end
return deleted
`)

// Release gives a claim up, unless somebody else has it by now: after the ledger has the mail's "sent", or when it is
// known that no mail went out. It returns problem.NotNow while Redis is down; the claim then ends with its lifetime.
func (db *DB) Release(ctx context.Context, i Intent, owner string) error {
	if !db.Healthy() {
		return unavailable(errDown)
	}
	_, err := db.releases.Do(ctx, release{slot: i.Organization, key: claimKey(i), owner: owner})
	return unavailable(err)
}

// flushReleases runs giveUp once for each organization among the releases, in one round trip.
func (db *DB) flushReleases(items []release) []coalesce.Result[struct{}] {
	bySlot := map[string][]int{}
	for i, r := range items {
		bySlot[r.slot] = append(bySlot[r.slot], i)
	}
	results := make([]coalesce.Result[struct{}], len(items))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, members := range bySlot {
		keys, owners := make([]string, len(members)), make([]any, len(members))
		for j, i := range members {
			keys[j], owners[j] = items[i].key, items[i].owner
		}
		_, err := db.evaluate(ctx, giveUp, keys, owners...)
		for _, i := range members {
			results[i].Err = err
		}
	}
	return results
}
