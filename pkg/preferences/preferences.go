// Package preferences knows what each person wants of the mails that go to members: which notices, and in which language.
// The ledger's bucket is the truth; memory is kept current by watching it. People are known by their address's hash alone.
package preferences

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	"github.com/usherhq/usher/pkg/ledger"
)

// Preferences are what one person chose. The zero value is what everybody begins with.
type Preferences struct {
	// Notices tells of each kind (the Notice constants of package events) whether it is wanted. What is not in it is.
	Notices map[string]bool `json:"notices,omitempty"`
	// Locale is the BCP 47 language to be written to in; empty for the organization's.
	Locale string `json:"locale,omitempty"`
}

// Wants reports whether notices of that kind are wanted.
func (p Preferences) Wants(notice string) bool {
	wanted, chosen := p.Notices[notice]
	return wanted || !chosen
}

// List answers from memory.
type List struct {
	bucket *ledger.Bucket

	mu     sync.RWMutex
	people map[string]Preferences
}

// Open fills the list and keeps it current until ctx ends.
func Open(ctx context.Context, l *ledger.Ledger) (*List, error) {
	bucket, err := l.Bucket(ctx, ledger.BucketPreferences)
	if err != nil {
		return nil, err
	}
	list := &List{bucket: bucket, people: map[string]Preferences{}}
	if err := bucket.Watch(ctx, list.changed); err != nil {
		return nil, fmt.Errorf("preferences: %w", err)
	}
	return list, nil
}

func (l *List) changed(e ledger.Entry) {
	var p Preferences
	if !e.Deleted && json.Unmarshal(e.Value, &p) != nil {
		p = Preferences{} // what can't be read chooses nothing
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Notices == nil && p.Locale == "" {
		delete(l.people, e.Key)
		return
	}
	l.people[e.Key] = p
}

// Get gives what a person chose.
func (l *List) Get(person string) Preferences {
	l.mu.RLock()
	defer l.mu.RUnlock()
	p := l.people[person]
	p.Notices = maps.Clone(p.Notices)
	return p
}

// Put stores what a person chose, in the place of what they chose before.
func (l *List) Put(ctx context.Context, person string, p Preferences) error {
	value, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("preferences: %w", err)
	}
	if _, err := l.bucket.Put(ctx, person, value); err != nil {
		return err
	}
	l.changed(ledger.Entry{Key: person, Value: value})
	return nil
}
