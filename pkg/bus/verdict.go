package bus

import (
	"errors"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/problem"
)

// What a handler returns decides what becomes of its message:
//
//	nil                          done
//	Later(after, err)            again, after so long
//	Never(reason, err)           a dead letter
//	a *problem.Error             again later when it is passing, otherwise a dead letter
//	any other error, or a panic  again, after a delay that grows; a dead letter after MaxDeliver times

// Reasons of dead letters that no handler gave. Others are problem codes, or what Never was told.
const (
	ReasonMalformed   = "malformed"    // it cannot be read as an event
	ReasonUnknownType = "unknown-type" // it is an event, but none of ours
	ReasonExhausted   = "exhausted"    // it failed as often as it may
	ReasonOverdue     = "overdue"      // what it waited for did not come in time
)

type laterError struct {
	after time.Duration
	cause error
}

// Later asks for the message again after so long; at once when after is 0. The error says why, for the log.
func Later(after time.Duration, err error) error { return &laterError{after, err} }

func (e *laterError) Error() string { return "later: " + textOf(e.cause) }
func (e *laterError) Unwrap() error { return e.cause }

type neverError struct {
	reason string
	cause  error
}

// Never makes the message a dead letter. The reason is a stable word for machines, the error is for the log.
func Never(reason string, err error) error { return &neverError{reason, err} }

func (e *neverError) Error() string { return e.reason + ": " + textOf(e.cause) }
func (e *neverError) Unwrap() error { return e.cause }

func textOf(err error) string {
	if err == nil {
		return "no error given"
	}
	return err.Error()
}

// The verdicts, as metrics name them.
const (
	verdictDone  = "done"
	verdictRetry = "retry"
	verdictLater = "later"
	verdictDead  = "dead"
)

// verdict is what becomes of a message.
type verdict struct {
	kind   string
	after  time.Duration // retry and later
	reason string        // dead
}

// judge reads the error that a handler returned for a message that was handed out so often and is so old.
func (s Subscription) judge(err error, deliveries int, age time.Duration) verdict {
	v := s.classify(err, deliveries)
	spent := deliveries >= s.MaxDeliver
	switch {
	case v.kind == verdictRetry && spent:
		return verdict{kind: verdictDead, reason: ReasonExhausted}
	case v.kind == verdictLater && spent && age > s.Patience:
		return verdict{kind: verdictDead, reason: ReasonOverdue}
	case v.kind == verdictLater && spent: // whoever asks "again at once" that often gets no tighter circle than the others
		v.after = max(v.after, s.RetryMax)
	}
	return v
}

func (s Subscription) classify(err error, deliveries int) verdict {
	if never, ok := errors.AsType[*neverError](err); ok {
		return verdict{kind: verdictDead, reason: never.reason}
	}
	if later, ok := errors.AsType[*laterError](err); ok {
		return verdict{kind: verdictLater, after: later.after}
	}
	growing := s.backoff(deliveries)
	if p, ok := errors.AsType[*problem.Error](err); ok {
		if !p.Passing() {
			return verdict{kind: verdictDead, reason: string(p.Code)}
		}
		return verdict{kind: verdictLater, after: max(p.RetryAfter, growing)}
	}
	return verdict{kind: verdictRetry, after: growing}
}

// unreadable turns Decode's error into a verdict.
func unreadable(err error) error {
	if errors.Is(err, events.ErrUnknownType) {
		return Never(ReasonUnknownType, err)
	}
	return Never(ReasonMalformed, err)
}
