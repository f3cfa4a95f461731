package mail

import (
	"bytes"
	"crypto/rand"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"io"
	"net/mail"
	"regexp"
	"strings"
	"sync"
	texttemplate "text/template"
	"unicode"
)

//go:embed templates
var templates embed.FS

// Context is what mails have in common that share a letter. It is comparable: equal contexts give the same letter.
type Context struct {
	Purpose Purpose
	// Organization is the organization's display name.
	Organization string
	// Inviter is how the member who invites is called; empty where an API key does.
	Inviter string
	// ReplyTo is the inviter's address, or empty.
	ReplyTo string
	// Role is what the invitee will be.
	Role string
	// Locale is the BCP 47 language to write in. English is the only one there is; others fall back to it.
	Locale string
}

// RendererOptions are what a Renderer needs to know.
type RendererOptions struct {
	// From is the sender of all mails, an address with or without a name.
	From string
	// Domain stands in the Message-IDs; by default the domain of From.
	Domain string
	// Keep is how many letters to remember (default 256).
	Keep int
}

// Renderer writes mails.
type Renderer struct {
	from, domain string
	html         *htmltemplate.Template
	text         *texttemplate.Template
	marks        map[Field]string

	mu      sync.Mutex
	letters recent[letterKey, *Letter]
}

// letterKey tells letters apart. Only whether there is an unsubscribe address matters to the letter, not which.
type letterKey struct {
	Context
	unsubscribe bool
}

// NewRenderer makes a Renderer. It returns an error for a From that is no address.
func NewRenderer(o RendererOptions) (*Renderer, error) {
	from, err := mail.ParseAddress(o.From)
	if err != nil {
		return nil, fmt.Errorf("sender address: %w", err)
	}
	if o.Domain == "" {
		o.Domain = from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	}
	if o.Keep == 0 {
		o.Keep = 256
	}
	html, err := htmltemplate.ParseFS(templates, "templates/invitation.html.tmpl")
	if err != nil {
		return nil, fmt.Errorf("mail template: %w", err)
	}
	text, err := texttemplate.ParseFS(templates, "templates/invitation.txt.tmpl")
	if err != nil {
		return nil, fmt.Errorf("mail template: %w", err)
	}
	return &Renderer{from: o.From, domain: o.Domain, html: html, text: text, marks: newMarks(), letters: recent[letterKey, *Letter]{limit: o.Keep}}, nil
}

// newMarks are what the templates print where a field goes: letters and digits, so that they pass any escaping, and
// random, so that nobody can put one into an organization's name and have the field appear there.
func newMarks() map[Field]string {
	marks := make(map[Field]string)
	for _, f := range []Field{FieldGreeting, FieldLink, FieldDeadline, FieldUnsubscribe} {
		marks[f] = "usherfield" + rand.Text()
	}
	return marks
}

// Mail writes one mail. It returns *Permanent for an address that could break out of its header or become two, which
// admission lets nobody have: names are made harmless, addresses are not touched.
func (r *Renderer) Mail(c Context, to Recipient) (Mail, error) {
	for _, s := range []string{to.To, c.ReplyTo, to.Link, to.Unsubscribe} {
		if strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsAny(s, ` ,;<>"`) {
			return Mail{}, &Permanent{Reason: "an address holds a character that none may hold"}
		}
	}
	letter, err := r.letter(letterKey{c, to.Unsubscribe != ""})
	if err != nil {
		return Mail{}, err
	}
	return Mail{Recipient: to, Letter: letter, MessageID: MessageID(r.domain, to.Invitation, to.Generation, c.Purpose, to.Intent)}, nil
}

func (r *Renderer) letter(key letterKey) (*Letter, error) {
	key.Locale = "" // all there is is English, so mails of different languages share a letter
	r.mu.Lock()
	defer r.mu.Unlock()
	if l, ok := r.letters.get(key); ok {
		return l, nil
	}
	l, err := r.write(key)
	if err != nil {
		return nil, err
	}
	r.letters.put(key, l)
	return l, nil
}

// page is what the templates see.
type page struct {
	Purpose                               Purpose
	Organization, Inviter, Role           string
	Greeting, Link, Deadline, Unsubscribe string
}

func (r *Renderer) write(key letterKey) (*Letter, error) {
	p := page{
		Purpose: key.Purpose, Organization: tidy(key.Organization), Inviter: tidy(key.Inviter), Role: tidy(key.Role),
		Greeting: r.marks[FieldGreeting], Link: r.marks[FieldLink], Deadline: r.marks[FieldDeadline],
	}
	if key.unsubscribe {
		p.Unsubscribe = r.marks[FieldUnsubscribe]
	}
	subject, err := executed(r.text.Lookup("subject").Execute, p)
	if err != nil {
		return nil, err
	}
	text, err := executed(r.text.Lookup("text").Execute, p)
	if err != nil {
		return nil, err
	}
	html, err := executed(r.html.Execute, p)
	if err != nil {
		return nil, err
	}
	return &Letter{
		Purpose: key.Purpose, From: r.from, ReplyTo: key.ReplyTo,
		Subject: breakVariables(subject),
		// The templates hold no "%" of their own: each one was typed by somebody.
		html:        split(strings.ReplaceAll(html, "%", "&#37;"), r.marks),
		text:        split(breakVariables(text), r.marks),
		shareable:   !strings.Contains(p.Organization+p.Inviter+p.Role+key.ReplyTo+r.from, "%"),
		unsubscribe: key.unsubscribe,
	}, nil
}

func executed(execute func(io.Writer, any) error, p page) (string, error) {
	var b bytes.Buffer
	if err := execute(&b, p); err != nil {
		return "", fmt.Errorf("write mail: %w", err)
	}
	return b.String(), nil
}

// maxName is how many characters of a name are shown; longer ones are cut with an ellipsis.
const maxName = 100

// tidy makes a text that somebody typed fit for one line: line breaks and runs of spaces become one space, and what
// can't be seen but turns the writing direction is left out.
func tidy(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxName {
		s = strings.TrimSpace(string(r[:maxName-1])) + "…"
	}
	return s
}

// variable is what Mailgun replaces in any mail ("%unsubscribe_url%").
var variable = regexp.MustCompile(`%[A-Za-z_]+%`)

// breakVariables puts an invisible joiner behind the first "%" of what Mailgun would take for a variable of its own, so
// that it stays as it was typed. "%recipient.x%" needs none: it means nothing in a call without recipient variables, and a
// text with a "%" never goes into a call with them (Mail.Shareable).
func breakVariables(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	return variable.ReplaceAllStringFunc(s, func(v string) string { return "%\u2060" + v[1:] })
}

// recent is a bounded map that forgets what was not asked for lately: when the young half is full it becomes the old one,
// and what is found in the old one becomes young again.
type recent[K comparable, V any] struct {
	limit      int
	young, old map[K]V
}

func (c *recent[K, V]) get(k K) (V, bool) {
	if v, ok := c.young[k]; ok {
		return v, true
	}
	v, ok := c.old[k]
	if ok {
		c.put(k, v)
	}
	return v, ok
}

func (c *recent[K, V]) put(k K, v V) {
	if c.young == nil || len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[K]V)
	}
	c.young[k] = v
}
