package mailer_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/preferences"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/proofs"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/pkg/suppressions"
	"github.com/usherhq/usher/services/mailer"
	"github.com/usherhq/usher/services/mailer/outbox"
)

// post is a mailer that keeps its mails, and the organization acme with an owner and an admin.
type post struct {
	*platform.Platform
	box *outbox.Outbox
}

func open(t *testing.T, beside ...string) *post {
	t.Helper()
	s, err := settings.Load(settings.All, append(beside, "USHER_LINK_KEYS="+links.NewKey(), "USHER_PUBLIC_URL=https://usher.example"))
	require.NoError(t, err)
	redis, err := redisdb.InProcess()
	require.NoError(t, err)
	t.Cleanup(redis.Close)
	p, err := platform.Open(t.Context(), s, platform.Options{Name: "usher", Logs: io.Discard, Broker: brokertest.Run(t), Redis: redis})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	x := &post{Platform: p, box: outbox.New(0, nil)}
	x.seed(t)
	service, err := mailer.New(p, x.box)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool { // until it answers
		_, err := proofs.Ask(t.Context(), p.Conn, proofs.Wanted{Organization: roster.Organization{ID: "acme"}})
		return problem.Is(err, problem.NoAuthority)
	}, 20*time.Second, 10*time.Millisecond)
	return x
}

func (x *post) seed(t *testing.T) {
	_, _, err := x.Roster.Put(t.Context(), roster.Organization{ID: "acme", Name: "Acme"})
	require.NoError(t, err)
	for _, role := range []string{"owner", "admin"} {
		person := x.person(role)
		m := events.Membership{Organization: "acme", Person: person, Email: role + "@example.org", Name: "Olivia", Role: role, JoinedAt: x.Clock()}
		message, err := ledger.Fact(events.MembershipSubject("acme", person), events.Event{
			ID: events.NewEventID(), Source: "/test", Type: events.TypeMembershipProvisioned, Subject: person, Time: x.Clock(),
			Data: &events.MembershipProvisioned{Membership: m},
		})
		require.NoError(t, err)
		_, err = x.Ledger.Publish(t.Context(), events.StreamMemberships, message)
		require.NoError(t, err)
	}
}

func (x *post) person(role string) string {
	return address.Person(x.Ledger.PersonKey(), role+"@example.org")
}

func (x *post) wanted(send bool) proofs.Wanted {
	return proofs.Wanted{Person: x.person("owner"), Send: send, Organization: roster.Organization{
		ID: "acme", Name: "Not saved", Locale: "de", Branding: roster.Branding{Accent: "#0f766e", Logo: "abc.png"},
		Texts: roster.Texts{Subject: "{inviter} holt Sie zu {organization}", Intro: "Als {role}.", Button: "Los"},
	}}
}

func (x *post) sent() int {
	_, total := x.box.Mails("", 100)
	return total
}

func TestAProofIsTheMailThatInviteesWouldGet(t *testing.T) {
	t.Parallel()
	x := open(t)
	p, err := proofs.Ask(t.Context(), x.Conn, x.wanted(false))
	require.NoError(t, err)
	require.Equal(t, "Olivia holt Sie zu Not saved", p.Subject)
	for _, want := range []string{`lang="de"`, "#0f766e", "https://usher.example/logos/acme/abc.png", ">Los<", "https://usher.example/i/…", "https://usher.example/unsubscribe/…"} {
		require.Contains(t, p.HTML, want)
	}
	require.Contains(t, p.Text, "Als Mitglied.")
	require.Contains(t, p.From, "Olivia")
	require.Zero(t, x.sent())
}

func TestATestGoesToTheOwnerAlone(t *testing.T) {
	t.Parallel()
	x := open(t)
	p, err := proofs.Ask(t.Context(), x.Conn, x.wanted(true))
	require.NoError(t, err)
	require.Equal(t, "owner@example.org", p.To)
	mails, total := x.box.Mails("", 100)
	require.Equal(t, 1, total)
	require.Equal(t, "owner@example.org", mails[0].To)
	require.Equal(t, "[Test] Olivia holt Sie zu Not saved", mails[0].Subject)
	kept, ok := x.box.Mail(mails[0].Number)
	require.True(t, ok)
	require.NotContains(t, kept.HTML, "/i/", "nobody is invited, so there is nothing to accept")
	require.Contains(t, kept.Text, "https://usher.example/console/acme/settings")
	for _, h := range kept.Headers {
		require.NotEqual(t, "List-Unsubscribe", h.Name)
	}

	p, err = proofs.Ask(t.Context(), x.Conn, x.wanted(true))
	require.NoError(t, err)
	require.Equal(t, "[Test] Olivia holt Sie zu Not saved", p.Subject, "it is marked once, however often it is sent")

	require.NoError(t, x.Preferences.Put(t.Context(), x.person("owner"), preferences.Preferences{Locale: "ja"}))
	w := x.wanted(true)
	w.Organization.Locale = ""
	p, err = proofs.Ask(t.Context(), x.Conn, w)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(p.Subject, "[テスト] "), p.Subject)
	shown, err := proofs.Ask(t.Context(), x.Conn, x.wanted(false))
	require.NoError(t, err)
	require.Equal(t, "Olivia holt Sie zu Not saved", shown.Subject, "the mark is on tests alone")
}

