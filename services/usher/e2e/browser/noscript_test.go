package browser

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestInvitingNeedsNoScript(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	first, second, third := harness.Address("first"), harness.Address("second"), harness.Address("third")
	p := signedIn(t, &u.System, o.Owner).withoutScript().open("/console/" + o.ID + "/invitations")
	p.click("Invite").sees("Invite people")
	require.Equal(t, "/console/"+o.ID+"/invite", p.path())
	p.lookAt("console/invite", "no-script")
	p.fill("E-mail", first).click("Add a row").fill("E-mail", "nobody@", 1)
	p.click("Paste a list of addresses").fill("Addresses", second+", "+third).click("Make rows of it")
	p.click("Invite 4 people").sees("3 invitations on the way").sees("1 row could not be invited")
	require.Equal(t, "nobody@", p.value("E-mail", 0))
	for _, email := range []string{first, second, third} {
		u.Mails.Next(t, email, 0)
	}

	p.open("/console/"+o.ID+"/invitations").sees(first).lookAt("console/invitations", "no-script")
	p.fill("Search", second).click("Search").misses(first).click(second).sees("What happened")
	p.click("Revoke …").sees("Revoke this invitation?").lookAt("console/revoke", "no-script")
	p.click("Revoke").sees("The invitation was revoked")
}

func TestAcceptingAndDecliningNeedNoScript(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	_, mail := o.Invited(t, "member")
	p := visitor(t, u.URL).withoutScript().open(mail.Link(t))
	p.accept("Nell New").sees("You are in")

	_, mail = o.Invited(t, "member")
	p.open(mail.Link(t)).click("No, thank you").click("I do not want to join").click("Decline invitation")
	p.sees("You declined this invitation")
}
