package console

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/i18n"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
)

// settingsForm is an organization's settings as they stand in the form: as somebody typed them.
type settingsForm struct {
	// Revision is that of the organization when the form was opened.
	Revision                                 uint64
	Name, Locale, Contact                    string
	TTL, Reminders, Hosts, LostAuthority     string
	PersonalNotes, Renewal, ReplyToInviter   bool
	Accent                                   string
	SubjectText, IntroText, ButtonText, Logo string
}

// formOf is the form that shows an organization as it is.
func formOf(o roster.Organization) settingsForm {
	reminders := make([]string, len(o.Policy.ReminderAfter))
	for i, after := range o.Policy.ReminderAfter {
		reminders[i] = inDays(after)
	}
	return settingsForm{
		Revision: o.Revision(), Name: o.Name, Locale: o.Locale, Contact: o.Contact,
		TTL: normal(o.Policy.InvitationTTL), Reminders: strings.Join(reminders, ", "), Hosts: strings.Join(o.Policy.RedirectHosts, "\n"),
		LostAuthority: o.Policy.InviterLostAuthority,
		PersonalNotes: o.Policy.PersonalNotes, Renewal: o.Policy.SelfServiceRenewal, ReplyToInviter: o.Policy.ReplyToInviter,
		Accent: o.Branding.Accent, SubjectText: o.Texts.Subject, IntroText: o.Texts.Intro, ButtonText: o.Texts.Button, Logo: o.Branding.Logo,
	}
}

// typedSettings reads the form as it was sent.
func typedSettings(r *http.Request, v visit) settingsForm {
	revision, _ := strconv.ParseUint(r.PostFormValue("revision"), 10, 64) // 0 is nobody's
	ticked := func(name string) bool { return r.PostFormValue(name) != "" }
	return settingsForm{
		Revision: revision, Name: r.PostFormValue("name"), Locale: r.PostFormValue("locale"), Contact: r.PostFormValue("contact"),
		TTL: r.PostFormValue("ttl"), Reminders: r.PostFormValue("reminders"), Hosts: r.PostFormValue("hosts"), LostAuthority: r.PostFormValue("lost"),
		PersonalNotes: ticked("notes"), Renewal: ticked("renewal"), ReplyToInviter: ticked("reply"),
		Accent: r.PostFormValue("accent"), SubjectText: r.PostFormValue("subject"), IntroText: r.PostFormValue("intro"),
		ButtonText: r.PostFormValue("button"), Logo: v.org.Branding.Logo,
	}
}

// apply gives an organization what the form says.
func (f *settingsForm) apply(o *roster.Organization) {
	o.Name, o.Locale, o.Contact = f.Name, f.Locale, f.Contact
	o.Policy = roster.Policy{
		InvitationTTL: f.TTL, ReminderAfter: durations(f.Reminders), RedirectHosts: listed(f.Hosts), InviterLostAuthority: f.LostAuthority,
		PersonalNotes: f.PersonalNotes, SelfServiceRenewal: f.Renewal, ReplyToInviter: f.ReplyToInviter,
	}
	o.Branding.Accent = f.Accent
	o.Texts = roster.Texts{Subject: oneLine(f.SubjectText), Intro: oneLine(f.IntroText), Button: oneLine(f.ButtonText)}
}

// oneLine makes line breaks spaces: texts are paragraphs, and what is typed in an area may be broken.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// listed takes a list apart at commas, semicolons and white space.
func listed(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(",; \t\r\n", r) })
}

// durations reads numbers of days, or durations as Go writes them.
func durations(s string) []string {
	var all []string
	for _, one := range listed(s) {
		if n, err := strconv.Atoi(one); err == nil && n > 0 && n < 10_000 {
			one = (time.Duration(n) * 24 * time.Hour).String()
		}
		all = append(all, one)
	}
	return all
}

// inDays is a duration as durations reads it: in days where it is some.
func inDays(s string) string {
	const day = 24 * time.Hour
	if d, err := time.ParseDuration(s); err == nil && d > 0 && d%day == 0 {
		return strconv.Itoa(int(d / day))
	}
	return s
}

// normal is a duration in the one form that choices have.
func normal(s string) string {
	if d, err := time.ParseDuration(s); err == nil {
		return d.String()
	}
	return s
}

