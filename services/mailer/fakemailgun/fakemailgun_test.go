package fakemailgun_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/mailgunhook"
	"github.com/usherhq/usher/services/mailer/fakemailgun"
)

// field is one field of a form; names may repeat.
type field struct{ name, value string }

func plain(to ...string) []field {
	fields := []field{{"from", "Usher <hello@mg.example.org>"}, {"subject", "Hi %recipient.name%"}, {"text", "text %recipient.name%"}, {"html", "<p>%recipient.name%"}, {"v:invitation", "inv_1"}}
	for _, a := range to {
		fields = append(fields, field{"to", a})
	}
	return fields
}

type client struct {
	t    testing.TB
	fake *fakemailgun.Server
	url  string
}

func setup(t testing.TB, o fakemailgun.Options) *client {
	t.Helper()
	c := &client{t: t, fake: fakemailgun.New(o)}
	srv := httptest.NewServer(c.fake)
	t.Cleanup(func() { srv.Close(); c.fake.Close() })
	c.url = srv.URL
	return c
}

func (c *client) do(method, path, contentType string, body io.Reader) (int, string) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url+path, body)
	require.NoError(c.t, err)
	req.SetBasicAuth("api", "key-1")
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp.StatusCode, string(raw)
}

func (c *client) get(path string) string {
	c.t.Helper()
	status, body := c.do(http.MethodGet, path, "", nil)
	require.Equal(c.t, http.StatusOK, status, body)
	return body
}

func (c *client) send(path string, fields []field) (int, string) {
	c.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		require.NoError(c.t, w.WriteField(f.name, f.value))
	}
	require.NoError(c.t, w.Close())
	return c.do(http.MethodPost, "/v3/mg.example.org/"+path, w.FormDataContentType(), &b)
}

func (c *client) sent(fields []field) {
	c.t.Helper()
	status, body := c.send("messages", fields)
	require.Equal(c.t, http.StatusOK, status, body)
	require.Regexp(c.t, `^\{"id":"<[^@]+@mg\.example\.org>","message":"Queued\. Thank you\."\}`, strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(body))
}

func addresses(n int) (to []string, variables string) {
	vars := map[string]map[string]any{}
	for i := range n {
		a := fmt.Sprintf("p%d@example.org", i)
		to = append(to, a)
		vars[a] = map[string]any{"name": fmt.Sprint("N", i), "number": i}
	}
	raw, _ := json.Marshal(vars)
	return to, string(raw)
}

func TestAThousandRecipientsAreTakenAndOneMoreIsNot(t *testing.T) {
	c := setup(t, fakemailgun.Options{})
	to, vars := addresses(1000)
	c.sent(append(plain(to...), field{"recipient-variables", vars}, field{"v:n", "%recipient.number%"}))
	mails := c.fake.Mails()
	require.Len(t, mails, 1000)
	for i, m := range mails {
		require.Equal(t, fmt.Sprint("Hi N", i), m.Subject)
		require.Equal(t, fmt.Sprint("text N", i), m.Text())
		require.Equal(t, fmt.Sprint("<p>N", i), m.HTML())
		require.Equal(t, fmt.Sprint(i), m.Variables["n"])
		require.Equal(t, to[i], m.To)
	}
	to, vars = addresses(1001)
	status, body := c.send("messages", append(plain(to...), field{"recipient-variables", vars}))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "too many recipients")
	require.Equal(t, 1, c.fake.Counters().Refused)
}

func TestWithoutRecipientVariablesAllSeeAllAndNothingIsFilledIn(t *testing.T) {
	c := setup(t, fakemailgun.Options{})
	c.sent(plain("Ann <ann@example.org>", "bob@example.org, eve@example.org"))
	mails := c.fake.Mails()
	require.Len(t, mails, 3)
	for _, m := range mails {
		require.Equal(t, "Ann <ann@example.org>, bob@example.org, eve@example.org", m.To)
		require.Equal(t, "text %recipient.name%", m.Text())
	}
	require.Equal(t, "ann@example.org", mails[0].Recipient)
}

