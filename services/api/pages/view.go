package pages

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/usherhq/usher/pkg/redeem"
)

// view is what a page shows. Names that people wrote have gone through plain.
type view struct {
	Base string

	Organization, Inviter, Role string
	// Email is masked.
	Email string
	// Invitee is redeem.New or redeem.Existing.
	Invitee  string
	Deadline time.Time
	Ended    time.Time
	Left     string
	// Name is what the inviter called the invitee: where the field starts, so whole.
	Name     string
	Continue target

	Form    string
	Attempt attempt
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

// target is where the invitee may go on to.
type target struct{ URL, Host string }

// view is what the holder of a link may see. It is empty where the preview is.
func (p *Pages) view(preview redeem.Preview) view {
	q := preview.Record.Request
	if q == nil {
		return view{}
	}
	return view{
		Organization: plain(preview.Organization.Name), Inviter: plain(q.InviterName), Role: plain(q.Role),
		Email: preview.Email, Invitee: preview.Invitee, Name: q.Name,
		Deadline: preview.Record.Deadline.UTC(), Ended: preview.Record.EndedAt.UTC(), Left: left(preview.Record.Deadline.Sub(p.Clock())),
		Continue: follow(q.RedirectURL),
	}
}

// maxShown is how many characters of a name stand on a page: enough for names, too few for a letter of somebody else's.
const maxShown = 80

// plain makes a name one line of visible text: no control or formatting characters that could turn the text around
// them, no run of spaces that could push it out of sight.
func plain(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > maxShown {
		s = strings.TrimSpace(string([]rune(s)[:maxShown-1])) + "…"
	}
	return s
}

// left says how long an invitation stays open, in its largest whole unit. A twelfth of a unit counts as nothing, so that
// seven days are still called seven when the mail has been read.
func left(d time.Duration) string {
	for _, unit := range []struct {
		name string
		long time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		switch n := int((d + unit.long/12) / unit.long); {
		case n == 1:
			return "1 " + unit.name
		case n > 1:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "less than a minute"
}

// follow is where the invitation leads afterwards. Admission has checked the address against the organization's list;
// what is no web address is not linked here either.
func follow(address string) target {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return target{}
	}
	return target{URL: u.String(), Host: u.Hostname()}
}
