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
)

// oldest is the first Redis that knows SET with both NX and GET.
const oldest = 7

// Check refuses a server that would lose what it was given. It names every difference: a version before 7, an eviction
// policy other than noeviction and, in production, a server without append-only file. It returns problem.NotNow where the
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

func (db *DB) checkServer(ctx context.Context, server redis.Cmdable, production bool) error {
	text, err := server.Info(ctx).Result()
	switch {
	case redis.HasErrorPrefix(err, "NOPERM"):
		return errors.New("redisdb: Redis does not let this user read INFO, so its settings cannot be checked; allow the user +info")
	case err != nil:
		return unavailable(err)
	}
	info := fieldsOf(text)
	var faults []error
	major, _, _ := strings.Cut(info["redis_version"], ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldest {
		faults = append(faults, fmt.Errorf("redisdb: Redis is version %q, and must be %d or newer", info["redis_version"], oldest))
	}
	if policy := info["maxmemory_policy"]; policy != "noeviction" {
		faults = append(faults, fmt.Errorf("redisdb: Redis has maxmemory-policy %q, and must have \"noeviction\": others forget keys silently when memory runs short", policy))
	}
	if production && info["aof_enabled"] != "1" {
		faults = append(faults, errors.New("redisdb: Redis has appendonly \"no\", and must have \"yes\" in production: without it a restart comes up empty"))
	}
	return errors.Join(faults...)
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
