package mail_test

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/mailer/mail"
)

var deadline = time.Date(2026, 11, 30, 15, 4, 5, 0, time.FixedZone("", 3600))

func acme() mail.Context {
	return mail.Context{Purpose: mail.PurposeInvitation, Organization: "Acme & Söhne", Inviter: "Bob O'Neil", Role: "admin", ReplyTo: "bob@acme.example"}
}

func ann() mail.Recipient {
	return mail.Recipient{
		Invitation: "inv_1", Generation: 2, Intent: 77, To: "ann@example.org", Name: "Ann <Example>", Deadline: deadline,
		Link: "https://usher.example/i/TOKEN", Unsubscribe: "https://usher.example/u/TOKEN",
	}
}

func renderer(t testing.TB) *mail.Renderer {
	t.Helper()
	r, err := mail.NewRenderer(mail.RendererOptions{From: "Usher <hello@mg.example.org>"})
	require.NoError(t, err)
	return r
}

func written(t testing.TB, c mail.Context, to mail.Recipient) mail.Mail {
	t.Helper()
	m, err := renderer(t).Mail(c, to)
	require.NoError(t, err)
	return m
}

// shown is what a reader sees of an HTML part.
func shown(s string) string {
	s = regexp.MustCompile(`(?s)<title>.*?</title>|<style.*?</style>|<!--.*?-->|<[^>]*>`).ReplaceAllString(s, " ")
	return regexp.MustCompile(`\s+`).ReplaceAllString(html.UnescapeString(s), " ")
}

func TestBothPartsSayWhoInvitesWhereAsWhatUntilWhenAndHow(t *testing.T) {
	m := written(t, acme(), ann())
	require.Equal(t, "Bob O'Neil invited you to join “Acme & Söhne”", m.Subject())
	for _, part := range []string{m.Text(), shown(m.HTML())} {
		for _, want := range []string{
			"Hello Ann <Example>,", "Bob O'Neil", "has invited you", "Acme & Söhne", "admin", "https://usher.example/i/TOKEN",
			"November 30, 2026 2:04 pm UTC", "If you did not expect this invitation", "Accept or decline", "No more e-mails like this one",
		} {
			require.Contains(t, part, want)
		}
	}
	require.Contains(t, m.HTML(), `<a href="https://usher.example/i/TOKEN"`)
	require.Contains(t, m.HTML(), `<a href="https://usher.example/u/TOKEN"`)
	require.Contains(t, m.Text(), "https://usher.example/u/TOKEN")
	require.Less(t, len(m.HTML()), 102<<10)
}

func TestEachPurposeSaysWhatItIs(t *testing.T) {
	for purpose, want := range map[mail.Purpose]string{
		mail.PurposeResend: "has been sent to you again", mail.PurposeReminder: "This is a reminder",
	} {
		c := acme()
		c.Purpose = purpose
		m := written(t, c, ann())
		require.Contains(t, m.Text(), want)
		require.Contains(t, m.HTML(), want)
		require.NotEqual(t, written(t, acme(), ann()).MessageID, m.MessageID)
	}
	require.Contains(t, written(t, mail.Context{Purpose: mail.PurposeReminder, Organization: "Acme", Role: "member"}, ann()).Subject(), "Reminder: ")
}

func TestAMailWithoutNamesReadsWell(t *testing.T) {
	c, to := acme(), ann()
	c.Inviter, c.ReplyTo, to.Name, to.Unsubscribe = "", "", " ", ""
	m := written(t, c, to)
	require.Equal(t, "You are invited to join “Acme & Söhne”", m.Subject())
	require.True(t, strings.HasPrefix(m.Text(), "Hello,\n"))
	require.Contains(t, m.Text(), "You have been invited to join “Acme & Söhne”")
	require.NotContains(t, m.Text()+m.HTML(), "No more e-mails")
	for _, h := range m.Headers() {
		require.NotContains(t, []string{"Reply-To", "List-Unsubscribe", "List-Unsubscribe-Post"}, h.Name)
	}
}

func TestHeadersSayThatAMachineWritesAndHowToStopIt(t *testing.T) {
	m := written(t, acme(), ann())
	require.Equal(t, []mail.Header{
		{Name: "Message-Id", Value: "<inv_1.2.invitation.77@mg.example.org>"},
		{Name: "Auto-Submitted", Value: "auto-generated"},
		{Name: "X-Auto-Response-Suppress", Value: "OOF, AutoReply"},
		{Name: "Reply-To", Value: "bob@acme.example"},
		{Name: "List-Unsubscribe", Value: "<https://usher.example/u/TOKEN>"},
		{Name: "List-Unsubscribe-Post", Value: "List-Unsubscribe=One-Click"},
	}, m.Headers())
}

func TestMessageIDIsTheSameForOneIntentAndAnotherForEachOther(t *testing.T) {
	seen := map[string]bool{}
	for _, to := range []mail.Recipient{{Invitation: "inv_1", Generation: 1, Intent: 5}, {Invitation: "inv_2", Generation: 1, Intent: 5}, {Invitation: "inv_1", Generation: 2, Intent: 5}, {Invitation: "inv_1", Generation: 1, Intent: 6}} {
		id := mail.MessageID("d.example", to.Invitation, to.Generation, mail.PurposeResend, to.Intent)
		require.False(t, seen[id], id)
		require.Regexp(t, `^<[^@<> ]+@d\.example>$`, id)
		require.Equal(t, id, mail.MessageID("d.example", to.Invitation, to.Generation, mail.PurposeResend, to.Intent))
		seen[id] = true
	}
}

