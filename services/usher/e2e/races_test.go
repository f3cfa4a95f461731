package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// atOnce runs n calls side by side, begun together, and gives what each returned.
func atOnce[T any](n int, call func(int) T) []T {
	results := make([]T, n)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-start
			results[i] = call(i)
		})
	}
	close(start)
	running.Wait()
	return results
}

// tried is an answer, or why there was none.
type tried struct {
	harness.Answer
	err error
}

func try(c harness.Client, path string, body any, header ...string) tried {
	a, err := c.Try(http.MethodPost, path, body, header...)
	return tried{a, err}
}

func TestSixtyFourAcceptsOfOneLinkAreOneMembership(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, mail := o.Invited(t, "member")
	invitee := harness.Client{URL: u.URL}
	answers := atOnce(64, func(i int) tried {
		return try(invitee, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": fmt.Sprintf("Tab %d", i)})
	})
	for _, a := range answers {
		require.NoError(t, a.err)
		accepted := harness.Read[harness.Accepted](t, a.Answer, http.StatusOK)
		require.Equal(t, "accepted", accepted.Status)
		require.Equal(t, o.ID, accepted.Organization.ID)
		require.Equal(t, "member", accepted.Role)
	}
	o.Await(t, invitation.ID, "a membership", func(i harness.Invitation) bool { return i.Membership == "active" })
	bus := u.Bus(t)
	require.Equal(t, 1, bus.Count(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".outcome.*"))
	member, ok := o.Member(t, invitation.Email)
	require.True(t, ok)
	require.Equal(t, 1, bus.Count(t, "MEMBERSHIPS", "memberships."+o.ID+"."+member.Person))
	require.Len(t, o.Members(t), 2)

	// The name is the one that came with the acceptance that won, and later ones change nothing.
	accepted := bus.Stored(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".outcome.accepted")
	require.Equal(t, accepted[0].Fields(t)["name"], member.Name)
	o.Accept(t, invitation, mail)
	require.Equal(t, 1, bus.Count(t, "MEMBERSHIPS", "memberships."+o.ID+"."+member.Person))
}

func TestSixtyFourPeopleInvitingOneAddressMakeOneInvitation(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	email := harness.Address("wanted")
	answers := atOnce(64, func(int) tried {
		return try(o.API(), o.Path("/invitations"), map[string]any{"email": email, "role": "member"})
	})
	var made []harness.Invitation
	var others []string
	for _, a := range answers {
		require.NoError(t, a.err)
		if a.Status == http.StatusAccepted {
			made = append(made, harness.Read[harness.Invitation](t, a.Answer, http.StatusAccepted))
			continue
		}
		others = append(others, a.Refused(t, http.StatusConflict, "already-invited").Other)
	}
	require.Len(t, made, 1)
	for _, other := range others {
		require.Equal(t, made[0].ID, other, "the refusal names another invitation")
	}
	u.Mails.Next(t, email, 0)
	bus := u.Bus(t)
	bus.Idle(t, "INVITATIONS", "mailer")
	require.Len(t, u.Mails.To(t, email), 1)
	require.Equal(t, 1, bus.Count(t, "INVITATIONS", "invitations."+o.ID+".*.requested"))
}

// TestAcceptAgainstRevokeHasOneOutcome runs the two against each other, in two processes, and each time once more after both
// were answered.
func TestAcceptAgainstRevokeHasOneOutcome(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t)
	mailgun, invitee := d.Mailgun, harness.Client{URL: d.Another(t)}
	o := d.Organization(t)
	rounds := short(1000, 200)
	invitations := inviteMany(t, o, rounds)
	tokens := map[string]string{}
	mailgun.Taken(t, rounds)
	mails, _ := mailgun.All(t)
	for _, m := range mails {
		tokens[m.Variables["invitation"]] = m.Token(t)
	}
	var accepted, revoked atomic.Int64
	next := make(chan harness.Invitation, rounds)
	for _, i := range invitations {
		next <- i
	}
	close(next)
	wrong := atOnce(8, func(int) error {
		for i := range next {
			won, err := acceptAgainstRevoke(invitee, d.API(), i.ID, tokens[i.ID])
			if err != nil {
				return fmt.Errorf("%s: %w", i.ID, err)
			}
			if won {
				accepted.Add(1)
			} else {
				revoked.Add(1)
			}
		}
		return nil
	})
	for _, err := range wrong {
		require.NoError(t, err)
	}
	t.Logf("%d accepted, %d revoked", accepted.Load(), revoked.Load())
	require.EqualValues(t, rounds, accepted.Load()+revoked.Load())
	require.NotZero(t, accepted.Load(), "revoke always won: the two never met")
	require.NotZero(t, revoked.Load(), "accept always won: the two never met")

	bus := d.Bus(t)
	require.Equal(t, rounds, bus.Count(t, "INVITATIONS", "invitations."+o.ID+".*.outcome.*"), "some invitation has two outcomes, or none")
	require.EqualValues(t, accepted.Load(), bus.Count(t, "INVITATIONS", "invitations."+o.ID+".*.outcome.accepted"))
	harness.Eventually(t, "every membership", func() bool {
		return bus.Count(t, "MEMBERSHIPS", "memberships."+o.ID+".*") == int(accepted.Load())+1
	})
	bus.Idle(t, "INVITATIONS", "acceptance")
	require.Len(t, o.Members(t), int(accepted.Load())+1)
	require.Len(t, mailgun.Invitations(t), rounds, "some invitation has two mails, or none")
}

