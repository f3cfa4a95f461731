package mailgun_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/mailer/fakemailgun"
	"github.com/usherhq/usher/services/mailer/mail"
	"github.com/usherhq/usher/services/mailer/mailgun"
	"github.com/usherhq/usher/services/mailer/mailtest"
)

// bench is a Sender before a fake Mailgun.
type bench struct {
	*mailgun.Sender
	fake *fakemailgun.Server
	url  string
	r    *mail.Renderer
}

func setup(t testing.TB, change func(*mailgun.Options, *fakemailgun.Options)) *bench {
	t.Helper()
	fo := fakemailgun.Options{Domain: "mg.example.org", APIKey: "key-1"}
	o := mailgun.Options{Domain: "mg.example.org", APIKey: "key-1", EventsLag: time.Nanosecond}
	if change != nil {
		change(&o, &fo)
	}
	b := &bench{fake: fakemailgun.New(fo)}
	srv := httptest.NewServer(b.fake)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close(); b.fake.Close() })
	b.url = srv.URL
	if o.Base == "" {
		o.Base = srv.URL + "/v3"
	}
	var err error
	b.Sender, err = mailgun.New(o)
	require.NoError(t, err)
	b.r, err = mail.NewRenderer(mail.RendererOptions{From: "Usher <hello@mg.example.org>"})
	require.NoError(t, err)
	return b
}

// mails are n mails with one letter.
func (b *bench) mails(t testing.TB, n int) []mail.Mail {
	t.Helper()
	mails := make([]mail.Mail, n)
	for i := range mails {
		mails[i] = b.mail(t, mail.Context{Purpose: mail.PurposeInvitation, Organization: "Acme", Inviter: "Bob", Role: "member", ReplyTo: "bob@acme.example"}, i)
	}
	return mails
}

func (b *bench) mail(t testing.TB, c mail.Context, i int) mail.Mail {
	t.Helper()
	m, err := b.r.Mail(c, mail.Recipient{
		Invitation: fmt.Sprintf("inv_%d", i), Generation: 1 + i%3, Intent: uint64(100 + i), To: fmt.Sprintf("person%d@example.org", i), Name: fmt.Sprintf("Person <%d>", i),
		Link: fmt.Sprintf("https://usher.example/i/TOKEN-%d-", i), Unsubscribe: fmt.Sprintf("https://usher.example/u/TOKEN-%d-", i), Deadline: time.Date(2026, 12, 1, 0, i, 0, 0, time.UTC),
	})
	require.NoError(t, err)
	return m
}

// one sends one mail and gives its error.
func (b *bench) one(t testing.TB) error {
	t.Helper()
	return b.Send(t.Context(), b.mails(t, 1))[0].Err
}

func wantSent(t testing.TB, results []mail.Result) {
	t.Helper()
	for _, r := range results {
		require.NoError(t, r.Err)
		require.Regexp(t, `^<[^<>@]+@mg\.example\.org>$`, r.ID)
	}
}

// wantAsWritten checks what arrived against what was written, part by part.
func wantAsWritten(t testing.TB, want mail.Mail, got fakemailgun.Mail) {
	t.Helper()
	require.Equal(t, want.To, got.Recipient)
	require.Equal(t, want.To, got.To, "nobody sees anybody else")
	require.Equal(t, want.Letter.From, got.From)
	require.Equal(t, want.Subject(), got.Subject)
	require.Equal(t, want.Text(), got.Text())
	require.Equal(t, want.HTML(), got.HTML())
	require.Equal(t, want.MessageID, got.MessageID)
	for _, h := range want.Headers() {
		require.Equal(t, h.Value, got.Header(h.Name), h.Name)
	}
	require.Equal(t, map[string]string{
		"invitation": want.Invitation, "generation": fmt.Sprint(want.Generation), "purpose": string(want.Letter.Purpose), "intent": fmt.Sprint(want.Intent),
	}, got.Variables)
}

func TestOneMailArrivesAsItWasWritten(t *testing.T) {
	b := setup(t, nil)
	mails := b.mails(t, 1)
	results := b.Send(t.Context(), mails)
	wantSent(t, results)
	require.Equal(t, mails[0].MessageID, results[0].ID)
	require.Len(t, b.fake.Mails(), 1)
	wantAsWritten(t, mails[0], b.fake.Mails()[0])
}

