package redisdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Lists are read from indexes: each invitation stands in exactly one, that of its combo, by its sequence. An index is cut
// into buckets of bucketSize sequences. Small sorted sets are kept compactly by Redis, and the in-process server, which
// sorts a whole set whenever it reads from it, never has much to sort.
const bucketSize = 2048

// mostChanges is how many changes one script takes; more are sent in several.
const mostChanges = 256

// Change is one record's step from what it was to what it is to be.
type Change struct {
	// ID is the invitation. No two changes of one call may have the same.
	ID string
	// Old is the record as it was read, nil where there was none; New is what replaces it.
	Old, New []byte
	// OldCombo and NewCombo are the indexes the record leaves and enters; "" for none.
	OldCombo, NewCombo string
	// Score is the sequence that places the record in lists; OldScore the one before, where it was another.
	Score, OldScore uint64
	// Person is whose invitation it is. It is taken in when the record enters its first index.
	Person string
}

// Entry is one place in a list.
type Entry struct {
	ID    string
	Score uint64
}

// Records reads the records of invitations, in order; nil for those there are none of. It returns problem.NotNow while
// Redis is down.
func (db *DB) Records(ctx context.Context, org string, ids []string) ([][]byte, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	words := append(make([]any, 0, 2+len(ids)), "hmget", keysOf(org).invitations())
	for _, id := range ids {
		words = append(words, id)
	}
	c := redis.NewSliceCmd(ctx, words...)
	if err := db.run(ctx, c); err != nil {
		return nil, err
	}
	records := make([][]byte, len(ids))
	for i, v := range c.Val() {
		if text, ok := v.(string); ok {
			records[i] = []byte(text)
		}
	}
	return records, nil
}

// apply writes the records that are still as they were read, and moves their index entries.
//
//	KEYS[1]  the records           KEYS[2]  the people
//	KEYS[3]  the counts            KEYS[4]  the buckets
//	ARGV[1]  what index keys begin with (these keys cannot be listed, but are in the same slot)
//	ARGV[2]  sequences in a bucket
//	ARGV[3…] for each change: id, old record ('' for none), new record, old combo, new combo, old score, score, person
//	returns  the numbers, from 0, of the changes whose record was not as it was read
var apply = newScript(`
local prefix, size = ARGV[1], tonumber(ARGV[2])
local total = (#ARGV - 2) / 8

local function push(map, key, ...)
  local list = map[key]
  if not list then list = {}; map[key] = list end
  for _, v in ipairs({...}) do list[#list + 1] = v end
end
local function bucket(score, combo)
  return string.format('%d:%s', math.floor(tonumber(score) / size), combo)
end

local ids = {}
for i = 1, total do ids[i] = ARGV[8 * i - 5] end
local have = redis.call('HMGET', KEYS[1], unpack(ids))

local conflicts, records, counts, add, remove, people, persons = {}, {}, {}, {}, {}, {}, {}
for i = 1, total do
  local at = 8 * i - 5
  local id, old, new, from, to = ids[i], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local was, score, person = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  if (have[i] or '') ~= old then
    conflicts[#conflicts + 1] = i - 1
  else
    records[#records + 1] = id
    records[#records + 1] = new
    if from ~= to or was ~= score then
      if from ~= '' then
        push(remove, bucket(was, from), id)
        counts[from] = (counts[from] or 0) - 1
      end
      if to ~= '' then
        push(add, bucket(score, to), score, id)
        counts[to] = (counts[to] or 0) + 1
      end
      if from == '' and to ~= '' and person ~= '' then
        if not people[person] then persons[#persons + 1] = person end
        push(people, person, id)
      end
    end
  end
end

if #records > 0 then redis.call('HSET', KEYS[1], unpack(records)) end
for name, entries in pairs(remove) do
  redis.call('ZREM', prefix .. name, unpack(entries))
  if redis.call('EXISTS', prefix .. name) == 0 then redis.call('ZREM', KEYS[4], name) end
end
for name, entries in pairs(add) do
  redis.call('ZADD', prefix .. name, unpack(entries))
  redis.call('ZADD', KEYS[4], string.match(name, '^%d+'), name)
end
for combo, n in pairs(counts) do
  if n ~= 0 and redis.call('HINCRBY', KEYS[3], combo, n) == 0 then redis.call('HDEL', KEYS[3], combo) end
end
if #persons > 0 then
  local known, lists = redis.call('HMGET', KEYS[2], unpack(persons)), {}
  for i, person in ipairs(persons) do
    local list = known[i] or ''
    for _, id in ipairs(people[person]) do
      if not string.find(list, id, 1, true) then list = list == '' and id or list .. ' ' .. id end
    end
    lists[#lists + 1] = person
    lists[#lists + 1] = list
  end
  redis.call('HSET', KEYS[2], unpack(lists))
end
return conflicts
`)

