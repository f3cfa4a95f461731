package e2e

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// travel is the whole way of one invitation, seen from every door: HTTP, the bus, the mail, the invitee's pages, the
// command line.
func travel(t *testing.T, s *harness.System) {
	o := s.Organization(t)
	seen := s.Bus(t).Observe(t, "invitations."+o.ID+".>", "memberships."+o.ID+".>")
	watch := s.Background(t, "watch", "--json", "invitations."+o.ID+".>", "memberships."+o.ID+".>", "probe."+o.ID)
	waitForWatch(t, s, watch, "probe."+o.ID)

	invitation, mail := o.Invited(t, "member", "name", "Nell New", "metadata", map[string]string{"team": "blue"})
	require.Equal(t, "pending", invitation.Status)
	require.Contains(t, mail.Subject, o.Name)
	require.Contains(t, mail.Text, "Olivia Owner")
	require.Equal(t, "auto-generated", mail.Header("Auto-Submitted"))
	o.Await(t, invitation.ID, "sent", func(i harness.Invitation) bool { return i.Delivery == "sent" })

	nell := s.Invitee(t).Open(mail.Link(t))
	require.Equal(t, http.StatusOK, nell.Page.Status)
	require.Equal(t, "/join", nell.Path, "the token is still in the address bar")
	require.Contains(t, nell.Text(), o.Name)
	require.Contains(t, nell.Text(), "member")
	require.NotContains(t, nell.Text(), invitation.Email, "the page shows the whole address to whoever holds the link")

	nell.Accept("Nell New")
	require.Equal(t, http.StatusOK, nell.Page.Status)
	harness.Eventually(t, "the page to say that Nell is in", func() bool {
		return nell.Open(mail.Link(t)).Heading() == "You are in"
	})

	after := o.Await(t, invitation.ID, "a membership", func(i harness.Invitation) bool { return i.Membership == "active" })
	require.Equal(t, "accepted", after.Status)
	member, ok := o.Member(t, invitation.Email)
	require.True(t, ok)
	require.Equal(t, "Nell New", member.Name)
	require.Equal(t, "member", member.Role)
	require.Equal(t, invitation.ID, member.Invitation)
	require.Equal(t, map[string]string{"team": "blue"}, member.Metadata)

	about := "invitations." + o.ID + "." + invitation.ID + "."
	provisioned := seen.Await(t, "memberships."+o.ID+"."+member.Person)
	require.Equal(t, "usher.membership.provisioned.v1", provisioned.Header.Get("ce-type"))
	for _, fact := range []string{"requested", "sent", "outcome.accepted"} {
		m := seen.Await(t, about+fact)
		require.Equal(t, invitation.ID, m.Header.Get("ce-correlationid"))
		require.Equal(t, invitation.ID, m.Header.Get("ce-subject"))
	}
	seen.Await(t, about+"noticed")
	require.Equal(t, []string{"requested", "sent", "outcome.accepted", "noticed"}, s.Bus(t).Facts(t, o.ID, invitation.ID))
	require.Contains(t, s.Mails.Next(t, o.Owner, 0).Subject, "Nell New accepted your invitation")

	timeline := s.Command(t, "show", invitation.ID).Must(t)
	require.Regexp(t, `(?s)status +accepted.*membership +active.*requested.*sent.*outcome\.accepted.*membership\.provisioned`, timeline)
	require.Contains(t, s.Command(t, "list", "--org", o.ID, "--status", "accepted").Must(t), invitation.ID)
	require.NotContains(t, s.Command(t, "list", "--org", o.ID, "--status", "pending").Must(t), invitation.ID)
	watched(t, watch, about+"requested", about+"sent", about+"outcome.accepted", "memberships."+o.ID+"."+member.Person)
}

