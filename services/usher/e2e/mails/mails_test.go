package mails

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/jhillyerd/enmime/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/i18n"
	"github.com/usherhq/usher/services/mailer/fakemailgun"
	"github.com/usherhq/usher/services/mailer/mail"
	"github.com/usherhq/usher/services/mailer/mailgun"
)

const (
	link        = "https://invite.example.com/i/AQEBAZqsZ1f2cZe6t0S1c0k2d3J1bm5lcnVubmVycnVubmVy"
	unsubscribe = "https://invite.example.com/unsubscribe/AQEBAZqsZ1f2cZe6t0S1c0k2d3J1bm5lcnVubmV"
	console     = "https://invite.example.com/console/acme/invitations/inv_01h455vb4pex5vsknk084sn02q"
	logo        = "https://invite.example.com/logos/acme/3f2a.png"
)

var (
	toInvitees = []mail.Purpose{mail.PurposeInvitation, mail.PurposeResend, mail.PurposeReminder, mail.PurposeRenewal}
	toInviters = []mail.Purpose{
		mail.PurposeAccepted, mail.PurposeDeclined, mail.PurposeBounced, mail.PurposeUnwanted, mail.PurposeRenewalAsked, mail.PurposeRenewed,
	}
)

// provider is a Mailgun that shows what arrives.
type provider struct {
	fake     *fakemailgun.Server
	sender   *mailgun.Sender
	renderer *mail.Renderer
}

func setup(t *testing.T) *provider {
	t.Helper()
	p := &provider{fake: fakemailgun.New(fakemailgun.Options{Domain: "mg.example.org", APIKey: "key-1"})}
	server := httptest.NewServer(p.fake)
	t.Cleanup(func() { server.Close(); p.fake.Close() })
	var err error
	p.sender, err = mailgun.New(mailgun.Options{Domain: "mg.example.org", APIKey: "key-1", Base: server.URL, AllowHTTP: true})
	require.NoError(t, err)
	p.renderer, err = mail.NewRenderer(mail.RendererOptions{From: "Usher <invitations@mg.example.org>"})
	require.NoError(t, err)
	return p
}

// arrived is one mail in somebody's inbox.
type arrived struct {
	*enmime.Envelope
	sent fakemailgun.Mail
	page *html.Node
}

// send sends the mails in one go and gives them as they arrive.
func (p *provider) send(t *testing.T, c mail.Context, to ...mail.Recipient) []arrived {
	t.Helper()
	p.fake.Reset()
	mails := make([]mail.Mail, len(to))
	for i := range to {
		var err error
		mails[i], err = p.renderer.Mail(c, to[i])
		require.NoError(t, err)
	}
	for _, r := range p.sender.Send(t.Context(), mails) {
		require.NoError(t, r.Err)
	}
	var inbox []arrived
	for _, sent := range p.fake.Mails() {
		inbox = append(inbox, read(t, sent))
	}
	require.Len(t, inbox, len(to))
	return inbox
}

func read(t *testing.T, sent fakemailgun.Mail) arrived {
	t.Helper()
	envelope, err := enmime.ReadEnvelope(bytes.NewReader(sent.MIME()))
	require.NoError(t, err)
	require.Empty(t, envelope.Errors)
	page, err := html.Parse(strings.NewReader(envelope.HTML))
	require.NoError(t, err)
	return arrived{Envelope: envelope, sent: sent, page: page}
}

func (p *provider) one(t *testing.T, c mail.Context, to mail.Recipient) arrived {
	t.Helper()
	return p.send(t, c, to)[0]
}

func acme(purpose mail.Purpose, locale string) mail.Context {
	c := mail.Context{Purpose: purpose, Organization: "Acme & Söhne", Inviter: "Maria Silva", Role: "admin", Locale: locale}
	if purpose.Notice() {
		c.Invitee, c.Address = "Ann Example", "ann@example.org"
	}
	return c
}

func ann(purpose mail.Purpose) mail.Recipient {
	to := mail.Recipient{
		Invitation: "inv_01h455vb4pex5vsknk084sn02q", Generation: 1, Intent: 7, To: "ann@example.org", Name: "Ann Example", Link: link,
		Unsubscribe: unsubscribe, Deadline: time.Date(2026, 11, 30, 15, 4, 5, 0, time.UTC),
	}
	if purpose.Notice() {
		to.Link, to.Unsubscribe = console, ""
	}
	return to
}

