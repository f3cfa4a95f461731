package events

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Prefixes of Usher's identifiers.
const (
	PrefixInvitation = "inv"
	PrefixEvent      = "evt"
	PrefixKey        = "key"
	PrefixImport     = "imp"
)

// ErrBadID is returned when a text is not an identifier of the wanted kind.
var ErrBadID = errors.New("not a valid identifier")

// crockford is the alphabet of the TypeID text form: Crockford's base 32 in lower case.
const (
	crockford = "0123456789abcdefghjkmnpqrstvwxyz"
	idDigits  = 26
)

// digitValue is the value of each byte as a digit, or -1.
var digitValue = func() (values [256]int8) {
	for i := range values {
		values[i] = int8(strings.IndexByte(crockford, byte(i)))
	}
	return values
}()

// NewInvitationID makes an identifier for an invitation: a TypeID over a UUIDv7.
func NewInvitationID() string { return newID(PrefixInvitation) }

// NewEventID makes an identifier for an event: a TypeID over a UUIDv7.
func NewEventID() string { return newID(PrefixEvent) }

// NewKeyID makes an identifier for an API key: a TypeID over a UUIDv7.
func NewKeyID() string { return newID(PrefixKey) }

// NewImportID makes an identifier for a bulk job: a TypeID over a UUIDv7.
func NewImportID() string { return newID(PrefixImport) }

func newID(prefix string) string {
	// NewV7 fails only when the system's random source does, which Go treats as fatal.
	return FormatID(prefix, uuid.Must(uuid.NewV7()))
}

// DerivedInvitationID is the identifier of the invitation that a repeated request always names: the same scope and parts
// give the same identifier. It is a UUIDv8 (RFC 9562, section 5.8) whose free bits are taken from a SHA-256.
// The scope keeps callers apart, so that one app's event id never names another's invitation.
func DerivedInvitationID(scope string, parts ...string) string {
	return FormatID(PrefixInvitation, derivedUUID(scope, parts))
}

// DerivedEventID is DerivedInvitationID for events: a worker that runs twice publishes the same event id.
func DerivedEventID(scope string, parts ...string) string {
	return FormatID(PrefixEvent, derivedUUID(scope, parts))
}

// DerivedImportID is DerivedInvitationID for bulk jobs: an upload that is sent again is the same job.
func DerivedImportID(scope string, parts ...string) string {
	return FormatID(PrefixImport, derivedUUID(scope, parts))
}

func derivedUUID(scope string, parts []string) uuid.UUID {
	h := sha256.New()
	for _, p := range append([]string{scope}, parts...) {
		fmt.Fprintf(h, "%d:%s", len(p), p) // length-prefixed, so that "a","bc" and "ab","c" differ
	}
	var u uuid.UUID
	copy(u[:], h.Sum(nil))
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}

// FormatID writes a UUID in the TypeID text form (TypeID specification v0.3): prefix, underscore, and 26 base-32 digits.
func FormatID(prefix string, u uuid.UUID) string {
	b := make([]byte, 0, len(prefix)+1+idDigits)
	if prefix != "" {
		b = append(append(b, prefix...), '_')
	}
	b = b[:len(b)+idDigits]
	high, low := binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
	for i := range idDigits {
		b[len(b)-1-i] = crockford[low&31]
		high, low = high>>5, high<<59|low>>5
	}
	return string(b)
}

// ParseID reads the TypeID text form back. It returns ErrBadID when the prefix is another, the length is off,
// a digit is outside the alphabet, or the value does not fit 128 bits.
func ParseID(prefix, s string) (uuid.UUID, error) {
	digits, ok := s, true
	if prefix != "" {
		if digits, ok = strings.CutPrefix(s, prefix); ok {
			digits, ok = strings.CutPrefix(digits, "_")
		}
	}
	// 26 digits hold 130 bits, so the first may only use three of its five.
	if !ok || len(digits) != idDigits || digits[0] > '7' {
		return uuid.UUID{}, fmt.Errorf("%w: want %s and %d digits", ErrBadID, prefix, idDigits)
	}
	var high, low uint64
	for i := range idDigits {
		v := digitValue[digits[i]]
		if v < 0 {
			return uuid.UUID{}, fmt.Errorf("%w: digit %d is outside the alphabet", ErrBadID, i+1)
		}
		high, low = high<<5|low>>59, low<<5|uint64(v)
	}
	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:8], high)
	binary.BigEndian.PutUint64(u[8:], low)
	return u, nil
}

// IsImportID reports whether s is the identifier of a bulk job.
func IsImportID(s string) bool {
	_, err := ParseID(PrefixImport, s)
	return err == nil
}

// IsInvitationID reports whether s is the identifier of an invitation.
func IsInvitationID(s string) bool {
	_, err := ParseID(PrefixInvitation, s)
	return err == nil
}
