package browser

import (
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// aim gets ready to press something, which then takes no longer than a press.
func (p *person) aim(name string) (press func() error) {
	p.t.Helper()
	at := p.target("named "+name, `return spot(named(%s, %s))`, pressable, name)
	return func() error { return chromedp.Do(p.ctx, chromedp.MouseClickXY(at.X, at.Y)) }
}

// atOnce does things side by side, begun together.
func atOnce(t *testing.T, deeds ...func() error) {
	t.Helper()
	start, errs := make(chan struct{}), make([]error, len(deeds))
	var running sync.WaitGroup
	for i, do := range deeds {
		running.Go(func() {
			<-start
			errs[i] = do()
		})
	}
	close(start)
	running.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

func TestTwoBrowsersAcceptingAtOnceAreOneMembership(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	names := []string{"Phone Nell", "Desktop Nell"}
	browsers := make([]*person, len(names))
	presses := make([]func() error, len(names))
	for i, name := range names {
		browsers[i] = visitor(t, u.URL).open(mail.Link(t)).fill("Your name", name).click("Yes, I am")
		presses[i] = browsers[i].aim("Accept invitation")
	}
	atOnce(t, presses...)
	for _, p := range browsers {
		p.sees("You are in")
	}
	require.Equal(t, 1, u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".outcome.*"))
	member, joined := o.Member(t, invitation.Email)
	require.True(t, joined)
	require.Contains(t, names, member.Name)
	require.Len(t, o.Members(t), 2)
}

func TestAcceptingAndRevokingAtOnceHasOneEndAndBothAreTold(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, bus := u.Organization(t), u.Bus(t)
	admin, nell := signedIn(t, &u.System, o.Owner), visitor(t, u.URL)
	for range 5 {
		invitation, mail := o.Invited(t, "member")
		admin.open("/console/" + o.ID + "/invitations/" + invitation.ID + "/revoke").sees("Revoke this invitation?")
		nell.open(mail.Link(t)).fill("Your name", "Nell New").click("Yes, I am")
		atOnce(t, nell.aim("Accept invitation"), admin.aim("Revoke"))

		ends := bus.Subjects(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".outcome.*")
		for len(ends) == 0 {
			ends = bus.Subjects(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".outcome.*")
		}
		require.Len(t, ends, 1)
		for end, count := range ends {
			require.Equal(t, 1, count)
			if strings.HasSuffix(end, ".accepted") {
				nell.sees("You are in")
				admin.sees("This invitation has ended")
			} else {
				nell.sees("This invitation was taken back")
				admin.sees("The invitation was revoked")
			}
			t.Log(end)
		}
		require.Equal(t, 1, bus.Count(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".outcome.*"))
		_, joined := o.Member(t, invitation.Email)
		require.Equal(t, u.Show(t, invitation.ID).Status == "accepted", joined)
	}
}
