package pages

import (
	"cmp"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/i18n"
	"github.com/usherhq/usher/pkg/redeem"
)

// view is what a page shows. Names that people wrote have gone through plain.
type view struct {
	*i18n.Localizer
	Base string
	// Here is the address of this page, for links that look again. Script is what looks again by itself; empty where nothing
	// changes by itself.
	Here, Script string

	Organization, Inviter, Role string
	// Contact is whom to ask when something does not work, as the organization says.
	Contact string
	// Logo is where the organization's picture is, Accent its colour as six hexadecimal digits; both may be empty.
	Logo, Accent string
	// Email is masked.
	Email string
	// Invitee is redeem.New or redeem.Existing.
	Invitee  string
	Deadline time.Time
	Ended    time.Time
	Asked    time.Time
	Left     string
	// Name is what the inviter called the invitee: where the field starts, so whole.
	Name     string
	Continue target

	// Account is the address of whoever is signed in, SignIn where to do that, SignOut where to change it.
	Account         string
	SignIn, SignOut string
	// Open are the invitations of whoever is signed in.
	Open []offer

	Form    string
	Attempt attempt
}

// offer is one open invitation in a list.
type offer struct {
	view
	ID string
}

// Text is a message with what is put into it as plain text.
func (v view) Text(id string, pairs ...any) string { return v.Localizer.Text(id, pairs...) }

// Rich is a message in which all that is put in stands out, and is kept from turning the text around it. Only the message
// itself is trusted: what is put in is escaped, unless it is HTML of ours.
func (v view) Rich(id string, pairs ...any) template.HTML {
	for i := 1; i < len(pairs); i += 2 {
		if _, ours := pairs[i].(template.HTML); !ours {
			pairs[i] = template.HTML("<b><bdi>" + template.HTMLEscapeString(fmt.Sprint(pairs[i])) + "</bdi></b>")
		}
	}
	return template.HTML(v.Localizer.Text(id, pairs...)) // #nosec G203 -- see above
}

// Instant is a moment in the page's language, and for machines.
func (v view) Instant(at time.Time) template.HTML {
	text := template.HTMLEscapeString(v.Moment(at))
	return template.HTML(`<time datetime="` + at.UTC().Format(time.RFC3339) + `">` + text + `</time>`) // #nosec G203 -- digits and our own words
}

// Asks names whom to ask: the inviter, where an app invited the organization, and where nothing is known whoever it was.
func (v view) Asks() string {
	return cmp.Or(v.Inviter, v.Organization, v.Text("pages.someone"))
}

// ContactAddress is the contact where it is an address, so that it can be a link.
func (v view) ContactAddress() string {
	a, err := address.Parse(v.Contact)
	if err != nil {
		return ""
	}
	return a.Stored
}

// Initial stands for the organization's logo.
func (v view) Initial() string {
	for _, r := range v.Organization {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return ""
}

// New reports whether the invitee must be asked for a name.
func (v view) New() bool { return v.Invitee == redeem.New }

// tongue is a language to choose.
type tongue struct {
	Tag, Name, Dir string
	Chosen         bool
}

// Languages are those to choose from, each in its own words.
func (v view) Languages() []tongue {
	var all []tongue
	for _, tag := range i18n.Tags() {
		l := i18n.For(tag.String())
		all = append(all, tongue{tag.String(), cases.Title(tag).String(display.Self.Name(tag)), l.Dir(), l == v.Localizer})
	}
	return all
}

// target is where the invitee may go on to.
type target struct{ URL, Host string }

// view is what the holder of a link may see. It has no more than a language where the preview is empty. Preferences are
// languages that come before the invitation's and the organization's.
func (p *Pages) view(r *http.Request, preview redeem.Preview, preferences ...string) view {
	q := preview.Record.Request
	if q == nil {
		return view{Localizer: speak(r, preferences...), Here: p.base + "/join"}
	}
	org := preview.Organization
	v := view{
		Localizer: speak(r, append(preferences, q.Locale, org.Locale)...), Here: p.base + "/join",
		Organization: plain(org.Name), Inviter: plain(q.InviterName), Contact: plain(org.Contact),
		Accent: accentOf(org.Branding.Accent), Email: line(preview.Email), Invitee: preview.Invitee, Name: q.Name,
		Deadline: preview.Record.Deadline.UTC(), Ended: preview.Record.EndedAt.UTC(), Asked: preview.Record.RenewalAskedAt.UTC(),
		Continue: follow(preview.Continue()),
	}
	if org.Branding.Logo != "" {
		v.Logo = p.base + "/logos/" + url.PathEscape(org.ID) + "/" + url.PathEscape(org.Branding.Logo)
	}
	v.Role, v.Left = v.role(q.Role), v.left(preview.Record.Deadline.Sub(p.Clock()))
	return v
}

// role is what a role is called: in the page's language where it is one that every instance begins with.
func (v view) role(role string) string {
	if name, ok := v.Localizer.Role(role); ok {
		return name
	}
	return plain(role)
}

// maxShown is how many characters of a name stand on a page: enough for names, too few for a letter of somebody else's.
const maxShown = 80

// plain makes a name one line of visible text that is no letter.
func plain(s string) string {
	if s = line(s); utf8.RuneCountInString(s) > maxShown {
		s = strings.TrimSpace(string([]rune(s)[:maxShown-1])) + "…"
	}
	return s
}

// line makes a text one line of visible characters: no control or formatting characters that could turn the text around
// them, no run of spaces that could push it out of sight. Addresses are shown whole: part of one may be another's.
func line(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
}

// left says how long an invitation stays open, in its largest whole unit. A twelfth of a unit counts as nothing, so that
// seven days are still called seven when the mail has been read.
func (v view) left(d time.Duration) string {
	for _, unit := range []struct {
		id   string
		long time.Duration
	}{{"duration.days", 24 * time.Hour}, {"duration.hours", time.Hour}, {"duration.minutes", time.Minute}} {
		if n := int((d + unit.long/12) / unit.long); n > 0 {
			return v.Text(unit.id, "count", n)
		}
	}
	return v.Text("pages.join.moment")
}

// follow is where the invitation leads afterwards.
func follow(address string) target {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return target{}
	}
	return target{URL: u.String(), Host: u.Hostname()}
}

// The language that somebody chose on a page is kept by their browser, and asked for with a parameter.
const (
	cookieLanguage = "usher-language"
	paramLanguage  = "lang"
)

// speak is the language to answer in: the one that was chosen on a page, then the preferences in order, then the browser's.
func speak(r *http.Request, preferences ...string) *i18n.Localizer {
	chosen := ""
	if c, err := r.Cookie(cookieLanguage); err == nil && known(c.Value) {
		chosen = c.Value
	}
	all := append([]string{chosen}, preferences...)
	return i18n.For(append(all, r.Header.Get("Accept-Language"))...)
}

// known reports whether a language is one of those that a page offers, in that very spelling.
func known(tag string) bool {
	for _, t := range i18n.Tags() {
		if t == language.Make(tag) && t.String() == tag {
			return true
		}
	}
	return false
}
