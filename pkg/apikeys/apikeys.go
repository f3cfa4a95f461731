// Package apikeys makes and checks the keys with which machines call the API. A key is shown once; the ledger's bucket
// holds its SHA-256 alone, which is enough for a secret of 256 random bits.
package apikeys

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
)

// prefix lets secret scanners know a key when they see one.
const prefix = "usher_"

// secretLength is that of 32 random bytes in base64: a shorter one would be a guessable key with a right checksum.
const secretLength = 43

// Key is what is kept of a key.
type Key struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Organization is the only one the key works for; empty for all.
	Organization string    `json:"organization,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
}

// May reports whether the key works for an organization.
func (k Key) May(org string) bool { return k.Organization == "" || k.Organization == org }

// Keys checks from memory and looks up what memory does not have.
type Keys struct {
	bucket *ledger.Bucket
	now    func() time.Time

	mu     sync.RWMutex
	byHash map[string]Key
	byID   map[string]string // id to hash
}

// Open fills the memory and keeps it current until ctx ends.
func Open(ctx context.Context, l *ledger.Ledger) (*Keys, error) {
	bucket, err := l.Bucket(ctx, ledger.BucketAPIKeys)
	if err != nil {
		return nil, err
	}
	k := &Keys{bucket: bucket, now: l.Now, byHash: map[string]Key{}, byID: map[string]string{}}
	if err := bucket.Watch(ctx, k.changed); err != nil {
		return nil, fmt.Errorf("API keys: %w", err)
	}
	return k, nil
}

func (k *Keys) changed(e ledger.Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.Deleted {
		delete(k.byID, k.byHash[e.Key].ID)
		delete(k.byHash, e.Key)
		return
	}
	var key Key
	if json.Unmarshal(e.Value, &key) == nil {
		k.byHash[e.Key], k.byID[key.ID] = key, e.Key
	}
}

// Create makes a key. The secret is not kept: it is given out here and never again.
func (k *Keys) Create(ctx context.Context, name, organization string) (secret string, key Key, err error) {
	secret = Generate()
	key, err = k.Adopt(ctx, secret, name, organization)
	return secret, key, err
}

// Generate makes a secret: 256 random bits and a checksum, so that a mistyped key is refused without a look-up.
func Generate() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the program instead
	body := base64.RawURLEncoding.EncodeToString(random)
	return prefix + body + checksum(body)
}

func checksum(body string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) }

// WellFormed reports whether s can be a key at all.
func WellFormed(s string) bool {
	body, ok := strings.CutPrefix(s, prefix)
	return ok && len(body) == secretLength+8 && checksum(body[:secretLength]) == body[secretLength:]
}

// Adopt stores a secret that was made elsewhere (USHER_BOOTSTRAP_API_KEY); one that is stored already stays as it is.
func (k *Keys) Adopt(ctx context.Context, secret, name, organization string) (Key, error) {
	if !WellFormed(secret) {
		return Key{}, errors.New("API keys: not a key: make one with \"usher keys generate\"")
	}
	key := Key{ID: events.NewKeyID(), Name: name, Organization: organization, CreatedAt: k.now()}
	value, err := json.Marshal(key)
	if err != nil {
		return Key{}, fmt.Errorf("API keys: %w", err)
	}
	_, err = k.bucket.Create(ctx, hash(secret), value)
	if errors.Is(err, ledger.ErrConflict) {
		return k.Check(ctx, secret)
	}
	if err != nil {
		return Key{}, err
	}
	k.changed(ledger.Entry{Key: hash(secret), Value: value})
	return key, nil
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Check finds the key behind a secret, or problem.Unauthenticated.
func (k *Keys) Check(ctx context.Context, secret string) (Key, error) {
	refused := problem.New(problem.Unauthenticated, "The API key is not known.")
	if !WellFormed(secret) {
		return Key{}, refused
	}
	h := hash(secret)
	k.mu.RLock()
	key, ok := k.byHash[h]
	k.mu.RUnlock()
	if ok {
		return key, nil
	}
	e, err := k.bucket.Get(ctx, h)
	if errors.Is(err, ledger.ErrNotFound) {
		return Key{}, refused
	}
	if err != nil {
		return Key{}, err
	}
	if err := json.Unmarshal(e.Value, &key); err != nil {
		return Key{}, refused
	}
	return key, nil
}

// Exists reports whether the key of that id still works.
func (k *Keys) Exists(id string) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	_, ok := k.byID[id]
	return ok
}

// Find gives the key of that id, false where it does not work any more.
func (k *Keys) Find(id string) (Key, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	key, ok := k.byHash[k.byID[id]]
	return key, ok
}

// List gives all keys, oldest first.
func (k *Keys) List() []Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	keys := make([]Key, 0, len(k.byHash))
	for _, key := range k.byHash {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b Key) int { return strings.Compare(a.ID, b.ID) })
	return keys
}

// Revoke ends a key at once, or problem.NotFound.
func (k *Keys) Revoke(ctx context.Context, id string) error {
	k.mu.RLock()
	h, ok := k.byID[id]
	k.mu.RUnlock()
	if !ok {
		return problem.New(problem.NotFound, "There is no such key.")
	}
	if err := k.bucket.Delete(ctx, h); err != nil {
		return err
	}
	k.changed(ledger.Entry{Key: h, Deleted: true})
	return nil
}
