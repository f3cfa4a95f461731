package mail

import (
	"strings"

	"github.com/usherhq/usher/pkg/i18n"
)

// Field is a place in a letter that each recipient fills differently.
type Field int

// The fields.
const (
	fieldNone Field = iota
	FieldGreeting
	FieldLink
	FieldDeadline
	FieldUnsubscribe
)

// Letter is what many mails share: everything but the fields.
type Letter struct {
	Purpose Purpose
	// From and ReplyTo are header values; ReplyTo may be empty.
	From, ReplyTo string
	Subject       string
	html, text    pattern
	shareable     bool
	unsubscribe   bool
	speaks        *i18n.Localizer
	greeting      greeting
}

// greeting is a salutation in the letter's language.
type greeting struct {
	before, after string // of the name
	plain         string // where there is no name
	dir           string
}

func (g greeting) to(name string) string {
	if name = clean(name, maxName); name == "" {
		return g.plain
	}
	return g.before + isolated(name, g.dir) + g.after
}

// HTML is the HTML part with each field replaced by what mark gives for it.
func (l *Letter) HTML(mark func(Field) string) string { return l.html.fill(mark) }

// Text is the plain text part with each field replaced by what mark gives for it.
func (l *Letter) Text(mark func(Field) string) string { return l.text.fill(mark) }

// pattern is a text with fields in it.
type pattern []piece

// piece is a field, or a literal text where field is fieldNone.
type piece struct {
	literal string
	field   Field
}

func (p pattern) fill(value func(Field) string) string {
	var b strings.Builder
	size := 256
	for _, x := range p {
		size += len(x.literal)
	}
	b.Grow(size)
	for _, x := range p {
		if x.field == fieldNone {
			b.WriteString(x.literal)
		} else {
			b.WriteString(value(x.field))
		}
	}
	return b.String()
}

// split cuts text at the marks into literals and fields.
func split(text string, marks map[Field]string) pattern {
	var p pattern
	for text != "" {
		at, field := len(text), fieldNone
		for f, mark := range marks {
			if i := strings.Index(text, mark); i >= 0 && i < at {
				at, field = i, f
			}
		}
		if at > 0 {
			p = append(p, piece{literal: text[:at]})
		}
		if field == fieldNone {
			break
		}
		p = append(p, piece{field: field})
		text = text[at+len(marks[field]):]
	}
	return p
}
