// Package clock is the one place that asks what time it is, so that tests and fault runs can move it.
package clock

import "time"

// Clock tells the present instant.
type Clock func() time.Time

var began = time.Now()

// Steady is how long this process has run. Nobody can set it: what a Clock shows beside it tells that the clock was.
func Steady() time.Duration { return time.Since(began) }
