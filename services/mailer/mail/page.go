package mail

import (
	"strings"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/i18n"
)

// page is what the templates see. The HTML part and the text part show the same page, so that they say the same.
type page struct {
	Lang, Dir    string
	Start        string // the side on which lines start: "left" or "right"
	Subject      sentence
	Preheader    sentence // what mailboxes show beside the subject
	Organization string
	Initial      string // stands for the organization where there is no logo
	Logo         string // the address of a picture
	Accent       string // the colour of the button
	OnAccent     string // the colour of the text on it
	Title        sentence
	Greeting     string
	Paragraphs   []sentence
	Note         *note
	Button       string
	Link         string
	Facts        []fact
	Fallback     string // what to do where the button does not work
	Small        []sentence
	Stop         string
	StopLink     string
	Unsubscribe  string
}

// note is what the inviter says to the invitee.
type note struct {
	Intro sentence
	Quote string
}

type fact struct {
	Label string
	Value sentence
}

// sentence is text of ours with names in it.
type sentence []span

type span struct {
	Text string
	// Name is true for what somebody typed.
	Name bool
	dir  string // of the sentence
}

// String is the sentence as plain text.
func (s sentence) String() string {
	var b strings.Builder
	for _, x := range s {
		if x.Name {
			b.WriteString(isolated(x.Text, x.dir))
		} else {
			b.WriteString(x.Text)
		}
	}
	return b.String()
}

// words are the messages that tell one purpose from another.
type words struct {
	subject, title, intro string
	// line is what follows the intro, or empty; preview what mailboxes show beside the subject.
	line, preview string
}

var (
	invited = words{
		subject: "mail.invitation.subject", title: "mail.invitation.title", intro: "mail.invitation.intro", preview: "mail.invitation.preview",
	}
	// For invitations that no member sent.
	invitedByNobody = words{subject: "mail.invitation.subject_plain", intro: "mail.invitation.intro_plain"}

	wordings = map[Purpose]words{
		PurposeResend:   {line: "mail.resend.line"},
		PurposeReminder: {title: "mail.reminder.title", line: "mail.reminder.line"},
		PurposeRenewal:  {subject: "mail.renewal.subject", title: "mail.renewal.title", line: "mail.renewal.line"},

		PurposeAccepted: {
			subject: "mail.accepted.subject", title: "mail.accepted.title", intro: "mail.accepted.intro",
			line: "mail.accepted.line", preview: "mail.accepted.line",
		},
		PurposeDeclined: {
			subject: "mail.declined.subject", title: "mail.declined.title", intro: "mail.declined.intro",
			line: "mail.declined.line", preview: "mail.declined.line",
		},
		PurposeBounced: {
			subject: "mail.bounced.subject", title: "mail.bounced.title", intro: "mail.bounced.intro",
			line: "mail.bounced.line", preview: "mail.bounced.line",
		},
		PurposeUnwanted: {
			subject: "mail.bounced.subject", title: "mail.bounced.title", intro: "mail.unwanted.intro",
			line: "mail.unwanted.line", preview: "mail.unwanted.line",
		},
		PurposeRenewalAsked: {
			subject: "mail.asked.subject", title: "mail.asked.title", intro: "mail.asked.intro", line: "mail.asked.line", preview: "mail.asked.line",
		},
		PurposeRenewed: {
			subject: "mail.renewed.subject", title: "mail.renewed.title", intro: "mail.renewed.intro",
			line: "mail.renewed.line", preview: "mail.renewed.line",
		},
	}
)

// or gives the words with those of another in place of what is missing.
func (w words) or(o words) words {
	pick := func(a *string, b string) {
		if *a == "" {
			*a = b
		}
	}
	pick(&w.subject, o.subject)
	pick(&w.title, o.title)
	pick(&w.intro, o.intro)
	pick(&w.line, o.line)
	pick(&w.preview, o.preview)
	return w
}

func wordsOf(c *Context) words {
	w := wordings[c.Purpose]
	if c.Inviter == "" {
		w = w.or(invitedByNobody)
	}
	return w.or(invited)
}

// writer writes the page of one letter.
type writer struct {
	r *Renderer
	l *i18n.Localizer
	c Context // its texts are clean
	// pairs are the placeholders of all messages, values what they stand for, by mark.
	pairs  []any
	values map[string]string
}

func (r *Renderer) writer(c Context, l *i18n.Localizer) *writer {
	for _, text := range []*string{&c.Organization, &c.Inviter, &c.Role} {
		*text = r.typed(*text, maxName)
	}
	if known, ok := l.Role(c.Role); ok {
		c.Role = known
	}
	if c.Address == "" { // the invitee is called by the address, which was checked, and may have to be copied
		c.Invitee = strings.ReplaceAll(tidy(c.Invitee, events.MaxAddress), "%", r.percent)
	} else {
		c.Invitee = r.typed(c.Invitee, maxName)
	}
	w := &writer{r: r, l: l, c: c, values: map[string]string{}}
	for name, value := range map[string]string{"organization": c.Organization, "inviter": c.Inviter, "role": c.Role, "invitee": c.Invitee} {
		w.pairs = append(w.pairs, name, r.names[name])
		w.values[r.names[name]] = value
	}
	w.pairs = append(w.pairs, "deadline", r.marks[FieldDeadline])
	return w
}

