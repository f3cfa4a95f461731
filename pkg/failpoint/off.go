//go:build !failpoints

package failpoint

// Compiled tells whether this process was built with failpoints.
const Compiled = false

// Here is a point. In this build it is nothing.
func Here(Name) {}