func TestMailsThatDifferOnlyInTheRecipientShareALetter(t *testing.T) {
	r := renderer(t)
	first, err := r.Mail(acme(), ann())
	require.NoError(t, err)
	other := mail.Recipient{Invitation: "inv_2", To: "x@y.org", Link: "https://a/b", Unsubscribe: "https://a/c"}
	second, err := r.Mail(acme(), other)
	require.NoError(t, err)
	require.Same(t, first.Letter, second.Letter)
	require.True(t, first.Shareable())
	c := acme()
	c.Role = "viewer"
	third, err := r.Mail(c, ann())
	require.NoError(t, err)
	require.NotSame(t, first.Letter, third.Letter)
}

func TestLettersAreForgottenSoThatMemoryStaysFlat(t *testing.T) {
	r, err := mail.NewRenderer(mail.RendererOptions{From: "a@b.org", Keep: 2})
	require.NoError(t, err)
	letter := func(org string) *mail.Letter {
		m, err := r.Mail(mail.Context{Organization: org, Role: "member"}, ann())
		require.NoError(t, err)
		return m.Letter
	}
	first := letter("first")
	for i := range 6 {
		letter(fmt.Sprint(i))
		require.Same(t, first, letter("first"), "what is asked for again stays")
	}
	for i := range 5 {
		letter(fmt.Sprint("more", i))
	}
	require.NotSame(t, first, letter("first"))
}

// hostile are names as nobody is called.
var hostile = []string{
	"%recipient.link%", "%recipient.token%", "%unsubscribe_url%", "100% %recipient.greeting_html%", "{{.Link}}", "{{token}}", "${link}",
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "<!-- x", "</title>", "&amp;", "a\r\nBcc: all@example.org", "a\nb", "\u202egnp.exe", "x\x00y",
	"usherfieldAAAA", strings.Repeat("x", 5000), "\xff\xfe",
}

func TestT103UserTextIsShownAsItWasTypedAndDoesNothing(t *testing.T) {
	for _, name := range hostile {
		for place, put := range map[string]func(*mail.Context, *mail.Recipient){
			"organization": func(c *mail.Context, _ *mail.Recipient) { c.Organization = name },
			"inviter":      func(c *mail.Context, _ *mail.Recipient) { c.Inviter = name },
			"role":         func(c *mail.Context, _ *mail.Recipient) { c.Role = name },
			"invitee":      func(_ *mail.Context, to *mail.Recipient) { to.Name = name },
		} {
			c, to := acme(), ann()
			put(&c, &to)
			m := written(t, c, to)
			about := fmt.Sprintf("%s %.40q", place, name)
			require.False(t, strings.ContainsFunc(m.Subject(), unicode.IsControl), about)
			require.False(t, strings.ContainsFunc(strings.ReplaceAll(m.Text(), "\n", ""), unicode.IsControl), about)
			require.Equal(t, strings.Count(written(t, acme(), ann()).Text(), "\n"), strings.Count(m.Text(), "\n"), about)
			require.Equal(t, strings.Count(written(t, acme(), ann()).HTML(), "%"), strings.Count(m.HTML(), "%"), about)
			require.Equal(t, tags(written(t, acme(), ann()).HTML()), tags(m.HTML()), about)
			require.Equal(t, 3, strings.Count(m.HTML(), to.Link), about)
			require.Equal(t, 1, strings.Count(m.Text(), to.Link), about)
			require.NotContains(t, m.Text()+m.Subject(), "%unsubscribe_url%", about)
			require.Equal(t, !strings.Contains(name, "%"), m.Shareable(), about)
			require.LessOrEqual(t, len(m.Text()), 2000, about)
			if strings.HasPrefix(name, "%recipient") || strings.HasPrefix(name, "{{") || strings.HasPrefix(name, "usher") || strings.HasPrefix(name, "<") {
				require.Contains(t, visible(m.Text()), name, about)
				require.Contains(t, visible(shown(m.HTML())), name, about)
			}
		}
	}
}

// visible is a text without what nobody sees.
func visible(s string) string { return strings.ReplaceAll(s, "\u200c", "") }

func tags(s string) int { return len(regexp.MustCompile(`<[a-z/!]`).FindAllString(s, -1)) }

func TestAnAddressThatCouldBecomeTwoIsRefused(t *testing.T) {
	for _, address := range []string{"a@b.org,c@d.org", "a@b.org\r\nBcc: c@d.org", "A <a@b.org>", `"a b"@c.org`, "a@b.org;c@d.org", "a@b.org c@d.org"} {
		to := ann()
		to.To = address
		_, err := renderer(t).Mail(acme(), to)
		require.IsType(t, &mail.Permanent{}, err, address)
		c := acme()
		c.ReplyTo = address
		_, err = renderer(t).Mail(c, ann())
		require.IsType(t, &mail.Permanent{}, err, address)
	}
}

func TestARendererWithoutASenderIsRefused(t *testing.T) {
	for _, from := range []string{"", "nobody", "a@b.org, c@d.org"} {
		_, err := mail.NewRenderer(mail.RendererOptions{From: from})
		require.Error(t, err, from)
	}
}

func TestTemplatesHoldNothingThatMailgunFillsIn(t *testing.T) {
	files, err := filepath.Glob("templates/*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		require.NotRegexp(t, `%[\w.]+%`, string(raw), f)
	}
}

func BenchmarkMail(b *testing.B) {
	r := renderer(b)
	for b.Loop() {
		m, err := r.Mail(acme(), ann())
		if err != nil || m.HTML() == "" || m.Text() == "" {
			b.Fatal(err)
		}
	}
}
