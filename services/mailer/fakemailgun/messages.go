package fakemailgun

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/usherhq/usher/services/mailer/mailview"
)

const (
	// maxBody is the largest message Mailgun takes.
	maxBody = 25 << 20
	// maxRecipients is the most recipients of one call.
	maxRecipients = 1000
)

// Mail is one mail that was taken, as its recipient would get it.
type Mail struct {
	Number int
	At     time.Time
	// ID is what the call was answered with; MessageID the mail's own. They differ in calls to many.
	ID, MessageID string
	// Recipient is who got it; To is the header they see.
	Recipient, To string
	// Together is how many recipients the call had.
	Together int
	From     string
	Subject  string
	// Variables are the v: variables, Options the o: options, Headers the h: headers.
	Variables, Options map[string]string

	body    *body
	reports []event
}

// body is what is let go of first. The texts are filled in when somebody looks.
type body struct {
	form *form
	vars values
}

// form is one messages call.
type form struct {
	domain, from, subject, text, html string
	to                                []string // bare addresses
	toHeader                          []string // as they were given
	headers, variables, options       map[string]string
	// recipients are the recipient variables by address; nil in a call without.
	recipients map[string]json.RawMessage
	mime       []byte
}

func (s *Server) messages(w http.ResponseWriter, r *http.Request) {
	s.count(func(c *Counters) { c.Calls++ })
	if f := s.fault("messages", nil); f != nil {
		s.fail(w, r, f, func() (string, error) { return s.read(r) })
		return
	}
	form, err := parse(w, r)
	if err == nil {
		if f := s.fault("messages", form.to); f != nil {
			s.fail(w, r, f, func() (string, error) { return s.take(form), nil })
			return
		}
	}
	if err != nil {
		s.count(func(c *Counters) { c.Refused++ })
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if s.limiter != nil && !s.limiter.AllowN(s.o.Clock(), len(form.to)) {
		s.count(func(c *Counters) { c.Refused++ })
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "Too many requests")
		return
	}
	queued(w, s.take(form))
}

// read takes the messages of a call for a fault that accepts them all the same.
func (s *Server) read(r *http.Request) (string, error) {
	form, err := parse(nil, r)
	if err != nil {
		return "", err
	}
	return s.take(form), nil
}

func queued(w http.ResponseWriter, id string) {
	answer(w, http.StatusOK, map[string]string{"id": id, "message": "Queued. Thank you."})
}

// parse reads a messages call. Go's own form parser stops at a thousand parts, a call to a thousand recipients has more.
func parse(w http.ResponseWriter, r *http.Request) (*form, error) {
	f := &form{domain: r.PathValue("domain"), headers: map[string]string{}, variables: map[string]string{}, options: map[string]string{}}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := eachField(r, f.set); err != nil {
		return nil, err
	}
	if f.mime != nil {
		if err := f.readMIME(); err != nil {
			return nil, err
		}
	}
	return f, f.check()
}

// eachField gives set the fields of a form, in order, in either of the forms that Mailgun takes.
func eachField(r *http.Request, set func(name, value string) error) error {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return errors.New("no form: " + err.Error())
	}
	if kind != "multipart/form-data" {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		return eachPair(string(raw), set)
	}
	reader := multipart.NewReader(r.Body, params["boundary"])
	var b bytes.Buffer // a strings.Builder would have io.Copy make room of its own for each of the thousand parts
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b.Reset()
		if _, err := b.ReadFrom(part); err != nil {
			return err
		}
		if err := set(part.FormName(), b.String()); err != nil {
			return err
		}
	}
}

func eachPair(raw string, set func(name, value string) error) error {
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if err := set(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *form) set(name, value string) error {
	switch name {
	case "from":
		f.from = value
	case "to", "cc", "bcc":
		return f.addRecipients(value)
	case "subject":
		f.subject = value
	case "text":
		f.text = value
	case "html":
		f.html = value
	case "message":
		f.mime = []byte(value)
	case "recipient-variables":
		if json.Unmarshal([]byte(value), &f.recipients) != nil || f.recipients == nil {
			return errors.New("recipient-variables is not a valid JSON dictionary")
		}
	default:
		f.setPrefixed(name, value)
	}
	return nil
}

func (f *form) setPrefixed(name, value string) {
	kind, rest, _ := strings.Cut(name, ":")
	switch kind {
	case "h":
		f.headers[http.CanonicalHeaderKey(rest)] = value
	case "v":
		f.variables[rest] = value
	case "o":
		f.options[rest] = value
	}
}

func (f *form) addRecipients(value string) error {
	if plainAddress(value) {
		f.to = append(f.to, value)
	} else {
		list, err := mail.ParseAddressList(value)
		if err != nil {
			return errors.New("to parameter is not a valid address. please check documentation")
		}
		for _, a := range list {
			f.to = append(f.to, a.Address)
		}
	}
	f.toHeader = append(f.toHeader, value)
	return nil
}

// plainAddress is a quick look at the usual form.
func plainAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && local != "" && strings.Contains(domain, ".") && !strings.ContainsAny(s, " ,;:<>()[]\"\\\r\n\t") && !strings.Contains(domain, "@")
}

