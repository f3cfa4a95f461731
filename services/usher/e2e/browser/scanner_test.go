package browser

import (
	"context"
	"regexp"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// scan does what security scanners do with a link that came by mail: follow it and every link behind it, fill in and send
// every form, with each of its buttons and with none, past what the page would check. What they do not do is tick a box.
func (p *person) scan(link string, followed map[string]bool) (sent int) {
	p.t.Helper()
	p.open(link)
	for _, href := range look[[]string](p, "its links", `return [...document.querySelectorAll("a[href]")].map(a => a.href).filter(h => h.startsWith(location.origin))`) {
		if !followed[href] {
			followed[href] = true
			p.open(href)
		}
	}
	p.open(link)
	buttons := look[[]int](p, "its forms", `return [...document.forms].map(f => f.querySelectorAll("button, [type=submit]").length)`)
	for form, n := range buttons {
		for button := -1; button < n; button++ {
			p.open(link)
			look[bool](p, "its fields", `for (const field of document.querySelectorAll("input[type=text], textarea")) field.value = "Scanner"; return true`)
			_, err := chromedp.RunResponse(p.ctx, chromedp.Func(func(context.Context, *chromedp.Target) error {
				_, err := js[bool](p, `const form = document.forms[%v], button = form.querySelectorAll("button, [type=submit]")[%v];
					form.noValidate = true;
					setTimeout(() => button ? form.requestSubmit(button) : form.submit());
					return true`, form, button)
				return err
			}))
			require.NoError(p.t, err)
			sent++
		}
	}
	return sent
}

var links = regexp.MustCompile(`href="(https?://[^"]+)"`)

func TestAScannerThatSendsEveryFormChangesNothing(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, bus := u.Organization(t), u.Bus(t)
	known := u.Organization(t).Join(t, "member")
	fresh, first := o.Invited(t, "member")
	existing := o.Invite(t, known.Email, "viewer")
	second := u.Mails.Next(t, known.Email, 1)
	for _, invitation := range []harness.Invitation{fresh, existing} {
		o.Await(t, invitation.ID, "sent", func(i harness.Invitation) bool { return i.Delivery == "sent" })
	}
	before, suppressed := bus.Subjects(t, "INVITATIONS", "invitations."+o.ID+".>"), bus.Count(t, "KV_suppressions", ">")

	p := visitor(t, u.URL)
	sent, followed := 0, map[string]bool{}
	for _, mail := range []harness.Mail{first, second} {
		for _, found := range links.FindAllStringSubmatch(mail.HTML, -1) {
			require.Contains(t, found[1], u.PublicURL)
			sent += p.scan(found[1], followed)
		}
	}
	require.GreaterOrEqual(t, sent, 8, "the scanner found too little to send")
	after := bus.Subjects(t, "INVITATIONS", "invitations."+o.ID+".>")
	for _, invitation := range []harness.Invitation{fresh, existing} { // a scanner that is a whole browser is taken for a person here, and only here
		delete(after, "invitations."+o.ID+"."+invitation.ID+".opened")
	}
	require.Equal(t, before, after)
	require.Equal(t, suppressed, bus.Count(t, "KV_suppressions", ">"))
	visitor(t, u.URL).open(first.Link(t)).accept("Nell New").sees("You are in")
}
