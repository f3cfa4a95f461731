package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func accept(t *testing.T, o *harness.Organization, mail harness.Mail) {
	t.Helper()
	a := harness.Client{URL: o.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "Nell New"})
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
}

// noticed waits until the ledger says that the inviter was told, and gives what it says.
func noticed(t *testing.T, o *harness.Organization, invitation harness.Invitation) map[string]any {
	t.Helper()
	about := "invitations." + o.ID + "." + invitation.ID + ".noticed"
	return harness.Until(t, "the notice", func() (map[string]any, bool) {
		stored := o.Bus(t).Stored(t, "INVITATIONS", about)
		if len(stored) == 0 {
			return nil, false
		}
		return stored[len(stored)-1].Fields(t), true
	})
}

// renewal publishes that the invitee of an expired invitation asked for a new link.
func renewal(t *testing.T, o *harness.Organization, invitation harness.Invitation, renewed bool) {
	t.Helper()
	subject := events.InvitationSubject(o.ID, invitation.ID, events.FactRenewal)
	header, body, err := events.Encode(events.Event{
		ID: events.DerivedEventID("test", invitation.ID), Source: "/test", Subject: invitation.ID, Data: &events.InvitationRenewalAsked{Invitation: invitation.ID, Renewed: renewed},
	})
	require.NoError(t, err)
	var pairs []string
	for name, values := range header {
		pairs = append(pairs, name, values[0])
	}
	o.Bus(t).Request(t, subject, body, pairs...)
}

func TestInvitersHearWhatBecameOfTheirInvitations(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, mailgun.Settings()...)
	u.Mails = mailgun.Mailbox
	for name, c := range map[string]struct {
		happen         func(t *testing.T, o *harness.Organization) harness.Invitation
		about, subject string
	}{
		"accepted": {about: "accepted", subject: "Nell New accepted your invitation", happen: func(t *testing.T, o *harness.Organization) harness.Invitation {
			invitation, mail := o.Invited(t, "member")
			accept(t, o, mail)
			return invitation
		}},
		"declined": {about: "declined", subject: "declined your invitation", happen: func(t *testing.T, o *harness.Organization) harness.Invitation {
			invitation, mail := o.Invited(t, "member")
			u.Invitee(t).Open(mail.Link(t)).Decline()
			return invitation
		}},
		"bounced": {about: "bounced", subject: "could not be delivered", happen: func(t *testing.T, o *harness.Organization) harness.Invitation {
			email := harness.Address("gone")
			mailgun.Fault(t, map[string]any{"status": 400, "recipient": email, "times": -1})
			return o.Invite(t, email, "member")
		}},
		"asks for a new link": {about: "renewal", subject: "asks for a new invitation", happen: func(t *testing.T, o *harness.Organization) harness.Invitation {
			invitation, _ := o.Invited(t, "member")
			renewal(t, o, invitation, false)
			return invitation
		}},
		"got a new link": {about: "renewal", subject: "got a new invitation", happen: func(t *testing.T, o *harness.Organization) harness.Invitation {
			invitation, _ := o.Invited(t, "member")
			renewal(t, o, invitation, true)
			return invitation
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := u.Organization(t)
			invitation := c.happen(t, o)
			notice := u.Mails.Next(t, o.Owner, 0)
			require.Contains(t, notice.Subject, c.subject)
			require.Contains(t, notice.Subject, map[bool]string{true: "Nell New", false: invitation.Email}[name == "accepted"])
			require.Contains(t, notice.Text, "Olivia Owner")
			require.Contains(t, notice.Text, "\n"+u.PublicURL+"/console/"+o.ID+"/invitations/"+invitation.ID)
			require.Contains(t, notice.HTML, u.PublicURL+"/console/"+o.ID+"/invitations/"+invitation.ID)
			require.NotContains(t, notice.Text+notice.HTML, "/i/", "the invitee's link is nobody else's")
			told := noticed(t, o, invitation)
			require.Equal(t, c.about, told["about"])
			require.Equal(t, notice.MessageID, told["message_id"])
			o.Bus(t).Idle(t, "INVITATIONS", "mailer-notices")
			require.Len(t, u.Mails.To(t, o.Owner), 1)
		})
	}
}

