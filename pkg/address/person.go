package address

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/google/uuid"

	"github.com/usherhq/usher/events"
)

// Person is the name of whoever owns a canonical address, fit for subjects and store keys: the first 16 bytes of its
// HMAC-SHA-256 as 26 digits of base 32. Without the key nobody can test a list of addresses against it.
func Person(key []byte, canonical string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(canonical))
	var sum [sha256.Size]byte
	return events.FormatID("", uuid.UUID(mac.Sum(sum[:0])[:16]))
}
