// Package events is Usher's published contract: every event, the subject it travels on, and its form on the wire.
//
// It is what an upstream app imports to invite people over the bus and to hear what became of them. It depends on the
// standard library and google/uuid alone.
//
// # Inviting somebody
//
// An app publishes one message on requests.<app>, the subject that is its own:
//
//	header, body, err := events.Encode(events.Event{
//		ID:     "order-4711", // the app's own id: the same id again is the same invitation
//		Source: "/crm",
//		Data: &events.InvitationRequested{
//			Organization: "acme", Email: "new.person@example.org", Role: "member", Inviter: "owner@example.org",
//		},
//	})
//	js.PublishMsg(ctx, &nats.Msg{Subject: events.RequestSubject("crm"), Header: nats.Header(header), Data: body})
//
// Apps in other languages send any form of CloudEvents 1.0 in JSON, or the body alone. From the command line:
//
//	nats pub requests.crm '{"organization":"acme","email":"new.person@example.org","role":"member","inviter":"owner@example.org"}'
//
// # Hearing what became of it
//
// A listener subscribes to the subjects it cares for and hands each message to Decode, which gives a typed body:
//
//	e, err := events.Decode(msg.Header, msg.Data, msg.Subject)
//	if errors.Is(err, events.ErrUnknownType) {
//		return nil // a newer Usher says more than this program understands
//	}
//	switch data := e.Data.(type) {
//	case *events.MembershipProvisioned:
//		welcome(data.Person, data.Role)
//	}
//
// Fields and events may be added under the same version: readers ignore what they don't know. Anything else gets a new
// version in the type's name. The package eventstest has ready-made events for the tests of apps.
//
// For other languages, Schemas holds a JSON Schema per event and AsyncAPI the whole contract as an AsyncAPI 3 document.
//
// # The catalogue
//
// Who publishes what, and who listens:
//
//	event                      subject                                     published by      heard by
//	InvitationRequested        requests.<app>                              an upstream app   api (admission)
//	InvitationRequested        invitations.<org>.<id>.requested            api               mailer, views
//	InvitationRejected         invitations.<org>.<id>.outcome.rejected     api               views, the app
//	InvitationSent             invitations.<org>.<id>.sent                 mailer            views
//	InvitationDelivered        invitations.<org>.<id>.delivery.delivered   api               views
//	InvitationDeferred         invitations.<org>.<id>.delivery.deferred    api               views
//	InvitationBounced          invitations.<org>.<id>.delivery.bounced     api, mailer       mailer, views
//	InvitationComplained       invitations.<org>.<id>.delivery.complained  api               views
//	InvitationResendRequested  invitations.<org>.<id>.resend               api               mailer, views
//	InvitationReminderDue      invitations.<org>.<id>.due.reminder         message schedule  mailer
//	InvitationExpiryDue        invitations.<org>.<id>.due.expiry           message schedule  acceptance
//	InvitationReminded         invitations.<org>.<id>.reminded             mailer            views
//	InvitationAcceptRefused    invitations.<org>.<id>.refused              api, acceptance   views
//	InvitationOpened           invitations.<org>.<id>.opened               api               views
//	InvitationRenewalAsked     invitations.<org>.<id>.renewal              api               mailer, views
//	InvitationNoticed          invitations.<org>.<id>.noticed              mailer            operators
//	InvitationAccepted         invitations.<org>.<id>.outcome.accepted     api               acceptance, mailer, views
//	InvitationDeclined         invitations.<org>.<id>.outcome.declined     api               mailer, views
//	InvitationRevoked          invitations.<org>.<id>.outcome.revoked      api               mailer, views
//	InvitationExpired          invitations.<org>.<id>.outcome.expired      acceptance        views
//	MembershipProvisioned      memberships.<org>.<person>                  acceptance, api   views, upstream apps
//	MembershipRoleChanged      memberships.<org>.<person>                  api               views, upstream apps
//	MembershipRemoved          memberships.<org>.<person>                  api               views, upstream apps
package events

//go:generate go -C ../services/usher/e2e/contract test -run TestDocumentsFollowTheTypes -update
