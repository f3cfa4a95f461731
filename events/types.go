package events

import "time"

// Type is the public, versioned name of an event: the CloudEvents attribute "type". Additive changes keep the version.
type Type string

// The events of the pipeline.
const (
	TypeInvitationRequested       Type = "usher.invitation.requested.v1"
	TypeInvitationRejected        Type = "usher.invitation.rejected.v1"
	TypeInvitationSent            Type = "usher.invitation.sent.v1"
	TypeInvitationDelivered       Type = "usher.invitation.delivered.v1"
	TypeInvitationDeferred        Type = "usher.invitation.deferred.v1"
	TypeInvitationBounced         Type = "usher.invitation.bounced.v1"
	TypeInvitationComplained      Type = "usher.invitation.complained.v1"
	TypeInvitationResendRequested Type = "usher.invitation.resend-requested.v1"
	TypeInvitationReminderDue     Type = "usher.invitation.reminder-due.v1"
	TypeInvitationExpiryDue       Type = "usher.invitation.expiry-due.v1"
	TypeInvitationReminded        Type = "usher.invitation.reminded.v1"
	TypeInvitationAcceptRefused   Type = "usher.invitation.accept-refused.v1"
	TypeInvitationOpened          Type = "usher.invitation.opened.v1"
	TypeInvitationRenewalAsked    Type = "usher.invitation.renewal-asked.v1"
	TypeInvitationNoticed         Type = "usher.invitation.noticed.v1"
	TypeInvitationAccepted        Type = "usher.invitation.accepted.v1"
	TypeInvitationDeclined        Type = "usher.invitation.declined.v1"
	TypeInvitationRevoked         Type = "usher.invitation.revoked.v1"
	TypeInvitationExpired         Type = "usher.invitation.expired.v1"
	TypeMembershipProvisioned     Type = "usher.membership.provisioned.v1"
	TypeMembershipRoleChanged     Type = "usher.membership.role-changed.v1"
	TypeMembershipRemoved         Type = "usher.membership.removed.v1"
)

// Data is the body of an event.
type Data interface {
	// EventType is the public name the body travels under.
	EventType() Type
	// Validate reports what makes the body unusable: a *FieldError, or FieldErrors where it is more than one thing.
	Validate() error
}

// InvitationRequested asks for an invitation, and once admitted is its record: role, organization, address and inviter of
// everything that follows come from here. An app that publishes it on requests.<app> fills the first group only; the
// second group is written by admission when the event enters the ledger.
type InvitationRequested struct {
	// Organization is the short name of the organization, as in subjects.
	Organization string `json:"organization"`
	// Email is the invitee's address, as mail is to be sent to it.
	Email string `json:"email"`
	// Role is what the invitee will be in the organization.
	Role string `json:"role"`
	// Inviter is the address of the member who invites, or the id of the API key where no member does.
	Inviter string `json:"inviter,omitempty"`
	// Name is the invitee's name, where it is known.
	Name string `json:"name,omitempty"`
	// Locale is the BCP 47 language the invitee is written to in.
	Locale string `json:"locale,omitempty"`
	// ExpiresIn is how long the invitation stays open, as a Go duration ("168h"). Requests only.
	ExpiresIn string `json:"expires_in,omitempty"`
	// Metadata is handed on to the membership untouched.
	Metadata map[string]string `json:"metadata,omitempty"`
	// RedirectURL is where the invitee goes after joining.
	RedirectURL string `json:"redirect_url,omitempty"`
	// SendAnyway is the explicit act by which an address is written to although it bounced, complained or unsubscribed.
	SendAnyway bool `json:"send_anyway,omitempty"`
	// Note is what the inviter says to the invitee in the mail, one paragraph, where the organization allows it.
	Note string `json:"note,omitempty"`

	// Invitation is the invitation's id. This and all below are written by admission.
	Invitation string `json:"invitation,omitempty"`
	// Person is the keyed hash of the invitee's canonical address.
	Person string `json:"person,omitempty"`
	// InviterPerson is the keyed hash of the inviter's canonical address; empty where an API key invites.
	InviterPerson string `json:"inviter_person,omitempty"`
	// InviterName is how the inviter is called in the mail and on the page.
	InviterName string `json:"inviter_name,omitempty"`
	// ExpiresAt is the deadline: one absolute instant.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// App is the upstream app whose request this was; empty for HTTP.
	App string `json:"app,omitempty"`
	// Request is the id of the app's own event.
	Request string `json:"request,omitempty"`
	// Replaces names the ended invitation that this one was made from by a resend, or because the invitee asked.
	Replaces string `json:"replaces,omitempty"`
	// Renewal is true where the invitee asked for this invitation, because the link of the one it replaces had expired.
	Renewal bool `json:"renewal,omitempty"`
}