func TestSubstitutionTakesTheReadingThatIsHarderOnTheCaller(t *testing.T) {
	c := setup(t, fakemailgun.Options{})
	vars := `{"a@b.org":{"name":"%recipient.secret%","secret":"S","n":3}}`
	c.sent([]field{{"from", "x@y.org"}, {"to", "a@b.org"}, {"text", "100% %recipient.name% %recipient.none% %recipient.n% %recipient% %unsubscribe_url% %"}, {"recipient-variables", vars}})
	require.Equal(t, "100% S %recipient.none% 3 a@b.org https://unsubscribe.mailgun.example/u/ %", c.fake.Mails()[0].Text())
}

func TestBadFormsAreRefusedAsMailgunDoes(t *testing.T) {
	c := setup(t, fakemailgun.Options{})
	without := func(name string) (out []field) {
		for _, f := range plain("a@b.org") {
			if f.name != name {
				out = append(out, f)
			}
		}
		return out
	}
	for name, fields := range map[string][]field{
		"to parameter is missing":                 without("to"),
		"from parameter is missing":               without("from"),
		"to parameter is not a valid address":     plain("a@b.org", "nobody"),
		"from parameter is not a valid address":   append(without("from"), field{"from", "nobody"}),
		"Need at least one of":                    {{"from", "a@b.org"}, {"to", "a@b.org"}},
		"recipient-variables is not a valid JSON": append(plain("a@b.org"), field{"recipient-variables", "[]"}),
	} {
		status, body := c.send("messages", fields)
		require.Equal(t, http.StatusBadRequest, status, name)
		require.Contains(t, body, name)
	}
	status, _ := c.do(http.MethodPost, "/v3/mg.example.org/messages", "text/nonsense;;", strings.NewReader("x"))
	require.Equal(t, http.StatusBadRequest, status)
	require.Zero(t, c.fake.Counters().Mails)
}

func TestAnEncodedFormIsTakenToo(t *testing.T) {
	c := setup(t, fakemailgun.Options{})
	form := url.Values{"from": {"x@y.org"}, "to": {"a@b.org", "c@d.org"}, "subject": {"Grüße & mehr"}, "text": {"t"}}
	status, _ := c.do(http.MethodPost, "/v3/mg.example.org/messages", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "Grüße & mehr", c.fake.Mails()[1].Subject)
}

func TestAMIMEMessageIsTakenApart(t *testing.T) {
	c := setup(t, fakemailgun.Options{})
	message := "From: Usher <hello@mg.example.org>\r\nTo: ann@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-Id: <own@mg.example.org>\r\n" +
		"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
		"a=3Db\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+aGk8L3A+\r\n--b--\r\n"
	status, body := c.send("messages.mime", []field{{"to", "ann@example.org"}, {"message", message}, {"v:invitation", "inv_7"}})
	require.Equal(t, http.StatusOK, status, body)
	m := c.fake.Mails()[0]
	require.Equal(t, "Grüße", m.Subject)
	require.Equal(t, "a=b", m.Text())
	require.Equal(t, "<p>hi</p>", m.HTML())
	require.Equal(t, "<own@mg.example.org>", m.MessageID)
	require.Equal(t, "inv_7", m.Variables["invitation"])
	status, _ = c.send("messages.mime", []field{{"to", "ann@example.org"}, {"message", "no header"}})
	require.Equal(t, http.StatusBadRequest, status)
}

func TestTheWrongKeyAndTheWrongDomainAreTurnedAway(t *testing.T) {
	c := setup(t, fakemailgun.Options{Domain: "other.example", APIKey: "key-1"})
	status, _ := c.send("messages", plain("a@b.org"))
	require.Equal(t, http.StatusNotFound, status)
	c = setup(t, fakemailgun.Options{Domain: "mg.example.org", APIKey: "key-2"})
	status, _ = c.send("messages", plain("a@b.org"))
	require.Equal(t, http.StatusUnauthorized, status)
}

func TestOldBodiesAreLetGoOfAndThenTheMails(t *testing.T) {
	c := setup(t, fakemailgun.Options{Keep: 10, KeepBodies: 3})
	for i := range 25 {
		c.sent(plain(fmt.Sprintf("p%d@example.org", i)))
	}
	mails := c.fake.Mails()
	require.Len(t, mails, 10)
	require.Equal(t, 25, c.fake.Counters().Mails)
	require.Equal(t, "p15@example.org", mails[0].Recipient)
	for i, m := range mails {
		require.Equal(t, i >= 7, m.Text() != "", i)
		require.Equal(t, "inv_1", m.Variables["invitation"])
	}
}

