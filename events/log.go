package events

import "log/slog"

// What a log may show of an event: ids, roles, numbers and reasons that a program chose. Addresses, names, metadata and
// free text stay out, so that logging an event by mistake leaks nobody.

// LogValue implements slog.LogValuer.
func (e Event) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", e.ID),
		slog.String("type", string(e.Type)),
		slog.String("source", e.Source),
		slog.String("subject", e.Subject),
		slog.String("correlation", e.CorrelationID),
		slog.String("causation", e.CausationID),
		slog.Any("data", e.Data),
	)
}

// LogValue implements slog.LogValuer.
func (e InvitationRequested) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("organization", e.Organization),
		slog.String("role", e.Role),
		slog.String("invitation", e.Invitation),
		slog.String("person", e.Person),
		slog.String("inviter_person", e.InviterPerson),
		slog.Time("expires_at", e.ExpiresAt),
		slog.String("app", e.App),
		slog.String("request", e.Request),
		slog.String("replaces", e.Replaces),
	)
}

// LogValue implements slog.LogValuer.
func (e InvitationRejected) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("invitation", e.Invitation),
		slog.String("app", e.App),
		slog.String("request", e.Request),
		slog.String("reason", e.Reason),
	)
}

// LogValue implements slog.LogValuer.
func (e InvitationAccepted) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("invitation", e.Invitation),
		slog.Int("generation", e.Generation),
		slog.String("person", e.Person),
		slog.String("invitee", e.Invitee),
	)
}

// LogValue implements slog.LogValuer.
func (e InvitationDeclined) LogValue() slog.Value {
	return slog.GroupValue(slog.String("invitation", e.Invitation), slog.Int("generation", e.Generation))
}

// LogValue implements slog.LogValuer.
func (e InvitationRevoked) LogValue() slog.Value {
	return slog.GroupValue(slog.String("invitation", e.Invitation), slog.String("by", e.By))
}

// LogValue implements slog.LogValuer.
func (m Membership) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("organization", m.Organization),
		slog.String("person", m.Person),
		slog.String("role", m.Role),
		slog.String("invitation", m.Invitation),
		slog.String("by", m.By),
	)
}

// LogValue implements slog.LogValuer.
func (e MembershipRoleChanged) LogValue() slog.Value {
	return slog.GroupValue(append(e.Membership.LogValue().Group(), slog.String("previous_role", e.PreviousRole))...)
}
