package redisdb

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/go-redis/v9"
)

// nonce tells one call from every other, so that a call which the client repeats on a new connection finds its own mark
// and not a stranger's.
func nonce() string { return rand.Text()[:13] } // 65 random bits

// FirstSeen marks the token of a provider's webhook and reports whether this was the first time within ttl. It returns
// problem.NotNow while Redis is down.
func (db *DB) FirstSeen(ctx context.Context, token string, ttl time.Duration) (bool, error) {
	mark := nonce()
	c := redis.NewStringCmd(ctx, "set", webhookKey(token), mark, "px", max(ttl.Milliseconds(), 1), "nx", "get")
	if err := db.do(ctx, c); err != nil {
		return false, err
	}
	return c.Err() != nil || c.Val() == mark, nil
}

// ForgetSeen takes the mark away, when what the webhook said could not be kept and the provider is to say it again. It
// returns problem.NotNow while Redis is down.
func (db *DB) ForgetSeen(ctx context.Context, token string) error {
	return db.do(ctx, redis.NewIntCmd(ctx, "del", webhookKey(token)))
}
