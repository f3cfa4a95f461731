package links

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// keySize is the least number of bytes in a key.
const keySize = 32

// Ring holds the keys that links are signed with. The first signs, all verify, so a key is rotated by putting a new one
// in front and taking the old one away when the last link it signed has expired.
type Ring struct {
	first byte
	keys  [256][]byte
}

// String hides the keys.
func (*Ring) String() string { return "[link keys]" }

// GoString hides the keys.
func (r *Ring) GoString() string { return r.String() }

// What may be wrong with a key of the list that ParseRing reads.
var (
	ErrForm      = errors.New("is not of the form id:base64")
	ErrID        = errors.New("has an id that is not a number from 0 to 255")
	ErrBase64    = errors.New("is not base64")
	ErrShort     = fmt.Errorf("has fewer than %d bytes", keySize)
	ErrGuessable = errors.New("is text or a pattern, not random bytes; make one with: usher keys link")
	ErrSameID    = errors.New("has an id that was given before")
	ErrSameKey   = errors.New("was given before under another id")
)

// Fault is what is wrong with the key at a place of the list, counted from 1.
type Fault struct {
	Place int
	Err   error
}

// ParseRing reads keys in the form "id:base64,…": ids from 0 to 255, keys of 32 bytes or more. It returns one error that
// names every fault by the key's place in the list, and never a key.
func ParseRing(s string) (*Ring, error) {
	ring, faults := parse(s)
	if len(faults) == 0 {
		return ring, nil
	}
	var all []error
	for _, f := range faults {
		all = append(all, fmt.Errorf("key %d of the list %w", f.Place, f.Err))
	}
	return nil, errors.Join(all...)
}

// Faults lists everything for which ParseRing would refuse a list.
func Faults(s string) []Fault {
	_, faults := parse(s)
	return faults
}

func parse(s string) (*Ring, []Fault) {
	ring := &Ring{}
	var faults []Fault
	for i, entry := range strings.Split(s, ",") {
		id, key, err := parseKey(strings.TrimSpace(entry))
		if err == nil {
			err = ring.add(id, key, i == 0)
		}
		if err != nil {
			faults = append(faults, Fault{i + 1, err})
		}
	}
	return ring, faults
}

func (r *Ring) add(id byte, key []byte, first bool) error {
	if r.keys[id] != nil {
		return ErrSameID
	}
	for _, other := range r.keys {
		if bytes.Equal(other, key) {
			return ErrSameKey
		}
	}
	if first {
		r.first = id
	}
	r.keys[id] = key
	return nil
}

func parseKey(entry string) (byte, []byte, error) {
	name, text, ok := strings.Cut(entry, ":")
	if !ok {
		return 0, nil, ErrForm
	}
	id, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, nil, ErrID
	}
	key, err := decodeKey(text)
	switch {
	case err != nil:
		return 0, nil, ErrBase64
	case len(key) < keySize:
		return 0, nil, ErrShort
	case guessable(key):
		return 0, nil, ErrGuessable
	}
	return byte(id), key, nil
}

// decodeKey reads base64 in either alphabet, padded or not.
func decodeKey(text string) ([]byte, error) {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	return base64.RawStdEncoding.DecodeString(text)
}

// guessable tells the keys that somebody typed or copied from a manual: zeros, counted bytes, a repeated pattern, a phrase.
// Of 32 random bytes about 30 differ and 20 are not printable; that chance makes one of these is out of the question.
func guessable(key []byte) bool {
	seen, steps := map[byte]bool{}, map[byte]bool{}
	text := true
	for i, b := range key {
		seen[b] = true
		steps[b-key[max(i-1, 0)]] = true
		text = text && b >= ' ' && b < 0x7f
	}
	return text || len(seen) < keySize/2 || len(steps) < keySize/4 || periodic(key)
}

// periodic tells a key that repeats its beginning.
func periodic(key []byte) bool {
	for n := 1; n <= len(key)/2; n++ {
		if bytes.Equal(key[n:], key[:len(key)-n]) {
			return true
		}
	}
	return false
}

// NewKey makes a list of one random key, in the form that ParseRing reads.
func NewKey() string {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails: Go ends the process where the system has no randomness
	return "1:" + base64.StdEncoding.EncodeToString(key)
}