func TestAThousandMailsTravelInOneCallAndArriveAsTheyWereWritten(t *testing.T) {
	b := setup(t, nil)
	mails := b.mails(t, 1000)
	wantSent(t, b.Send(t.Context(), mails))
	require.Equal(t, fakemailgun.Counters{Calls: 1, Mails: 1000}, b.fake.Counters())
	for i, got := range b.fake.Mails() {
		wantAsWritten(t, mails[i], got)
		require.Equal(t, 1000, got.Together)
	}
}

func TestMailsWithDifferentLettersTravelApart(t *testing.T) {
	b := setup(t, nil)
	mails := b.mails(t, 4)
	mails[3] = b.mail(t, mail.Context{Purpose: mail.PurposeResend, Organization: "Other", Role: "admin"}, 3)
	wantSent(t, b.Send(t.Context(), append(mails, b.mails(t, 900)...)))
	require.Equal(t, 3, b.fake.Counters().Calls)
	require.Equal(t, 904, b.fake.Counters().Mails)
	wantAsWritten(t, mails[3], b.fake.Mails()[3])
}

func TestTwoMailsToOneAddressTravelApartAndAreBothRight(t *testing.T) {
	b := setup(t, nil)
	mails := b.mails(t, 2)
	mails[1].To = mails[0].To
	wantSent(t, b.Send(t.Context(), mails))
	for i, got := range b.fake.Mails() {
		wantAsWritten(t, mails[i], got)
	}
}

func TestT102TrackingIsOffSoThatTheLinkStaysAsItIs(t *testing.T) {
	b := setup(t, nil)
	wantSent(t, b.Send(t.Context(), b.mails(t, 1)))
	wantSent(t, b.Send(t.Context(), b.mails(t, 3)))
	for _, m := range b.fake.Mails() {
		require.Equal(t, map[string]string{"tracking": "no", "tracking-clicks": "no", "tracking-opens": "no"}, m.Options)
	}
}

func TestT104TestModeIsPassedOn(t *testing.T) {
	b := setup(t, func(o *mailgun.Options, _ *fakemailgun.Options) { o.TestMode = true })
	wantSent(t, b.Send(t.Context(), b.mails(t, 2)))
	require.Equal(t, "yes", b.fake.Mails()[0].Options["testmode"])
}

func TestT103UserTextFillsInNothing(t *testing.T) {
	b := setup(t, nil)
	for i, text := range []string{"%recipient.link%", "%recipient.message_id%", "%unsubscribe_url%", "%tag_unsubscribe_url%", "{{token}}", "50% off %recipient.greeting%"} {
		// Neighbours with the same letter, so that they would travel together if they could.
		named := b.mails(t, 3)
		for j := range named {
			named[j].Name = text
		}
		mails := append(named, b.mail(t, mail.Context{Organization: text, Inviter: text, Role: text}, 10), b.mail(t, mail.Context{Organization: text, Inviter: text, Role: text}, 11))
		wantSent(t, b.Send(t.Context(), mails))
		got := b.fake.Mails()[i*5:]
		for j := range mails {
			wantAsWritten(t, mails[j], got[j])
			require.Equal(t, 1, strings.Count(got[j].Text(), mails[j].Link), text)
			require.NotContains(t, got[j].Text()+got[j].HTML()+got[j].Subject, "mailgun.example", text)
		}
	}
	require.Contains(t, b.fake.Mails()[3].Text(), "%recipient.\u200clink%")
}

func TestT089OneRefusedRecipientDoesNotFailTheOthers(t *testing.T) {
	b := setup(t, nil)
	b.fake.Fail(fakemailgun.Fault{Status: 400, Recipient: "person617@", Times: -1, Body: `{"message":"to parameter is not a valid address: person617@example.org"}`})
	results := b.Send(t.Context(), b.mails(t, 1000))
	refused := results[617]
	require.Equal(t, &mail.Permanent{Code: 400, Reason: "to parameter is not a valid address: (address)"}, refused.Err)
	wantSent(t, append(results[:617:617], results[618:]...))
	require.Equal(t, 999, b.fake.Counters().Mails)
	require.LessOrEqual(t, b.fake.Counters().Calls, 21, "halves, not a thousand calls")
}

func TestAnswersAreToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		fault fakemailgun.Fault
		want  error
		after time.Duration
	}{
		"400":                         {fault: fakemailgun.Fault{Status: 400}, want: &mail.Permanent{}},
		"413":                         {fault: fakemailgun.Fault{Status: 413}, want: &mail.Permanent{}},
		"T090 401":                    {fault: fakemailgun.Fault{Status: 401}, want: &mail.Paused{}},
		"402":                         {fault: fakemailgun.Fault{Status: 402}, want: &mail.Paused{}},
		"T090 403":                    {fault: fakemailgun.Fault{Status: 403}, want: &mail.Paused{}},
		"T091 404":                    {fault: fakemailgun.Fault{Status: 404}, want: &mail.Paused{}},
		"T084 429":                    {fault: fakemailgun.Fault{Status: 429}, want: &mail.Later{}},
		"T084 429 with Retry-After":   {fault: fakemailgun.Fault{Status: 429, RetryAfter: "7"}, want: &mail.Later{}, after: 7 * time.Second},
		"T084 429 with a huge one":    {fault: fakemailgun.Fault{Status: 429, RetryAfter: "999999999"}, want: &mail.Later{}, after: time.Hour},
		"T084 429 with nonsense":      {fault: fakemailgun.Fault{Status: 429, RetryAfter: "-5"}, want: &mail.Later{}},
		"T085 503":                    {fault: fakemailgun.Fault{Status: 503, RetryAfter: "3"}, want: &mail.Later{}, after: 3 * time.Second},
		"418":                         {fault: fakemailgun.Fault{Status: 418}, want: &mail.Later{}},
		"T086 500":                    {fault: fakemailgun.Fault{Status: 500}, want: &mail.Unknown{}},
		"T085 502":                    {fault: fakemailgun.Fault{Status: 502}, want: &mail.Unknown{}},
		"T094 200 with HTML":          {fault: fakemailgun.Fault{Status: 200, Body: "<html>Mailgun Magnificent API</html>"}, want: &mail.Unknown{}},
		"T094 200 with other JSON":    {fault: fakemailgun.Fault{Status: 200, Body: `{"ok":true}`}, want: &mail.Unknown{}},
		"T094 200 with nothing":       {fault: fakemailgun.Fault{Status: 204}, want: &mail.Unknown{}},
		"T094 200 with 10 MB":         {fault: fakemailgun.Fault{Status: 200, Body: `{"id":"<x@y>","message":"` + strings.Repeat("x", 10<<20) + `"}`}, want: &mail.Unknown{}},
		"T087 cut before the answer":  {fault: fakemailgun.Fault{Cut: fakemailgun.CutBeforeAnswer}, want: &mail.Unknown{}},
		"T087 cut in the answer":      {fault: fakemailgun.Fault{Cut: fakemailgun.CutInAnswer}, want: &mail.Unknown{}},
		"T008 cut before it was read": {fault: fakemailgun.Fault{Cut: fakemailgun.CutBeforeRead}, want: &mail.Unknown{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, nil)
			b.fake.Fail(c.fault)
			err := b.one(t)
			require.IsType(t, c.want, err)
			switch err := err.(type) {
			case *mail.Later:
				require.Equal(t, c.after, err.After)
			case *mail.Paused:
				require.Equal(t, c.fault.Status, err.Code)
			}
			require.NotContains(t, err.Error(), "example.org\"")
			require.NotContains(t, err.Error(), "key-1")
			require.NoError(t, b.one(t), "and it goes on")
		})
	}
}

func TestRetryAfterMayBeADate(t *testing.T) {
	b := setup(t, nil)
	b.fake.Fail(fakemailgun.Fault{Status: 429, RetryAfter: time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)})
	later := b.one(t).(*mail.Later)
	require.InDelta(t, 90, later.After.Seconds(), 3)
}

func TestT088ASlowAnswerIsUnknownAndIsNotWaitedForAnyLonger(t *testing.T) {
	b := setup(t, func(o *mailgun.Options, _ *fakemailgun.Options) { o.Timeout = 50 * time.Millisecond })
	b.fake.Fail(fakemailgun.Fault{Delay: fakemailgun.Duration(time.Minute)})
	require.IsType(t, &mail.Unknown{}, b.one(t))
}

