//go:build !failpoints

package clock

import "time"

// System is the machine's clock, in UTC.
func System() time.Time { return time.Now().UTC() }
