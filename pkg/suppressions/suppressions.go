// Package suppressions knows the addresses that are not written to: they bounced, complained or unsubscribed.
// The ledger's bucket is the truth; memory is kept current by watching it. Addresses are known by their hash alone.
package suppressions

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/usherhq/usher/pkg/ledger"
)

// Why an address is not written to.
const (
	Bounced      = "bounced"
	Complained   = "complained"
	Unsubscribed = "unsubscribed"
)

// Suppression is one address's entry.
type Suppression struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Invitation is the one whose mail led to it.
	Invitation string `json:"invitation,omitempty"`
}

// List answers from memory.
type List struct {
	bucket *ledger.Bucket
	clock  func() time.Time

	mu      sync.RWMutex
	entries map[string]Suppression
}

// Open fills the list and keeps it current until ctx ends.
func Open(ctx context.Context, l *ledger.Ledger) (*List, error) {
	bucket, err := l.Bucket(ctx, ledger.BucketSuppressions)
	if err != nil {
		return nil, err
	}
	list := &List{bucket: bucket, clock: l.Now, entries: map[string]Suppression{}}
	if err := bucket.Watch(ctx, list.changed); err != nil {
		return nil, fmt.Errorf("suppressions: %w", err)
	}
	return list, nil
}

func (l *List) changed(e ledger.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Deleted {
		delete(l.entries, e.Key)
		return
	}
	var s Suppression
	if err := json.Unmarshal(e.Value, &s); err != nil {
		s.Reason = "unreadable entry" // in doubt the address is not written to
	}
	l.entries[e.Key] = s
}

// Get tells whether and why a person is not written to.
func (l *List) Get(person string) (Suppression, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s, ok := l.entries[person]
	return s, ok
}

// Add puts a person on the list.
func (l *List) Add(ctx context.Context, person string, s Suppression) error {
	if s.Since.IsZero() {
		s.Since = l.clock()
	}
	value, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("suppressions: %w", err)
	}
	if _, err := l.bucket.Put(ctx, person, value); err != nil {
		return err
	}
	l.changed(ledger.Entry{Key: person, Value: value})
	return nil
}

// Remove takes a person off the list.
func (l *List) Remove(ctx context.Context, person string) error {
	if err := l.bucket.Delete(ctx, person); err != nil {
		return err
	}
	l.changed(ledger.Entry{Key: person, Deleted: true})
	return nil
}
