// Package redisdb is Usher's Redis: the index of invite tokens, the claims on mails, the memory of idempotent requests
// and the storage of the views. All of it can be lost and made again from the ledger.
//
// It is the only importer of the Redis client, and of the in-process server that stands in for Redis in development. Names
// of organizations and identifiers are checked before they come here, since they become parts of keys.
package redisdb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.opentelemetry.io/otel/trace"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/coalesce"
	"github.com/usherhq/usher/pkg/problem"
)

const (
	// patience is how long one operation may take, its retries included, before it is "not now".
	patience = 2 * time.Second
	// A healthy server is asked every calm, an unhealthy one every anxious.
	calm, anxious = time.Second, 100 * time.Millisecond
)

// Options of a DB.
type Options struct {
	// URL names the server; see ParseURL. It is left out where Embedded is given.
	URL string
	// Embedded is the in-process server to use.
	Embedded *Embedded
	// Tracing gets a span for each round trip, without keys or values; nil for none.
	Tracing trace.TracerProvider
	// Clock defaults to the system's, Logger to slog's default.
	Clock  clock.Clock
	Logger *slog.Logger
}

// DB is a connection to Redis, safe for concurrent use. While Redis is down, every method returns problem.NotNow at once.
type DB struct {
	client   redis.UniversalClient
	embedded bool
	clock    clock.Clock
	log      *slog.Logger

	// The hot paths share round trips: whoever calls while a pipeline is under way travels in the next.
	pipelines *coalesce.Batcher[[]redis.Cmder, struct{}]
	releases  *coalesce.Batcher[release, struct{}]

	healthy atomic.Bool
	doubt   chan struct{} // an operation failed: ask the server now
	stop    context.CancelFunc
	watcher sync.WaitGroup
}

// Open prepares the connection; a server that does not answer yet is no error, see Healthy and Check. It returns an error
// for a URL that ParseURL refuses.
func Open(ctx context.Context, o Options) (*DB, error) {
	client, err := connect(o)
	if err != nil {
		return nil, err
	}
	if o.Tracing != nil {
		if err := redisotel.InstrumentTracing(client, redisotel.WithTracerProvider(o.Tracing), redisotel.WithDBStatement(false)); err != nil {
			return nil, fmt.Errorf("redisdb: tracing: %w", err)
		}
	}
	db := &DB{
		client: client, embedded: o.Embedded != nil, clock: o.Clock, log: o.Logger, doubt: make(chan struct{}, 1),
	}
	if db.clock == nil {
		db.clock = clock.System
	}
	if db.log == nil {
		db.log = slog.Default()
	}
	quiet.Do(func() { redis.SetLogger(clientLog{db.log}) })
	db.pipelines = coalesce.New(coalesce.Options[[]redis.Cmder]{Limit: 512, Weigh: weigh}, db.flush)
	db.releases = coalesce.New(coalesce.Options[release]{Limit: 256}, db.flushReleases)

	_ = db.ask(ctx) // it sets what Healthy says; an unreachable Redis is no reason not to start
	watching, stop := context.WithCancel(context.Background())
	db.stop = stop
	db.watcher.Go(func() { db.watch(watching) })
	return db, nil
}

// connect makes the one client there is. Its settings are in one place, with their reasons.
func connect(o Options) (redis.UniversalClient, error) {
	options := &redis.UniversalOptions{}
	if o.Embedded != nil {
		options.Addrs = []string{"in-process"}
		options.Dialer = func(context.Context, string, string) (net.Conn, error) { return o.Embedded.dial() }
	} else {
		server, err := ParseURL(o.URL)
		if err != nil {
			return nil, err
		}
		options.Addrs, options.IsClusterMode, options.MasterName = server.Addrs, server.Cluster, server.Sentinel
		options.Username, options.Password, options.DB = server.username, server.password, server.Database
		options.SentinelUsername, options.SentinelPassword = server.sentinelUsername, server.sentinelPassword
		if server.TLS {
			options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	options.Protocol = 2 // nothing here needs push messages
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	options.ContextTimeoutEnabled = true
	options.ReadTimeout, options.WriteTimeout = patience, patience
	options.DialTimeout, options.DialerRetries = patience/2, 1 // a dead server is noticed by failing, not by trying long
	options.MaxRetries = 1                                     // what is left to try again is the caller's message
	options.MinRetryBackoff, options.MaxRetryBackoff = 5*time.Millisecond, 20*time.Millisecond
	options.PipelinePoolSize, options.PipelineReadBufferSize, options.PipelineWriteBufferSize = 4, 64<<10, 64<<10
	return redis.NewUniversalClient(options), nil
}

// Close lets operations that were begun finish and ends the connection.
func (db *DB) Close() error {
	db.releases.Close()
	db.pipelines.Close()
	db.stop()
	db.watcher.Wait()
	if err := db.client.Close(); err != nil {
		return fmt.Errorf("redisdb: close: %w", err)
	}
	return nil
}

// Ping asks the server. It returns problem.NotNow where it does not answer.
func (db *DB) Ping(ctx context.Context) error { return unavailable(db.ask(ctx)) }

// Healthy tells, without a round trip, whether the server answered lately.
func (db *DB) Healthy() bool { return db.healthy.Load() }

// watch keeps Healthy current.
func (db *DB) watch(ctx context.Context) {
	timer := time.NewTimer(calm)
	defer timer.Stop()
	up := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-db.doubt:
		case <-timer.C:
		}
		err := db.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case up && err != nil:
			db.log.Error("Redis does not answer", "error", err)
		case !up && err == nil:
			db.log.Info("Redis answers again")
		}
		if up = err == nil; up {
			timer.Reset(calm)
		} else {
			timer.Reset(anxious)
		}
	}
}

func (db *DB) ask(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, calm)
	defer cancel()
	err := db.client.Ping(bounded).Err()
	if ctx.Err() == nil { // a caller who gave up says nothing about the server
		db.healthy.Store(err == nil)
	}
	return err
}

// errDown is the cause of refusals that were given without asking the server.
var errDown = errors.New("redis did not answer a moment ago")

// suspect takes note of an operation's error: where it is no answer of the server's, the server is asked now, so that
// others are soon refused at once instead of waiting too.
func (db *DB) suspect(err error) {
	if _, answered := errors.AsType[redis.Error](err); err == nil || answered {
		return
	}
	select {
	case db.doubt <- struct{}{}:
	default:
	}
}

// unavailable makes the refusal of err: nothing was decided, ask again.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return problem.Unavailable("Redis", err)
}

// wrongType reports that a key holds another type than it should: somebody else wrote there, or damage.
func wrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }

// foreign is the alarm for a key that holds what Usher did not write there.
func (db *DB) foreign(kind string, err error) {
	if p, ok := errors.AsType[*problem.Error](err); ok && p.Cause != nil {
		err = p.Cause
	}
	db.log.Error("a key in Redis holds what Usher did not write", "kind", kind, "error", err)
}

var quiet sync.Once

// clientLog carries the client library's own remarks to slog.
type clientLog struct{ log *slog.Logger }

// Printf implements the client's logger.
func (l clientLog) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, "redis client", "remark", fmt.Sprintf(format, v...))
}
