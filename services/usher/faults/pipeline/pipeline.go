// Package pipeline runs Usher's services in this process as "usher up" wires them, over a real broker and Redis, for
// experiments that "usher up" leaves no room for: several instances of the API, a clock that can be set, wires to the broker
// that can be cut or lie, and instances that die without a word.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/services/mailer/outbox"
)

// Options of Start.
type Options struct {
	// Dir is where the broker's files go.
	Dir string
	// Fronts is how many instances of the API there are (default 1). Beside them runs one of mailer and acceptance worker.
	Fronts int
	// Process has a redis-server of its own, instead of the Redis in this process that "usher up" has.
	Process bool
	// Behind is how far the clock is behind the machine's to begin with.
	Behind time.Duration
	// Late is how far the clock of the last of the API's instances is behind the others'.
	Late time.Duration
	// Front and Back change what the API's instances and what mailer and acceptance worker say to the broker; nil for nothing.
	Front, Back Rewriter
	// Logs takes the log lines of all services.
	Logs io.Writer
}

// Pipeline is one running pipeline.
type Pipeline struct {
	Clock  Clock
	Broker *Broker
	// Mails are what would have been sent.
	Mails *outbox.Outbox
	// Links makes and reads the tokens of the mailed links.
	Links *links.Ring
	// JetStream looks at the broker from outside, over a wire that is never cut.
	JetStream jetstream.JetStream
	// Key is an API key for every organization.
	Key string

	options Options
	keys    string            // of the links, as the settings have them
	redis   *redisdb.Embedded // or
	server  *redisServer
	watch   *nats.Conn

	mu     sync.Mutex
	fronts []*Instance
	back   *Instance
	dead   sync.WaitGroup // what still has to notice
}

// keep is how many mails are remembered.
const keep = 100_000

// Start starts a pipeline and returns once it works. It is the caller's to Close.
func Start(ctx context.Context, o Options) (_ *Pipeline, err error) {
	p := &Pipeline{options: o, Key: apikeys.Generate(), keys: links.NewKey()}
	p.options.Fronts = max(o.Fronts, 1)
	if o.Logs == nil {
		p.options.Logs = io.Discard
	}
	p.Clock.Ahead(-o.Behind)
	p.Mails = outbox.New(keep, p.Clock.Now)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.Links, err = links.ParseRing(p.keys); err != nil {
		return p, err
	}
	if p.Broker, err = startBroker(filepath.Join(o.Dir, "broker")); err != nil {
		return p, err
	}
	if p.watch, err = nats.Connect(p.Broker.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond)); err != nil {
		return p, fmt.Errorf("pipeline: %w", err)
	}
	if p.JetStream, err = jetstream.New(p.watch, jetstream.WithDefaultTimeout(time.Minute)); err != nil {
		return p, err
	}
	if o.Process {
		p.server, err = startRedis(ctx, o.Dir)
	} else {
		p.redis, err = redisdb.InProcess()
	}
	if err != nil {
		return p, err
	}
	return p, p.StartServices(ctx)
}

// StartServices starts every instance that is not running.
func (p *Pipeline) StartServices(ctx context.Context) error {
	if p.back == nil {
		one, err := p.startBack(ctx)
		if err != nil {
			return err
		}
		p.back = one
	}
	for len(p.fronts) < p.options.Fronts {
		one, err := p.startFront(ctx, len(p.fronts))
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.fronts = append(p.fronts, one)
		p.mu.Unlock()
	}
	return nil
}

// StopServices ends every instance in order, and leaves broker and Redis.
func (p *Pipeline) StopServices() error {
	p.mu.Lock()
	all := p.fronts
	p.fronts = nil
	p.mu.Unlock()
	var errs []error
	for _, one := range all {
		errs = append(errs, one.stop())
	}
	if p.back != nil {
		errs = append(errs, p.back.stop())
		p.back = nil
	}
	p.dead.Wait()
	return errors.Join(errs...)
}

// Close ends everything.
func (p *Pipeline) Close() error {
	err := p.StopServices()
	if p.redis != nil {
		p.redis.Close()
	}
	if p.server != nil {
		err = errors.Join(err, p.server.stop())
	}
	if p.watch != nil {
		p.watch.Close()
	}
	if p.Broker != nil {
		p.Broker.Stop()
	}
	return err
}

// Front is one of the API's instances.
func (p *Pipeline) Front(n int) *Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fronts[n%len(p.fronts)]
}

// Back is the instance of mailer and acceptance worker.
func (p *Pipeline) Back() *Instance { return p.back }

// CrashFront ends one of the API's instances without a word, as kill -9 does, and starts another in its place.
func (p *Pipeline) CrashFront(ctx context.Context, n int) error {
	dead := p.Front(n)
	dead.crash()
	p.dead.Go(func() { _ = dead.stop() }) // frees what it holds; nothing of it gets out any more
	one, err := p.startFront(ctx, n%p.options.Fronts)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fronts[n%len(p.fronts)] = one
	return nil
}

// WipeRedis makes Redis forget everything.
func (p *Pipeline) WipeRedis() error {
	if p.server != nil {
		return p.server.do("FLUSHALL")
	}
	p.redis.Wipe()
	return nil
}

// redisURL is where Redis is; empty for the one in this process.
func (p *Pipeline) redisURL() string {
	if p.server == nil {
		return ""
	}
	return "redis://" + p.server.addr
}

// Forget makes the broker forget how far every service had read, so that each is given everything again that was ever said.
// No service may run.
func (p *Pipeline) Forget(ctx context.Context) error {
	for _, name := range []string{events.StreamRequests, events.StreamInvitations, events.StreamMemberships, events.StreamDeadLetters} {
		stream, err := p.JetStream.Stream(ctx, name)
		if err != nil {
			return err
		}
		names := stream.ConsumerNames(ctx)
		for consumer := range names.Name() {
			if err := stream.DeleteConsumer(ctx, consumer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return err
			}
		}
		if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return err
		}
	}
	return nil
}