func TestTheRateLimitAnswers429WithRetryAfter(t *testing.T) {
	at := time.Now()
	c := setup(t, fakemailgun.Options{Rate: 10, Clock: func() time.Time { return at }})
	to, vars := addresses(8)
	c.sent(append(plain(to...), field{"recipient-variables", vars}))
	status, _ := c.send("messages", append(plain(to...), field{"recipient-variables", vars}))
	require.Equal(t, http.StatusTooManyRequests, status)
	at = at.Add(time.Second)
	c.sent(append(plain(to...), field{"recipient-variables", vars}))
	require.Equal(t, 16, c.fake.Counters().Mails)
}

// eventsOf walks the pages of the events API.
func (c *client) eventsOf(query string) (items []map[string]any) {
	next := "/v3/mg.example.org/events?" + query
	for {
		var page struct {
			Items  []map[string]any  `json:"items"`
			Paging map[string]string `json:"paging"`
		}
		require.NoError(c.t, json.Unmarshal([]byte(c.get(next)), &page))
		if len(page.Items) == 0 {
			return items
		}
		items = append(items, page.Items...)
		next = strings.TrimPrefix(page.Paging["next"], c.url)
	}
}

func TestEventsAreFilteredAndPaged(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	c := setup(t, fakemailgun.Options{Clock: func() time.Time { return now }})
	to, vars := addresses(25)
	c.sent(append(plain(to...), field{"recipient-variables", vars}, field{"h:Message-Id", "<%recipient.number%@mg.example.org>"}))
	require.Len(t, c.eventsOf("ascending=yes&limit=10"), 25)
	require.Len(t, c.eventsOf("message-id="+url.QueryEscape("7@mg.example.org")), 1)
	require.Equal(t, "p3@example.org", c.eventsOf("recipient=p3@example.org")[0]["recipient"])
	require.Len(t, c.eventsOf("event=accepted"), 25)
	require.Len(t, c.eventsOf("event=accepted+OR+failed"), 25)
	require.Empty(t, c.eventsOf("event=failed"))
	require.Empty(t, c.eventsOf("begin="+url.QueryEscape(now.Add(time.Minute).Format("Mon, 2 Jan 2006 15:04:05 -0700"))))
	require.Len(t, c.eventsOf(fmt.Sprintf("begin=%d", now.Unix())), 25)
	require.Empty(t, c.eventsOf(fmt.Sprintf("end=%d", now.Unix()-60)))
}

// hooks is a receiver of webhooks.
type hooks struct {
	mu     sync.Mutex
	bodies [][]byte
	status int
	came   chan struct{}
}

func receiver(t testing.TB) (*hooks, string) {
	t.Helper()
	h := &hooks{status: http.StatusOK, came: make(chan struct{}, 1000)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.bodies = append(h.bodies, raw)
		w.WriteHeader(h.status)
		h.mu.Unlock()
		h.came <- struct{}{}
	}))
	t.Cleanup(srv.Close)
	return h, srv.URL
}

func TestReportsAreSignedAndSayWhatHappened(t *testing.T) {
	h, address := receiver(t)
	c := setup(t, fakemailgun.Options{WebhookURL: address, SigningKey: "sign"})
	c.sent(append(plain("ann@example.org"), field{"v:generation", "2"}, field{"h:Message-Id", "<m@mg.example.org>"}))
	for i, kind := range []mailgunhook.Kind{mailgunhook.Delivered, mailgunhook.Deferred, mailgunhook.Bounced, mailgunhook.Complained, mailgunhook.Unsubscribed} {
		status, err := c.fake.Report(t.Context(), fakemailgun.Report{Recipient: "ann@example.org", Kind: kind})
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		e, err := mailgunhook.Parse(h.bodies[i], "sign", time.Now())
		require.NoError(t, err)
		require.Equal(t, kind, e.Kind)
		require.Equal(t, "inv_1", e.Invitation)
		require.Equal(t, 2, e.Generation)
		require.Equal(t, "ann@example.org", e.Recipient)
		require.Equal(t, "<m@mg.example.org>", e.MessageID)
		require.WithinDuration(t, time.Now(), e.OccurredAt, time.Minute)
	}
	require.Len(t, c.eventsOf("event=failed"), 2)
	require.Equal(t, 5, c.fake.Counters().Reports)
}

