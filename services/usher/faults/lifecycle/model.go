package lifecycle

import "time"

// The reference: what an organization, its invitations and its members are, told in as few words as possible and without a look
// at how Usher does it.

// How an invitation stands.
const (
	pending  = "pending"
	accepted = "accepted"
	declined = "declined"
	revoked  = "revoked"
	expired  = "expired"
)

// invitation is one, as it should be.
type invitation struct {
	id, address, role string
	ttl               time.Duration
	deadline          time.Duration // on the model's own clock, which began with the organization
	generation        int
	outcome           string
	mails             int // that were asked for
}

// organization is one, as it should be.
type organization struct {
	now         time.Duration
	invitations []*invitation
	members     map[string]string // address to role
}

// status is how an invitation stands now.
func (o *organization) status(i *invitation) string {
	switch {
	case i.outcome != "":
		return i.outcome
	case o.now >= i.deadline:
		return expired
	}
	return pending
}

// open is the invitation of an address that is open; nil where none is.
func (o *organization) open(address string) *invitation {
	for _, i := range o.invitations {
		if i.address == address && o.status(i) == pending {
			return i
		}
	}
	return nil
}

// refusesInvite is why an address cannot be invited now; empty where it can.
func (o *organization) refusesInvite(address string) string {
	if _, member := o.members[address]; member {
		return "already-member"
	}
	if o.open(address) != nil {
		return "already-invited"
	}
	return ""
}

// refusesLink is what a link answers that does not work; empty where it does.
func (o *organization) refusesLink(i *invitation, generation int) string {
	switch status := o.status(i); {
	case status != pending:
		return status
	case generation < i.generation:
		return "replaced"
	}
	return ""
}

// add makes an invitation. Whatever of the address was over by time alone is over for good.
func (o *organization) add(id, address, role string, ttl time.Duration) {
	for _, i := range o.invitations {
		if i.address == address && o.status(i) == expired {
			i.outcome = expired
		}
	}
	o.invitations = append(o.invitations, &invitation{
		id: id, address: address, role: role, ttl: ttl, deadline: o.now + ttl, generation: 1, mails: 1,
	})
}

// resend moves the deadline of an open invitation.
func (o *organization) resend(i *invitation, rotate bool) {
	if rotate {
		i.generation++
	}
	i.deadline = max(i.deadline, o.now+i.ttl)
	i.mails++
}
