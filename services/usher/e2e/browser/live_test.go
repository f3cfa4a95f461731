package browser

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestStatesChangeInFrontOfTheReader(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	list := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/invitations").sees(invitation.Email).sees("Sent")
	one := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/invitations/" + invitation.ID).sees("E-mail sent")
	for _, p := range []*person{list, one} {
		harness.Eventually(t, "the page to follow", func() bool { return p.requests("/console/"+o.ID+"/live") == 1 })
		p.do(chromedp.Evaluate[chromedp.Void](`window.stayed = true`))
	}
	o.Accept(t, invitation, mail)
	list.sees("Accepted 1").sees("Members 2")
	one.sees("Joined as member")
	for _, p := range []*person{list, one} {
		require.True(t, look[bool](p, "the page", `return window.stayed === true`), "the page was loaded again")
	}
}

// What happens is not sent to the page: it is told to look again, twice a second at most. So hundreds of events a second
// cost it a few requests, and what it shows in the end is right.
func TestTwoHundredEventsASecondDoNotStickTheTab(t *testing.T) {
	t.Parallel()
	const batches, rows, atMost = 16, 50, 500 * time.Millisecond
	u := common(t)
	o := u.Organization(t)
	o.Invited(t, "member")
	path := "/console/" + o.ID + "/invitations"
	began := time.Now()
	p := signedIn(t, &u.System, o.Owner).open(path).sees("Invitations 1")
	harness.Eventually(t, "the page to follow", func() bool { return p.requests("/console/"+o.ID+"/live") == 1 })
	p.do(chromedp.Evaluate[chromedp.Void](`window.stayed = true`))

	pace := time.NewTicker(250 * time.Millisecond) // 50 invitations, each asked for and mailed: 400 events a second
	defer pace.Stop()
	for batch := range batches {
		<-pace.C
		invite := make([]map[string]any, rows)
		for i := range invite {
			invite[i] = map[string]any{"organization": o.ID, "email": harness.Address("crowd"), "role": "member", "inviter": o.Owner}
		}
		a := u.API().Post(t, "/v1/invitations", map[string]any{"invitations": invite})
		require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
		if batch%4 == 1 { // the tab answers meanwhile
			p.click("Invite").sees("Invite people").click("Close").misses("Invite people")
		}
	}
	p.sees(fmt.Sprintf("Invitations %d", 1+batches*rows)).sees(fmt.Sprintf("Waiting %d", 1+batches*rows))
	require.True(t, look[bool](p, "the page", `return window.stayed === true`), "the page was loaded again")
	require.Equal(t, 25, look[int](p, "the rows", `return document.querySelectorAll("tbody tr").length`))

	looked, most := p.requests(path)-1, int(time.Since(began)/atMost)+3
	happened := u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+".>")
	t.Logf("%d events in %s, %d looks", happened, time.Since(began).Round(time.Millisecond), looked)
	require.Positive(t, looked)
	require.LessOrEqual(t, looked, most, "the page looked again more often than it is told to")
}
