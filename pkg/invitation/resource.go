package invitation

import "time"

// Resource is an invitation as the API shows it.
type Resource struct {
	ID           string            `json:"id" doc:"The invitation's id." example:"inv_01jd8x5rbgf3y8zt5s9r2h4q6w"`
	Organization string            `json:"organization" doc:"Short name of the organization."`
	Email        string            `json:"email,omitempty" doc:"The invitee's address."`
	Name         string            `json:"name,omitempty" doc:"The invitee's name, where it is known."`
	Role         string            `json:"role,omitempty" doc:"The role the invitee will have."`
	Inviter      string            `json:"inviter,omitempty" doc:"Address of the member who invites, or id of the API key where no member does."`
	Status       Status            `json:"status" enum:"pending,accepted,declined,revoked,expired,rejected" doc:"Where the invitation stands."`
	Delivery     Delivery          `json:"delivery" enum:"queued,sent,deferred,delivered,bounced,complained" doc:"How far the newest mail got."`
	Membership   Membership        `json:"membership" enum:"none,provisioning,active,refused" doc:"What became of the acceptance."`
	Reason       string            `json:"reason,omitempty" doc:"Why it was rejected, declined, revoked or refused, where that is known."`
	Generation   int               `json:"generation" doc:"Generation of the link that works."`
	RequestedAt  time.Time         `json:"requested_at,omitzero" doc:"When it entered the ledger."`
	ExpiresAt    time.Time         `json:"expires_at,omitzero" doc:"The deadline."`
	EndedAt      *time.Time        `json:"ended_at,omitempty" doc:"When it ended; absent while it is open."`
	Metadata     map[string]string `json:"metadata,omitempty" doc:"Handed on to the membership untouched."`
	Replaces     string            `json:"replaces,omitempty" doc:"The ended invitation that this one was made from."`
	OpenedAt     *time.Time        `json:"opened_at,omitempty" doc:"When the link was first followed in a browser; absent where it was not, as far as is known."`
	RenewalAsked *time.Time        `json:"renewal_asked_at,omitempty" doc:"When the invitee asked for a new link; absent where they did not."`
}

// Resource is the record as the API shows it at that instant.
func (r *Record) Resource(now time.Time) Resource {
	out := Resource{
		ID: r.ID, Organization: r.Organization, Status: r.StatusAt(now), Delivery: r.DeliveryState(), Membership: r.MembershipState(),
		Reason: r.Reason, Generation: r.Generation, RequestedAt: r.RequestedAt, ExpiresAt: r.Deadline,
	}
	switch {
	case !r.EndedAt.IsZero():
		out.EndedAt = &r.EndedAt
	case out.Status == Expired:
		out.EndedAt = &r.Deadline
	}
	if !r.OpenedAt.IsZero() {
		out.OpenedAt = &r.OpenedAt
	}
	if !r.RenewalAskedAt.IsZero() {
		out.RenewalAsked = &r.RenewalAskedAt
	}
	if q := r.Request; q != nil {
		out.Email, out.Name, out.Role, out.Inviter, out.Metadata, out.Replaces = q.Email, q.Name, q.Role, q.Inviter, q.Metadata, q.Replaces
	}
	return out
}
