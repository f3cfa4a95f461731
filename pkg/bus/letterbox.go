package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/clock"
)

// letterbox bounds what the dead letters take, so that a mad publisher cannot fill the disk that the ledger is on. The bound
// is the workers' and not the stream's: what operators do about letters must be stored even when they are too many.
type letterbox struct {
	js    jetstream.JetStream
	most  uint64 // bytes
	clock clock.Clock

	mu     sync.Mutex
	looked time.Time
	have   uint64
}

// lookEvery is how old the knowledge of the letters' size may be: they grow by so long a time's worth beyond the bound.
const lookEvery = time.Second

// room is an error while there is none for another letter. Where the broker cannot be asked it is nil: the publish will tell.
func (b *letterbox) room() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.clock(); now.Sub(b.looked) >= lookEvery || now.Before(b.looked) {
		b.look()
		b.looked = now
	}
	if b.have >= b.most {
		return fmt.Errorf("the dead letters take %d bytes of at most %d: see \"usher dead count\", and make room with \"usher dead prune\"", b.have, b.most)
	}
	return nil
}

func (b *letterbox) look() {
	ctx, cancel := context.WithTimeout(context.Background(), lookEvery)
	defer cancel()
	if stream, err := b.js.Stream(ctx, events.StreamDeadLetters); err == nil {
		b.have = stream.CachedInfo().State.Bytes
	}
}
