package browser

import (
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// focus is where the keyboard is.
type focus struct {
	Name          string
	Marked, Shown bool
}

// at tells where the keyboard is, and whether people can see that.
func (p *person) at() focus {
	p.t.Helper()
	return look[focus](p, "the focus", `
		const el = document.activeElement, style = getComputedStyle(el), box = el.getBoundingClientRect();
		const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
		const glow = style.boxShadow.split(/,(?![^(]*\))/).some(s => /0px 0px 0px [2-9.]+px/.test(s) && !/rgba\([^)]*, 0\)/.test(s));
		return {Name: name(el), Marked: ring || glow, Shown: box.width > 0 && box.top >= 0 && box.bottom <= innerHeight + 1}`)
}

// comesTo waits until the keyboard is in what has that name: a dialog is seen a moment before it takes it.
func (p *person) comesTo(name string) {
	p.t.Helper()
	p.holds("the keyboard to be in "+name, `return name(document.activeElement) === %s`, name)
}

// tabTo presses Tab until something of that name has the keyboard. On the way, it must be seen where that is.
func (p *person) tabTo(name string) *person {
	p.t.Helper()
	var passed []string
	for range 60 {
		p.keys(kb.Tab)
		at := p.at()
		passed = append(passed, at.Name)
		require.True(p.t, at.Marked && at.Shown || at.Name == "", "on the way it cannot be seen where the keyboard is: %+v", at)
		if len(at.Name) >= len(name) && at.Name[:len(name)] == name {
			return p
		}
	}
	require.Fail(p.t, "Tab does not lead to "+name, "%q", passed)
	return p
}

func TestInvitingWithTheKeyboardAlone(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	first, second := harness.Address("first"), harness.Address("second")
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/members").sees("User Management")
	p.keys(kb.Tab)
	require.Equal(t, "Skip to the content", p.at().Name)
	require.True(t, p.at().Shown, "the way past the header cannot be seen")
	p.tabTo("Invite").keys(kb.Enter).sees("Invite people")
	p.comesTo("E-mail")

	p.keys(first).tabTo("Role").keys("v").tabTo("Add a row").keys(kb.Enter)
	p.holds("the keyboard to be in the new row", `const rows = things("input[name=email]"); return rows.length === 2 && document.activeElement === rows[1]`)
	p.keys(second).tabTo("Invite 2 people").keys(kb.Enter).sees("2 invitations on the way").sees(first + " as viewer")
	p.tabTo("Done").keys(kb.Enter).misses("2 invitations on the way")
	p.comesTo("Invite") // where it was before the dialog

	p.keys(kb.Enter).sees("Invite people").keys(kb.Escape).misses("Invite people")
}

func TestAcceptingWithTheKeyboardAlone(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	p := visitor(t, u.URL).open(mail.Link(t)).sees("invites you to join")
	p.tabTo("Your name").keys("Kay Board").tabTo("Yes, I am").keys(" ").tabTo("Accept invitation").keys(kb.Enter)
	p.sees("You are in")
	member, joined := o.Member(t, invitation.Email)
	require.True(t, joined)
	require.Equal(t, "Kay Board", member.Name)
}

func TestDecliningWithTheKeyboardAlone(t *testing.T) {
	t.Parallel()
	u := common(t)
	invitation, mail := u.Organization(t).Invited(t, "member")
	p := visitor(t, u.URL).open(mail.Link(t)).sees("invites you to join")
	p.tabTo("No, thank you").keys(kb.Enter).tabTo("I do not want to join").keys(" ").tabTo("Decline invitation").keys(kb.Enter)
	p.sees("You declined this invitation")
	require.Equal(t, "declined", u.Show(t, invitation.ID).Status)
}
