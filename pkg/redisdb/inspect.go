package redisdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/usherhq/usher/events"
)

// What is stored, read whole, for whoever compares it with the ledger. Nothing here is for the hot paths.

// sweepPage is how many keys, fields or indexes one round trip reads.
const sweepPage = 1000

// StoredToken is one entry of the token index as it stands. Where nobody of Usher's wrote it, Organization and Invitation are
// empty.
type StoredToken struct {
	Token
	key, value string
}

// StoredClaim is one claim as it stands, of a mail or of a notice.
type StoredClaim struct {
	Intent Intent
	Claim  Claim
}

// Sweep is a part of what the keys of Usher's tell.
type Sweep struct {
	Tokens []StoredToken
	Claims []StoredClaim
	// Indexes are the names of the indexes that exist, by organization. An organization that has views of any kind is there.
	Indexes map[string][]string
}

// Sweep goes over all keys, part by part. A key that is there from beginning to end is told at least once. It returns
// problem.NotNow while Redis is down.
func (db *DB) Sweep(ctx context.Context, visit func(Sweep)) error {
	if !db.Healthy() {
		return unavailable(errDown)
	}
	cluster, ok := db.client.(*redis.ClusterClient)
	if !ok {
		return db.sweepServer(ctx, db.client, visit)
	}
	var one sync.Mutex // visit is nobody's to be called twice at once
	return unavailable(cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		return db.sweepServer(ctx, node, func(part Sweep) {
			one.Lock()
			defer one.Unlock()
			visit(part)
		})
	}))
}

func (db *DB) sweepServer(ctx context.Context, server redis.Cmdable, visit func(Sweep)) error {
	cursor := uint64(0)
	for {
		keys, next, err := server.Scan(ctx, cursor, "usher:*", sweepPage).Result()
		if err != nil {
			db.suspect(err)
			return unavailable(err)
		}
		part, err := db.sweepKeys(ctx, server, keys)
		if err != nil {
			return err
		}
		visit(part)
		if cursor = next; next == 0 {
			return nil
		}
	}
}

func (db *DB) sweepKeys(ctx context.Context, server redis.Cmdable, keys []string) (Sweep, error) {
	part := Sweep{Indexes: map[string][]string{}}
	var tokens, claims []string
	for _, key := range keys {
		switch {
		case strings.HasPrefix(key, "usher:token:"):
			tokens = append(tokens, key)
		case strings.HasPrefix(key, "usher:claim:{"), strings.HasPrefix(key, "usher:notice:{"):
			claims = append(claims, key)
		case strings.HasPrefix(key, "usher:{"):
			org, rest, _ := strings.Cut(strings.TrimPrefix(key, "usher:{"), "}:")
			if name, ok := strings.CutPrefix(rest, "index:"); ok {
				part.Indexes[org] = append(part.Indexes[org], name)
			} else if part.Indexes[org] == nil {
				part.Indexes[org] = []string{}
			}
		}
	}
	values, err := db.values(ctx, server, append(tokens, claims...))
	if err != nil {
		return part, err
	}
	for i, key := range tokens {
		part.Tokens = append(part.Tokens, storedToken(key, values[i]))
	}
	for i, key := range claims {
		if value := values[len(tokens)+i]; value != "" { // given up meanwhile
			part.Claims = append(part.Claims, StoredClaim{Intent: intentOf(key, value), Claim: parseClaim(value)})
		}
	}
	return part, nil
}

// values reads keys one by one in a pipeline: in a cluster they may be in many slots. A key that has no value of the wanted
// type gives an empty one.
func (db *DB) values(ctx context.Context, server redis.Cmdable, keys []string) ([]string, error) {
	values := make([]string, len(keys))
	for start := 0; start < len(keys); start += sweepPage {
		part := keys[start:min(start+sweepPage, len(keys))]
		pipeline := server.Pipeline()
		answers := make([]*redis.StringCmd, len(part))
		for i, key := range part {
			answers[i] = pipeline.Get(ctx, key)
		}
		_, _ = pipeline.Exec(ctx) // each answer has its own error
		for i, answer := range answers {
			err := answer.Err()
			if err != nil && !errors.Is(err, redis.Nil) && !wrongType(err) {
				db.suspect(err)
				return nil, unavailable(err)
			}
			values[start+i] = answer.Val()
		}
	}
	return values, nil
}

func storedToken(key, value string) StoredToken {
	t := StoredToken{key: key, value: value}
	hash, err := hex.DecodeString(strings.TrimPrefix(key, "usher:token:"))
	if err != nil || len(hash) != sha256.Size {
		return t
	}
	copy(t.Hash[:], hash)
	if org, invitation, _ := strings.Cut(value, " "); events.ValidOrganization(org) && events.IsInvitationID(invitation) {
		t.Organization, t.Invitation = org, invitation
	}
	return t
}

// intentOf reads the key of a claim.
func intentOf(key, value string) Intent {
	_, rest, _ := strings.Cut(key, "{")
	org, rest, _ := strings.Cut(rest, "}:")
	invitation, sequence, notice := strings.Cut(rest, ":")
	i := Intent{Organization: org, Invitation: invitation, Sequence: parseClaim(value).Intent, Notice: notice}
	if notice {
		i.Sequence, _ = strconv.ParseUint(sequence, 10, 64)
	}
	return i
}

// DropToken takes an entry out of the token index that is still as it was seen. It returns problem.NotNow while Redis is
// down.
func (db *DB) DropToken(ctx context.Context, seen StoredToken) error {
	if seen.value == "" { // it has no value to compare: it is no string, or gone
		return db.run(ctx, redis.NewIntCmd(ctx, "del", seen.key))
	}
	_, err := db.evaluate(ctx, drop, []string{seen.key}, seen.value)
	return err
}

