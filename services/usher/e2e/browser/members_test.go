package browser

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestRolesAreChangedAndMembersRemoved(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	member := o.Join(t, "member")
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/members")
	p.sees(member.Email).sees("nobody: there from the start").lookAt("console/members")

	p.click("Manage Nell New").sees("Role from now on").lookAt("console/member", "dialog")
	p.choose("Role from now on", "admin").click("Change role").sees("The role was changed")
	changed, _ := o.Member(t, member.Email)
	require.Equal(t, "admin", changed.Role)

	p.click("Manage Nell New").click("Remove from the organization").sees("loses the role admin").lookAt("console/remove", "dialog")
	p.click("Keep").misses("loses the role")
	require.Len(t, o.Members(t), 2)
	p.click("Manage Nell New").click("Remove from the organization").sees("loses the role").click("Remove")
	p.sees("The member was removed").misses(member.Email)
	require.Len(t, o.Members(t), 1)
}

func TestTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/members")
	p.click("Manage Olivia Owner").sees("the organization's only owner").misses("Leave the organization").lookAt("console/member", "last")

	owner := o.Members(t)[0]
	p.open("/console/" + o.ID + "/members/" + owner.Person + "/remove").click("Leave").sees("An organization needs an owner")
	p.lookAt("console/trouble", "owner")
	require.Len(t, o.Members(t), 1)
}

func TestMembersAreFoundByName(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	o.Join(t, "member")
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/members").sees("Nell New")
	p.fill("Search", "Oliv").misses("Nell New").sees("Olivia Owner")
	p.fill("Search", "Nobody").sees("Nobody found").lookAt("console/members", "nobody")
	p.click("Show all members").sees("Nell New")
}

func TestPeopleInSeveralOrganizationsSwitchThere(t *testing.T) {
	t.Parallel()
	u := common(t)
	first, second := u.Organization(t), u.Organization(t)
	member := first.Join(t, "admin")
	second.Accept(t, second.Invite(t, member.Email, "member"), u.Mails.Next(t, member.Email, 1))
	p := signedIn(t, &u.System, member.Email).open("/console/" + first.ID + "/members")
	p.click("Organization: "+first.Name).sees("Switch to").lookAt("console/members", "menu")
	p.click(second.Name).sees("Inviting is for owners and admins")
	require.Equal(t, "/console/"+second.ID+"/members", p.path())
}

func TestWhoIsNowhereIsToldWhereToLook(t *testing.T) {
	t.Parallel()
	u := common(t)
	p := visitor(t, u.URL).open("/console").sees("Who do you want to be?")
	p.lookAt("signin/choose")
	p.click("Somebody else").fill("Address", harness.Address("nobody")).click("Sign in as this person")
	p.sees("You are not in any organization yet").lookAt("console/nowhere")
	p.click("Look for invitations").sees("Nothing is open for")
	p.open("/console").click("Your account").click("Sign out").sees("Who do you want to be?")
	p.open("/console/acme/members").sees("Who do you want to be?")
}
