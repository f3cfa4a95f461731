package redisdb

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/usherhq/usher/pkg/problem"
)

// nonce tells one call from every other, so that a call which the client repeats on a new connection finds its own mark
// and not a stranger's.
func nonce() string { return rand.Text()[:13] } // 65 random bits

// stored is the mark of a webhook whose word was kept; before that the mark is a nonce, and a lease.
const stored = "stored"

// FirstSeen marks the token of a provider's webhook and reports whether the caller is to keep what it says; it then calls
// Seen or ForgetSeen. The mark is a lease of a minute until then: of a process that died in between nothing may have been
// kept, so a repeat is no replay yet and is asked to come again. It returns problem.NotNow for that, and while Redis is down.
func (db *DB) FirstSeen(ctx context.Context, token string) (bool, error) {
	mark := nonce()
	c := redis.NewStringCmd(ctx, "set", webhookKey(token), mark, "px", webhookLease.Milliseconds(), "nx", "get")
	if err := db.do(ctx, c); err != nil {
		return false, err
	}
	switch {
	case c.Err() != nil || c.Val() == mark:
		return true, nil
	case c.Val() == stored:
		return false, nil
	}
	return false, &problem.Error{Code: problem.NotNow, Detail: "The first try of this webhook is still under way.", RetryAfter: webhookLease}
}

// Seen makes the mark stay for ttl, once what the webhook said is kept. It returns problem.NotNow while Redis is down.
func (db *DB) Seen(ctx context.Context, token string, ttl time.Duration) error {
	return db.do(ctx, redis.NewStatusCmd(ctx, "set", webhookKey(token), stored, "px", max(ttl.Milliseconds(), 1)))
}

// ForgetSeen takes the mark away, when what the webhook said could not be kept and the provider is to say it again. It
// returns problem.NotNow while Redis is down.
func (db *DB) ForgetSeen(ctx context.Context, token string) error {
	return db.do(ctx, redis.NewIntCmd(ctx, "del", webhookKey(token)))
}