// Field is one field of a hash.
type Field struct{ Name, Value string }

// EveryRecord gives every record of an organization, by invitation, in no order; one may come twice. It gives
// problem.NotNow while Redis is down.
func (db *DB) EveryRecord(ctx context.Context, org string) iter.Seq2[Field, error] {
	return db.fields(ctx, keysOf(org).invitations())
}

// EveryPerson gives every person of an organization with their invitations, parted by spaces; one may come twice. It gives
// problem.NotNow while Redis is down.
func (db *DB) EveryPerson(ctx context.Context, org string) iter.Seq2[Field, error] {
	return db.fields(ctx, keysOf(org).people())
}

func (db *DB) fields(ctx context.Context, key string) iter.Seq2[Field, error] {
	return func(yield func(Field, error) bool) {
		cursor := uint64(0)
		for {
			c := redis.NewScanCmd(ctx, nil, "hscan", key, cursor, "count", sweepPage)
			if err := db.run(ctx, c); err != nil {
				yield(Field{}, err)
				return
			}
			words, next := c.Val()
			for i := 0; i+1 < len(words); i += 2 {
				if !yield(Field{Name: words[i], Value: words[i+1]}, nil) {
					return
				}
			}
			if cursor = next; next == 0 {
				return
			}
		}
	}
}

// Index is one index with its entries.
type Index struct {
	// Name is "<bucket>:<combo>".
	Name    string
	Entries []Entry
}

// Parts are bucket and combo; ok is false for a name that Usher did not make.
func (i Index) Parts() (bucket uint64, combo string, ok bool) {
	number, combo, ok := strings.Cut(i.Name, ":")
	bucket, err := strconv.ParseUint(number, 10, 64)
	return bucket, combo, ok && err == nil
}

// Bucket is the bucket in which a sequence stands.
func Bucket(score uint64) uint64 { return score / bucketSize }

// Listed gives the names of the indexes that lists of an organization are read from. It returns problem.NotNow while Redis
// is down.
func (db *DB) Listed(ctx context.Context, org string) ([]string, error) {
	c := redis.NewStringSliceCmd(ctx, "zrange", keysOf(org).buckets(), 0, -1)
	err := db.run(ctx, c)
	return c.Val(), err
}

// Indexes reads indexes of one organization whole, in order. It returns problem.NotNow while Redis is down.
func (db *DB) Indexes(ctx context.Context, org string, names []string) ([]Index, error) {
	k, indexes := keysOf(org), make([]Index, len(names))
	commands, answers := make([]redis.Cmder, len(names)), make([]*redis.StringSliceCmd, len(names))
	for i, name := range names {
		answers[i] = redis.NewStringSliceCmd(ctx, "zrange", k.index()+name, 0, -1, "withscores")
		commands[i] = answers[i]
	}
	if err := db.do(ctx, commands...); err != nil {
		return nil, err
	}
	for i, answer := range answers {
		indexes[i].Name = names[i]
		words := answer.Val()
		for j := 0; j+1 < len(words); j += 2 {
			score, err := strconv.ParseFloat(words[j+1], 64)
			if err != nil {
				return nil, unavailable(fmt.Errorf("redisdb: score of an index entry: %w", err))
			}
			indexes[i].Entries = append(indexes[i].Entries, Entry{ID: words[j], Score: uint64(score)})
		}
	}
	return indexes, nil
}

// tally tells what the counts say and what the indexes hold, at one moment.
//
//	KEYS[1]  the counts
//	KEYS[2]  the buckets
//	ARGV[1]  what index keys begin with
//	ARGV[2]  '1' to make the counts what the indexes hold
//	returns  the counts, and the numbers of entries: combo and number in turn
var tally = newScript(`
local counted, held, order = redis.call('HGETALL', KEYS[1]), {}, {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local combo = string.match(name, '^%d+:(.*)$') or ''
  if not held[combo] then order[#order + 1] = combo end
  held[combo] = (held[combo] or 0) + redis.call('ZCARD', ARGV[1] .. name)
end
local entries = {}
for _, combo in ipairs(order) do
  entries[#entries + 1] = combo
  entries[#entries + 1] = tostring(held[combo])
end
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
  for _, combo in ipairs(order) do
    if held[combo] > 0 then redis.call('HSET', KEYS[1], combo, held[combo]) end
  end
end
return {counted, entries}
`)

// Tally gives what the counts of an organization say and what its indexes hold, both of one moment. With mend it makes the
// counts what the indexes hold. It returns problem.NotNow while Redis is down.
func (db *DB) Tally(ctx context.Context, org string, mend bool) (counted, held map[string]int, err error) {
	k, how := keysOf(org), "0"
	if mend {
		how = "1"
	}
	c, err := db.evaluate(ctx, tally, []string{k.counts(), k.buckets()}, k.index(), how)
	if err != nil {
		return nil, nil, err
	}
	parts, err := c.Slice()
	if err != nil || len(parts) != 2 {
		return nil, nil, unavailable(errors.Join(err, errors.New("redisdb: tally: not two parts")))
	}
	return numbers(parts[0]), numbers(parts[1]), nil
}

// numbers reads names and numbers in turn. What is no number counts as -1, which no count is.
func numbers(part any) map[string]int {
	words, _ := part.([]any)
	read := make(map[string]int, len(words)/2)
	for i := 0; i+1 < len(words); i += 2 {
		name, _ := words[i].(string)
		text, _ := words[i+1].(string)
		n, err := strconv.Atoi(text)
		if err != nil {
			n = -1
		}
		read[name] = n
	}
	return read
}