// InvitationRejected tells an app that its request was refused, and why. It exists for the bus door only.
type InvitationRejected struct {
	Invitation   string `json:"invitation"`
	Organization string `json:"organization,omitempty"`
	App          string `json:"app"`
	// Request is the id of the app's own event.
	Request string `json:"request"`
	// Reason is the stable code of the refusal, the same as in HTTP problems ("role-too-high").
	Reason string `json:"reason"`
	// Detail is the refusal as a sentence, without addresses.
	Detail string `json:"detail"`
	// Fields name what was wrong, where it was a matter of fields.
	Fields []FieldError `json:"fields,omitempty"`
}

// Why a mail was sent.
const (
	PurposeInvitation = "invitation"
	PurposeResend     = "resend"
)

// InvitationSent tells that the provider took the mail.
type InvitationSent struct {
	Invitation string `json:"invitation"`
	// Generation is the link generation the mail carries.
	Generation int `json:"generation"`
	// Purpose is one of the Purpose constants.
	Purpose string `json:"purpose"`
	// Intent is the ledger sequence of the event that asked for the mail.
	Intent uint64 `json:"intent"`
	// MessageID is the mail's own Message-ID, ProviderMessageID the provider's name for it.
	MessageID         string `json:"message_id"`
	ProviderMessageID string `json:"provider_message_id,omitempty"`
}

// Delivery is what the provider reported about a mail. The four delivery events share it.
type Delivery struct {
	Invitation string `json:"invitation"`
	Generation int    `json:"generation,omitempty"`
	// Intent is the ledger sequence of the event that asked for the mail.
	Intent uint64 `json:"intent,omitempty"`
	// ProviderEvent is the provider's id of its report.
	ProviderEvent string `json:"provider_event,omitempty"`
	// OccurredAt is when it happened, by the provider's clock.
	OccurredAt time.Time `json:"occurred_at"`
	// Code is the SMTP status, where there was one.
	Code int `json:"code,omitempty"`
	// Reason is the provider's word for the class of failure.
	Reason string `json:"reason,omitempty"`
}

// InvitationDelivered tells that the receiving server took the mail.
type InvitationDelivered struct{ Delivery }

// InvitationDeferred tells that the receiving server asked to try later; the provider does.
type InvitationDeferred struct{ Delivery }

// InvitationBounced tells that the mail cannot be delivered.
type InvitationBounced struct{ Delivery }

// InvitationComplained tells that the invitee reported the mail as spam.
type InvitationComplained struct{ Delivery }

// InvitationResendRequested asks for the mail again and moves the deadline.
type InvitationResendRequested struct {
	Invitation string `json:"invitation"`
	// Generation is the link generation from now on; higher than before only when the link was rotated.
	Generation int `json:"generation"`
	// ExpiresAt is the new deadline.
	ExpiresAt time.Time `json:"expires_at"`
	// By is the member's address hash or the API key that asked.
	By string `json:"by,omitempty"`
	// SendAnyway is the explicit act by which an address is written to although it bounced, complained or unsubscribed.
	SendAnyway bool `json:"send_anyway,omitempty"`
}

// InvitationReminderDue is a timer: a reminder may be due. Its handler looks at the ledger and the clock again.
type InvitationReminderDue struct {
	Invitation string `json:"invitation"`
	// Number counts the reminders of one invitation from 1.
	Number int `json:"number"`
}

