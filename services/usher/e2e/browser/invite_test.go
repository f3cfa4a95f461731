package browser

import (
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
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

func TestNothingTypedIsLostWhenSomeRowsFail(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t, map[string]any{"personal_notes": true})
	member := o.Join(t, "member")
	good := harness.Address("good")
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/members").click("Invite").sees("Invite people")

	p.click("Paste a list of addresses").fill("Addresses", "nobody@, Bob Miller <"+good+">; "+member.Email).click("Make rows of it")
	p.holds("three rows", `return things("input[name=email]").length === 3`)
	p.fill("A personal note", "See you on Monday").choose("Open for", "3 days").choose("Role", "viewer", 0)
	p.click("Invite 3 people").sees("2 rows could not be invited").sees("1 invitation on the way").sees("This person is a member already")
	p.lookAt("console/invite", "failed")
	require.Equal(t, "nobody@", p.value("E-mail", 0))
	require.Equal(t, "viewer", p.value("Role", 0))
	require.Equal(t, member.Email, p.value("E-mail", 1))
	require.Equal(t, "See you on Monday", p.value("A personal note", 0))
	require.Equal(t, "72h0m0s", p.value("Open for", 0))
	require.Contains(t, u.Mails.Next(t, good, 0).Text, "See you on Monday")

	corrected := harness.Address("corrected")
	p.fill("E-mail", corrected).click("Remove row "+member.Email).holds("one row", `return things("input[name=email]").length === 1`)
	p.click("Invite").sees("1 invitation on the way").sees(corrected)
	u.Mails.Next(t, corrected, 0)
	require.Len(t, u.Mails.To(t, good), 1, "correcting a row invited the others again")
}

func TestARowIsJudgedWhileItIsTyped(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invited := o.Invite(t, harness.Address("invited"), "member")
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/members").click("Invite").sees("Invite people")
	p.fill("E-mail", invited.Email).keys(kb.Tab).sees("An invitation to this address is open already")
	p.fill("E-mail", harness.Address("free")).keys(kb.Tab).misses("open already")
}

func TestEscapeDoesNotThrowAwayWhatWasTyped(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/members").click("Invite").sees("Invite people")
	p.fill("E-mail", "half@exa").keys(kb.Escape)
	require.Equal(t, "half@exa", p.value("E-mail", 0))
	p.click("Close").misses("Invite people")
}

func TestWhoMayNotInviteSeesWhomToAsk(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	member := o.Join(t, "member")
	p := signedIn(t, &u.System, member.Email).open("/console/" + o.ID + "/members")
	p.sees("Inviting is for owners and admins. Ask Olivia Owner").lookAt("console/members", "member")
	p.click("Invitations").sees("Invitations are for owners and admins").lookAt("console/notforyou")
	p.open("/console/" + o.ID + "/invite").sees("Not for your role").lookAt("console/trouble")
}

func TestASessionThatEndedLosesNothingTyped(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	email := harness.Address("late")
	p := signedIn(t, &u.System, o.Owner).withoutScript().open("/console/" + o.ID + "/invite")
	p.fill("E-mail", email)
	p.do(call(network.ClearBrowserCookies, cdp.Empty{}))
	p.click("Invite").sees("Your session has ended").lookAt("console/lost")
	p.become(&u.System, o.Owner)
	p.click("2. Send what I typed").sees("1 invitation on the way")
	u.Mails.Next(t, email, 0)
}
