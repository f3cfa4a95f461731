// Package failpoint lets a fault run stop a process exactly between two of its effects.
//
// A point is one plain line of the product, failpoint.Here(failpoint.MailerClaimed), and stands where something durable or
// visible has just happened and the next thing has not. In a normal build Here is empty and nothing of this package is linked
// in. Built with the tag "failpoints", a process can be told from outside to be killed, stopped, held up or to panic at a
// point, and to take its clock for ahead or behind: at its start by USHER_FAILPOINTS, and while it runs over HTTP on
// USHER_FAILPOINTS_ADDR (see control.go).
package failpoint

// Name names a point: who is at work, and what has just been done.
type Name string

// Point is one row of the table of points.
type Point struct {
	Name Name
	// Steps are the dashes between the steps of an invitation that the point stands at, like "A4-A5" (see points.go), a
	// single step where it stands within one, and empty beside the way of an invitation.
	Steps string
	// About says what has happened and what has not.
	About string
}

// What the environment of a process built with failpoints may say.
const (
	// EnvArm arms points from the start: "mailer.claimed=kill@3,start.ledger=stop".
	EnvArm = "USHER_FAILPOINTS"
	// EnvAddr is where the control listens, like 127.0.0.1:7070; loopback only.
	EnvAddr = "USHER_FAILPOINTS_ADDR"
)