func TestT009AMailThatWasTakenIsFoundWhenItsAnswerWasLost(t *testing.T) {
	for name, f := range map[string]fakemailgun.Fault{
		"cut":          {Accept: true, Cut: fakemailgun.CutBeforeAnswer},
		"cut in it":    {Accept: true, Cut: fakemailgun.CutInAnswer},
		"T086 500":     {Accept: true, Status: 500},
		"T094 garbage": {Accept: true, Status: 200, Body: "?"},
	} {
		for _, size := range []int{1, 20} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				b := setup(t, nil)
				mails := b.mails(t, size)
				b.fake.Fail(f)
				attempted := time.Now()
				for i, r := range b.Send(t.Context(), mails) {
					require.IsType(t, &mail.Unknown{}, r.Err)
					id, found, err := b.Find(t.Context(), mails[i], attempted)
					require.NoError(t, err)
					require.True(t, found)
					require.Equal(t, mails[i].MessageID, id)
				}
			})
		}
	}
}

func TestT008AMailThatWasNeverReadIsNotFound(t *testing.T) {
	b := setup(t, nil)
	mails := b.mails(t, 1)
	wantSent(t, b.Send(t.Context(), b.mails(t, 5)[1:])) // others are there
	b.fake.Fail(fakemailgun.Fault{Cut: fakemailgun.CutBeforeRead})
	require.IsType(t, &mail.Unknown{}, b.Send(t.Context(), mails)[0].Err)
	_, found, err := b.Find(t.Context(), mails[0], time.Now().Add(-time.Minute))
	require.NoError(t, err)
	require.False(t, found)
}

func TestFindTellsMailsToOneAddressApart(t *testing.T) {
	b := setup(t, nil)
	m := b.mails(t, 1)[0]
	wantSent(t, b.Send(t.Context(), []mail.Mail{m}))
	for name, change := range map[string]func(*mail.Mail){
		"generation": func(m *mail.Mail) { m.Generation++ },
		"intent":     func(m *mail.Mail) { m.Intent++ },
		"invitation": func(m *mail.Mail) { m.Invitation = "inv_x" },
		"purpose": func(m *mail.Mail) {
			*m = b.mail(t, mail.Context{Purpose: mail.PurposeResend, Organization: "Acme", Role: "member"}, 0)
		},
	} {
		other := m
		change(&other)
		other.MessageID = mail.MessageID("mg.example.org", other.Invitation, other.Generation, other.Letter.Purpose, other.Intent)
		_, found, err := b.Find(t.Context(), other, time.Now().Add(-time.Minute))
		require.NoError(t, err)
		require.False(t, found, name)
	}
	// Mailgun may have given the mail an id of its own: then its variables tell.
	m.MessageID = "<another@mg.example.org>"
	_, found, err := b.Find(t.Context(), m, time.Now().Add(-time.Minute))
	require.NoError(t, err)
	require.True(t, found)
}

func TestFindLooksAtAllPages(t *testing.T) {
	b := setup(t, nil)
	mails := b.mails(t, 120)
	for i := range mails {
		mails[i].To = "ann@example.org"
	}
	wantSent(t, b.Send(t.Context(), mails))
	last := mails[119]
	last.MessageID = "<another@mg.example.org>"
	_, found, err := b.Find(t.Context(), last, time.Now().Add(-time.Minute))
	require.NoError(t, err)
	require.True(t, found)
}

func TestFindSaysWhenItIsTooEarlyToTell(t *testing.T) {
	b := setup(t, func(o *mailgun.Options, fo *fakemailgun.Options) {
		o.EventsLag, fo.EventsLag = 30*time.Second, time.Hour
	})
	mails := b.mails(t, 1)
	wantSent(t, b.Send(t.Context(), mails))
	_, found, err := b.Find(t.Context(), mails[0], time.Now())
	require.False(t, found)
	require.IsType(t, &mail.Later{}, err)
	require.InDelta(t, 30, err.(*mail.Later).After.Seconds(), 2)
	_, found, err = b.Find(t.Context(), mails[0], time.Now().Add(-31*time.Second))
	require.NoError(t, err)
	require.False(t, found)
}

func TestFindNeverGuessesWhenTheEventsCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		fault fakemailgun.Fault
		want  error
	}{
		"500": {fakemailgun.Fault{Status: 500}, &mail.Later{}}, "400": {fakemailgun.Fault{Status: 400}, &mail.Later{}},
		"401": {fakemailgun.Fault{Status: 401}, &mail.Paused{}}, "html": {fakemailgun.Fault{Status: 200, Body: "<html>"}, &mail.Later{}},
		"cut": {fakemailgun.Fault{Cut: fakemailgun.CutBeforeAnswer}, &mail.Later{}},
	} {
		b := setup(t, nil)
		c.fault.On, c.fault.Times = "events", -1
		b.fake.Fail(c.fault)
		_, found, err := b.Find(t.Context(), b.mails(t, 1)[0], time.Now().Add(-time.Hour))
		require.False(t, found, name)
		require.IsType(t, c.want, err, name)
		require.NotContains(t, err.Error(), "events?", name+": the query names an address")
	}
}

func TestNothingWasSentWhenThereWasNoConnection(t *testing.T) {
	for name, base := range map[string]string{
		"T092 nobody listens": "http://127.0.0.1:1/v3",
		"T092 no such name":   "https://mailgun.invalid/v3",
	} {
		b := setup(t, func(o *mailgun.Options, _ *fakemailgun.Options) { o.Base = base })
		require.IsType(t, &mail.Later{}, b.one(t), name)
	}
}

func TestT092BadCertificatesAreNeverAccepted(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		host     string
		from, to time.Time
		trusted  bool
	}{
		"unknown issuer": {"localhost", now.Add(-time.Hour), now.Add(time.Hour), false},
		"expired":        {"localhost", now.Add(-2 * time.Hour), now.Add(-time.Hour), true},
		"another host":   {"mailgun.example", now.Add(-time.Hour), now.Add(time.Hour), true},
	} {
		t.Run(name, func(t *testing.T) {
			cert, root := certificate(t, c.host, c.from, c.to)
			fake := fakemailgun.New(fakemailgun.Options{})
			srv := httptest.NewUnstartedServer(fake)
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
			srv.StartTLS()
			defer srv.Close()
			transport := &http.Transport{TLSClientConfig: &tls.Config{}}
			if c.trusted {
				transport.TLSClientConfig.RootCAs = x509.NewCertPool()
				transport.TLSClientConfig.RootCAs.AddCert(root)
			}
			_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
			b := setup(t, func(o *mailgun.Options, _ *fakemailgun.Options) {
				o.Base, o.Transport = "https://localhost:"+port+"/v3", transport
			})
			require.IsType(t, &mail.Later{}, b.one(t))
			require.IsType(t, &mail.Later{}, b.Check(t.Context()))
			require.Zero(t, fake.Counters().Calls)
		})
	}
}

func certificate(t *testing.T, host string, from, to time.Time) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	root, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, root
}

func TestT093RedirectsAreNotFollowed(t *testing.T) {
	var reached atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		b := setup(t, nil)
		b.fake.Fail(fakemailgun.Fault{Status: status, Location: other.URL})
		err := b.one(t)
		require.IsType(t, &mail.Paused{}, err)
		require.Contains(t, err.Error(), "redirect")
		b.fake.Fail(fakemailgun.Fault{On: "events", Status: status, Location: other.URL})
		_, _, err = b.Find(t.Context(), b.mails(t, 1)[0], time.Now())
		require.Error(t, err)
	}
	b := setup(t, nil) // a page of events can lead astray, too
	b.fake.Fail(fakemailgun.Fault{On: "events", Status: 200, Body: `{"items":[{"event":"opened"}],"paging":{"next":"` + other.URL + `/v3/x"}}`})
	_, _, err := b.Find(t.Context(), b.mails(t, 1)[0], time.Now())
	require.ErrorContains(t, err, "the address is not Mailgun's")
	require.Zero(t, reached.Load())
}

