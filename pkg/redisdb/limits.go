package redisdb

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Limit is how often something may happen.
type Limit struct {
	// What names it. Only its hash becomes part of a key.
	What string
	// Most is how often it may happen in each Per.
	Most int64
	Per  time.Duration
}

// Take counts one more of it and reports whether that is still within the limit; where it is not, wait says how long it is
// until the next window. Windows are fixed, so a burst over their border may reach twice the limit. It returns
// problem.NotNow while Redis is down.
func (db *DB) Take(ctx context.Context, l Limit) (ok bool, wait time.Duration, err error) {
	now := db.clock().UnixNano()
	window := now / int64(l.Per)
	key := limitKey(l.What, window)
	count := redis.NewIntCmd(ctx, "incr", key)
	if err := db.do(ctx, count, redis.NewBoolCmd(ctx, "pexpire", key, 2*l.Per.Milliseconds())); err != nil {
		return false, 0, err
	}
	if count.Val() <= l.Most {
		return true, 0, nil
	}
	return false, time.Duration((window+1)*int64(l.Per) - now), nil
}
