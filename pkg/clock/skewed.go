//go:build failpoints

package clock

import (
	"sync/atomic"
	"time"
)

// ahead is in nanoseconds.
var ahead atomic.Int64

// System is the machine's clock, in UTC, as far ahead as a fault run says.
func System() time.Time { return time.Now().Add(Ahead()).UTC() }

// Ahead tells how far System is ahead of the machine's clock.
func Ahead() time.Duration { return time.Duration(ahead.Load()) }

// SetAhead puts System that far ahead of the machine's clock; a negative d is behind.
func SetAhead(d time.Duration) { ahead.Store(int64(d)) }