func TestReportsCanBeWrongInEveryWay(t *testing.T) {
	h, address := receiver(t)
	h.status = http.StatusNotAcceptable
	c := setup(t, fakemailgun.Options{WebhookURL: address, SigningKey: "sign"})
	c.sent(plain("ann@example.org"))
	status, err := c.fake.Report(t.Context(), fakemailgun.Report{Mail: 1, Token: "tok", Timestamp: "1000", Times: 3, ID: "same"})
	require.NoError(t, err)
	require.Equal(t, http.StatusNotAcceptable, status)
	require.Len(t, h.bodies, 3)
	require.Equal(t, h.bodies[0], h.bodies[2])
	_, err = mailgunhook.Parse(h.bodies[0], "sign", time.Unix(1000, 0))
	require.NoError(t, err)
	_, err = c.fake.Report(t.Context(), fakemailgun.Report{Signature: "bad"})
	require.NoError(t, err)
	_, err = mailgunhook.Parse(h.bodies[3], "sign", time.Now())
	require.ErrorIs(t, err, mailgunhook.ErrSignature)
	_, err = c.fake.Report(t.Context(), fakemailgun.Report{Mail: 99})
	require.ErrorIs(t, err, fakemailgun.ErrNoMail)
	require.Equal(t, 4, c.fake.Counters().ReportsFailed)
}

