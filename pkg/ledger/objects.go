package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ObjectsLogos is the object store of the organizations' pictures.
const ObjectsLogos = "logos"

// objectStores are all object stores. What is in them stays until it is deleted.
var objectStores = []string{ObjectsLogos}

// Objects is an object store: files by name, on the broker's disk.
type Objects struct{ store jetstream.ObjectStore }

// Objects opens one of the object stores that Open provisioned.
func (l *Ledger) Objects(ctx context.Context, name string) (*Objects, error) {
	store, err := l.js.ObjectStore(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("ledger: object store %s: %w", name, unavailable(err))
	}
	return &Objects{store: store}, nil
}

// Put stores a file, in the place of one of the same name.
func (o *Objects) Put(ctx context.Context, name string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if _, err := o.store.PutBytes(ctx, name, data); err != nil {
		return unavailable(err)
	}
	return nil
}

// Get reads a whole file; ErrNotFound where there is none of that name. What arrives damaged is an error: the store keeps
// a digest with each file.
func (o *Objects) Get(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	data, err := o.store.GetBytes(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return data, nil
}

// Delete removes a file; one that is not there is fine.
func (o *Objects) Delete(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err := o.store.Delete(ctx, name)
	if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return unavailable(err)
	}
	return nil
}

func (l *Ledger) provisionObjects(ctx context.Context, name string) error {
	_, err := l.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: name, Storage: jetstream.FileStorage, Replicas: l.options.Replicas})
	if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
		return fmt.Errorf("ledger: create object store %s: %w", name, unavailable(err))
	}
	return l.checkStore(ctx, "object store "+name, l.store("OBJ_"+name, 0, -1, "$O."+name+".C.>", "$O."+name+".M.>"))
}
