package redisdb

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/usherhq/usher/pkg/failpoint"
)

// IdempotencyState tells what is known of a request with an Idempotency-Key.
type IdempotencyState int

// The states.
const (
	// IdempotencyNew: it was not seen before; the caller does the work, then calls Finish or Abandon.
	IdempotencyNew IdempotencyState = iota + 1
	// IdempotencyRunning: the first request has not been answered yet.
	IdempotencyRunning
	// IdempotencyMismatch: the key was used for another request.
	IdempotencyMismatch
	// IdempotencyDone: it was answered; give that answer again.
	IdempotencyDone
)

// Answer is a kept HTTP answer.
type Answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
}

// Idempotency is what Begin found.
type Idempotency struct {
	State IdempotencyState
	// Answer is the kept one, for IdempotencyDone.
	Answer Answer
}

// A lease is "running <fingerprint> <nonce>", a kept answer "done <fingerprint> <JSON>".
const (
	running = "running"
	done    = "done"
)

// Begin asks what is known of the request with this key. fingerprint is a hash of the request, without spaces; scope keeps
// callers apart. A New request has a lease of ten seconds, which Hold makes longer: a process that dies blocks no repeat for
// longer than that. It returns problem.NotNow while Redis is down.
func (db *DB) Begin(ctx context.Context, scope, key, fingerprint string) (Idempotency, error) {
	lease := running + " " + fingerprint + " " + nonce()
	c := redis.NewStringCmd(ctx, "set", idempotencyKey(scope, key), lease, "px", leaseLife.Milliseconds(), "nx", "get")
	if err := db.do(ctx, c); err != nil {
		return Idempotency{}, err
	}
	if c.Err() != nil || c.Val() == lease {
		failpoint.Here(failpoint.APILeased)
		return Idempotency{State: IdempotencyNew}, nil
	}
	return db.before(c.Val(), fingerprint)
}

func (db *DB) before(value, fingerprint string) (Idempotency, error) {
	state, rest, _ := strings.Cut(value, " ")
	first, kept, _ := strings.Cut(rest, " ")
	switch {
	case state != running && state != done:
		err := errors.New("neither a lease nor an answer")
		db.foreign("idempotency", err)
		return Idempotency{}, unavailable(err)
	case first != fingerprint:
		return Idempotency{State: IdempotencyMismatch}, nil
	case state == running:
		return Idempotency{State: IdempotencyRunning}, nil
	}
	found := Idempotency{State: IdempotencyDone}
	if err := json.Unmarshal([]byte(kept), &found.Answer); err != nil {
		db.foreign("idempotency", err)
		return Idempotency{}, unavailable(err)
	}
	return found, nil
}

// Hold keeps the lease of a New request from running out, as long as this process lives and Redis can be reached, until end
// is called. What else may be kept under the key by then is left as it is.
func (db *DB) Hold(ctx context.Context, scope, key string) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(leaseLife / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C: // an error now is made good by the next one, or the lease runs out
				_ = db.do(ctx, redis.NewBoolCmd(ctx, "pexpire", idempotencyKey(scope, key), leaseLife.Milliseconds(), "gt"))
			}
		}
	}()
	return cancel
}

// Finish keeps the answer for a day. Of two requests that both held the lease, because Redis was away for longer than it
// lasts, the later answer stays. It returns problem.NotNow while Redis is down; the lease then runs out.
func (db *DB) Finish(ctx context.Context, scope, key, fingerprint string, a Answer) error {
	kept, err := json.Marshal(a)
	if err != nil {
		return err
	}
	value := done + " " + fingerprint + " " + string(kept)
	return db.do(ctx, redis.NewStatusCmd(ctx, "set", idempotencyKey(scope, key), value, "px", answerLife.Milliseconds()))
}

// abandon ends a lease and leaves an answer alone.
//
//	KEYS[1]  the lease
//	returns  how many keys were deleted
var abandon = newScript(`
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, 8) == 'running ' then return redis.call('DEL', KEYS[1]) end
return 0
`)

// Abandon ends the lease of a request that came to no answer worth keeping, so that its repeat does the work. It returns
// problem.NotNow while Redis is down; the lease then runs out.
func (db *DB) Abandon(ctx context.Context, scope, key string) error {
	_, err := db.evaluate(ctx, abandon, []string{idempotencyKey(scope, key)})
	return err
}
