package browser

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestInvitationsAreFilteredAndSearched(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	open, declined := o.Invite(t, harness.Address("open"), "viewer"), o.Invite(t, harness.Address("declined"), "member")
	u.Invitee(t).Open(u.Mails.Next(t, declined.Email, 0).Link(t)).Decline()
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/invitations")
	p.sees(open.Email).sees(declined.Email).lookAt("console/invitations")

	p.click("Declined 1").misses(open.Email).sees(declined.Email)
	p.click("Revoked 0").sees("There is no invitation of this kind").lookAt("console/invitations", "none")
	p.click("All 2").sees(open.Email)
	p.fill("Search", "open.").misses(declined.Email).sees(open.Email)
	require.Contains(t, p.path(), "search=open.")
	p.fill("Search", "absent").sees("Nothing found")
}

func TestTickedInvitationsAreResentAndRevoked(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	first, second := o.Invite(t, harness.Address("first"), "member"), o.Invite(t, harness.Address("second"), "member")
	for _, invitation := range []harness.Invitation{first, second} {
		u.Mails.Next(t, invitation.Email, 0)
	}
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/invitations").sees(first.Email)

	p.click("Select " + first.Email).click("Resend").sees("on its way again")
	u.Mails.Next(t, first.Email, 1)
	p.click("Select all on this page").click("Revoke …").sees("Revoke 2 invitations?").lookAt("console/revokeseveral")
	require.Equal(t, "pending", u.Show(t, first.ID).Status, "revoked before it was confirmed")
	p.click("Revoke 2 invitations").sees("Revoked 2")
	for _, invitation := range []harness.Invitation{first, second} {
		require.Equal(t, "revoked", u.Show(t, invitation.ID).Status)
	}
	require.Len(t, u.Mails.To(t, second.Email), 1, "a mail went to somebody who was not ticked")
}

func TestOneInvitationIsResentAndRevoked(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/invitations").click(invitation.Email)
	p.sees("Invited by you").sees("E-mail sent").lookAt("console/invitation")
	p.click("The e-mail as sent").sees("The personal links are masked").lookAt("console/invitation", "letter")
	require.NotContains(t, look[string](p, "the page", `return document.documentElement.outerHTML`), mail.Token(t), "the page holds the invitee's secret")

	p.click("Resend with a new link").sees("A new link is on its way")
	require.NotEqual(t, mail.Link(t), u.Mails.Next(t, invitation.Email, 1).Link(t))
	p.click("Revoke …").sees("Revoke this invitation?").lookAt("console/revoke", "dialog")
	p.click("Keep it open").misses("Revoke this invitation?")
	require.Equal(t, "pending", u.Show(t, invitation.ID).Status)
	p.click("Revoke …").sees("Revoke this invitation?").click("Revoke").sees("The invitation was revoked").sees("Revoked by you")
	require.Equal(t, "revoked", u.Show(t, invitation.ID).Status)
	p.lookAt("console/invitation", "revoked")
}

func TestTheAddressOfABouncedInvitationIsPutRight(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, mailgun.Settings()...)
	u.Mails = mailgun.Mailbox
	o := u.Organization(t)
	wrong, right := harness.Address("wrong"), harness.Address("right")
	mailgun.Fault(t, map[string]any{"status": 400, "recipient": wrong, "times": -1})
	invitation := o.Invite(t, wrong, "viewer")
	o.Await(t, invitation.ID, "bounced", func(i harness.Invitation) bool { return i.Delivery == "bounced" })

	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/invitations").sees("Bounced:")
	p.click("Not delivered 1").click(wrong).sees("Was the address wrong?").lookAt("console/invitation", "bounced")
	p.fill("Was the address wrong?", right).click("Invite").sees("on its way to the right address")
	require.Equal(t, right, u.Mails.Next(t, right, 0).Recipient)
	require.Equal(t, "viewer", harness.All[harness.Invitation](t, u.API(), o.Path("/invitations?email="+right))[0].Role)
}
