package mail

import (
	"crypto/rand"
	"fmt"
	htmltemplate "html/template"
	"net/mail"
	"strings"
	"sync"
	texttemplate "text/template"
	"unicode"

	"github.com/usherhq/usher/pkg/i18n"
)

// Context is what mails have in common that share a letter. It is comparable: equal contexts give the same letter. Texts
// in it are shown as somebody typed them, made harmless and cut where they are too long.
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
	// Locale is the BCP 47 language to write in; one that there are no messages for is English.
	Locale string
	// Note is what the inviter says to the invitee, or empty.
	Note string

	// Logo is the address of the organization's picture, Accent its colour ("#1a5fb4"); both may be empty.
	Logo, Accent string
	// Subject, Intro and Button are the organization's own words, or empty. They may hold {organization}, {inviter} and
	// {role}.
	Subject, Intro, Button string

	// Invitee is how the invitee is called, and Address where to write to them, in a notice to the inviter. Address is
	// empty where Invitee is the address.
	Invitee, Address string
}

// RendererOptions are what a Renderer needs to know.
type RendererOptions struct {
	// From is the sender of all mails, an address with or without a name. The name is that of the product.
	From string
	// Domain stands in the Message-IDs; by default the domain of From.
	Domain string
	// Keep is how many letters to remember (default 256).
	Keep int
}

// Renderer writes mails.
type Renderer struct {
	from   mail.Address
	plain  string // the header From of mails that nobody in particular sends
	domain string
	html   *htmltemplate.Template
	text   *texttemplate.Template
	// Marks stand where something else goes when a letter is written: letters and digits, so that they pass any escaping,
	// and random, so that nobody can put one into an organization's name and have the thing appear there.
	marks   map[Field]string
	names   map[string]string
	percent string

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
	html, err := parseHTML()
	if err != nil {
		return nil, fmt.Errorf("mail template: %w", err)
	}
	text, err := parseText()
	if err != nil {
		return nil, fmt.Errorf("mail template: %w", err)
	}
	r := &Renderer{
		from: *from, plain: o.From, domain: o.Domain, html: html, text: text, percent: newMark(),
		marks: map[Field]string{}, names: map[string]string{}, letters: recent[letterKey, *Letter]{limit: o.Keep},
	}
	for _, f := range []Field{FieldGreeting, FieldLink, FieldDeadline, FieldUnsubscribe} {
		r.marks[f] = newMark()
	}
	for _, name := range []string{"organization", "inviter", "role", "invitee"} {
		r.names[name] = newMark()
	}
	return r, nil
}

func newMark() string { return "usherfield" + rand.Text() }

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
	l := i18n.For(key.Locale)
	key.Locale = l.Lang()
	if key.Purpose.Notice() { // nobody else gets the same: remembering it would make others forgotten
		return r.write(key, l)
	}
	if letter, ok := r.known(key); ok {
		return letter, nil
	}
	letter, err := r.write(key, l) // not under the lock: writing takes a hundred times as long as looking
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first, ok := r.letters.get(key); ok {
		return first, nil
	}
	r.letters.put(key, letter)
	return letter, nil
}

func (r *Renderer) known(key letterKey) (*Letter, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.letters.get(key)
}

// write writes a letter. Each "%" that somebody typed is a mark while it does: Mailgun makes its placeholders of them, so
// they are told from those of the style sheets, and in HTML written in the way that Mailgun does not know.
func (r *Renderer) write(key letterKey, l *i18n.Localizer) (*Letter, error) {
	w := r.writer(key.Context, l)
	p := w.page(key.unsubscribe)
	text, err := executed(r.text.Execute, p)
	if err != nil {
		return nil, err
	}
	html, err := executed(r.html.Execute, p)
	if err != nil {
		return nil, err
	}
	subject, from := p.Subject.String(), r.fromLine(w)
	shareable := !key.Purpose.Notice() && !strings.Contains(html+text+subject+from, r.percent) && !strings.Contains(key.ReplyTo+r.plain, "%")
	typed := func(s string) string { return breakVariables(strings.ReplaceAll(s, r.percent, "%")) }
	return &Letter{
		Purpose: key.Purpose, From: typed(from), ReplyTo: key.ReplyTo, Subject: typed(subject),
		html:      split(strings.ReplaceAll(html, r.percent, "&#37;"), r.marks),
		text:      split(typed(text), r.marks),
		shareable: shareable, unsubscribe: key.unsubscribe, speaks: l, greeting: r.greeting(l),
	}, nil
}

// fromLine is the header From: the inviter by way of the product, at the product's address.
func (r *Renderer) fromLine(w *writer) string {
	if w.c.Inviter == "" || r.from.Name == "" || w.c.Purpose.Notice() {
		return r.plain
	}
	name := w.l.Text("mail.from", "inviter", w.c.Inviter, "product", r.from.Name)
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <` + r.from.Address + ">"
}

// greeting is what stands before and after the invitee's name, and what stands there for one who has none.
func (r *Renderer) greeting(l *i18n.Localizer) greeting {
	before, after, _ := strings.Cut(l.Text("mail.greeting", "name", r.percent), r.percent)
	return greeting{before: before, after: after, plain: l.Text("mail.greeting_plain"), dir: l.Dir()}
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