// typed is a text that somebody typed, clean, and with a mark in place of each "%": see Renderer.write.
func (r *Renderer) typed(s string, limit int) string {
	return strings.ReplaceAll(clean(s, limit), "%", r.percent)
}

func (w *writer) marked(id string, pairs ...any) string {
	return w.l.Text(id, append(pairs, w.pairs...)...)
}

// say gives a message with the names in it.
func (w *writer) say(id string) sentence { return w.split(w.marked(id)) }

// split cuts a text at the marks of names.
func (w *writer) split(text string) sentence {
	var s sentence
	for text != "" {
		at, mark := len(text), ""
		for m := range w.values {
			if i := strings.Index(text, m); i >= 0 && i < at {
				at, mark = i, m
			}
		}
		if at > 0 {
			s = append(s, span{Text: text[:at]})
		}
		if mark == "" {
			break
		}
		s = append(s, w.name(w.values[mark]))
		text = text[at+len(mark):]
	}
	return s
}

func (w *writer) name(text string) span { return span{Text: text, Name: true, dir: w.l.Dir()} }

// own gives a text of the organization's with the names in place of the placeholders, or empty where it has none.
func (w *writer) own(text string, limit int) string {
	n := w.r.names
	inviter := n["inviter"]
	if w.c.Inviter == "" { // an API key invites: the organization does
		inviter = n["organization"]
	}
	return strings.NewReplacer("{organization}", n["organization"], "{inviter}", inviter, "{role}", n["role"]).Replace(w.r.typed(text, limit))
}

func (w *writer) page(unsubscribe bool) *page {
	p := &page{
		Lang: w.l.Lang(), Dir: w.l.Dir(), Start: "left",
		Organization: w.c.Organization, Initial: initial(w.c.Organization), Logo: strings.ReplaceAll(w.c.Logo, "%", w.r.percent),
		Greeting: w.r.marks[FieldGreeting], Link: w.r.marks[FieldLink], Fallback: w.l.Text("mail.fallback"),
	}
	if p.Dir == "rtl" {
		p.Start = "right"
	}
	p.Accent, p.OnAccent = accents(w.c.Accent)
	words := wordsOf(&w.c)
	p.Title, p.Preheader = w.say(words.title), w.say(words.preview)
	p.Subject = w.split(w.subject(words))
	p.Paragraphs = w.paragraphs(words)
	p.Facts = w.facts()
	if w.c.Purpose.Notice() {
		p.Button, p.Small = w.l.Text("mail.notice.button"), []sentence{w.say("mail.notice.why")}
	} else {
		p.Button = w.button()
		p.Small = []sentence{w.say("mail.unexpected"), w.say("mail.private")}
		p.Note = w.note()
	}
	if unsubscribe {
		p.Unsubscribe, p.Stop, p.StopLink = w.r.marks[FieldUnsubscribe], w.l.Text("mail.stop"), w.l.Text("mail.stop_link")
	}
	return p
}

func (w *writer) subject(words words) string {
	subject := w.own(w.c.Subject, maxSubject)
	if subject == "" || w.c.Purpose.Notice() {
		subject = w.marked(words.subject)
	}
	if w.c.Purpose == PurposeReminder {
		subject = w.marked("mail.reminder.subject", "subject", subject)
	}
	return subject
}

func (w *writer) paragraphs(words words) []sentence {
	intro := w.own(w.c.Intro, maxIntro)
	if intro == "" || w.c.Purpose.Notice() {
		intro = w.marked(words.intro)
	}
	paragraphs := []sentence{w.split(intro)}
	if words.line != "" {
		paragraphs = append(paragraphs, w.say(words.line))
	}
	return paragraphs
}

func (w *writer) button() string {
	if own := w.own(w.c.Button, maxButton); own != "" {
		return w.split(own).String()
	}
	return w.l.Text("mail.invitation.button")
}

func (w *writer) note() *note {
	text := w.r.typed(w.c.Note, maxNote)
	if text == "" {
		return nil
	}
	intro := w.say("mail.note")
	if w.c.Inviter == "" {
		intro = w.say("mail.note_plain")
	}
	return &note{Intro: intro, Quote: w.l.Text("mail.quote", "text", text)}
}

func (w *writer) facts() []fact {
	named := func(id, value string) fact { return fact{Label: w.l.Text(id), Value: sentence{w.name(value)}} }
	organization, role := named("mail.fact.organization", w.c.Organization), named("mail.fact.role", w.c.Role)
	if w.c.Purpose.Notice() {
		invitee := named("mail.fact.invitee", w.c.Invitee)
		if w.c.Address != "" {
			invitee.Value = append(invitee.Value, span{Text: " "}, w.name("("+strings.ReplaceAll(w.c.Address, "%", w.r.percent)+")"))
		}
		return []fact{invitee, role, organization}
	}
	facts := []fact{organization, role}
	if w.c.Inviter != "" {
		facts = append(facts, named("mail.fact.inviter", w.c.Inviter))
	}
	return append(facts, fact{Label: w.l.Text("mail.fact.deadline"), Value: sentence{{Text: w.r.marks[FieldDeadline]}}})
}
