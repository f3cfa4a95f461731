package browser

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOwnersSetNameLookAndTexts(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/settings").sees("Texts of the invitation")
	p.lookAt("console/settings")
	p.fill("Accent colour", "#ffff00").sees("Take a darker shade")
	p.fill("Name", "").click("Save settings").sees("Accent colour").lookAt("console/settings", "faults")
	require.Equal(t, "#ffff00", p.value("Accent colour", 0))

	p.fill("Name", "Northwind").fill("Accent colour", "#0b6e4f").fill("Subject", "Come to {organization}").click("Save settings")
	p.holds("the new name in the header", `return document.querySelector("header").innerText.includes("Northwind")`)
	_, mail := o.Invited(t, "member")
	require.Equal(t, "Come to Northwind", mail.Subject)
	visitor(t, u.URL).open(mail.Link(t)).sees("invites you to join Northwind").lookAt("pages/invitation", "accent")
}

func TestSettingsAreForOwners(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	p := signedIn(t, &u.System, o.Join(t, "admin").Email).open("/console/" + o.ID + "/settings")
	p.sees("Settings are for owners").lookAt("console/notyours")
}

func TestInvitersChooseWhatTheyAreToldBy(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	p := signedIn(t, &u.System, o.Owner).open("/console/preferences").sees("Write to me when")
	p.lookAt("console/preferences")
	for _, box := range look[[]string](p, "the boxes", `return things("[name=notice]").filter(box => box.checked).map(name)`) {
		p.click(box)
	}
	p.click("Save preferences").sees("Your preferences were saved")
	require.False(t, look[bool](p, "the boxes", `return Boolean(document.querySelector("[name=notice]:checked"))`))

	invitation, mail := o.Invited(t, "member")
	o.Accept(t, invitation, mail)
	o.Bus(t).Idle(t, "INVITATIONS", "mailer-notices")
	require.Empty(t, u.Mails.To(t, o.Owner), "a notice was mailed that nobody wants")
}