func TestMailsReportThemselvesByTheirAddress(t *testing.T) {
	h, address := receiver(t)
	c := setup(t, fakemailgun.Options{WebhookURL: address, SigningKey: "sign", Deliver: true})
	want := map[string]mailgunhook.Kind{
		"ann@example.org": mailgunhook.Delivered, "bounce-1@example.org": mailgunhook.Bounced, "defer@example.org": mailgunhook.Deferred,
		"complain@example.org": mailgunhook.Complained, "unsubscribe@example.org": mailgunhook.Unsubscribed,
	}
	for a := range want {
		c.sent(plain(a))
	}
	for range want {
		<-h.came
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, body := range h.bodies {
		e, err := mailgunhook.Parse(body, "sign", time.Now())
		require.NoError(t, err)
		require.Equal(t, want[e.Recipient], e.Kind)
	}
}

func TestAnotherProcessCanDriveIt(t *testing.T) {
	_, address := receiver(t)
	c := setup(t, fakemailgun.Options{WebhookURL: address, SigningKey: "sign"})
	post := func(path, body string) (int, string) {
		return c.do(http.MethodPost, path, "application/json", strings.NewReader(body))
	}
	status, _ := post("/fake/faults", `{"status":429,"retry_after":"3","delay":"1ms"}`)
	require.Equal(t, http.StatusNoContent, status)
	status, _ = c.send("messages", plain("ann@example.org"))
	require.Equal(t, http.StatusTooManyRequests, status)
	c.sent(plain("ann@example.org"))
	c.sent(plain("bob@example.org"))
	for query, want := range map[string]int{"": 2, "?recipient=bob@example.org": 1, "?invitation=inv_1": 2, "?invitation=x": 0, "?after=1": 1, "?limit=1": 1} {
		var list struct {
			Items []struct {
				Recipient, Text string
				MessageID       string `json:"message_id"`
				Variables       map[string]string
			}
			Total int
		}
		require.NoError(t, json.Unmarshal([]byte(c.get("/fake/mails"+query)), &list))
		require.Len(t, list.Items, want, query)
		require.Equal(t, 2, list.Total)
	}
	require.Contains(t, c.get("/fake/mails/2"), `"recipient":"bob@example.org"`)
	status, body := post("/fake/reports", `{"kind":"bounced","recipient":"bob@example.org"}`)
	require.Equal(t, http.StatusOK, status, body)
	require.JSONEq(t, `{"status":200}`, body)
	require.JSONEq(t, `{"calls":3,"mails":2,"refused":0,"faults":1,"reports":1,"reports_failed":0}`, c.get("/fake/counters"))
	status, _ = post("/fake/reports", `{"recipient":"nobody@example.org"}`)
	require.Equal(t, http.StatusNotFound, status)
	status, _ = post("/fake/faults", `{"staus":429}`)
	require.Equal(t, http.StatusBadRequest, status, "a misspelt fault would otherwise be none")
	_, _ = post("/fake/faults", `{"status":500,"times":-1}`)
	status, _ = c.do(http.MethodDelete, "/fake/faults", "", nil)
	require.Equal(t, http.StatusNoContent, status)
	c.sent(plain("ann@example.org"))
	status, _ = post("/fake/reset", ``)
	require.Equal(t, http.StatusNoContent, status)
	require.JSONEq(t, `{"items":[],"total":0}`, c.get("/fake/mails"))
	require.Contains(t, c.get("/"), "No mails")
}

func TestFaultsAreMetInOrderAndAsOftenAsAsked(t *testing.T) {
	c := setup(t, fakemailgun.Options{})
	c.fake.Fail(fakemailgun.Fault{Status: 500, Times: 2})
	c.fake.Fail(fakemailgun.Fault{Status: 503, Recipient: "bad"})
	c.fake.Fail(fakemailgun.Fault{Status: 502, Accept: true})
	var got []int
	for range 4 {
		status, _ := c.send("messages", plain("ann@example.org"))
		got = append(got, status)
	}
	require.Equal(t, []int{500, 500, 502, 200}, got)
	require.Equal(t, 2, c.fake.Counters().Mails)
	status, _ := c.send("messages", plain("bad@example.org"))
	require.Equal(t, 503, status)
	c.sent(plain("bad@example.org"))
}

func TestAwaitWakesWhenTheMailsAreThere(t *testing.T) {
	c := setup(t, fakemailgun.Options{})
	got := make(chan []fakemailgun.Mail)
	go func() { m, _ := c.fake.Await(t.Context(), 3); got <- m }()
	for range 3 {
		c.sent(plain("ann@example.org"))
	}
	require.Len(t, <-got, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.fake.Await(ctx, 4)
	require.ErrorIs(t, err, context.Canceled)
}

func TestThePageShowsMailsWithLinksThatWork(t *testing.T) {
	c := setup(t, fakemailgun.Options{})
	c.sent([]field{{"from", "x@y.org"}, {"to", "ann@example.org"}, {"subject", "<b>Hi</b>"}, {"text", "go to https://usher.example/i/T now"}, {"html", "<p><a href=\"https://usher.example/i/T\">go</a>"}})
	require.Contains(t, c.get("/"), `<a href="/1">&lt;b&gt;Hi&lt;/b&gt;</a>`)
	require.Contains(t, c.get("/1"), `<a href="https://usher.example/i/T" target="_blank" rel="noopener noreferrer">https://usher.example/i/T</a> now`)
	require.Contains(t, c.get("/1/html"), `<a target="_blank" rel="noopener noreferrer" href="https://usher.example/i/T">`)
	require.Contains(t, c.get("/style.css"), "body")
}

func TestArrivalsTellWhenEachMailCameAndItsLink(t *testing.T) {
	c := setup(t, fakemailgun.Options{KeepBodies: 1})
	for _, to := range []string{"a@example.org", "b@example.org", "c@example.org"} {
		fields := append(plain(to), field{"text", "Open http://usher.example.org/i/AbC-1_2 now"})
		status, body := c.send("messages", fields)
		require.Equal(t, http.StatusOK, status, body)
	}
	lines := strings.Split(strings.TrimSuffix(c.get("/fake/arrivals?after=1"), "\n"), "\n")
	require.Len(t, lines, 2)
	require.Regexp(t, `^2 \d{19} b@example.org inv_1 $`, lines[0]) // its texts were let go of
	require.Regexp(t, `^3 \d{19} c@example.org inv_1 http://usher.example.org/i/AbC-1_2$`, lines[1])
	require.Equal(t, 1, strings.Count(c.get("/fake/arrivals?limit=1"), "\n"))
}