func (f *form) check() error {
	switch {
	case f.from == "":
		return errors.New("from parameter is missing")
	case len(f.to) == 0:
		return errors.New("to parameter is missing")
	case len(f.to) > maxRecipients:
		return errors.New("to parameter holds too many recipients")
	case f.text == "" && f.html == "":
		return errors.New("Need at least one of 'text' or 'html' parameters specified")
	}
	if _, err := mail.ParseAddress(f.from); err != nil {
		return errors.New("from parameter is not a valid address. please check documentation")
	}
	return nil
}

// take makes the mails of a call and answers with its id.
func (s *Server) take(f *form) string {
	now := s.o.Clock()
	id := fmt.Sprintf("<%s.%s@%s>", now.Format("20060102150405"), strings.ToLower(rand.Text()[:16]), f.domain)
	if f.recipients == nil && f.headers["Message-Id"] != "" {
		id = f.headers["Message-Id"] // Mailgun uses the one it is given
	}
	mails := make([]*Mail, len(f.to))
	for i, to := range f.to {
		mails[i] = f.mail(to, id, now)
	}
	s.keep(mails)
	if s.o.Deliver {
		s.deliverLater(mails)
	}
	return id
}

func (f *form) mail(to, id string, now time.Time) *Mail {
	m := &Mail{
		At: now, ID: id, MessageID: id, Recipient: to, To: to, Together: len(f.to), From: f.from,
		Variables: f.variables, Options: f.options, body: &body{form: f},
	}
	if f.recipients == nil {
		m.To = strings.Join(f.toHeader, ", ") // they see each other
	} else { // each gets a mail of their own
		m.body.vars = variablesOf(f.recipients[to], to)
		m.Variables = make(map[string]string, len(f.variables))
		for k, v := range f.variables {
			m.Variables[k] = m.body.vars.fill(v)
		}
	}
	m.Subject = m.body.vars.fill(f.subject)
	if own := f.headers["Message-Id"]; own != "" {
		m.MessageID = m.body.vars.fill(own)
	}
	return m
}

// keep numbers the mails and puts them in the ring, forgetting the oldest.
func (s *Server) keep(mails []*Mail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range mails {
		s.last++
		m.Number = s.last
		s.kept[m.Number%len(s.kept)] = m
		if old := s.at(m.Number - s.o.KeepBodies); old != nil {
			old.body = nil
		}
	}
	s.counters.Mails += len(mails)
	close(s.taken)
	s.taken = make(chan struct{})
}

// at is the mail with that number, or nil. The caller holds the lock.
func (s *Server) at(number int) *Mail {
	if number < 1 {
		return nil
	}
	if m := s.kept[number%len(s.kept)]; m != nil && m.Number == number {
		return m
	}
	return nil
}

// each calls f for each kept mail, oldest first, until it returns false. The caller holds the lock.
func (s *Server) each(f func(*Mail) bool) {
	for n := max(1, s.last-len(s.kept)+1); n <= s.last; n++ {
		if m := s.at(n); m != nil && !f(m) {
			return
		}
	}
}

// Mails are the kept mails, oldest first.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	var mails []Mail
	s.each(func(m *Mail) bool {
		mails = append(mails, *m)
		return true
	})
	return mails
}

// Await waits until at least n mails were taken since the start or the last reset, and gives the kept ones. It returns
// ctx's error when ctx ends first.
func (s *Server) Await(ctx context.Context, n int) ([]Mail, error) {
	for {
		s.mu.Lock()
		total, taken := s.counters.Mails, s.taken
		s.mu.Unlock()
		if total >= n {
			return s.Mails(), nil
		}
		select {
		case <-taken:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d mails came: %w", total, n, context.Cause(ctx))
		}
	}
}

// Text is the plain text part; empty when it is no longer kept.
func (m Mail) Text() string {
	if m.body == nil {
		return ""
	}
	return m.body.vars.fill(m.body.form.text)
}

// HTML is the HTML part; empty when it is no longer kept.
func (m Mail) HTML() string {
	if m.body == nil {
		return ""
	}
	return m.body.vars.fill(m.body.form.html)
}

// Header is one header field by its canonical name; empty when it is no longer kept.
func (m Mail) Header(name string) string {
	if m.body == nil {
		return ""
	}
	return m.body.vars.fill(m.body.form.headers[http.CanonicalHeaderKey(name)])
}

// view is the mail for people.
func (m Mail) view() mailview.Mail {
	v := mailview.Mail{Number: m.Number, At: m.At, From: m.From, To: m.To, Subject: m.Subject, Text: m.Text(), HTML: m.HTML()}
	if m.body == nil {
		return v
	}
	for _, name := range sorted(m.body.form.headers) {
		v.Headers = append(v.Headers, mailview.Header{Name: name, Value: m.Header(name)})
	}
	return v
}
