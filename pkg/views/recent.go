package views

import (
	"slices"
	"sync"

	"github.com/usherhq/usher/pkg/invitation"
)

// recentSize is how many sequences are remembered: more than can be on their way from publish to follower.
const recentSize = 1 << 15

// recent remembers the sequences this process has written to the views itself, so that the follower need not do it
// again. It is an economy, not a guard: writing twice changes nothing.
type recent struct {
	mu   sync.Mutex
	set  map[uint64]struct{}
	ring []uint64
	next int
}

func (r *recent) add(sequence uint64) {
	if sequence == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.set == nil {
		r.set, r.ring = make(map[uint64]struct{}), make([]uint64, recentSize)
	}
	delete(r.set, r.ring[r.next])
	r.ring[r.next] = sequence
	r.set[sequence] = struct{}{}
	r.next = (r.next + 1) % recentSize
}

func (r *recent) has(sequence uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.set[sequence]
	return ok
}

func newestFirst(records []invitation.Record) {
	slices.SortFunc(records, func(a, b invitation.Record) int { return int(int64(listed(&b)) - int64(listed(&a))) })
}
