package eventstest

import "github.com/usherhq/usher/events"

// bodies makes one body per type, with every field set: the golden files and the schemas' examples come from here.
var bodies = map[events.Type]func() events.Data{
	events.TypeInvitationRequested: func() events.Data {
		return &events.InvitationRequested{
			Organization: Organization, Email: Email, Role: Role, Inviter: Inviter, Name: Name, Locale: "de-AT",
			ExpiresIn: "168h", Metadata: metadata(), RedirectURL: RedirectURL, SendAnyway: true, Note: Note,
			Invitation: Invitation, Person: Person, InviterPerson: InviterPerson, InviterName: InviterName,
			ExpiresAt: Deadline, App: App, Request: "order-4711", Replaces: ended, Renewal: true,
		}
	},
	events.TypeInvitationRejected: func() events.Data {
		return &events.InvitationRejected{
			Invitation: Invitation, Organization: Organization, App: App, Request: "order-4711", Reason: "invalid",
			Detail: "One or more fields are invalid.",
			Fields: []events.FieldError{{Location: "email", Message: "is required"}},
		}
	},
	events.TypeInvitationSent: func() events.Data {
		return &events.InvitationSent{
			Invitation: Invitation, Generation: 1, Purpose: events.PurposeInvitation, Intent: 42,
			MessageID: messageID, ProviderMessageID: providerMessageID,
		}
	},
	events.TypeInvitationDelivered: func() events.Data {
		return &events.InvitationDelivered{Delivery: delivery(250, "OK")}
	},
	events.TypeInvitationDeferred: func() events.Data {
		return &events.InvitationDeferred{Delivery: delivery(451, "generic")}
	},
	events.TypeInvitationBounced: func() events.Data {
		return &events.InvitationBounced{Delivery: delivery(550, "bounce")}
	},
	events.TypeInvitationComplained: func() events.Data {
		return &events.InvitationComplained{Delivery: delivery(250, "complaint")}
	},
	events.TypeInvitationResendRequested: func() events.Data {
		return &events.InvitationResendRequested{Invitation: Invitation, Generation: 2, ExpiresAt: Deadline, By: InviterPerson, SendAnyway: true}
	},
	events.TypeInvitationReminderDue: func() events.Data {
		return &events.InvitationReminderDue{Invitation: Invitation, Number: 1}
	},
	events.TypeInvitationExpiryDue: func() events.Data {
		return &events.InvitationExpiryDue{Invitation: Invitation, ExpiresAt: Deadline}
	},
	events.TypeInvitationReminded: func() events.Data {
		return &events.InvitationReminded{
			Invitation: Invitation, Generation: 1, Number: 1, Intent: 43,
			MessageID: messageID, ProviderMessageID: providerMessageID,
		}
	},
	events.TypeInvitationAcceptRefused: func() events.Data {
		return &events.InvitationAcceptRefused{Invitation: Invitation, Reason: events.RefusedAuthority, Final: true}
	},
	events.TypeInvitationOpened: func() events.Data {
		return &events.InvitationOpened{Invitation: Invitation, Generation: 1}
	},
	events.TypeInvitationRenewalAsked: func() events.Data {
		return &events.InvitationRenewalAsked{Invitation: Invitation, Renewed: true}
	},
	events.TypeInvitationNoticed: func() events.Data {
		return &events.InvitationNoticed{
			Invitation: Invitation, About: events.NoticeAccepted, Intent: 44,
			MessageID: messageID, ProviderMessageID: providerMessageID,
		}
	},
	events.TypeInvitationAccepted: func() events.Data {
		return &events.InvitationAccepted{
			Invitation: Invitation, Generation: 1, Person: Person, Name: Name, Locale: "de-AT", Invitee: events.InviteeNew,
		}
	},
	events.TypeInvitationDeclined: func() events.Data {
		return &events.InvitationDeclined{Invitation: Invitation, Generation: 1, Reason: "I left the company."}
	},
	events.TypeInvitationRevoked: func() events.Data {
		return &events.InvitationRevoked{Invitation: Invitation, By: InviterPerson, Reason: "Wrong address."}
	},
	events.TypeInvitationExpired: func() events.Data {
		return &events.InvitationExpired{Invitation: Invitation, ExpiresAt: Deadline}
	},
	events.TypeMembershipProvisioned: func() events.Data {
		return &events.MembershipProvisioned{Membership: membership()}
	},
	events.TypeMembershipRoleChanged: func() events.Data {
		return &events.MembershipRoleChanged{Membership: membership(), PreviousRole: "viewer"}
	},
	events.TypeMembershipRemoved: func() events.Data {
		return &events.MembershipRemoved{Membership: membership()}
	},
}

const (
	ended             = "inv_01kgc8k9e0fw0va31118k03dj3"
	messageID         = "<01kjpy44hvfs2thgytv7y5vzap.1@mail.example.org>"
	providerMessageID = "20260302093000.1.ABCDEF@mg.example.org"
)

func metadata() map[string]string {
	return map[string]string{"order": "4711", "team": "Förderung & Betrieb"}
}

func delivery(code int, reason string) events.Delivery {
	return events.Delivery{
		Invitation: Invitation, Generation: 1, Intent: 42, ProviderEvent: "Ase7i2zsRYeDXztHGENqRA", OccurredAt: Now,
		Code: code, Reason: reason,
	}
}

func membership() events.Membership {
	return events.Membership{
		Organization: Organization, Person: Person, Email: Email, Name: Name, Locale: "de-AT", Role: Role, Invitation: Invitation,
		JoinedAt: Now, Metadata: metadata(), By: InviterPerson,
	}
}