func TestT095CheckSaysWhatIsWrong(t *testing.T) {
	require.NoError(t, setup(t, nil).Check(t.Context()))
	for name, c := range map[string]struct {
		change func(*mailgun.Options, *fakemailgun.Options)
		fault  *fakemailgun.Fault
		want   error
		says   string
	}{
		"another region": {func(_ *mailgun.Options, fo *fakemailgun.Options) { fo.Domain = "other.example" }, nil, &mail.Paused{}, "does not know the domain mg.example.org"},
		"another key":    {func(_ *mailgun.Options, fo *fakemailgun.Options) { fo.APIKey = "key-2" }, nil, &mail.Paused{}, "refuses the API key"},
		"another server": {nil, &fakemailgun.Fault{On: "domains", Status: 200, Body: `{}`}, &mail.Paused{}, "does not answer as Mailgun does"},
		"a web page":     {nil, &fakemailgun.Fault{On: "domains", Status: 200, Body: `<html>`}, &mail.Later{}, ""},
		"not verified":   {nil, &fakemailgun.Fault{On: "domains", Status: 200, Body: `{"domain":{"name":"mg.example.org","state":"unverified"}}`}, &mail.Paused{}, "unverified"},
		"down":           {nil, &fakemailgun.Fault{On: "domains", Status: 500}, &mail.Later{}, "500"},
	} {
		b := setup(t, c.change)
		if c.fault != nil {
			b.fake.Fail(*c.fault)
		}
		err := b.Check(t.Context())
		require.IsType(t, c.want, err, name)
		require.Contains(t, err.Error(), c.says, name)
		require.NotContains(t, err.Error(), "key-1", name)
	}
}

func TestT092PlainHTTPIsForThisMachineOnly(t *testing.T) {
	base := func(s string, allow bool) error {
		_, err := mailgun.New(mailgun.Options{Domain: "mg.example.org", APIKey: "k", Base: s, AllowHTTP: allow})
		return err
	}
	for _, ok := range []string{"", "https://api.eu.mailgun.net/v3", "https://api.eu.mailgun.net/v3/", "https://api.eu.mailgun.net", "http://localhost:8025", "http://127.0.0.1:8025/v3", "http://[::1]:8025"} {
		require.NoError(t, base(ok, false), ok)
	}
	for _, bad := range []string{"http://api.mailgun.net/v3", "http://fake:8025", "ftp://localhost", "api.mailgun.net", "https://", "https://key:x@host/v3", "https://h/v3?x=1"} {
		require.Error(t, base(bad, false), bad)
	}
	require.NoError(t, base("http://fake:8025", true))
	require.Error(t, base("ftp://fake:8025", true))
}

func TestMissingSettingsAreNamed(t *testing.T) {
	_, err := mailgun.New(mailgun.Options{APIKey: "k"})
	require.ErrorContains(t, err, "domain")
	_, err = mailgun.New(mailgun.Options{Domain: "mg.example.org/x", APIKey: "k"})
	require.ErrorContains(t, err, "domain")
	_, err = mailgun.New(mailgun.Options{Domain: "mg.example.org"})
	require.ErrorContains(t, err, "API key")
}

func TestACallThatIsGivenUpBeforeItLeftSentNothing(t *testing.T) {
	b := setup(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.IsType(t, &mail.Later{}, b.Send(ctx, b.mails(t, 1))[0].Err)
	require.Zero(t, b.fake.Counters().Calls)
}

func TestManyCallersShareCallsThroughBatching(t *testing.T) {
	b := setup(t, nil)
	batching := mail.NewBatching(b.Sender, mail.BatchingOptions{})
	mails := b.mails(t, 2000)
	errs := make(chan error, len(mails))
	for _, m := range mails {
		go func() { _, err := batching.Send(t.Context(), m); errs <- err }()
	}
	for range mails {
		require.NoError(t, <-errs)
	}
	batching.Close()
	seen := map[string]bool{}
	for _, m := range b.fake.Mails() {
		require.False(t, seen[m.Recipient])
		seen[m.Recipient] = true
	}
	require.Len(t, seen, 2000)
	require.Less(t, b.fake.Counters().Calls, 1000)
}

func TestMailgunIsAProvider(t *testing.T) {
	mailtest.Run(t, func(t *testing.T) mailtest.Provider { return setup(t, nil) })
}
