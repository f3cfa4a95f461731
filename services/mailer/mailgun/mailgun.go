// Package mailgun hands mails to Mailgun. It is the only importer of Mailgun's client, and this file the only one.
package mailgun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	client "github.com/mailgun/mailgun-go/v4"
	"github.com/mailgun/mailgun-go/v4/events"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/mailgunhook"
	"github.com/usherhq/usher/services/mailer/mail"
)

// DefaultBase is Mailgun's API in the US; the one in the EU is https://api.eu.mailgun.net/v3.
const DefaultBase = client.APIBaseUS

// Options are what a Sender needs to know.
type Options struct {
	// Domain and APIKey are the account's.
	Domain, APIKey string
	// Base is the API's address (default DefaultBase). It must be https unless the host is this machine.
	Base string
	// AllowHTTP lets Base be plain http on another host: for a fake Mailgun in a private network, never in production.
	AllowHTTP bool
	// TestMode has Mailgun take the mails and deliver none.
	TestMode bool
	// Timeout bounds each call (default 10 s).
	Timeout time.Duration
	// EventsLag is how long Mailgun may take until a mail it took is in its events (default 30 s).
	EventsLag time.Duration
	// Clock tells the time (default clock.System).
	Clock clock.Clock
	// Transport makes the calls (default: one with connections kept open, TLS 1.2 or newer).
	Transport http.RoundTripper
}

// Sender is the Mailgun account: a mail.Sender and a mail.Finder.
type Sender struct {
	api *client.MailgunImpl
	o   Options
}

// New makes a Sender. It returns an error that names what is wrong with the options, never the key.
func New(o Options) (*Sender, error) {
	base, err := baseURL(cmp.Or(o.Base, DefaultBase), o.AllowHTTP)
	if err != nil {
		return nil, fmt.Errorf("mailgun base address: %w", err)
	}
	if o.Domain == "" || strings.ContainsAny(o.Domain, "/:&'@(),!?#;%+=<> ") {
		return nil, fmt.Errorf("mailgun domain: %q is no domain", o.Domain)
	}
	if o.APIKey == "" {
		return nil, errors.New("mailgun API key: not set")
	}
	o.Base = base.String()
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.EventsLag = cmp.Or(o.EventsLag, 30*time.Second)
	if o.Clock == nil {
		o.Clock = clock.System
	}
	api := client.NewMailgun(o.Domain, o.APIKey)
	api.SetAPIBase(o.Base)
	api.SetClient(newHTTPClient(base, o.Timeout, o.Transport))
	return &Sender{api: api, o: o}, nil
}

// Check asks for the domain, so that a wrong key, region or address shows at start and not with the first invitation. It
// returns *mail.Paused for what somebody must put right, and *mail.Later when Mailgun can't be reached.
func (s *Sender) Check(ctx context.Context) error {
	ctx, x := withExchange(ctx)
	answer, err := s.api.GetDomain(ctx, s.o.Domain)
	if err != nil {
		return s.unasked(err, x)
	}
	if answer.Domain.Name == "" {
		return &mail.Paused{Reason: s.o.Base + " does not answer as Mailgun does: check the base address"}
	}
	if answer.Domain.State != "active" {
		return &mail.Paused{Reason: fmt.Sprintf("the domain %s is %q at Mailgun: check its DNS records there", s.o.Domain, answer.Domain.State)}
	}
	return nil
}

// Send implements mail.Sender. Neighbours that share a letter travel in one call, up to mail.MaxBatch of them.
func (s *Sender) Send(ctx context.Context, mails []mail.Mail) []mail.Result {
	results := make([]mail.Result, len(mails))
	for from := 0; from < len(mails); {
		to := from + together(mails[from:])
		s.send(ctx, mails[from:to], results[from:to])
		from = to
	}
	return results
}

// together is how many mails, from the first on, can travel in one call.
func together(mails []mail.Mail) int {
	seen := make(map[string]bool, len(mails))
	for i := range mails {
		m := &mails[i]
		if i > 0 && (i == mail.MaxBatch || m.Letter != mails[0].Letter || seen[m.To]) || !m.Shareable() {
			return max(i, 1)
		}
		seen[m.To] = true
	}
	return len(mails)
}

// send makes one call for all mails. Mailgun refuses a call as a whole for the sake of one recipient and does not say
// which, so a refused call is made again in halves, until those alone are refused that must be.
func (s *Sender) send(ctx context.Context, mails []mail.Mail, results []mail.Result) {
	id, err := s.post(ctx, s.message(mails))
	if _, refused := errors.AsType[*mail.Permanent](err); refused && len(mails) > 1 {
		half := len(mails) / 2
		s.send(ctx, mails[:half], results[:half])
		failpoint.Here(failpoint.MailgunHalved)
		s.send(ctx, mails[half:], results[half:])
		return
	}
	for i := range results {
		results[i] = mail.Result{ID: id, Err: err}
	}
}

func (s *Sender) post(ctx context.Context, m *client.Message) (string, error) {
	ctx, x := withExchange(ctx)
	_, id, err := s.api.Send(ctx, m)
	switch {
	case err != nil:
		return "", s.failure(err, x)
	case id == "": // a 200 that is JSON, but not Mailgun's
		return "", &mail.Unknown{Cause: errors.New("the answer names no message")}
	}
	return id, nil
}

func (s *Sender) message(mails []mail.Mail) *client.Message {
	m := single(&mails[0])
	if len(mails) > 1 {
		m = shared(mails)
	}
	// Tracking would put the invitation's link through a host of Mailgun's.
	m.SetTrackingOptions(&client.TrackingOptions{Tracking: false, TrackingClicks: "no", TrackingOpens: false})
	if s.o.TestMode {
		m.EnableTestMode()
	}
	return m
}

