// Package events is Usher's published contract: every event, the subject it travels on, and its form on the wire.
//
// It is what an upstream app imports to invite people over the bus and to hear what became of them. It depends on the
// standard library and google/uuid alone.
//
// Who publishes what, and who listens:
//
//	event                          subject                                   published by      heard by
//	InvitationRequested            requests.<app>                            an upstream app   api (admission)
//	InvitationRequested            invitations.<org>.<id>.requested          api               mailer, views
//	InvitationRejected             invitations.<org>.<id>.outcome.rejected   api               views, the app
//	InvitationSent                 invitations.<org>.<id>.sent               mailer            views
//	InvitationDelivered            invitations.<org>.<id>.delivery.delivered api               views
//	InvitationDeferred             invitations.<org>.<id>.delivery.deferred  api               views
//	InvitationBounced              invitations.<org>.<id>.delivery.bounced   api, mailer       views
//	InvitationComplained           invitations.<org>.<id>.delivery.complained api              views
//	InvitationResendRequested      invitations.<org>.<id>.resend             api               mailer, views
//	InvitationReminderDue          invitations.<org>.<id>.due.reminder       message schedule  mailer
//	InvitationExpiryDue            invitations.<org>.<id>.due.expiry         message schedule  acceptance
//	InvitationReminded             invitations.<org>.<id>.reminded           mailer            views
//	InvitationAcceptRefused        invitations.<org>.<id>.refused            api, acceptance   views
//	InvitationAccepted             invitations.<org>.<id>.outcome.accepted   api               acceptance, views
//	InvitationDeclined             invitations.<org>.<id>.outcome.declined   api               views
//	InvitationRevoked              invitations.<org>.<id>.outcome.revoked    api               mailer, views
//	InvitationExpired              invitations.<org>.<id>.outcome.expired    acceptance        views
//	MembershipProvisioned          memberships.<org>.<person>                acceptance, api   views, upstream apps
//	MembershipRoleChanged          memberships.<org>.<person>                api               views, upstream apps
//	MembershipRemoved              memberships.<org>.<person>                api               views, upstream apps
package events