// elements gives all elements of that name.
func (a arrived) elements(name string) []*html.Node {
	var found []*html.Node
	for n := range a.page.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// shown is what a reader sees of the HTML part, white space made one.
func (a arrived) shown() string {
	var b strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		switch {
		case n.Type == html.TextNode:
			b.WriteString(n.Data)
		case n.Type == html.ElementNode && slices.Contains([]string{"style", "title", "noscript"}, n.Data):
			return
		}
		for c := range n.ChildNodes() {
			walk(c)
		}
		if n.Type == html.ElementNode && slices.Contains([]string{"td", "div", "p", "br", "h1"}, n.Data) {
			b.WriteByte(' ')
		}
	}
	walk(a.page)
	return oneSpace(b.String())
}

func oneSpace(s string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("\u2068", "", "\u2069", "").Replace(s)), " ")
}

func each(t *testing.T, do func(t *testing.T, p *provider, purpose mail.Purpose, locale string)) {
	t.Helper()
	p := setup(t)
	for _, purpose := range slices.Concat(toInvitees, toInviters) {
		for _, tag := range i18n.Tags() {
			do(t, p, purpose, tag.String())
		}
	}
}

func TestBothPartsOfEveryMailSayTheSameInEveryLanguage(t *testing.T) {
	subjects := map[string]bool{}
	each(t, func(t *testing.T, p *provider, purpose mail.Purpose, locale string) {
		c := acme(purpose, locale)
		c.Note = "See you on Monday!"
		m, about := p.one(t, c, ann(purpose)), fmt.Sprint(purpose, " in ", locale)
		require.Equal(t, "multipart/alternative", m.Root.ContentType, about)
		require.Equal(t, "text/plain", m.Root.FirstChild.ContentType, about)
		require.Equal(t, "text/html", m.Root.FirstChild.NextSibling.ContentType, about)
		require.Nil(t, m.Root.FirstChild.NextSibling.NextSibling, about)
		shown := m.shown()
		for line := range strings.Lines(strings.Replace(m.Text, unsubscribe, "", 1)) { // behind a word, in HTML
			for _, part := range strings.SplitN(oneSpace(line), ": ", 2) { // labels and values stand in cells of their own
				require.Contains(t, shown, strings.TrimSuffix(part, ":"), "%s: %q", about, line)
			}
		}
		require.NotContains(t, m.Text+m.HTML+m.GetHeader("Subject"), "mail.", about+": a message is missing")
		require.NotContains(t, m.Text+m.HTML+m.GetHeader("Subject"), "no value", about+": a placeholder is not filled")
		require.NotContains(t, m.Text+m.HTML+m.GetHeader("Subject"), "usherfield", about)
		require.Equal(t, !purpose.Notice(), strings.Contains(m.Text, "See you on Monday!"), about)
		subject := locale + m.GetHeader("Subject")
		if purpose != mail.PurposeResend && purpose != mail.PurposeUnwanted { // as the invitation, and as the bounce
			require.False(t, subjects[subject], about+": the same subject as another mail")
		}
		subjects[subject] = true
	})
}

func TestEveryMailNamesItsLanguageAndDirection(t *testing.T) {
	each(t, func(t *testing.T, p *provider, purpose mail.Purpose, locale string) {
		m := p.one(t, acme(purpose, locale), ann(purpose))
		dir, start := "ltr", "left"
		if locale == "ar" {
			dir, start = "rtl", "right"
		}
		root := m.elements("html")[0]
		require.Equal(t, locale, attribute(root, "lang"))
		require.Equal(t, dir, attribute(root, "dir"))
		require.NotContains(t, m.HTML, "direction:"+map[string]string{"ltr": "rtl", "rtl": "ltr"}[dir])
		for _, cell := range m.elements("td") {
			if side := attribute(cell, "align"); side != "" && side != "center" {
				require.Equal(t, start, side)
			}
		}
	})
}