func single(m *mail.Mail) *client.Message {
	msg := client.NewMessage(m.Letter.From, m.Subject(), m.Text(), m.To)
	msg.SetHTML(m.HTML())
	addHeaders(msg, m.Headers())
	addVariables(msg, m.Letter.Purpose, m.Invitation, strconv.Itoa(m.Generation), strconv.FormatUint(m.Intent, 10))
	return msg
}

// shared is one message to many, in which Mailgun fills in what is particular to each.
func shared(mails []mail.Mail) *client.Message {
	l := mails[0].Letter
	msg := client.NewMessage(l.From, l.Subject, l.Text(placeholder))
	msg.SetHTML(l.HTML(htmlPlaceholder))
	addHeaders(msg, mail.HeadersFor(l, placeholder(fieldMessageID), placeholder(mail.FieldUnsubscribe)))
	addVariables(msg, l.Purpose, placeholder(fieldInvitation), placeholder(fieldGeneration), placeholder(fieldIntent))
	for i := range mails {
		// The only error is that of more than a thousand recipients.
		_ = msg.AddRecipientAndVariables(mails[i].To, recipientVariables(&mails[i]))
	}
	return msg
}

func addHeaders(msg *client.Message, headers []mail.Header) {
	for _, h := range headers {
		msg.AddHeader(h.Name, h.Value)
	}
}

// addVariables sets what Mailgun gives back with each event and webhook.
func addVariables(msg *client.Message, purpose mail.Purpose, invitation, generation, intent string) {
	for name, value := range map[string]string{
		about(purpose): invitation, mailgunhook.VarGeneration: generation,
		mailgunhook.VarPurpose: string(purpose), mailgunhook.VarIntent: intent,
	} {
		_ = msg.AddVariable(name, value) // a text is always JSON
	}
}

// about is the variable that names the invitation which a mail is about.
func about(purpose mail.Purpose) string {
	if purpose.Notice() {
		return mailgunhook.VarNotice
	}
	return mailgunhook.VarInvitation
}

// Find implements mail.Finder with Mailgun's events: by the Message-ID, and should Mailgun have given the mail another, by
// the address and the user variables.
func (s *Sender) Find(ctx context.Context, m mail.Mail, attempted time.Time) (string, bool, error) {
	for _, filter := range []map[string]string{{"message-id": strings.Trim(m.MessageID, "<>")}, {"recipient": m.To}} {
		id, err := s.search(ctx, filter, &m, attempted)
		if err != nil || id != "" {
			return id, id != "", err
		}
	}
	if early := attempted.Add(s.o.EventsLag).Sub(s.o.Clock()); early > 0 {
		return "", false, &mail.Later{After: early, Cause: errors.New("too early to tell from the provider's events")}
	}
	return "", false, nil
}

// maxPages bounds a search: 250 events about one address since the mail was tried.
const maxPages = 5

// search is the Message-ID of the mail among the events that pass the filter, or empty.
func (s *Sender) search(ctx context.Context, filter map[string]string, m *mail.Mail, attempted time.Time) (string, error) {
	ctx, x := withExchange(ctx)
	pages := s.api.ListEvents(&client.ListEventOptions{
		Begin: attempted.Add(-5 * time.Minute), // the clocks may differ
		Limit: 50, ForceAscending: true, Filter: filter,
	})
	var page []client.Event
	for n := 0; n < maxPages && pages.Next(ctx, &page); n++ {
		for _, e := range page {
			if id := taken(e, m); id != "" {
				return id, nil
			}
		}
	}
	if err := pages.Err(); err != nil {
		return "", s.unasked(err, x)
	}
	return "", nil
}

// taken is the Message-ID of the mail, if the event shows that Mailgun took it; else it is empty.
func taken(e client.Event, m *mail.Mail) string {
	var id string
	var variables any
	switch e := e.(type) {
	case *events.Accepted:
		id, variables = e.Message.Headers.MessageID, e.UserVariables
	case *events.Delivered:
		id, variables = e.Message.Headers.MessageID, e.UserVariables
	case *events.Failed:
		id, variables = e.Message.Headers.MessageID, e.UserVariables
	default: // the mail's way begins with one of these; "rejected" is none, and a mail of which that is all was not sent
		return ""
	}
	id = "<" + strings.Trim(id, "<>") + ">"
	if id == m.MessageID || isOf(variables, m) {
		return id
	}
	return ""
}

// isOf reports whether an event's user variables are those of the mail.
func isOf(variables any, m *mail.Mail) bool {
	vars, _ := variables.(map[string]any)
	return vars[about(m.Letter.Purpose)] == m.Invitation &&
		fmt.Sprint(vars[mailgunhook.VarGeneration]) == strconv.Itoa(m.Generation) &&
		vars[mailgunhook.VarPurpose] == string(m.Letter.Purpose) &&
		fmt.Sprint(vars[mailgunhook.VarIntent]) == strconv.FormatUint(m.Intent, 10)
}

// failure turns an error of the client's into one of mail's.
func (s *Sender) failure(err error, x *exchange) error {
	if answer, ok := errors.AsType[*client.UnexpectedResponseError](err); ok {
		return s.refusal(answer.Actual, answer.Data, x.retryAfter)
	}
	err = withoutAddress(err)
	if x.wrote.Load() {
		return &mail.Unknown{Cause: err} // cut off, too slow, or a 200 that can't be read
	}
	return &mail.Later{Cause: err}
}

// unasked is failure for calls that send nothing: what went wrong may go right another time, unless somebody must act.
func (s *Sender) unasked(err error, x *exchange) error {
	err = s.failure(err, x)
	if _, ok := errors.AsType[*mail.Paused](err); ok {
		return err
	}
	return &mail.Later{After: x.retryAfter, Cause: err}
}
