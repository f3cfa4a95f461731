// Package problem is Usher's one error type: a code for machines, a sentence for people, and what the code means to HTTP
// (RFC 9457) and to a worker that must decide whether to try again.
package problem

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/usherhq/usher/events"
)

// Code is the stable name of a refusal. Over HTTP it is the last part of the problem's type, over the bus the reason.
type Code string

// The refusals.
const (
	Invalid             Code = "invalid"                // fields are wrong; see Fields
	Malformed           Code = "malformed"              // the body cannot be read at all
	Unauthenticated     Code = "unauthenticated"        // no key, or one that is not known
	Forbidden           Code = "forbidden"              // the key or the member may not do this
	NoAuthority         Code = "no-authority"           // the inviter is no member, or their role may not invite
	RoleTooHigh         Code = "role-too-high"          // the role is above the inviter's own
	UnknownOrganization Code = "unknown-organization"   // there is no such organization
	NotFound            Code = "not-found"              // nothing there, or nothing the caller may see
	AlreadyInvited      Code = "already-invited"        // an invitation of that address is open; see Conflict
	AlreadyMember       Code = "already-member"         // the address is a member already; see Conflict
	Suppressed          Code = "suppressed"             // the address bounced, complained or unsubscribed
	Ended               Code = "ended"                  // the invitation has ended
	LastOwner           Code = "last-owner"             // the organization would be left without an owner
	Conflict            Code = "conflict"               // somebody else changed it at the same time
	WrongState          Code = "wrong-state"            // what was asked is not possible as things stand
	KeyReused           Code = "idempotency-key-reused" // the same Idempotency-Key with another body
	KeyInUse            Code = "idempotency-key-in-use" // the first request with this Idempotency-Key still runs
	Expired             Code = "expired"                // the link's deadline has passed
	Revoked             Code = "revoked"                // the invitation was taken back
	Declined            Code = "declined"               // the invitee said no
	Accepted            Code = "accepted"               // the invitee said yes, and it was somebody else's or another act
	Replaced            Code = "replaced"               // a newer e-mail was sent
	NotExpired          Code = "not-expired"            // there is nothing to renew: the invitation is still open
	WrongAccount        Code = "wrong-account"          // the invitation is for somebody else than who is signed in
	TooMany             Code = "too-many-requests"      // asked more often than is allowed; see RetryAfter
	AuthorityLost       Code = "inviter-lost-authority" // the inviter may no longer grant this role
	RoleGone            Code = "role-gone"              // the role is not one any more
	MethodNotAllowed    Code = "method-not-allowed"     // the route takes other methods
	TooLarge            Code = "too-large"              // the body is larger than allowed
	MediaType           Code = "media-type"             // the body is not JSON
	NotNow              Code = "not-now"                // a dependency is down; nothing was decided
)

// kind is what a code means outside.
type kind struct {
	status int
	title  string
}