// InvitationExpiryDue is a timer: the deadline may have passed. Its handler looks at the ledger and the clock again.
type InvitationExpiryDue struct {
	Invitation string    `json:"invitation"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// InvitationReminded tells that the provider took a reminder.
type InvitationReminded struct {
	Invitation        string `json:"invitation"`
	Generation        int    `json:"generation"`
	Number            int    `json:"number"`
	Intent            uint64 `json:"intent"`
	MessageID         string `json:"message_id"`
	ProviderMessageID string `json:"provider_message_id,omitempty"`
}

// Why an accept was refused.
const (
	RefusedExpired      = "expired"
	RefusedRevoked      = "revoked"
	RefusedDeclined     = "declined"
	RefusedReplaced     = "replaced"
	RefusedWrongAccount = "wrong-account"
	RefusedAuthority    = "inviter-lost-authority"
	RefusedRole         = "role-gone"
	RefusedMember       = "already-member"
)

// InvitationAcceptRefused tells that somebody holding the link was turned away.
type InvitationAcceptRefused struct {
	Invitation string `json:"invitation"`
	// Reason is one of the Refused constants.
	Reason string `json:"reason"`
	// Final is true when the invitation had been accepted and provisioning refused the membership for good.
	Final bool `json:"final,omitempty"`
}

// InvitationOpened tells, once for each invitation, that somebody followed the link in a browser. It decides nothing, and who
// it was is not known: a program that opens links as people do would be taken for one.
type InvitationOpened struct {
	Invitation string `json:"invitation"`
	// Generation is that of the link.
	Generation int `json:"generation"`
}

// InvitationRenewalAsked tells that somebody holding the link of an expired invitation asked for a new one.
type InvitationRenewalAsked struct {
	Invitation string `json:"invitation"`
	// Renewed is true where the organization lets invitees renew by themselves: an invitation that replaces this follows.
	Renewed bool `json:"renewed,omitempty"`
}

// What an inviter is told of.
const (
	NoticeAccepted = "accepted"
	NoticeDeclined = "declined"
	NoticeBounced  = "bounced"
	NoticeRenewal  = "renewal"
)

// InvitationNoticed tells that the provider took a mail that tells the inviter what became of the invitation.
type InvitationNoticed struct {
	Invitation string `json:"invitation"`
	// About is one of the Notice constants.
	About             string `json:"about"`
	Intent            uint64 `json:"intent"`
	MessageID         string `json:"message_id"`
	ProviderMessageID string `json:"provider_message_id,omitempty"`
}

// Who accepts.
const (
	InviteeNew      = "new"      // somebody who is a member nowhere yet
	InviteeExisting = "existing" // a member of some organization
)

// InvitationAccepted tells that the invitee said yes. Role, organization and address are not in it: they are in the record.
type InvitationAccepted struct {
	Invitation string `json:"invitation"`
	Generation int    `json:"generation"`
	// Person is the keyed hash of the address that accepted.
	Person string `json:"person"`
	// Name is how a new person wants to be called.
	Name string `json:"name,omitempty"`
	// Locale is the BCP 47 language the person wants to be spoken to in, where they said.
	Locale string `json:"locale,omitempty"`
	// Invitee is one of the Invitee constants.
	Invitee string `json:"invitee"`
}

// InvitationDeclined tells that the invitee said no.
type InvitationDeclined struct {
	Invitation string `json:"invitation"`
	Generation int    `json:"generation"`
	Reason     string `json:"reason,omitempty"`
}

// InvitationRevoked tells that the invitation was taken back.
type InvitationRevoked struct {
	Invitation string `json:"invitation"`
	// By is the member's address hash or the API key that revoked.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// InvitationExpired tells that the deadline passed without an answer.
type InvitationExpired struct {
	Invitation string    `json:"invitation"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// Membership is one person's place in one organization. Each membership event carries it whole, so that the last message
// on the subject is the membership.
type Membership struct {
	Organization string `json:"organization"`
	Person       string `json:"person"`
	Email        string `json:"email"`
	Name         string `json:"name,omitempty"`
	// Locale is the BCP 47 language the person wants to be spoken to in, where they said.
	Locale string `json:"locale,omitempty"`
	Role   string `json:"role"`
	// Invitation is what brought the person in; empty for an organization's first owner.
	Invitation string            `json:"invitation,omitempty"`
	JoinedAt   time.Time         `json:"joined_at"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	// By is the member's address hash or the API key behind the change.
	By string `json:"by,omitempty"`
}

// MembershipProvisioned tells that a person became a member.
type MembershipProvisioned struct{ Membership }

// MembershipRoleChanged tells that a member's role is another now.
type MembershipRoleChanged struct {
	Membership
	PreviousRole string `json:"previous_role"`
}

// MembershipRemoved tells that a person is no longer a member.
type MembershipRemoved struct{ Membership }

// EventType implements Data.
func (InvitationRequested) EventType() Type       { return TypeInvitationRequested }
func (InvitationRejected) EventType() Type        { return TypeInvitationRejected }
func (InvitationSent) EventType() Type            { return TypeInvitationSent }
func (InvitationDelivered) EventType() Type       { return TypeInvitationDelivered }
func (InvitationDeferred) EventType() Type        { return TypeInvitationDeferred }
func (InvitationBounced) EventType() Type         { return TypeInvitationBounced }
func (InvitationComplained) EventType() Type      { return TypeInvitationComplained }
func (InvitationResendRequested) EventType() Type { return TypeInvitationResendRequested }
func (InvitationReminderDue) EventType() Type     { return TypeInvitationReminderDue }
func (InvitationExpiryDue) EventType() Type       { return TypeInvitationExpiryDue }
func (InvitationReminded) EventType() Type        { return TypeInvitationReminded }
func (InvitationAcceptRefused) EventType() Type   { return TypeInvitationAcceptRefused }
func (InvitationOpened) EventType() Type          { return TypeInvitationOpened }
func (InvitationRenewalAsked) EventType() Type    { return TypeInvitationRenewalAsked }
func (InvitationNoticed) EventType() Type         { return TypeInvitationNoticed }
func (InvitationAccepted) EventType() Type        { return TypeInvitationAccepted }
func (InvitationDeclined) EventType() Type        { return TypeInvitationDeclined }
func (InvitationRevoked) EventType() Type         { return TypeInvitationRevoked }
func (InvitationExpired) EventType() Type         { return TypeInvitationExpired }
func (MembershipProvisioned) EventType() Type     { return TypeMembershipProvisioned }
func (MembershipRoleChanged) EventType() Type     { return TypeMembershipRoleChanged }
func (MembershipRemoved) EventType() Type         { return TypeMembershipRemoved }
