// Package i18n speaks to invitees in their language. Pages and mails share the messages in locales/<area>.<language>.toml;
// plural forms and dates follow the language (CLDR).
package i18n

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/go-playground/locales"
	"github.com/go-playground/locales/ar"
	"github.com/go-playground/locales/de"
	"github.com/go-playground/locales/en"
	"github.com/go-playground/locales/es"
	"github.com/go-playground/locales/ja"
	"github.com/go-playground/locales/ko"
	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

//go:embed locales
var files embed.FS

// languages are those there are messages for; the first is what everybody else gets.
var languages = []struct {
	tag    language.Tag
	locale locales.Translator
}{
	{language.English, en.New()}, {language.Korean, ko.New()}, {language.German, de.New()},
	{language.Japanese, ja.New()}, {language.Spanish, es.New()}, {language.Arabic, ar.New()},
}

var (
	bundle  = load()
	all     = localizers()
	matcher = language.NewMatcher(Tags())
)

// Tags lists the languages there are messages for, the default first.
func Tags() []language.Tag {
	tags := make([]language.Tag, len(languages))
	for i, l := range languages {
		tags[i] = l.tag
	}
	return tags
}

// load reads the messages. They are part of the program, so it panics where they cannot be read.
func load() *i18n.Bundle {
	b := i18n.NewBundle(language.English)
	b.RegisterUnmarshalFunc("toml", toml.Unmarshal)
	names, err := fs.Glob(files, "locales/*.toml")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		if _, err := b.LoadMessageFileFS(files, name); err != nil {
			panic(fmt.Sprintf("i18n: %s: %v", name, err))
		}
	}
	return b
}

func localizers() []*Localizer {
	ls := make([]*Localizer, len(languages))
	for i, l := range languages {
		ls[i] = &Localizer{tag: l.tag, locale: l.locale, messages: i18n.NewLocalizer(bundle, l.tag.String())}
	}
	return ls
}

// Localizer speaks one language. It is comparable by pointer: there is one for each language.
type Localizer struct {
	tag      language.Tag
	locale   locales.Translator
	messages *i18n.Localizer
}

// For gives the language of the first preference that there are messages for. A preference is a BCP 47 tag or an
// Accept-Language header; empty and unreadable ones are passed over.
func For(preferences ...string) *Localizer {
	for _, p := range preferences {
		tags, _, err := language.ParseAcceptLanguage(p)
		if err != nil || len(tags) == 0 {
			continue
		}
		if _, i, confidence := matcher.Match(tags...); confidence > language.No {
			return all[i]
		}
	}
	return all[0]
}

// Lang is the language for an HTML lang attribute, Dir the direction for dir: "ltr" or "rtl".
func (l *Localizer) Lang() string { return l.tag.String() }

// Dir is the direction the language is written in, for an HTML dir attribute: "ltr" or "rtl".
func (l *Localizer) Dir() string {
	if l.tag == language.Arabic {
		return "rtl"
	}
	return "ltr"
}

// Text is the message with that id. Pairs are names and values of its placeholders; one called "count" chooses the
// plural form. A message that is not there gives its id, and a test that finds it.
func (l *Localizer) Text(id string, pairs ...any) string {
	data := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		data[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	text, err := l.messages.Localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: data, PluralCount: data["count"]})
	if err != nil && text == "" {
		return id
	}
	return text
}

// Role is what one of the roles is called that every instance begins with; ok is false for any other.
func (l *Localizer) Role(role string) (name string, ok bool) {
	id, ok := map[string]string{
		"owner": "pages.role.owner", "admin": "pages.role.admin", "member": "pages.role.member", "viewer": "pages.role.viewer",
	}[role]
	if !ok {
		return "", false
	}
	return l.Text(id), true
}

// Date is a day, written out.
func (l *Localizer) Date(at time.Time) string { return l.locale.FmtDateLong(at) }

// Moment is a day and a time of day with its zone.
func (l *Localizer) Moment(at time.Time) string {
	return l.Date(at) + " " + l.timeOfDay(at) + " " + at.Format("MST")
}

// timeOfDay is the hour and minute. The Korean of the locale data has "AM" and "PM", which nobody writes.
func (l *Localizer) timeOfDay(at time.Time) string {
	text := l.locale.FmtTimeShort(at)
	if l.tag == language.Korean {
		return strings.NewReplacer("AM", "오전", "PM", "오후").Replace(text)
	}
	return text
}