var kinds = map[Code]kind{
	Invalid:             {http.StatusUnprocessableEntity, "The request has invalid fields"},
	Malformed:           {http.StatusBadRequest, "The request cannot be read"},
	Unauthenticated:     {http.StatusUnauthorized, "An API key is needed"},
	Forbidden:           {http.StatusForbidden, "Not allowed"},
	NoAuthority:         {http.StatusForbidden, "The inviter may not invite"},
	RoleTooHigh:         {http.StatusForbidden, "The role is above the inviter's own"},
	UnknownOrganization: {http.StatusNotFound, "There is no such organization"},
	NotFound:            {http.StatusNotFound, "Not found"},
	AlreadyInvited:      {http.StatusConflict, "An invitation is open already"},
	AlreadyMember:       {http.StatusConflict, "The address is a member already"},
	Suppressed:          {http.StatusConflict, "The address is not written to"},
	Ended:               {http.StatusConflict, "The invitation has ended"},
	LastOwner:           {http.StatusConflict, "An organization needs an owner"},
	Conflict:            {http.StatusConflict, "Changed by somebody else meanwhile"},
	WrongState:          {http.StatusConflict, "Not possible as things stand"},
	KeyReused:           {http.StatusUnprocessableEntity, "The Idempotency-Key was used for another request"},
	KeyInUse:            {http.StatusConflict, "The first request with this Idempotency-Key is still running"},
	Expired:             {http.StatusGone, "The invitation has expired"},
	Revoked:             {http.StatusGone, "The invitation was revoked"},
	Declined:            {http.StatusGone, "The invitation was declined"},
	Accepted:            {http.StatusGone, "The invitation was accepted"},
	Replaced:            {http.StatusGone, "A newer e-mail was sent"},
	NotExpired:          {http.StatusConflict, "The invitation is still open"},
	WrongAccount:        {http.StatusForbidden, "The invitation is for another account"},
	TooMany:             {http.StatusTooManyRequests, "Too many requests"},
	AuthorityLost:       {http.StatusConflict, "The inviter may no longer grant this"},
	RoleGone:            {http.StatusConflict, "The role no longer exists"},
	MethodNotAllowed:    {http.StatusMethodNotAllowed, "Another method is needed"},
	TooLarge:            {http.StatusRequestEntityTooLarge, "The request is too large"},
	MediaType:           {http.StatusUnsupportedMediaType, "The body is of a kind that is not taken"},
	NotNow:              {http.StatusServiceUnavailable, "Not now"},
}

// TypeBase comes before the code in a problem's type.
const TypeBase = "urn:usher:problem:"

// Error is a refusal.
type Error struct {
	Code Code
	// Detail is the sentence for people. It never holds a token, a secret or an address.
	Detail string
	// Fields name what was wrong, for Invalid.
	Fields []events.FieldError
	// Other is the id of what stands in the way: the open invitation, or the member.
	Other string
	// RetryAfter is when to try again, where that may help (NotNow, TooMany, Again).
	RetryAfter time.Duration
	// Cause is the error behind it, for the log alone.
	Cause error
}

// New makes a refusal.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Unavailable is the refusal of a dependency that is down: nothing was decided, ask again.
func Unavailable(what string, cause error) *Error {
	return &Error{Code: NotNow, Detail: what + " is not available right now; nothing was lost, try again shortly.", RetryAfter: 2 * time.Second, Cause: cause}
}

// Again is the refusal of what others changed at the same time: the same request may succeed in a moment.
func Again(format string, args ...any) *Error {
	e := New(Conflict, format, args...)
	e.RetryAfter = time.Second
	return e
}

// Fields makes an Invalid refusal of field errors.
func Fields(fields ...events.FieldError) *Error {
	return &Error{Code: Invalid, Detail: "One or more fields are invalid.", Fields: fields}
}

// Error implements error.
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Detail
	for _, f := range e.Fields {
		s += " " + f.Location + ": " + f.Message + "."
	}
	if e.Cause != nil {
		s += " (" + e.Cause.Error() + ")"
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Status is the HTTP status of the refusal; 500 for a code nobody named.
func (e *Error) Status() int {
	if k, ok := kinds[e.Code]; ok {
		return k.status
	}
	return http.StatusInternalServerError
}

// Title is the short constant sentence that goes with the code.
func (e *Error) Title() string { return kinds[e.Code].title }

// Type is the URI that names the problem.
func (e *Error) Type() string { return TypeBase + string(e.Code) }

// Passing reports whether the same request may succeed later, so that a worker should try again.
func (e *Error) Passing() bool { return e.Code == NotNow || e.Code == KeyInUse || e.Code == Conflict }

// As finds the refusal in an error. An error that is none becomes NotNow with the error as cause: what nobody foresaw is
// never a "yes", and never the caller's fault.
func As(err error) *Error {
	if p, ok := errors.AsType[*Error](err); ok {
		return p
	}
	return &Error{Code: NotNow, Detail: "Something went wrong here; nothing was decided, try again shortly.", RetryAfter: 2 * time.Second, Cause: err}
}

// Is reports whether err is a refusal with that code.
func Is(err error, code Code) bool {
	p, ok := errors.AsType[*Error](err)
	return ok && p.Code == code
}
