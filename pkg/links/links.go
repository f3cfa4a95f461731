// Package links makes and checks the tokens in Usher's links.
//
// A token is derived, not stored: any worker that holds the keys makes the same one again, and a forged one is refused
// before any store is asked. Its 43 bytes are version (1), key id (1), generation (1), the invitation's UUID (16) and a
// MAC (24): HMAC-SHA-256, cut short, over all before it and the purpose.
package links

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/google/uuid"

	"github.com/usherhq/usher/events"
)

// Purpose is what a link is for. A token made for one purpose is forged for any other.
type Purpose string

// The purposes.
const (
	PurposeInvite      Purpose = "invite"      // opens the accept page
	PurposeUnsubscribe Purpose = "unsubscribe" // stops mails to the address, from the mail's own header
)

const (
	version  = 1
	macSize  = 24
	headSize = 3 + 16
	size     = headSize + macSize
)

// MaxGeneration is the highest link generation that fits a token.
const MaxGeneration = 255

// ErrForged is returned for a token that none of the keys made for that purpose, in exactly that spelling.
var ErrForged = errors.New("links: not a token of ours")

// ErrNoKey is returned by a Ring that was not made by ParseRing.
var ErrNoKey = errors.New("links: no key to sign with")

// Only the one canonical spelling of a token is read, so that its hash names it: no padding, no stray bits.
var encoding = base64.RawURLEncoding.Strict()

// Token is the secret part of a link. It does not show itself in logs, errors or JSON; only Reveal gives it away.
type Token struct{ text string }

// Reveal gives the token's text, for the mail and for nothing else.
func (t Token) Reveal() string { return t.text }

// Hash is the name under which stores know the token.
func (t Token) Hash() [sha256.Size]byte { return Hash(t.text) }

// Hash is the SHA-256 of a token's text: what stores may know of it.
func Hash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

const redacted = "[link token]"

// String hides the token.
func (Token) String() string { return redacted }

// GoString hides the token.
func (Token) GoString() string { return redacted }

// LogValue hides the token.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the token.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Claim is what a genuine token says.
type Claim struct {
	// Invitation is the invitation's id.
	Invitation string
	// Generation counts the rotations of the invitation's link.
	Generation int
	// KeyID names the key that signed, to tell when an old one is no longer needed.
	KeyID int
}

// Derive makes the token of one invitation and generation: always the same one while the first key stays. It returns
// an error when the id is none of an invitation's, or the generation is not within 0 and MaxGeneration.
func (r *Ring) Derive(purpose Purpose, invitation string, generation int) (Token, error) {
	return r.derive(r.first, purpose, invitation, generation)
}

// Every makes every token of one invitation and generation that Verify takes, that of the first key at the top.
func (r *Ring) Every(purpose Purpose, invitation string, generation int) ([]Token, error) {
	first, err := r.Derive(purpose, invitation, generation)
	if err != nil {
		return nil, err
	}
	every := []Token{first}
	for id, key := range r.keys {
		if key == nil || byte(id) == r.first {
			continue
		}
		other, err := r.derive(byte(id), purpose, invitation, generation)
		if err != nil {
			return nil, err
		}
		every = append(every, other)
	}
	return every, nil
}

func (r *Ring) derive(keyID byte, purpose Purpose, invitation string, generation int) (Token, error) {
	id, err := events.ParseID(events.PrefixInvitation, invitation)
	if err != nil {
		return Token{}, fmt.Errorf("links: %w", err)
	}
	if generation < 0 || generation > MaxGeneration {
		return Token{}, fmt.Errorf("links: generation %d is not within 0 and %d", generation, MaxGeneration)
	}
	key := r.keys[keyID]
	if key == nil {
		return Token{}, ErrNoKey
	}
	raw := make([]byte, 0, headSize+sha256.Size)
	raw = append(raw, version, keyID, byte(generation))
	raw = append(raw, id[:]...)
	raw = sign(raw, key, purpose)
	return Token{text: encoding.EncodeToString(raw)}, nil
}

// Verify reads a token. It returns ErrForged for everything but the exact text that Derive made with one of the keys.
func (r *Ring) Verify(purpose Purpose, token string) (Claim, error) {
	var raw [size]byte
	if len(token) != encoding.EncodedLen(size) {
		return Claim{}, ErrForged
	}
	if n, err := encoding.Decode(raw[:], []byte(token)); err != nil || n != size || raw[0] != version {
		return Claim{}, ErrForged
	}
	key := r.keys[raw[1]]
	if key == nil {
		return Claim{}, ErrForged
	}
	head := append(make([]byte, 0, headSize+sha256.Size), raw[:headSize]...)
	if !hmac.Equal(sign(head, key, purpose), raw[:]) {
		return Claim{}, ErrForged
	}
	return Claim{
		Invitation: events.FormatID(events.PrefixInvitation, uuid.UUID(raw[3:headSize])),
		Generation: int(raw[2]),
		KeyID:      int(raw[1]),
	}, nil
}

// sign appends the MAC to the head of a token.
func sign(head, key []byte, purpose Purpose) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(head)
	mac.Write([]byte(purpose))
	return mac.Sum(head)[:size]
}

// URL is the invitee's link: <public url>/i/<token>.
func URL(publicURL string, t Token) string { return join(publicURL, "/i/", t) }

// UnsubscribeURL is the link of a mail's List-Unsubscribe header: <public url>/unsubscribe/<token>.
func UnsubscribeURL(publicURL string, t Token) string { return join(publicURL, "/unsubscribe/", t) }

func join(publicURL, path string, t Token) string {
	return strings.TrimRight(publicURL, "/") + path + t.text
}