func TestNobodyIsToldWhoWouldNotBe(t *testing.T) {
	t.Parallel()
	u := common(t)
	for name, prepare := range map[string]func(t *testing.T, o *harness.Organization) []any{
		"an API key invites": func(*testing.T, *harness.Organization) []any { return []any{"inviter", ""} },
		"the inviter wants no such notices": func(t *testing.T, o *harness.Organization) []any {
			owner, ok := o.Member(t, o.Owner)
			require.True(t, ok)
			o.Bus(t).Request(t, "$KV.preferences."+owner.Person, []byte(`{"notices":{"declined":false}}`))
			return nil
		},
		"the inviter's address is not written to": func(t *testing.T, o *harness.Organization) []any {
			owner, _ := o.Member(t, o.Owner)
			o.Bus(t).Request(t, "$KV.suppressions."+owner.Person, []byte(`{"reason":"bounced","since":"2026-01-01T00:00:00Z"}`))
			return nil
		},
		"the inviter is no member any more": func(t *testing.T, o *harness.Organization) []any {
			admin := o.Join(t, "admin")
			return []any{"inviter", admin.Email}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := u.Organization(t)
			told, mail := o.Invited(t, "member")
			u.Invitee(t).Open(mail.Link(t)).Decline()
			noticed(t, o, told)

			before := len(u.Mails.To(t, o.Owner))
			invitation, mail := o.Invited(t, "member", prepare(t, o)...)
			if invitation.Inviter != o.Owner && strings.Contains(invitation.Inviter, "@") {
				before = len(u.Mails.To(t, o.Owner)) // who was told of them, when they joined
				gone, _ := o.Member(t, invitation.Inviter)
				require.Equal(t, http.StatusNoContent, o.API().As(o.Owner).Do(t, http.MethodDelete, o.Path("/members/"+gone.Person), nil).Status)
			}
			u.Invitee(t).Open(mail.Link(t)).Decline()
			o.Bus(t).Idle(t, "INVITATIONS", "mailer-notices")
			require.Len(t, u.Mails.To(t, o.Owner), before)
			require.NotContains(t, o.Bus(t).Facts(t, o.ID, invitation.ID), "noticed")
		})
	}
}

// T009: of a notice that was taken without an answer, the provider is asked before it is sent again.
func TestANoticeIsSentOnceThoughNobodyHeardThatItWas(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, mailgun.Settings()...)
	u.Mails = mailgun.Mailbox
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	mailgun.Fault(t, map[string]any{"accept": true, "cut": "before-answer", "recipient": o.Owner})
	accept(t, o, mail)
	told := noticed(t, o, invitation)
	require.Len(t, u.Mails.To(t, o.Owner), 1)
	require.Equal(t, u.Mails.To(t, o.Owner)[0].MessageID, told["message_id"])

	o.Bus(t).Idle(t, "INVITATIONS", "mailer-notices")
	require.Len(t, u.Mails.To(t, o.Owner), 1)
}

func TestWhoeverInvitesManyIsNotFlooded(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	var last harness.Invitation
	for range 30 {
		invitation, mail := o.Invited(t, "member")
		accept(t, o, mail)
		last = invitation
	}
	o.Bus(t).Idle(t, "INVITATIONS", "mailer-notices")
	harness.Eventually(t, "the notices", func() bool { return len(u.Mails.To(t, o.Owner)) == 20 })
	renewal(t, o, last, false)
	require.Contains(t, u.Mails.Next(t, o.Owner, 20).Subject, "asks for a new invitation", "what somebody waits for is always told")
}

// change stores an organization as its own settings would, and waits until it is known.
func change(t *testing.T, o *harness.Organization, settings map[string]any) {
	t.Helper()
	value, err := json.Marshal(settings)
	require.NoError(t, err)
	o.Bus(t).Request(t, "$KV.organizations."+o.ID, value)
	notes := settings["policy"].(map[string]any)["personal_notes"] == true
	harness.Eventually(t, "the organization's settings", func() bool {
		body := map[string]any{"email": harness.Address("probe"), "role": "member", "inviter": o.Owner, "note": "Hello"}
		return (o.API().Post(t, o.Path("/invitations"), body).Status == http.StatusAccepted) == notes
	})
}

