package mail

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/bidi"
)

// The most characters that are shown of what somebody typed; longer texts are cut with an ellipsis.
const (
	maxName    = 64
	maxNote    = 500
	maxSubject = 150
	maxIntro   = 1000
	maxButton  = 60
)

// clean makes a text that somebody typed fit for a mail: one line of at most limit characters, that turns no writing
// direction and becomes no link.
func clean(s string, limit int) string { return unlink(tidy(s, limit)) }

// tidy makes line breaks and runs of spaces one space, leaves out what can't be seen (it turns the writing direction, or
// hides one word in another) and what towers over its line, and cuts the text.
func tidy(s string, limit int) string {
	marks := 0
	s = strings.Map(func(r rune) rune {
		if !unicode.In(r, unicode.Mn, unicode.Me) {
			marks = 0
		} else if marks++; marks > 3 { // no script needs more on one letter
			return -1
		}
		switch {
		case unicode.IsControl(r):
			return ' '
		case r == zeroWidthNonJoiner || r == zeroWidthJoiner: // Persian and emoji are spelled with them
			return r
		case unicode.In(r, unicode.Cf, unicode.Bidi_Control, unicode.Co):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > limit {
		s = strings.TrimSpace(string(r[:limit-1])) + "…"
	}
	return s
}

const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
	// manyDigits is from how many digits on a text may hold a telephone number.
	manyDigits = 7
)

// unlink keeps mail programs from making links of a text by themselves: of addresses of web pages and mailboxes, and of
// telephone numbers. Behind each character that such a thing can't do without goes one that nobody sees and no link has.
func unlink(s string) string {
	digits := 0
	for _, r := range s {
		if unicode.IsDigit(r) {
			digits++
		}
	}
	if digits < manyDigits && !strings.ContainsAny(s, joints) && !strings.Contains(s, "//") {
		return s
	}
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		b.WriteRune(r)
		if i+1 == len(runes) || unicode.IsSpace(runes[i+1]) {
			continue
		}
		if strings.ContainsRune(joints, r) || r == '/' && runes[i+1] == '/' || digits >= manyDigits && unicode.IsDigit(r) {
			b.WriteRune(zeroWidthNonJoiner)
		}
	}
	return b.String()
}

// joints are what holds links together: dots in all the forms in which programs take them for dots, and what parts the
// scheme and the mailbox.
const joints = ".:@\u3002\uff0e\uff61\uff1a\uff20"

// isolated keeps a name that is written in the other direction from turning what stands around it.
func isolated(name, dir string) string {
	for _, r := range name {
		p, _ := bidi.LookupRune(r)
		switch p.Class() {
		case bidi.L:
			if dir == "rtl" {
				return "\u2068" + name + "\u2069"
			}
		case bidi.R, bidi.AL:
			if dir != "rtl" {
				return "\u2068" + name + "\u2069"
			}
		}
	}
	return name
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
