package roster

import "slices"

// Roles are the roles of the instance, highest first.
type Roles []string

// DefaultRoles is the order when none is set.
var DefaultRoles = Roles{"owner", "admin", "member", "viewer"}

// inviting is how many of the highest roles may invite: owners and admins.
const inviting = 2

// Owner is the highest role.
func (r Roles) Owner() string { return r[0] }

// Known reports whether there is such a role.
func (r Roles) Known(role string) bool { return slices.Contains(r, role) }

// MayInvite reports whether members with that role may invite and manage others.
func (r Roles) MayInvite(role string) bool {
	i := slices.Index(r, role)
	return i >= 0 && i < inviting
}

// MayGrant reports whether a member with role own may give out role wanted: nobody grants above their own.
func (r Roles) MayGrant(own, wanted string) bool {
	i, j := slices.Index(r, own), slices.Index(r, wanted)
	return i >= 0 && j >= i
}

// What becomes of an acceptance whose inviter may no longer grant the role.
const (
	AuthorityBlock = "block"
	AuthorityLower = "lower"
)