func TestMailsSpeakAndLookAsTheOrganizationWants(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	_, mail := o.Invited(t, "admin")
	require.Empty(t, mail.Header("Reply-To"))
	settings := map[string]any{
		"id": o.ID, "name": o.Name, "locale": "de", "created_at": "2026-01-01T00:00:00Z",
		"policy":   map[string]any{"personal_notes": true, "reply_to_inviter": true},
		"branding": map[string]any{"logo": "3f2a.png", "accent": "#f4b400"},
		"texts":    map[string]any{"subject": "{inviter} braucht dich bei {organization}"},
	}
	change(t, o, settings)
	noted, mail := o.Invited(t, "admin", "note", "Bis Montag!")
	require.Equal(t, "Olivia Owner braucht dich bei "+o.Name, mail.Subject)
	require.Contains(t, mail.From, "Olivia Owner über ")
	require.Contains(t, mail.Text, "Rolle: Administrator")
	require.Contains(t, mail.Text, "„Bis Montag!“")
	require.Contains(t, mail.HTML, `src="`+u.PublicURL+"/logos/"+o.ID+`/3f2a.png"`)
	require.Contains(t, mail.HTML, "background:#f4b400")
	require.Equal(t, o.Owner, mail.Header("Reply-To"))

	invitation, korean := o.Invited(t, "admin", "locale", "ko-KR")
	require.Contains(t, korean.HTML, `<html lang="ko" dir="ltr"`)
	require.Contains(t, korean.Text, "관리자")
	u.Invitee(t).Open(korean.Link(t)).Decline()
	noticed(t, o, invitation)
	notice := u.Mails.To(t, o.Owner)[0]
	require.Contains(t, notice.Subject, "hat Ihre Einladung", "inviters are written to in the organization's language")
	owner, _ := o.Member(t, o.Owner)
	o.Bus(t).Request(t, "$KV.preferences."+owner.Person, []byte(`{"locale":"es"}`))
	another, mail := o.Invited(t, "member")
	u.Invitee(t).Open(mail.Link(t)).Decline()
	noticed(t, o, another)
	require.Contains(t, u.Mails.To(t, o.Owner)[1].Subject, "ha rechazado", "unless they chose another")

	settings["policy"] = map[string]any{"personal_notes": false}
	change(t, o, settings)
	require.Equal(t, http.StatusAccepted, o.API().Post(t, "/v1/invitations/"+noted.ID+"/resend", nil).Status)
	again := u.Mails.Next(t, noted.Email, 1)
	require.NotContains(t, again.Text, "Bis Montag!", "notes were forbidden meanwhile")
	require.Empty(t, again.Header("Reply-To"))
}

// A renewal is an invitation with words of its own. Nobody but the invitee's own wish makes one, so the record is written
// as admission would.
func TestARenewedInvitationSaysThatItWasAskedFor(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t, map[string]any{"self_service_renewal": true})
	old, _ := o.Invited(t, "member")
	stored := o.Bus(t).Stored(t, "INVITATIONS", "invitations."+o.ID+"."+old.ID+".requested")[0].Fields(t)
	id := events.NewInvitationID()
	stored["invitation"], stored["replaces"], stored["renewal"] = id, old.ID, true
	body, err := json.Marshal(stored)
	require.NoError(t, err)
	o.Bus(t).Request(t, "invitations."+o.ID+"."+id+".requested", body, "ce-specversion", "1.0", "ce-id", events.NewEventID(),
		"ce-source", "/test", "ce-type", string(events.TypeInvitationRequested), "content-type", "application/json")
	mail := u.Mails.Next(t, old.Email, 1)
	require.Equal(t, "Your new invitation to join “"+o.Name+"”", mail.Subject)
	require.Contains(t, mail.Text, "You asked for a new link")
	sent := harness.Until(t, "the ledger to say so", func() ([]harness.Stored, bool) {
		stored := o.Bus(t).Stored(t, "INVITATIONS", "invitations."+o.ID+"."+id+".sent")
		return stored, len(stored) > 0
	})
	require.Equal(t, "invitation", sent[0].Fields(t)["purpose"])
}
