package redisdb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/refusal"
)

// oldest is the first Redis that knows SET with both NX and GET.
const oldest = 7

// Check refuses a server that would lose what it was given, and names every rule it breaks. It returns problem.NotNow where the
// server does not answer. The in-process server always passes: it is refilled from the ledger at each start.
func (db *DB) Check(ctx context.Context, production bool) error {
	if db.embedded {
		return nil
	}
	cluster, ok := db.client.(*redis.ClusterClient)
	if !ok {
		return db.checkServer(ctx, db.client, production)
	}
	var mu sync.Mutex
	var faults []error
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		err := db.checkServer(ctx, node, production)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", node.Options().Addr, err))
		}
		return nil
	})
	if err != nil {
		return unavailable(err)
	}
	return errors.Join(faults...)
}

// server is what a Redis says about itself.
type server struct {
	info       map[string]string
	fsync      string // appendfsync; empty where the server does not tell
	production bool
}

// Rules are the promises of Redis, as the documentation has them.
var Rules = refusal.Lines(rules)

var rules = []refusal.Rule[server]{
	refusal.Of("version", "older than 7: it does not know what claims are made with", "Redis is version %q, and must be 7 or newer", func(s server) refusal.Values {
		major, _, _ := strings.Cut(s.info["redis_version"], ".")
		n, err := strconv.Atoi(major)
		return refusal.If(err != nil || n < oldest, s.info["redis_version"])
	}),
	refusal.Of("role", "a replica: it takes no writes, or loses them", "Redis is a replica (role %q), and must be the primary", func(s server) refusal.Values {
		return refusal.If(s.info["role"] != "master", s.info["role"])
	}),
	refusal.Of("maxmemory-policy", "any that evicts", "Redis has maxmemory-policy %q, and must have \"noeviction\": others forget keys silently when memory runs short", func(s server) refusal.Values {
		return refusal.If(s.info["maxmemory_policy"] != "noeviction", s.info["maxmemory_policy"])
	}),
	refusal.Of("appendonly", "no, in production", "Redis has appendonly \"no\", and must have \"yes\" in production: without it a restart comes up empty", func(s server) refusal.Values {
		return refusal.If(s.production && s.info["aof_enabled"] != "1")
	}),
	refusal.Of("appendfsync", "no, in production, where Redis lets its user ask (+config|get)", "Redis has appendfsync %q, and must have \"everysec\" or \"always\" in production: claims made in the last half minute would be lost with the power, and mails sent twice", func(s server) refusal.Values {
		return refusal.If(s.production && s.info["aof_enabled"] == "1" && s.fsync == "no", s.fsync)
	}),
}

func (db *DB) checkServer(ctx context.Context, client redis.Cmdable, production bool) error {
	text, err := client.Info(ctx).Result()
	switch {
	case redis.HasErrorPrefix(err, "NOPERM"):
		return errors.New("redisdb: Redis does not let this user read INFO, so its settings cannot be checked; allow the user +info")
	case err != nil:
		return unavailable(err)
	}
	s := server{info: fieldsOf(text), production: production}
	if s.fsync, err = db.fsync(ctx, client, production); err != nil {
		return err
	}
	var faults []error
	for _, sentence := range refusal.Check(rules, s) {
		faults = append(faults, errors.New("redisdb: "+sentence))
	}
	return errors.Join(faults...)
}

// fsync asks how often the append-only file is synced. Hosted servers seldom let anybody ask; they are taken at their word, with
// a warning, because what Redis forgets is in the ledger too.
func (db *DB) fsync(ctx context.Context, client redis.Cmdable, production bool) (string, error) {
	if !production {
		return "", nil
	}
	const setting = "appendfsync"
	have, err := client.ConfigGet(ctx, setting).Result()
	if _, answered := errors.AsType[redis.Error](err); answered {
		db.log.Warn("Redis does not let its appendfsync be asked for: it must be everysec or always; to have it checked, allow the user +config|get", "error", err)
		return "", nil
	}
	if err != nil {
		return "", unavailable(err)
	}
	return have[setting], nil
}

// fieldsOf reads the answer to INFO.
func fieldsOf(info string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// Down reports whether err says that Redis is down, as opposed to set up wrongly: worth waiting for.
func Down(err error) bool { return problem.Is(err, problem.NotNow) }