// lifetimes are the choices of how long invitations stay open.
func lifetimes(usual time.Duration, chosen string) []choice {
	choices := []choice{{Value: "", Text: "The usual time (" + days(usual) + ")"}}
	for _, n := range []int{1, 3, 7, 14, 30, 90} {
		long := time.Duration(n) * 24 * time.Hour
		choices = append(choices, choice{Value: long.String(), Text: days(long)})
	}
	return chosenAmong(choices, chosen)
}

// chosenAmong marks what is chosen, and adds it where it is none of the choices.
func chosenAmong(choices []choice, chosen string) []choice {
	at := slices.IndexFunc(choices, func(c choice) bool { return c.Value == chosen })
	if at < 0 {
		at, choices = len(choices), append(choices, choice{Value: chosen, Text: chosen})
	}
	choices[at].Chosen = true
	return choices
}

// tongues are the languages there are, each in its own words. first is what stands for none of them.
func tongues(first, chosen string) []choice {
	choices := []choice{{Value: "", Text: first}}
	for _, tag := range i18n.Tags() {
		choices = append(choices, choice{Value: tag.String(), Text: selfName(tag)})
	}
	return chosenAmong(choices, chosen)
}

func selfName(tag language.Tag) string { return cases.Title(tag).String(display.Self.Name(tag)) }

// lostAuthority are the choices of what becomes of an acceptance whose inviter may no longer grant the role.
func lostAuthority(chosen string) []choice {
	return chosenAmong([]choice{
		{Value: "", Text: "As everywhere here"},
		{Value: roster.AuthorityBlock, Text: "Nobody joins by it"},
		{Value: roster.AuthorityLower, Text: "The invitee joins with the inviter's own role"},
	}, chosen)
}

// faults are complaints by the place they are about.
type faults map[string]string

// faultsOf sorts a refusal's complaints. Those about entries of a list say which entry.
func faultsOf(e *problem.Error) faults {
	found := faults{}
	for _, f := range e.Fields {
		place, entry, isEntry := strings.Cut(f.Location, "[")
		message := "This " + said(f)
		if n, err := strconv.Atoi(strings.TrimSuffix(entry, "]")); isEntry && err == nil {
			message = fmt.Sprintf("Entry %d %s", n+1, said(f))
		}
		if found[place] != "" {
			message = found[place] + " " + message
		}
		found[place] = message
	}
	return found
}

func said(f events.FieldError) string { return strings.TrimSuffix(f.Message, ".") + "." }

// difference is a setting that somebody else changed meanwhile.
type difference struct{ What, Now string }

// places are what the parts of an organization are called on the page.
var places = map[string]string{
	"name": "Name", "locale": "Language", "contact": "Contact", "logo": "Logo",
	"policy.invitation_ttl": "Invitations stay open", "policy.reminder_after": "Reminders", "policy.redirect_hosts": "Where to go on to",
	"policy.inviter_lost_authority": "When the inviter lost their right", "policy.personal_notes": "Personal notes",
	"policy.self_service_renewal": "New links without asking", "policy.reply_to_inviter": "Answers go to the inviter",
	"branding.accent": "Accent colour", "texts.subject": "Subject", "texts.intro": "Introduction", "texts.button": "Button",
}

// differences are the settings that stand otherwise than they were typed.
func differences(now, typed settingsForm) []difference {
	var all []difference
	add := func(what, now, typed string) {
		if oneLine(now) != oneLine(typed) {
			all = append(all, difference{places[what], now})
		}
	}
	onOff := map[bool]string{true: "on", false: "off"}
	add("name", now.Name, typed.Name)
	add("locale", now.Locale, typed.Locale)
	add("contact", now.Contact, typed.Contact)
	add("policy.invitation_ttl", now.TTL, typed.TTL)
	add("policy.reminder_after", now.Reminders, typed.Reminders)
	add("policy.redirect_hosts", now.Hosts, typed.Hosts)
	add("policy.inviter_lost_authority", now.LostAuthority, typed.LostAuthority)
	add("policy.personal_notes", onOff[now.PersonalNotes], onOff[typed.PersonalNotes])
	add("policy.self_service_renewal", onOff[now.Renewal], onOff[typed.Renewal])
	add("policy.reply_to_inviter", onOff[now.ReplyToInviter], onOff[typed.ReplyToInviter])
	add("branding.accent", now.Accent, typed.Accent)
	add("texts.subject", now.SubjectText, typed.SubjectText)
	add("texts.intro", now.IntroText, typed.IntroText)
	add("texts.button", now.ButtonText, typed.ButtonText)
	return all
}
