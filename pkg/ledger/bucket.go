package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/pkg/problem"
)

// Bucket is a key-value bucket.
type Bucket struct {
	ledger *Ledger
	kv     jetstream.KeyValue
	js     jetstream.JetStream
}

// Entry is one key's value.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	// Time is when it was put.
	Time time.Time
	// Deleted is true for an entry that tells a key is gone.
	Deleted bool
}

// Bucket opens one of the buckets that Open provisioned.
func (l *Ledger) Bucket(ctx context.Context, name string) (*Bucket, error) {
	kv, err := l.js.KeyValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("ledger: bucket %s: %w", name, unavailable(err))
	}
	return &Bucket{ledger: l, kv: kv, js: l.js}, nil
}

// Get reads a key; ErrNotFound where it is not there or was deleted.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if b.ledger.Replicated() {
		return b.getFromLeader(ctx, key)
	}
	e, err := b.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Entry{}, ErrNotFound
	}
	if err != nil {
		return Entry{}, unavailable(err)
	}
	return entry(e), nil
}

// getFromLeader is Get where a replica might not have the newest value yet.
func (b *Bucket) getFromLeader(ctx context.Context, key string) (Entry, error) {
	name := b.kv.Bucket()
	r, err := fromLeader(ctx, b.ledger.nc, "KV_"+name, "$KV."+name+"."+key)
	if err == nil && len(r.Header["KV-Operation"]) > 0 { // a mark that the key was deleted
		err = ErrNotFound
	}
	if errors.Is(err, ErrNotFound) {
		return Entry{}, ErrNotFound
	}
	return Entry{Key: key, Value: r.Data, Revision: r.Sequence, Time: r.Time}, unavailableOrNil(err)
}

func entry(e jetstream.KeyValueEntry) Entry {
	return Entry{Key: e.Key(), Value: e.Value(), Revision: e.Revision(), Time: e.Created(), Deleted: e.Operation() != jetstream.KeyValuePut}
}

// Create stores a key that is not there yet; ErrConflict where it is.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return b.written(b.kv.Create(ctx, key, value))
}

// Update stores a key whose revision is still the given one; ErrConflict where it is not.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return b.written(b.kv.Update(ctx, key, value, revision))
}

// Put stores a key whatever was there.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return b.written(b.kv.Put(ctx, key, value))
}

// Delete removes a key; one that is not there is fine.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	_, err := b.written(0, b.kv.Delete(ctx, key))
	return err
}

// Drop removes every key that begins with prefix and a dot, and leaves no trace of them.
func (b *Bucket) Drop(ctx context.Context, prefix string) error {
	stream, err := b.js.Stream(ctx, "KV_"+b.kv.Bucket())
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+b.kv.Bucket()+"."+prefix+".>"))
	}
	if err != nil {
		return fmt.Errorf("ledger: bucket %s: %w", b.kv.Bucket(), unavailable(err))
	}
	return nil
}

func (b *Bucket) written(revision uint64, err error) (uint64, error) {
	if err == nil {
		return revision, nil
	}
	if c, ok := code(err); errors.Is(err, jetstream.ErrKeyExists) || ok && c == codeWrongLastSequence {
		return 0, ErrConflict
	}
	return 0, unavailable(err)
}

// Keys lists every key, in no order.
func (b *Bucket) Keys(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	keys, err := b.kv.Keys(ctx)
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return keys, nil
}

// Watch hands every entry to handle, then every coming change, in order, until ctx ends. It returns once all that was
// stored when it began has been handed over, or with problem.NotNow.
func (b *Bucket) Watch(ctx context.Context, handle func(Entry)) error {
	watcher, err := b.kv.WatchAll(ctx)
	if err != nil {
		return unavailable(err)
	}
	current := make(chan struct{})
	go func() {
		for e := range watcher.Updates() {
			if e == nil { // the client's mark for "that was all so far"
				close(current)
				continue
			}
			handle(entry(e))
		}
	}()
	context.AfterFunc(ctx, func() { _ = watcher.Stop() })
	select {
	case <-current:
		return nil
	case <-ctx.Done():
		return problem.Unavailable("The ledger", context.Cause(ctx))
	}
}
