package redisdb

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/usherhq/usher/pkg/coalesce"
)

// Intent is one mail that is to be sent: what an event of the ledger asked for.
type Intent struct {
	Organization, Invitation string
	// Sequence is the ledger sequence of that event.
	Sequence uint64
	// Notice is true for a mail that tells the inviter what happened. Each has a claim of its own, so that it waits for no
	// mail to the invitee, and none waits for it.
	Notice bool
}

// Claim is the right to send a mail of an invitation. There is one for each invitation and not one for each mail, so
// that two mails never leave side by side, and that whoever revokes sees any that is about to.
type Claim struct {
	// Won is true where nobody had it and the caller has it now.
	Won bool
	// Owner has it since Since, for the intent of that sequence. A claim that Usher did not write has none of them.
	Owner  string
	Since  time.Time
	Intent uint64

	value string // as it stands in Redis, to compare with
}

func parseClaim(value string) Claim {
	c := Claim{value: value}
	nanos, rest, _ := strings.Cut(value, " ")
	sequence, owner, ok := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(nanos, 10, 64)
	intent, errIntent := strconv.ParseUint(sequence, 10, 64)
	if err == nil && errIntent == nil && ok {
		c.Owner, c.Since, c.Intent = owner, time.Unix(0, n).UTC(), intent
	}
	return c
}

func (db *DB) claimValue(i Intent, owner string) string {
	return strconv.FormatInt(db.clock().UnixNano(), 10) + " " + holder(i, owner)
}

// holder is the part of a claim that tells whose it is.
func holder(i Intent, owner string) string { return strconv.FormatUint(i.Sequence, 10) + " " + owner }

// Claim asks for the right to send one mail, and adds its token to the index in the same round trip, so that no mail goes
// out whose link is unknown. It returns problem.NotNow while Redis is down; the claim may then be taken all the same, and
// the next try will find it with its own owner.
func (db *DB) Claim(ctx context.Context, i Intent, owner string, t Token) (Claim, error) {
	value := db.claimValue(i, owner)
	set := redis.NewStringCmd(ctx, "set", claimKey(i), value, "ex", int64(claimLife/time.Second), "nx", "get")
	commands := []redis.Cmder{set}
	if put := db.putToken(ctx, t); put != nil {
		commands = append(commands, put)
	}
	if err := db.do(ctx, commands...); err != nil {
		if wrongType(err) {
			db.foreign("claim", err)
		}
		return Claim{}, err
	}
	// An earlier try of this same call may have set the value before its connection broke: that is a win too.
	if set.Err() != nil || set.Val() == value {
		won := parseClaim(value)
		won.Won = true
		return won, nil
	}
	return parseClaim(set.Val()), nil
}

// MailInFlight gives the claim that is held on an invitation, and whether there is one.
func (db *DB) MailInFlight(ctx context.Context, org, invitation string) (Claim, bool, error) {
	get := redis.NewStringCmd(ctx, "get", claimKey(Intent{Organization: org, Invitation: invitation}))
	if err := db.do(ctx, get); err != nil {
		return Claim{}, false, err
	}
	if errors.Is(get.Err(), redis.Nil) {
		return Claim{}, false, nil
	}
	return parseClaim(get.Val()), true, nil
}

// Claimed reports whether anybody has claimed a mail, or another of its invitation. It returns problem.NotNow while Redis is down.
func (db *DB) Claimed(ctx context.Context, i Intent) (bool, error) {
	exists := redis.NewIntCmd(ctx, "exists", claimKey(i))
	err := db.do(ctx, exists)
	return exists.Val() > 0, err
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

// TakeOver moves a claim that was seen to another owner, once it is known that the mail did not go out. It
// reports false when the claim is not any more as it was seen: whoever changed it has it. It returns problem.NotNow while
// Redis is down.
func (db *DB) TakeOver(ctx context.Context, i Intent, seen Claim, owner string) (bool, error) {
	c, err := db.evaluate(ctx, takeOver, []string{claimKey(i)}, seen.value, db.claimValue(i, owner), int64(claimLife/time.Second))
	if err != nil {
		return false, err
	}
	done, err := c.Int()
	return done == 1, unavailable(err)
}

// drop deletes a claim that is still as it was seen.
//
//	KEYS[1]  the claim
//	ARGV[1]  its value as it was seen
//	returns  how many were deleted
var drop = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`)

// Settle gives up a claim that was seen, whoever has it, once the ledger says what became of its mail. One that is not any
// more as it was seen stays. It returns problem.NotNow while Redis is down.
func (db *DB) Settle(ctx context.Context, i Intent, seen Claim) error {
	_, err := db.evaluate(ctx, drop, []string{claimKey(i)}, seen.value)
	return err
}

// release is one claim to give up.
type release struct {
	slot, key, owner string
}

// giveUp deletes claims that are still their owner's.
//
//	KEYS     the claims, all of one organization
//	ARGV     the sequence and owner of each
//	returns  how many were deleted
var giveUp = newScript(`
local own = {}
for i, value in ipairs(redis.call('MGET', unpack(KEYS))) do
  if value and string.match(value, '^%d+ (.*)$') == ARGV[i] then own[#own + 1] = KEYS[i] end
end
if #own == 0 then return 0 end
return redis.call('DEL', unpack(own))
`)

// Release gives a claim up, unless somebody else has it by now: after the ledger has the mail's "sent", or when it is
// known that no mail went out. It returns problem.NotNow while Redis is down; the claim then ends with its lifetime.
func (db *DB) Release(ctx context.Context, i Intent, owner string) error {
	_, err := db.releases.Do(ctx, release{slot: i.Organization, key: claimKey(i), owner: holder(i, owner)})
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
