package browser

import (
	"context"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/e2e/harness"
)

var update = flag.Bool("update", false, "write the pictures that the README shows")

// northwind is an organization as one looks after a few weeks. Its people are made up.
type northwind struct {
	*harness.Clocked
	t   *testing.T
	org *harness.Organization
}

func newNorthwind(t *testing.T) *northwind {
	t.Helper()
	n := &northwind{Clocked: harness.WithClock(t, "USHER_ENV=development"), t: t}
	n.Pass(-(17*24 + 9) * time.Hour) // sessions last by the real clock, so the story ends now
	n.org = &harness.Organization{System: n.System, ID: "northwind", Name: "Northwind Studio", Owner: "ada.brandt@northwind.example"}
	a := n.API().Do(t, http.MethodPut, "/v1/organizations/northwind", map[string]any{
		"name": n.org.Name, "owner": map[string]any{"email": n.org.Owner, "name": "Ada Brandt"}, "contact": "people@northwind.example",
	})
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Body)
	return n
}

// invite invites by whom, and has the mail sent.
func (n *northwind) invite(by, name, email, role string) (harness.Invitation, harness.Mail) {
	n.t.Helper()
	invitation := n.org.Invite(n.t, email, role, "name", name, "inviter", by)
	return invitation, n.Mails.Next(n.t, email, 0)
}

// join makes somebody a member.
func (n *northwind) join(by, name, email, role string) {
	n.t.Helper()
	_, mail := n.invite(by, name, email, role)
	n.Pass(47 * time.Minute)
	a := harness.Client{URL: n.URL}.Post(n.t, "/v1/links/accept", map[string]any{"token": mail.Token(n.t), "name": name})
	require.Equal(n.t, http.StatusOK, a.Status, "%s", a.Body)
	harness.Eventually(n.t, name+" to be a member", func() bool { _, ok := n.org.Member(n.t, email); return ok })
}

// delivery is what a provider reports about the mail of an invitation.
func (n *northwind) delivery(invitation harness.Invitation, fact string, about func(events.Delivery) events.Data) {
	n.t.Helper()
	asked := n.Bus(n.t).Stored(n.t, "INVITATIONS", events.InvitationSubject(n.org.ID, invitation.ID, events.FactRequested))[0].Sequence
	data := about(events.Delivery{Invitation: invitation.ID, Generation: 1, Intent: asked, OccurredAt: n.Now()})
	header, body, err := events.Encode(events.Event{
		ID: events.DerivedEventID("picture", invitation.ID), Source: "/pictures", Subject: invitation.ID, Time: n.Now(), Data: data,
	})
	require.NoError(n.t, err)
	var pairs []string
	for name, values := range header {
		pairs = append(pairs, name, values[0])
	}
	n.Bus(n.t).Request(n.t, events.InvitationSubject(n.org.ID, invitation.ID, fact), body, pairs...)
	n.org.Await(n.t, invitation.ID, fact, func(i harness.Invitation) bool { return strings.HasSuffix(fact, i.Delivery) })
}

// picture keeps what a part of the page shows, sharp on dense screens.
func (n *northwind) picture(p *person, name string, width, height int64) {
	n.t.Helper()
	folder := n.t.ArtifactDir()
	if *update {
		folder = filepath.Join(harness.Root(), "docs", "images")
	}
	require.NoError(n.t, os.MkdirAll(folder, 0o750))
	p.scheme("light")
	p.do(call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1.5}))
	image, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	require.NoError(n.t, err)
	require.NoError(n.t, os.WriteFile(filepath.Join(folder, name+".png"), image, 0o600))
}

// The pictures of the README are made here, of what everybody gets; "make screenshots" writes them. They look best where Noto
// is installed (Debian: fonts-noto-core, fonts-noto-cjk), because the pages take the system's own font.
func TestPicturesOfTheREADME(t *testing.T) {
	t.Parallel()
	n := newNorthwind(t)
	ada, jonas := n.org.Owner, "jonas.lindqvist@northwind.example"
	n.join(ada, "Jonas Lindqvist", jonas, "admin")
	n.Pass(6 * 24 * time.Hour)
	n.join(jonas, "Mei Tanaka", "mei.tanaka@northwind.example", "member")
	n.invite(ada, "Peter Novak", "p.novak@example.net", "viewer")
	n.Pass(8 * 24 * time.Hour)
	n.join(ada, "Amira Haddad", "amira.haddad@northwind.example", "admin")
	_, declined := n.invite(jonas, "Sofia Rossi", "sofia.rossi@example.com", "member")
	n.Invitee(t).Open(declined.Link(t)).Decline()
	n.Pass(2 * 24 * time.Hour)
	bounced, _ := n.invite("amira.haddad@northwind.example", "Luca Moretti", "luca@moreti.example", "member")
	n.delivery(bounced, events.FactBounced, func(d events.Delivery) events.Data {
		d.Code = 550
		return &events.InvitationBounced{Delivery: d}
	})
	n.Pass(26 * time.Hour)
	delivered, _ := n.invite(ada, "Hannah Weiss", "hannah.weiss@example.com", "admin")
	n.delivery(delivered, events.FactDelivered, func(d events.Delivery) events.Data {
		return &events.InvitationDelivered{Delivery: d}
	})
	n.Pass(3 * time.Hour)
	n.join(jonas, "Tomás Silva", "tomas.silva@northwind.example", "member")
	n.Set(time.Now())
	_, mail := n.invite(ada, "Nora Kim", "nora.kim@example.com", "member")

	p := signedIn(t, n.System, ada)
	p.size(1180, 970)
	p.open("/console/northwind/invitations").sees("nora.kim@example.com").sees("Bounced: mailbox unknown").sees("Expired")
	p.holds("the mail to be sent", `return document.querySelector("tbody tr").innerText.includes("Sent")`)
	n.picture(p, "user-management", 1180, 970)

	invitee := visitor(t, n.URL).open(mail.Link(t)).sees("Ada Brandt invites you to join Northwind Studio")
	invitee.size(760, 1010)
	n.picture(invitee, "accept", 760, 1010)

	invitee.open("about:blank")
	invitee.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.SetDocumentContent, page.SetDocumentContentParams{FrameID: cdp.FrameID(target.TargetID), HTML: strings.ReplaceAll(mail.HTML, n.URL, "https://invite.northwind.example")})
		return err
	}))
	invitee.sees("Northwind Studio")
	n.picture(invitee, "mail", 760, 790)
}
