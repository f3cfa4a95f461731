package events

// entry ties a type to its place on the bus. Memberships have no fact: their three events share one subject.
type entry struct {
	typ  Type
	fact string
	make func() Data
}

// registry lists every event, in the order of the catalogue in doc.go.
var registry = []entry{
	{TypeInvitationRequested, FactRequested, func() Data { return new(InvitationRequested) }},
	{TypeInvitationRejected, FactRejected, func() Data { return new(InvitationRejected) }},
	{TypeInvitationSent, FactSent, func() Data { return new(InvitationSent) }},
	{TypeInvitationDelivered, FactDelivered, func() Data { return new(InvitationDelivered) }},
	{TypeInvitationDeferred, FactDeferred, func() Data { return new(InvitationDeferred) }},
	{TypeInvitationBounced, FactBounced, func() Data { return new(InvitationBounced) }},
	{TypeInvitationComplained, FactComplained, func() Data { return new(InvitationComplained) }},
	{TypeInvitationResendRequested, FactResend, func() Data { return new(InvitationResendRequested) }},
	{TypeInvitationReminderDue, FactReminderDue, func() Data { return new(InvitationReminderDue) }},
	{TypeInvitationExpiryDue, FactExpiryDue, func() Data { return new(InvitationExpiryDue) }},
	{TypeInvitationReminded, FactReminded, func() Data { return new(InvitationReminded) }},
	{TypeInvitationAcceptRefused, FactRefused, func() Data { return new(InvitationAcceptRefused) }},
	{TypeInvitationOpened, FactOpened, func() Data { return new(InvitationOpened) }},
	{TypeInvitationRenewalAsked, FactRenewal, func() Data { return new(InvitationRenewalAsked) }},
	{TypeInvitationNoticed, FactNoticed, func() Data { return new(InvitationNoticed) }},
	{TypeInvitationAccepted, FactAccepted, func() Data { return new(InvitationAccepted) }},
	{TypeInvitationDeclined, FactDeclined, func() Data { return new(InvitationDeclined) }},
	{TypeInvitationRevoked, FactRevoked, func() Data { return new(InvitationRevoked) }},
	{TypeInvitationExpired, FactExpired, func() Data { return new(InvitationExpired) }},
	{TypeMembershipProvisioned, "", func() Data { return new(MembershipProvisioned) }},
	{TypeMembershipRoleChanged, "", func() Data { return new(MembershipRoleChanged) }},
	{TypeMembershipRemoved, "", func() Data { return new(MembershipRemoved) }},
}

var (
	byType = indexBy(func(e *entry) string { return string(e.typ) })
	byFact = indexBy(func(e *entry) string { return e.fact })
)

func indexBy(key func(*entry) string) map[string]*entry {
	index := make(map[string]*entry, len(registry))
	for i := range registry {
		if k := key(&registry[i]); k != "" {
			index[k] = &registry[i]
		}
	}
	return index
}

// Types lists every event type, in the order of the catalogue.
func Types() []Type {
	types := make([]Type, len(registry))
	for i := range registry {
		types[i] = registry[i].typ
	}
	return types
}

// New makes the empty body of a type: a pointer to the struct the type names. ok is false for a type that is not Usher's.
func New(t Type) (data Data, ok bool) {
	e, ok := byType[string(t)]
	if !ok {
		return nil, false
	}
	return e.make(), true
}

// FactOf is what follows invitations.<org>.<id>. in the subject of a type. ok is false for memberships, whose subject does
// not tell their events apart, and for unknown types.
func FactOf(t Type) (fact string, ok bool) {
	e, ok := byType[string(t)]
	if !ok {
		return "", false
	}
	return e.fact, e.fact != ""
}

// TypeOfSubject is the one type that travels on a subject. ok is false where there is none, or more than one (memberships).
func TypeOfSubject(subject string) (t Type, ok bool) {
	if _, ok := SplitRequest(subject); ok {
		return TypeInvitationRequested, true
	}
	_, _, fact, ok := SplitInvitation(subject)
	if !ok {
		return "", false
	}
	e, ok := byFact[fact]
	if !ok {
		return "", false
	}
	return e.typ, true
}