// The programs that cut a mail off do so at 102 KB.
func TestTheLongestMailIsNotCutOff(t *testing.T) {
	each(t, func(t *testing.T, p *provider, purpose mail.Purpose, locale string) {
		c := acme(purpose, locale)
		for _, text := range []*string{&c.Organization, &c.Inviter, &c.Role, &c.Invitee, &c.Note, &c.Subject, &c.Intro, &c.Button} {
			*text = strings.Repeat("&\U0001F600%", events.MaxNameRunes)
		}
		c.Intro = strings.Repeat("{organization}", 1000)
		c.Logo = "https://invite.example.com/logos/" + strings.Repeat("o", 63) + "/" + strings.Repeat("l", 200)
		to := ann(purpose)
		to.Name = c.Organization
		m := p.one(t, c, to)
		require.Less(t, len(m.HTML), 102<<10)
		require.Less(t, len(m.sent.MIME()), 200<<10)
	})
}

func TestOutlooksMarkersArriveAsTheyWereWritten(t *testing.T) {
	each(t, func(t *testing.T, p *provider, purpose mail.Purpose, locale string) {
		m := p.one(t, acme(purpose, locale), ann(purpose))
		require.Contains(t, m.HTML, `<!--[if mso | IE]><table align="center" border="0"`)
		require.Contains(t, m.HTML, "<o:PixelsPerInch>96</o:PixelsPerInch>")
		require.Contains(t, m.HTML, "<!--[if !mso]><!-->")
		opened, closed := regexp.MustCompile(`<!--\[if `).FindAllString(m.HTML, -1), regexp.MustCompile(`<!\[endif\]-->`).FindAllString(m.HTML, -1)
		require.GreaterOrEqual(t, len(opened), 10)
		require.Len(t, closed, len(opened))
		require.NotContains(t, m.HTML, "&lt;!--")
	})
}

func TestEveryMailIsReadableInTheDarkAndWithoutPictures(t *testing.T) {
	each(t, func(t *testing.T, p *provider, purpose mail.Purpose, locale string) {
		c := acme(purpose, locale)
		c.Logo = logo
		m := p.one(t, c, ann(purpose))
		schemes := 0
		for _, meta := range m.elements("meta") {
			if strings.HasSuffix(attribute(meta, "name"), "color-scheme") || strings.HasSuffix(attribute(meta, "name"), "color-schemes") {
				require.Equal(t, "light dark", attribute(meta, "content"))
				schemes++
			}
		}
		require.Equal(t, 2, schemes)
		require.Contains(t, m.HTML, "@media (prefers-color-scheme: dark)")
		pictures := m.elements("img")
		require.Len(t, pictures, 1)
		require.Equal(t, logo, attribute(pictures[0], "src"))
		require.Equal(t, "Acme & Söhne", attribute(pictures[0], "alt"))
	})
}

var address = regexp.MustCompile(`(?i)\b(?:https?:)?//[^\s"'<>)]+`)

// T102. Nothing is loaded but the logo, nothing leads elsewhere, and Mailgun is told to leave the links alone.
func TestNothingTracksTheReaderOrLeadsElsewhere(t *testing.T) {
	each(t, func(t *testing.T, p *provider, purpose mail.Purpose, locale string) {
		c, to := acme(purpose, locale), ann(purpose)
		c.Logo = logo
		m := p.one(t, c, to)
		allowed := []string{logo, to.Link, to.Unsubscribe, "http://www.w3.org/1999/xhtml"}
		for _, found := range address.FindAllString(m.HTML+m.Text, -1) {
			require.Contains(t, allowed, found)
		}
		require.Equal(t, to.Link, attribute(m.elements("a")[0], "href"))
		require.Equal(t, 1, strings.Count(m.Text, to.Link))
		for _, element := range []string{"script", "link", "iframe", "object", "form", "base"} {
			require.Empty(t, m.elements(element), element)
		}
		require.NotContains(t, m.HTML, "@import")
		require.NotContains(t, m.HTML, "url(")
		require.Equal(t, "no", m.sent.Options["tracking"])
		require.Equal(t, "no", m.sent.Options["tracking-clicks"])
		require.Equal(t, "no", m.sent.Options["tracking-opens"])
	})
}