// Apply writes changed records with their index entries. Where a record is not as it was read, nothing of that change is
// done, and its place in changes is among the conflicts: read it again. Applying a change twice is a conflict, never a
// second effect. It returns problem.NotNow while Redis is down; some changes may then be done.
func (db *DB) Apply(ctx context.Context, org string, changes []Change) (conflicts []int, err error) {
	for start := 0; start < len(changes); start += mostChanges {
		part := changes[start:min(start+mostChanges, len(changes))]
		late, err := db.applyPart(ctx, org, part)
		if err != nil {
			return nil, err
		}
		for _, i := range late {
			conflicts = append(conflicts, start+int(i))
		}
	}
	return conflicts, nil
}

func (db *DB) applyPart(ctx context.Context, org string, changes []Change) ([]int64, error) {
	k := keysOf(org)
	args := append(make([]any, 0, 2+8*len(changes)), k.index(), bucketSize)
	for i := range changes {
		c := &changes[i]
		was := c.OldScore
		if was == 0 {
			was = c.Score
		}
		args = append(args, c.ID, c.Old, c.New, c.OldCombo, c.NewCombo, was, c.Score, c.Person)
	}
	done, err := db.evaluate(ctx, apply, []string{k.invitations(), k.people(), k.counts(), k.buckets()}, args...)
	if err != nil {
		return nil, err
	}
	late, err := done.Int64Slice()
	return late, unavailable(err)
}

// page reads the newest entries of several indexes, bucket by bucket until there are enough.
//
//	KEYS[1]  the buckets
//	ARGV[1]  what index keys begin with
//	ARGV[2]  sequences in a bucket
//	ARGV[3]  the sequence before which to begin, 0 for the newest
//	ARGV[4]  how many entries
//	ARGV[5…] the combos
//	returns  for each index of the buckets read: id and score of its entries in turn. Buckets are read whole, so the
//	         newest of all that is returned are the newest there are.
var page = newScript(`
local prefix, size, before, limit = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local wanted = {}
for i = 5, #ARGV do wanted[ARGV[i]] = true end
local top, below = '+inf', '+inf'
if before ~= '0' then top, below = math.floor(tonumber(before) / size), '(' .. before end

local parts, found, bucket = {}, 0, nil
local offset, step = 0, 64
while true do
  local names = redis.call('ZREVRANGEBYSCORE', KEYS[1], top, '-inf', 'LIMIT', offset, step)
  for _, name in ipairs(names) do
    local number, combo = string.match(name, '^(%d+):(.*)$')
    if number ~= bucket and found >= limit then return parts end
    bucket = number
    if wanted[combo] then
      local part = redis.call('ZREVRANGEBYSCORE', prefix .. name, below, '-inf', 'WITHSCORES', 'LIMIT', 0, limit)
      parts[#parts + 1] = part
      found = found + #part / 2
    end
  end
  if #names < step then return parts end
  offset = offset + step
end
`)

// Page lists the newest invitations whose combo matches, newest first: those before a sequence, or from the newest on
// where before is 0. It returns problem.NotNow while Redis is down.
func (db *DB) Page(ctx context.Context, org string, matches func(combo string) bool, before uint64, limit int) ([]Entry, error) {
	counts, err := db.Counts(ctx, org)
	if err != nil {
		return nil, err
	}
	k := keysOf(org)
	args := []any{k.index(), bucketSize, before, limit}
	for combo := range counts {
		if matches(combo) {
			args = append(args, combo)
		}
	}
	if len(args) == 4 { // no index matches
		return nil, nil
	}
	c, err := db.evaluate(ctx, page, []string{k.buckets()}, args...)
	if err != nil {
		return nil, err
	}
	parts, err := c.Slice()
	if err != nil {
		return nil, unavailable(err)
	}
	return newest(parts, limit)
}

// newest puts the entries of several indexes into one order.
func newest(parts []any, limit int) ([]Entry, error) {
	var entries []Entry
	for _, part := range parts {
		words, _ := part.([]any)
		for pair := range slices.Chunk(words, 2) {
			id, _ := pair[0].(string)
			text, _ := pair[1].(string)
			score, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, unavailable(fmt.Errorf("redisdb: score of an index entry: %w", err))
			}
			entries = append(entries, Entry{ID: id, Score: uint64(score)})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(b.Score, a.Score) })
	return entries[:min(limit, len(entries))], nil
}

// Counts tells how many invitations stand in each combo. It returns problem.NotNow while Redis is down.
func (db *DB) Counts(ctx context.Context, org string) (map[string]int, error) {
	c := redis.NewMapStringIntCmd(ctx, "hgetall", keysOf(org).counts())
	if err := db.do(ctx, c); err != nil {
		return nil, err
	}
	counts := make(map[string]int, len(c.Val()))
	for combo, n := range c.Val() {
		counts[combo] = int(n)
	}
	return counts, nil
}

// PersonInvitations lists all invitations of one person in one organization, oldest first by the order in which they
// became known. It returns problem.NotNow while Redis is down.
func (db *DB) PersonInvitations(ctx context.Context, org, person string) ([]string, error) {
	c := redis.NewStringCmd(ctx, "hget", keysOf(org).people(), person)
	if err := db.do(ctx, c); err != nil || errors.Is(c.Err(), redis.Nil) {
		return nil, err
	}
	return strings.Fields(c.Val()), nil
}
