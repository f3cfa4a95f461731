package redisdb

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sessions keeps the sessions of signed-in people. The key is a hash of the session's token, so that whoever reads Redis
// can't sign in with it. It has the methods that scs wants of a store; those without a context have the library's.
type Sessions struct{ db *DB }

// Sessions gives the sessions in this Redis.
func (db *DB) Sessions() Sessions { return Sessions{db} }

// FindCtx gives the data of a session and counts as its use. A session that ended is not found, whatever Redis still holds:
// reading never lengthens a session past its own end. It returns problem.NotNow while Redis is down.
func (s Sessions) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return s.read(ctx, redis.NewStringCmd(ctx, "getex", sessionKey(token), "px", sessionIdle.Milliseconds()))
}

// Peek tells whether a session is there, and does not count as its use. It returns problem.NotNow while Redis is down.
func (s Sessions) Peek(ctx context.Context, token string) (bool, error) {
	_, found, err := s.read(ctx, redis.NewStringCmd(ctx, "get", sessionKey(token)))
	return found, err
}

func (s Sessions) read(ctx context.Context, c *redis.StringCmd) ([]byte, bool, error) {
	if err := s.db.do(ctx, c); err != nil || errors.Is(c.Err(), redis.Nil) {
		return nil, false, err
	}
	end, data, ok := strings.Cut(c.Val(), " ")
	millis, err := strconv.ParseInt(end, 10, 64)
	if !ok || err != nil {
		s.db.foreign("session", errors.New("a session without its end"))
		return nil, false, nil
	}
	return []byte(data), s.db.clock().Before(time.UnixMilli(millis)), nil
}

// CommitCtx stores a session that ends at expiry at the latest. It returns problem.NotNow while Redis is down.
func (s Sessions) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	life := min(expiry.Sub(s.db.clock()), sessionIdle)
	if life <= 0 {
		return s.DeleteCtx(ctx, token)
	}
	value := strconv.FormatInt(expiry.UnixMilli(), 10) + " " + string(data)
	return s.db.do(ctx, redis.NewStatusCmd(ctx, "set", sessionKey(token), value, "px", max(life.Milliseconds(), 1)))
}

// DeleteCtx ends a session; one that is not there has ended. It returns problem.NotNow while Redis is down.
func (s Sessions) DeleteCtx(ctx context.Context, token string) error {
	return s.db.do(ctx, redis.NewIntCmd(ctx, "del", sessionKey(token)))
}

// Find is FindCtx with no bound of its own.
func (s Sessions) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit is CommitCtx with no bound of its own.
func (s Sessions) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// Delete is DeleteCtx with no bound of its own.
func (s Sessions) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