func TestInvitationsComeFromTheInviterByWayOfTheProduct(t *testing.T) {
	p := setup(t)
	for _, purpose := range toInvitees {
		c := acme(purpose, "en")
		c.Inviter = `Dr. "Bob" \ Müller`
		m := p.one(t, c, ann(purpose))
		from, err := m.AddressList("From")
		require.NoError(t, err)
		require.Len(t, from, 1)
		require.Equal(t, `Dr. "Bob" \ Müller via Usher`, from[0].Name)
		require.Equal(t, "invitations@mg.example.org", from[0].Address)
		require.Empty(t, m.GetHeader("Reply-To"))
		c.ReplyTo = "bob@acme.example"
		require.Equal(t, "bob@acme.example", p.one(t, c, ann(purpose)).GetHeader("Reply-To"))
		c.Inviter = ""
		require.Equal(t, `"Usher" <invitations@mg.example.org>`, p.one(t, c, ann(purpose)).GetHeader("From"))
	}
	require.Equal(t, `"Usher" <invitations@mg.example.org>`, p.one(t, acme(mail.PurposeAccepted, "en"), ann(mail.PurposeAccepted)).GetHeader("From"))
}

func TestEveryMailSaysThatAMachineSentItAndHowToStopIt(t *testing.T) {
	each(t, func(t *testing.T, p *provider, purpose mail.Purpose, locale string) {
		m := p.one(t, acme(purpose, locale), ann(purpose))
		require.Equal(t, "auto-generated", m.GetHeader("Auto-Submitted"))
		require.Regexp(t, `^<inv_[0-9a-z]+\.1\.`+string(purpose)+`\.7@mg\.example\.org>$`, m.GetHeader("Message-Id"))
		if purpose.Notice() {
			require.Empty(t, m.GetHeader("List-Unsubscribe"))
			require.Empty(t, m.sent.Variables["invitation"], "what becomes of a notice would be told of the invitation")
			return
		}
		require.Equal(t, "<"+unsubscribe+">", m.GetHeader("List-Unsubscribe"))
		require.Equal(t, "List-Unsubscribe=One-Click", m.GetHeader("List-Unsubscribe-Post"))
		require.Contains(t, m.Text, unsubscribe)
	})
}

func TestManyOfALetterTravelTogetherAndArriveAsIfAlone(t *testing.T) {
	p := setup(t)
	for _, tag := range i18n.Tags() {
		c := acme(mail.PurposeInvitation, tag.String())
		c.Note, c.Logo, c.Accent = "See you on Monday!", logo, "#f4b400"
		people := make([]mail.Recipient, 5)
		for i := range people {
			people[i] = ann(c.Purpose)
			people[i].To, people[i].Name = fmt.Sprintf("person%d@example.org", i), []string{"Ann", "", "O'Neil & <Co>", "김민수", "ليلى"}[i]
			people[i].Link = fmt.Sprint(link, i)
		}
		together := p.send(t, c, people...)
		require.Equal(t, 1, p.fake.Counters().Calls)
		for i := range people {
			alone := p.one(t, c, people[i])
			require.Equal(t, alone.Text, together[i].Text)
			require.Equal(t, alone.shown(), together[i].shown())
			require.Equal(t, alone.GetHeader("From"), together[i].GetHeader("From"))
			require.Equal(t, alone.GetHeader("Subject"), together[i].GetHeader("Subject"))
		}
	}
}

func TestAnOrganizationsOwnWordsReplaceUshers(t *testing.T) {
	p := setup(t)
	c := acme(mail.PurposeInvitation, "de")
	c.Subject, c.Intro, c.Button = "{inviter} wants you at {organization}!", "Come and be our {role}. {nobody} {{.Link}}", "Let's go, {role}"
	m := p.one(t, c, ann(c.Purpose))
	require.Equal(t, "Maria Silva wants you at Acme & Söhne!", m.GetHeader("Subject"))
	for _, part := range []string{m.Text, m.shown()} {
		require.Contains(t, part, "Come and be our Administrator. {nobody} {{.")
		require.Contains(t, part, "Let's go, Administrator")
	}
	c.Purpose = mail.PurposeReminder
	m = p.one(t, c, ann(c.Purpose))
	require.Equal(t, "Erinnerung: Maria Silva wants you at Acme & Söhne!", m.GetHeader("Subject"))
	require.Contains(t, m.Text, "Dies ist eine Erinnerung")
	c.Inviter, c.Purpose = "", mail.PurposeInvitation
	require.Equal(t, "Acme & Söhne wants you at Acme & Söhne!", p.one(t, c, ann(c.Purpose)).GetHeader("Subject"))
}

