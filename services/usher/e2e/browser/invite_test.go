package browser

import (
	"testing"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestInvitingThroughTheDialog(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	first, second := harness.Address("first"), harness.Address("second")
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/invitations")
	p.sees("Invite the first person").lookAt("console/invitations", "empty")
	p.click("Invite").sees("Invite people").lookAt("console/invite", "dialog")

	p.fill("E-mail", first).choose("Role", "admin")
	p.click("Add a row").holds("a second row", `return things("input[name=email]").length === 2`)
	p.fill("E-mail", second, 1).click("Invite 2 people")
	p.sees("2 invitations on the way").lookAt("console/invite", "done")
	p.click("Done").sees(first).sees(second)
	u.Mails.Next(t, first, 0)
	u.Mails.Next(t, second, 0)
}
