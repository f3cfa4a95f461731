// Package clock is the one place that asks what time it is, so that tests and fault runs can move it.
package clock

import "time"

// Clock tells the present instant.
type Clock func() time.Time
