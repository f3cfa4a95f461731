package mail

import (
	"fmt"
	"time"
)

// Permanent is the error of a mail that will never be taken as it is.
type Permanent struct {
	// Code is the provider's status; Reason its sentence, without addresses.
	Code   int
	Reason string
}

// Error implements error.
func (e *Permanent) Error() string { return fmt.Sprintf("refused for good (%d): %s", e.Code, e.Reason) }

// Later is the error of a mail that was certainly not taken, and may be another time.
type Later struct {
	// After is how long to wait at least; 0 leaves it to the caller.
	After time.Duration
	Cause error
}

// Error implements error.
func (e *Later) Error() string { return fmt.Sprintf("not now (again after %s): %v", e.After, e.Cause) }

// Unwrap gives the cause.
func (e *Later) Unwrap() error { return e.Cause }

// Paused is the error of a mail that was certainly not taken because no mail is: the key is refused, the account is out
// of credit, the domain is not known. It goes away when somebody acts, and needs an alarm.
type Paused struct {
	// Code is the provider's status; Reason says what to look at.
	Code   int
	Reason string
	// After is how long to wait before the next try; 0 leaves it to the caller.
	After time.Duration
}

// Error implements error.
func (e *Paused) Error() string {
	return fmt.Sprintf("nothing can be sent (%d): %s", e.Code, e.Reason)
}

// Unknown is the error of a mail that may or may not have been taken: ask a Finder before sending it again.
type Unknown struct{ Cause error }

// Error implements error.
func (e *Unknown) Error() string { return fmt.Sprintf("send outcome unknown: %v", e.Cause) }

// Unwrap gives the cause.
func (e *Unknown) Unwrap() error { return e.Cause }