func TestTheButtonIsReadableInEveryColour(t *testing.T) {
	p := setup(t)
	for accent, want := range map[string]string{
		"#f4b400": "#000000", "#1a5fb4": "#ffffff", "#000000": "#ffffff", "#FFFFFF": "#000000", "#777777": "#000000", "#767676": "#000000",
		"": "#ffffff", "red": "#ffffff", "#12345": "#ffffff", "#1a5fb4;background:url(https://evil.example)": "#ffffff", "expression(alert(1))": "#ffffff",
	} {
		c := acme(mail.PurposeInvitation, "en")
		c.Accent = accent
		m := p.one(t, c, ann(c.Purpose))
		style := attribute(m.elements("a")[0], "style")
		require.Contains(t, style, "color:"+want+";", accent)
		if len(accent) == 7 {
			require.Contains(t, style, "background:"+accent+";")
		} else {
			require.Contains(t, style, "background:#1d4ed8;")
		}
		require.NotContains(t, m.HTML, "ZgotmplZ")
	}
}

// Names as nobody is called.
var (
	markup = []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "<a href=https://evil.example>Click</a>", "<h1>Pay now</h1>", "</title></style><b>",
		"<!-- x", "--><b>x</b><!--", "<![endif]--><b>x</b>", "<!--[if mso]><b>x</b><![endif]-->", "&lt;b&gt;", "{{.Link}}", "' onmouseover='x",
	}
	lines = []string{
		"a\r\nBcc: all@evil.example", "a\nBcc: all@evil.example", "a\rBcc: all@evil.example", "a\r\n\r\n<b>body</b>", "a\u2028Bcc: x@evil.example",
		"a\u0085Bcc: x@evil.example", "\"\r\nBcc: x@evil.example\r\nX: \"", "a\x00b", "=?utf-8?q?=0D=0ABcc:_x@evil.example?=", "a\v\fb",
	}
	lures = []string{
		"evil.example", "https://evil.example/pay", "http://evil.example", "www.evil.example", "HTTPS://EVIL.EXAMPLE", "//evil.example", "evil。example", "evil．example",
		"mailto:pay@evil.example", "pay@evil.example", "tel:+15550109999", "Call +1 (555) 010-9999 now", "0800 555 01 09", "٠٨٠٠٥٥٥٠١٠٩", "evil.example/login?x=1#y", "ftp://evil.example",
		"javascript:alert(1)", "skype:evil?call", "Your account was charged $499.99. Not you? Call 1-888-555-0109 or visit evil.example.", "1\u200b.evil.example", "xn--80ak6aa92e.com",
	}
	turns = []string{"\u202egnp.exe", "\u2066a\u2069", "\u200fb\u200e", "\u061cc", "a\u202db"}
)

// hostile puts a text in every place that somebody types.
func hostile(purpose mail.Purpose, text string) (mail.Context, mail.Recipient) {
	c, to := acme(purpose, "en"), ann(purpose)
	c.Organization, c.Inviter, c.Role, c.Note, c.Subject, c.Intro, c.Button = text, text, text, text, text, text, text
	if purpose.Notice() {
		c.Invitee = text
	}
	to.Name = text
	return c, to
}

func harmless(purpose mail.Purpose) (mail.Context, mail.Recipient) { return hostile(purpose, "Ann") }

func count(a arrived) map[string]int {
	n := map[string]int{}
	for x := range a.page.Descendants() {
		if x.Type == html.ElementNode {
			n[x.Data]++
		}
	}
	return n
}

// V104, V105, V106 and V116: names became markup, or their addresses links.
func TestV104V105V106V116NamesBecomeNoMarkup(t *testing.T) {
	p := setup(t)
	for _, purpose := range slices.Concat(toInvitees, toInviters) {
		c, to := harmless(purpose)
		want := count(p.one(t, c, to))
		for _, text := range slices.Concat(markup, lines, lures, turns) {
			c, to := hostile(purpose, text)
			m := p.one(t, c, to)
			require.Equal(t, want, count(m), "%s %q", purpose, text)
			for _, a := range m.elements("a") {
				require.Contains(t, []string{to.Link, to.Unsubscribe}, attribute(a, "href"), "%q", text)
			}
			for n := range m.page.Descendants() {
				for _, a := range n.Attr {
					require.False(t, strings.HasPrefix(a.Key, "on"), "%q", text)
				}
			}
		}
	}
}