// waitForWatch returns once the command hears what is published on a subject that no stream takes.
func waitForWatch(t *testing.T, s *harness.System, watch *harness.Process, probe string) {
	t.Helper()
	bus := s.Bus(t)
	harness.Eventually(t, "watch to listen", func() bool {
		require.NoError(t, bus.Publish(probe, nil))
		require.NoError(t, bus.Flush())
		return strings.Contains(watch.Said(), probe)
	})
}

// watched requires that watch wrote a line of JSON for each subject, in that order.
func watched(t *testing.T, watch *harness.Process, subjects ...string) {
	t.Helper()
	harness.Eventually(t, "watch to have shown everything", func() bool {
		next := 0
		for line := range strings.Lines(watch.Said()) {
			var seen struct{ Subject, Type string }
			require.NoError(t, json.Unmarshal([]byte(line), &seen), "watch --json wrote %q", line)
			if next < len(subjects) && seen.Subject == subjects[next] {
				next++
			}
		}
		return next == len(subjects)
	})
}

func TestAnInvitationTravelsFromRequestToMembership(t *testing.T) {
	t.Parallel()
	travel(t, &common(t).System)
}

func TestUpPrintsARequestThatInvites(t *testing.T) {
	t.Parallel()
	u := harness.Up(t)
	harness.Eventually(t, "the greeting", func() bool { return strings.Contains(u.Said(), "go run ./services/usher invite") })
	said := u.Said()
	url := regexp.MustCompile(`curl -sX POST (\S+)`).FindStringSubmatch(said)
	headers := regexp.MustCompile(`-H '([^:]+): ([^']+)'`).FindAllStringSubmatch(said, -1)
	body := regexp.MustCompile(`-d '([^']+)'`).FindStringSubmatch(said)
	require.NotNil(t, url, "%s", said)
	require.Len(t, headers, 2, "%s", said)
	require.NotNil(t, body, "%s", said)

	a := harness.Client{URL: url[1]}.Post(t, "", harness.Raw(body[1]), headers[0][1], headers[0][2], headers[1][1], headers[1][2])
	invitation := harness.Read[harness.Invitation](t, a, http.StatusAccepted)
	require.Equal(t, "/v1/invitations/"+invitation.ID, a.Header.Get("Location"))
	mail := u.Mails.Next(t, invitation.Email, 0)
	require.Equal(t, http.StatusOK, u.Invitee(t).Open(mail.Link(t)).Page.Status)
	require.Contains(t, said, "/outbox")
	require.Contains(t, string(u.API().Get(t, "/outbox").Body), invitation.Email)
}

func TestTheCommandLineInvitesListsShowsRevokesAndResends(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	email := harness.Address("cli")
	var invitation harness.Invitation
	read := func(words ...string) harness.Invitation {
		var i harness.Invitation
		require.NoError(t, json.Unmarshal([]byte(u.Command(t, append(words, "--json")...).Must(t)), &i))
		return i
	}
	invitation = read("invite", email, "--org", o.ID, "--inviter", o.Owner, "--role", "viewer", "--expires-in", "72h")
	require.Equal(t, "viewer", invitation.Role)
	u.Mails.Next(t, email, 0)

	require.Equal(t, invitation.ID, read("resend", invitation.ID).ID)
	u.Mails.Next(t, email, 1)

	require.Equal(t, "revoked", read("revoke", invitation.ID, "--reason", "a mistake").Status)
	require.Contains(t, u.Command(t, "show", invitation.ID).Must(t), "outcome.revoked")

	again := u.Command(t, "resend", invitation.ID)
	require.Equal(t, 1, again.Code, "a refusal has exit code 1")
	require.Equal(t, 3, u.Command(t, "show", "inv_01jd8x5rbgf3y8zt5s9r2h4q6w").Code, "what is not there has exit code 3")
	require.Equal(t, 2, u.Command(t, "invite").Code, "wrong usage has exit code 2")
	require.Equal(t, 4, harness.Command(t, []string{"USHER_URL=http://127.0.0.1:1"}, "list").Code, "what is down has exit code 4")
}
