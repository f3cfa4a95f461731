package pipeline

import (
	"sync/atomic"
	"time"
)

// Clock is what every service of a pipeline takes the time from: the machine's clock, set ahead or back. The broker keeps
// its own time, as any broker does.
type Clock struct{ ahead atomic.Int64 }

// Now is the present instant, in UTC.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())).UTC() }

// Pass lets d pass.
func (c *Clock) Pass(d time.Duration) { c.ahead.Add(int64(d)) }

// Ahead sets how far the clock is ahead of the machine's; negative is behind.
func (c *Clock) Ahead(d time.Duration) { c.ahead.Store(int64(d)) }