func TestNobodyElseGetsOrSeesAProof(t *testing.T) {
	t.Parallel()
	x := open(t)
	for name, change := range map[string]func(*proofs.Wanted){
		"an admin":             func(w *proofs.Wanted) { w.Person = x.person("admin") },
		"a stranger":           func(w *proofs.Wanted) { w.Person = x.person("stranger") },
		"nobody":               func(w *proofs.Wanted) { w.Person = "" },
		"another organization": func(w *proofs.Wanted) { w.Organization.ID = "other" },
	} {
		w := x.wanted(true)
		change(&w)
		p, err := proofs.Ask(t.Context(), x.Conn, w)
		require.Error(t, err, name)
		require.Empty(t, p, name)
	}
	require.Zero(t, x.sent())
}

func TestTestsAreLimitedAndRespectWhoIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	x := open(t)
	allowed := 0
	for range 30 { // over the border of an hour there may be twice as many
		_, err := proofs.Ask(t.Context(), x.Conn, x.wanted(true))
		if err == nil {
			allowed++
			continue
		}
		require.True(t, problem.Is(err, problem.TooMany), "%v", err)
		require.Positive(t, problem.As(err).RetryAfter)
	}
	require.GreaterOrEqual(t, allowed, 10)
	require.LessOrEqual(t, allowed, 20)
	require.Equal(t, allowed, x.sent())

	require.NoError(t, x.Suppressions.Add(t.Context(), x.person("owner"), suppressions.Suppression{Reason: suppressions.Unsubscribed}))
	_, err := proofs.Ask(t.Context(), x.Conn, x.wanted(true))
	require.True(t, problem.Is(err, problem.Suppressed), "%v", err)
	require.Equal(t, allowed, x.sent())
}

// V104, V106, T233: what an owner types becomes neither markup nor a link nor another header.
func TestTextsOfAnOrganizationAreText_V104(t *testing.T) {
	t.Parallel()
	x := open(t)
	w := x.wanted(true)
	const hostile = "<a href=\"https://evil.example\">x</a>\r\nBcc: victim@example.org %recipient.link% {{.Link}} https://evil.example/"
	w.Organization.Name = hostile
	w.Organization.Texts = roster.Texts{Subject: hostile, Intro: hostile, Button: hostile}
	p, err := proofs.Ask(t.Context(), x.Conn, w)
	require.NoError(t, err)
	require.NotContains(t, p.Subject+p.From, "\n")
	require.NotContains(t, p.HTML, "<a href=\"https://evil")
	require.NotContains(t, p.HTML, "https://evil.example", "no program makes a link of it")
	require.NotContains(t, p.HTML, "%recipient.link%")
	require.Contains(t, p.HTML, "{{.\u200cLink}}", "it is no template")
	require.Equal(t, 1, x.sent())
}

func TestTheMailOfAnInvitationIsShownWithoutItsSecret(t *testing.T) {
	t.Parallel()
	x := open(t)
	id := events.NewInvitationID()
	request := &events.InvitationRequested{
		Organization: "acme", Email: "nell@example.org", Role: "member", Inviter: "owner@example.org", Invitation: id,
		Person: x.person("nell"), InviterPerson: x.person("owner"), InviterName: "Olivia", ExpiresAt: x.Clock().Add(time.Hour),
	}
	message, err := ledger.Fact(events.InvitationSubject("acme", id, events.FactRequested), events.Event{
		ID: events.NewEventID(), Source: "/test", Type: events.TypeInvitationRequested, Subject: id, Time: x.Clock(), Data: request,
	})
	require.NoError(t, err)
	_, err = x.Ledger.Publish(t.Context(), events.StreamInvitations, message)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return x.sent() == 1 }, 20*time.Second, 10*time.Millisecond)
	mails, _ := x.box.Mails("", 1)
	kept, _ := x.box.Mail(mails[0].Number)

	ask := func(org, role, id string) (proofs.Proof, error) {
		return proofs.Ask(t.Context(), x.Conn, proofs.Wanted{Organization: roster.Organization{ID: org}, Person: x.person(role), Invitation: id})
	}
	p, err := ask("acme", "admin", id)
	require.NoError(t, err)
	require.Equal(t, "nell@example.org", p.To)
	require.Equal(t, kept.Subject, p.Subject)
	require.Contains(t, kept.HTML, "https://usher.example/i/A")
	require.Contains(t, p.HTML, "https://usher.example/i/••••••••")
	require.Contains(t, p.Text, "https://usher.example/i/••••••••")
	require.NotContains(t, p.HTML+p.Text, "/i/A")
	require.NotContains(t, p.HTML+p.Text, "/unsubscribe/A")

	for _, refused := range []struct {
		org, role, id string
		code          problem.Code
	}{
		{"acme", "stranger", id, problem.NoAuthority},
		{"umbrella", "owner", id, problem.NoAuthority},
		{"acme", "owner", events.NewInvitationID(), problem.NotFound},
	} {
		_, err := ask(refused.org, refused.role, refused.id)
		require.True(t, problem.Is(err, refused.code), "%v: %v", refused, err)
	}
	require.Equal(t, 1, x.sent(), "looking sends nothing")
}

// request is the message of an invitation.
func (x *post) request(t *testing.T, org, email string) (id string, m ledger.Message) {
	t.Helper()
	id = events.NewInvitationID()
	m, err := ledger.Fact(events.InvitationSubject(org, id, events.FactRequested), events.Event{
		ID: events.NewEventID(), Source: "/test", Type: events.TypeInvitationRequested, Subject: id, Time: x.Clock(),
		Data: &events.InvitationRequested{
			Organization: org, Invitation: id, Email: email, Role: "member", Inviter: "owner@example.org",
			Person: address.Person(x.Ledger.PersonKey(), email), InviterPerson: x.person("owner"), ExpiresAt: x.Clock().Add(24 * time.Hour),
		},
	})
	require.NoError(t, err)
	return id, m
}
