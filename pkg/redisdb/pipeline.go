package redisdb

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/usherhq/usher/pkg/coalesce"
)

// do runs small commands in a pipeline shared with other callers. It returns the first error that is not "no such key".
// The commands may be looked at only where there is none: a caller who gave up left them to the pipeline.
func (db *DB) do(ctx context.Context, commands ...redis.Cmder) error {
	if !db.Healthy() {
		return unavailable(errDown)
	}
	if _, err := db.pipelines.Do(ctx, commands); err != nil {
		return unavailable(err)
	}
	return outcome(commands...)
}

// outcome is the first error among commands that is not "no such key".
func outcome(commands ...redis.Cmder) error {
	for _, c := range commands {
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return unavailable(err)
		}
	}
	return nil
}

func weigh(commands []redis.Cmder) int { return len(commands) }

// flush sends the commands of many callers in one round trip.
func (db *DB) flush(calls [][]redis.Cmder) []coalesce.Result[struct{}] {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pipeline := db.client.Pipeline()
	for _, commands := range calls {
		for _, c := range commands {
			_ = pipeline.Process(ctx, c) // only queues
		}
	}
	_, err := pipeline.Exec(ctx)
	db.suspect(err)
	return make([]coalesce.Result[struct{}], len(calls))
}

// run sends one command that is too large to share a pipeline.
func (db *DB) run(ctx context.Context, c redis.Cmder) error {
	if !db.Healthy() {
		return unavailable(errDown)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := db.client.Process(ctx, c)
	if errors.Is(err, redis.Nil) {
		return nil
	}
	db.suspect(err)
	return unavailable(err)
}

// script is a Lua script that Redis runs as one step.
type script struct{ source, sha string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source))
	return script{source: source, sha: hex.EncodeToString(sum[:])}
}

// call makes the command that runs the script by its name. Where the server has forgotten it, evaluate says it anew.
func (s script) call(ctx context.Context, keys []string, args ...any) *redis.Cmd {
	return redis.NewCmd(ctx, s.command("evalsha", s.sha, keys, args)...)
}

func (s script) command(verb, what string, keys []string, args []any) []any {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, verb, what, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	return append(words, args...)
}

// forgotten reports that the server does not know the script: it was restarted, flushed, or is another one now.
func forgotten(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }

// evaluate runs a script. Sending the source once teaches it to the server that had forgotten it.
func (db *DB) evaluate(ctx context.Context, s script, keys []string, args ...any) (*redis.Cmd, error) {
	c := s.call(ctx, keys, args...)
	err := db.run(ctx, c)
	if forgotten(err) {
		c = redis.NewCmd(ctx, s.command("eval", s.source, keys, args)...)
		err = db.run(ctx, c)
	}
	return c, err
}
