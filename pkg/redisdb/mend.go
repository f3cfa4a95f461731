package redisdb

import (
	"context"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// enlist puts a record's one index entry where it belongs, if the record is still as it was seen. Apply moves entries only
// with their record; this is for a record that is right and an entry that is not.
//
//	KEYS[1]  the records
//	KEYS[2]  the buckets
//	ARGV[1]  what index keys begin with
//	ARGV[2]  the invitation           ARGV[3]  its record as it was seen
//	ARGV[4]  the index's name         ARGV[5]  its bucket        ARGV[6]  the score
//	returns  1 when it was put there, 0 when the record was another by then
var enlist = newScript(`
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('ZADD', ARGV[1] .. ARGV[4], ARGV[6], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[4])
return 1
`)

// Enlist puts the index entry of a record where it belongs, unless the record changed since. The counts are Tally's to mend.
// It returns problem.NotNow while Redis is down.
func (db *DB) Enlist(ctx context.Context, org string, e Entry, combo string, record []byte) error {
	k, bucket := keysOf(org), strconv.FormatUint(Bucket(e.Score), 10)
	_, err := db.evaluate(ctx, enlist, []string{k.invitations(), k.buckets()},
		k.index(), e.ID, record, bucket+":"+combo, bucket, e.Score)
	return err
}

// strike takes entries out of an index, and an index out of the buckets that has none left.
//
//	KEYS[1]  the buckets
//	ARGV[1]  what index keys begin with
//	ARGV[2]  the index's name
//	ARGV[3…] invitation and score in turn; an entry of another score stays
var strike = newScript(`
local key = ARGV[1] .. ARGV[2]
for i = 3, #ARGV, 2 do
  local score = redis.call('ZSCORE', key, ARGV[i])
  if score and tonumber(score) == tonumber(ARGV[i + 1]) then redis.call('ZREM', key, ARGV[i]) end
end
if redis.call('EXISTS', key) == 0 then redis.call('ZREM', KEYS[1], ARGV[2]) end
return 1
`)

// Strike takes an entry out of an index where it does not belong. Without an entry it only takes the index off the list of
// those that lists are read from, where it is empty. The counts are Tally's to mend. It returns problem.NotNow while Redis
// is down.
func (db *DB) Strike(ctx context.Context, org, index string, entries ...Entry) error {
	k := keysOf(org)
	args := []any{k.index(), index}
	for _, e := range entries {
		args = append(args, e.ID, e.Score)
	}
	_, err := db.evaluate(ctx, strike, []string{k.buckets()}, args...)
	return err
}

// Announce lists an index that exists among those that lists are read from. It returns problem.NotNow while Redis is down.
func (db *DB) Announce(ctx context.Context, org string, i Index) error {
	bucket, _, ok := i.Parts()
	if !ok {
		return db.run(ctx, redis.NewIntCmd(ctx, "del", keysOf(org).index()+i.Name))
	}
	return db.run(ctx, redis.NewIntCmd(ctx, "zadd", keysOf(org).buckets(), bucket, i.Name))
}

// swap replaces a field of a hash that is still as it was seen.
//
//	KEYS[1]  the hash
//	ARGV[1]  the field
//	ARGV[2]  its value as it was seen, '' where it was not there
//	ARGV[3]  its new value, '' to take it away
var swap = newScript(`
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
`)

// SetPerson replaces the list of a person's invitations, if it is still as it was seen; "" stands for none. It returns
// problem.NotNow while Redis is down.
func (db *DB) SetPerson(ctx context.Context, org, person, seen, invitations string) error {
	_, err := db.evaluate(ctx, swap, []string{keysOf(org).people()}, person, seen, invitations)
	return err
}

// DropRecord takes a record away that is still as it was seen. Its index entry is Strike's. It returns problem.NotNow while
// Redis is down.
func (db *DB) DropRecord(ctx context.Context, org, invitation, seen string) error {
	_, err := db.evaluate(ctx, swap, []string{keysOf(org).invitations()}, invitation, seen, "")
	return err
}