func TestV116ALogoThatIsNoPictureOfOursIsNotShown(t *testing.T) {
	p := setup(t)
	for _, address := range []string{"javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd"} {
		c := acme(mail.PurposeInvitation, "en")
		c.Logo = address
		require.NotContains(t, p.one(t, c, ann(c.Purpose)).HTML, address)
	}
}

// V109, V110, V111: a line break in a name began a header of its own.
func TestV109V110V111NamesBecomeNoHeaders(t *testing.T) {
	p := setup(t)
	for _, purpose := range slices.Concat(toInvitees, toInviters) {
		c, to := harmless(purpose)
		want := p.one(t, c, to).GetHeaderKeys()
		for _, text := range slices.Concat(lines, markup, turns) {
			c, to := hostile(purpose, text)
			m := p.one(t, c, to)
			require.ElementsMatch(t, want, m.GetHeaderKeys(), "%q", text)
			from, err := m.AddressList("From")
			require.NoError(t, err)
			require.Len(t, from, 1)
			require.Equal(t, "invitations@mg.example.org", from[0].Address)
			require.False(t, strings.ContainsFunc(m.GetHeader("Subject")+from[0].Name, unicode.IsControl), "%q", text)
		}
	}
}

// linkifiers are how mail programs find what to make a link of, each more eager than the programs themselves.
var linkifiers = map[string]*regexp.Regexp{
	"a web address":   regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*:(?://)?[\pL\pN_]\S*|//\S+`),
	"a domain":        regexp.MustCompile(`(?i)[\pL\pN_-]+[.。．｡][\pL][\pL\pN-]+`),
	"a mailbox":       regexp.MustCompile(`(?i)[\pL\pN._%+-]+[@＠][\pL\pN]`),
	"a phone number":  regexp.MustCompile(`\+?\pN[\pN\s().-]{5,}\pN`),
	"a number of old": regexp.MustCompile(`\pN{4,}`),
}

// V073, V089, V090, V091: the real service mailed scams, with addresses and telephone numbers in names and notes.
func TestV073V089V090V091NothingThatSomebodyTypedBecomesALink(t *testing.T) {
	p := setup(t)
	for _, purpose := range slices.Concat(toInvitees, toInviters) {
		for _, lure := range lures {
			c, to := hostile(purpose, lure)
			m := p.one(t, c, to)
			own := strings.NewReplacer(to.Link, "", cmpOr(to.Unsubscribe), "", "November 30, 2026 3:04 pm UTC", "", "(ann@example.org)", "")
			from, err := m.AddressList("From")
			require.NoError(t, err)
			for where, text := range map[string]string{
				"text": own.Replace(m.Text), "HTML": own.Replace(m.shown()), "subject": m.GetHeader("Subject"), "sender": from[0].Name,
			} {
				text = regexp.MustCompile(`:\s`).ReplaceAllString(text, " ")
				for what, find := range linkifiers {
					require.Empty(t, find.FindString(text), "%s of %s: %q becomes %s", where, purpose, lure, what)
				}
			}
		}
	}
}

func cmpOr(s string) string {
	if s == "" {
		return "\x00" // occurs nowhere
	}
	return s
}

func TestNamesTurnNoWritingDirection(t *testing.T) {
	p := setup(t)
	for _, text := range turns {
		c, to := hostile(mail.PurposeInvitation, text)
		m := p.one(t, c, to)
		for _, r := range "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u200e\u200f\u061c" {
			require.NotContains(t, m.Text+m.HTML+m.GetHeader("Subject")+m.GetHeader("From"), string(r), "%q", text)
		}
	}
	c := acme(mail.PurposeInvitation, "en")
	c.Organization = "שלום"
	m := p.one(t, c, ann(c.Purpose))
	require.Contains(t, m.GetHeader("Subject"), "\u2068שלום\u2069", "a name in another direction takes nothing along")
}
