package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Mail is one mail, as the outbox or the fake Mailgun shows it.
type Mail struct {
	Number  int       `json:"number"`
	At      time.Time `json:"at"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	HTML    string    `json:"html"`
	Headers []struct{ Name, Value string }
	// Variables are Mailgun's user variables; the outbox has none.
	Variables map[string]string `json:"variables"`
	Recipient string            `json:"recipient"`
	MessageID string            `json:"message_id"`
}

// Header is the value of a header, empty where the mail has none of that name.
func (m Mail) Header(name string) string {
	for _, h := range m.Headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

var invitationLink = regexp.MustCompile(`https?://[^\s"'<>]+/i/([A-Za-z0-9_-]+)`)

// Link is the invitee's link, the same in both parts.
func (m Mail) Link(t testing.TB) string {
	t.Helper()
	inText, inHTML := invitationLink.FindString(m.Text), invitationLink.FindString(m.HTML)
	require.NotEmpty(t, inText, "the mail has no link:\n%s", m.Text)
	require.Equal(t, inText, inHTML, "the parts of the mail have different links")
	return inText
}

// Token is the secret part of the link.
func (m Mail) Token(t testing.TB) string {
	t.Helper()
	return m.Link(t)[strings.LastIndex(m.Link(t), "/")+1:]
}

// Mailbox is where mails end up: the outbox of development, or the fake Mailgun. It keeps the newest thousand with their
// texts.
type Mailbox struct {
	list, recipient string // the address of the list, and the name of its parameter for who is written to
}

// Outbox is the mailbox of development, shown by the API at that address.
func Outbox(url string) Mailbox { return Mailbox{list: url + "/outbox.json", recipient: "to"} }

// FakeMailgun is where a fake Mailgun at that address keeps what it took.
func FakeMailgun(url string) Mailbox {
	return Mailbox{list: url + "/fake/mails", recipient: "recipient"}
}

// To gives the mails to an address, oldest first.
func (b Mailbox) To(t testing.TB, address string) []Mail {
	t.Helper()
	mails, _, err := b.read(b.recipient, address)
	require.NoError(t, err)
	return mails
}

// All gives every mail that is kept, oldest first, and how many there were in all.
func (b Mailbox) All(t testing.TB) ([]Mail, int) {
	t.Helper()
	mails, total, err := b.read("limit", "20000")
	require.NoError(t, err)
	return mails, total
}

// Next waits for the mail after the first have many to an address, and gives it.
func (b Mailbox) Next(t testing.TB, address string, have int) Mail {
	t.Helper()
	return Until(t, fmt.Sprintf("mail %d to %s", have+1, address), func() (Mail, bool) {
		mails := b.To(t, address)
		if len(mails) <= have {
			return Mail{}, false
		}
		return mails[have], true
	})
}

func (b Mailbox) read(parameter, value string) (mails []Mail, total int, err error) {
	answer, err := Doer.Get(b.list + "?" + url.Values{parameter: {value}}.Encode())
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	var found struct {
		Items []Mail
		Total int
	}
	if answer.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the mailbox answers %s", answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		return nil, 0, fmt.Errorf("the mailbox: %w", err)
	}
	slices.SortFunc(found.Items, func(a, b Mail) int { return a.Number - b.Number })
	return found.Items, found.Total, nil
}

// Mailgun is a fake Mailgun in a process of its own: mails in it outlive whoever sent them.
type Mailgun struct {
	*Process
	URL  string
	Sign string // what its webhooks are signed with
	Mailbox
}

// RunMailgun starts a fake Mailgun that ends with the test. Its webhooks go to that address, where one is given.
func RunMailgun(t testing.TB, webhooks string) *Mailgun {
	t.Helper()
	addr, err := freeAddr()
	require.NoError(t, err)
	m := &Mailgun{URL: "http://" + addr, Sign: Unique("signing-key-")}
	m.Mailbox = FakeMailgun(m.URL)
	m.Process, err = newProcess("usher", []string{
		"fake-mailgun", "--addr", addr, "--domain", "mg.example.org", "--api-key", "key-" + m.Sign, "--signing-key", m.Sign,
		"--webhook-url", webhooks, "--keep-bodies", "20000",
	}, nil)
	require.NoError(t, err)
	require.NoError(t, m.start())
	t.Cleanup(m.Kill9)
	Eventually(t, "the fake Mailgun", func() bool { return answers(m.URL + "/fake/counters") })
	return m
}

// Alive reports whether a system's process answers at all.
func Alive(url string) bool { return answers(url + "/livez") }

func answers(url string) bool {
	answer, err := Doer.Get(url)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// Settings are what Usher needs to send through it.
func (m *Mailgun) Settings() []string {
	return []string{
		"MAILGUN_API_BASE=" + m.URL, "MAILGUN_DOMAIN=mg.example.org", "MAILGUN_API_KEY=key-" + m.Sign,
		"MAILGUN_WEBHOOK_SIGNING_KEY=" + m.Sign, "USHER_MAIL_FROM=Usher <invitations@mg.example.org>",
	}
}

// Fault scripts a failure; see package fakemailgun for its fields.
func (m *Mailgun) Fault(t testing.TB, fault map[string]any) {
	t.Helper()
	a := Client{URL: m.URL}.Post(t, "/fake/faults", fault)
	require.Equal(t, http.StatusNoContent, a.Status, "%s", a.Body)
}

// ClearFaults ends all failures.
func (m *Mailgun) ClearFaults(t testing.TB) {
	t.Helper()
	require.Equal(t, http.StatusNoContent, Client{URL: m.URL}.Do(t, http.MethodDelete, "/fake/faults", nil).Status)
}

// Invitations gives the mails to invitees, oldest first: not those that tell inviters what became of them.
func (m *Mailgun) Invitations(t testing.TB) []Mail {
	t.Helper()
	mails, _ := m.All(t)
	return slices.DeleteFunc(mails, func(mail Mail) bool { return mail.Variables["invitation"] == "" })
}

// Report posts a webhook and gives the status it was answered with.
func (m *Mailgun) Report(t testing.TB, report map[string]any) int {
	t.Helper()
	return Read[struct{ Status int }](t, Client{URL: m.URL}.Post(t, "/fake/reports", report), http.StatusOK).Status
}

// Calls tells how many messages calls there were, and how many mails were taken.
func (m *Mailgun) Calls(t testing.TB) (calls, mails int) {
	t.Helper()
	c := Read[struct{ Calls, Mails int }](t, Client{URL: m.URL}.Get(t, "/fake/counters"), http.StatusOK)
	return c.Calls, c.Mails
}

// Taken waits until that many mails were taken in all.
func (m *Mailgun) Taken(t testing.TB, n int) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%d mails", n), func() bool { _, mails := m.Calls(t); return mails >= n })
}

// ByRecipient gives every mail, by the address it went to, oldest first.
func (m *Mailgun) ByRecipient(t testing.TB) map[string][]Mail {
	t.Helper()
	all, _ := m.All(t)
	to := map[string][]Mail{}
	for _, mail := range all {
		to[mail.Recipient] = append(to[mail.Recipient], mail)
	}
	return to
}

// number reads a mail's variable as a number.
func (m Mail) number(name string) uint64 {
	n, _ := strconv.ParseUint(m.Variables[name], 10, 64) // 0 where it is none
	return n
}

// Generation is the link generation that the mail's variables name.
func (m Mail) Generation() int { return int(m.number("generation")) }