// acceptAgainstRevoke tells whether the accept won. Everything that must not be is an error.
func acceptAgainstRevoke(invitee, admin harness.Client, id, token string) (accepted bool, err error) {
	answers := atOnce(2, func(n int) tried {
		if n == 0 {
			return try(invitee, "/v1/links/accept", map[string]any{"token": token, "name": "Nell"})
		}
		return try(admin, "/v1/invitations/"+id+"/revoke", nil)
	})
	accept, revoke := answers[0], answers[1]
	again := try(invitee, "/v1/links/accept", map[string]any{"token": token, "name": "Nell"})
	switch {
	case accept.err != nil || revoke.err != nil || again.err != nil:
		return false, fmt.Errorf("no answer: %v %v %v", accept.err, revoke.err, again.err)
	case accept.Status == http.StatusOK && revoke.Status == http.StatusConflict && again.Status == http.StatusOK:
		return true, nil
	case accept.Status == http.StatusGone && revoke.Status == http.StatusOK && again.Status == http.StatusGone:
		return false, nil
	}
	return false, fmt.Errorf("accept %d, revoke %d, accept again %d", accept.Status, revoke.Status, again.Status)
}

// inviteMany invites that many new people in as few requests as possible.
func inviteMany(t *testing.T, o *harness.Organization, n int) []harness.Invitation {
	t.Helper()
	var made []harness.Invitation
	for n > 0 {
		rows := make([]map[string]any, min(n, 1000))
		for i := range rows {
			rows[i] = map[string]any{"organization": o.ID, "email": harness.Address("many"), "role": "member", "inviter": o.Owner}
		}
		bulk := harness.Read[harness.Bulk](t, o.API().Post(t, "/v1/invitations", map[string]any{"invitations": rows}), http.StatusOK)
		for _, v := range bulk.Results {
			require.Equal(t, http.StatusAccepted, v.Status, "%+v", v.Problem)
			made = append(made, *v.Invitation)
		}
		n -= len(rows)
	}
	return made
}

// revoked is an invitation that was taken back, and when that was answered.
type revoked struct {
	id, email string
	at        time.Time
}

// revokeAll revokes invitations side by side.
func revokeAll(t *testing.T, o *harness.Organization, invitations []harness.Invitation) []revoked {
	t.Helper()
	type result struct {
		tried
		at time.Time
	}
	results := atOnce(len(invitations), func(n int) result {
		a := try(o.API(), "/v1/invitations/"+invitations[n].ID+"/revoke", nil)
		return result{a, time.Now()}
	})
	all := make([]revoked, len(results))
	for n, r := range results {
		require.NoError(t, r.err)
		require.Equal(t, http.StatusOK, r.Status, "%s", r.Body)
		all[n] = revoked{invitations[n].ID, invitations[n].Email, r.at}
	}
	return all
}

// notMailedLater requires that no mail of these left after its revoke was answered, and tells how many left before.
func notMailedLater(t *testing.T, mailgun *harness.Mailgun, all []revoked) (mailed int) {
	t.Helper()
	sent, _ := mailgun.All(t)
	for _, r := range all {
		of := 0
		for _, m := range sent {
			if m.Recipient == r.email {
				of++
				require.False(t, m.At.After(r.at), "%s was mailed %s after its revoke was answered", r.id, m.At.Sub(r.at))
			}
		}
		require.LessOrEqual(t, of, 1, "%s was mailed %d times", r.id, of)
		mailed += of
	}
	return mailed
}

func TestNoMailLeavesAfterARevokeWasAnswered(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t, "USHER_MAIL_RATE=8")
	o := d.Organization(t)
	// At eight mails a second most of these wait in the mailer when they are revoked.
	all := revokeAll(t, o, inviteMany(t, o, short(160, 96)))
	d.Bus(t).Idle(t, "INVITATIONS", "mailer")
	mailed := notMailedLater(t, d.Mailgun, all)
	t.Logf("%d of %d had left before", mailed, len(all))
	require.Less(t, mailed, len(all), "every mail left before its revoke: the two never met")
}

// TestNoMailLeavesAfterARevokeWasAnsweredWhileTheProviderHangs has mails wait behind calls that take very long.
func TestNoMailLeavesAfterARevokeWasAnsweredWhileTheProviderHangs(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, mailgun.Settings()...)
	o := u.Organization(t)
	mailgun.Fault(t, map[string]any{"delay": "13s", "times": 2}) // as many as travel with the same letter at once
	invitations := inviteMany(t, o, 2)
	harness.Eventually(t, "both calls to hang", func() bool { calls, _ := mailgun.Calls(t); return calls == 2 })
	invitations = append(invitations, inviteMany(t, o, 20)...)
	all := revokeAll(t, o, invitations)
	u.Bus(t).Idle(t, "INVITATIONS", "mailer")
	notMailedLater(t, mailgun, all)
}
