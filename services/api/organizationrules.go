package api

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/colour"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
)

// checkOrganization is every rule about what an organization may say of itself, whichever door it comes by.
func checkOrganization(o roster.Organization) error {
	var c complaints
	if !events.ValidOrganization(o.ID) {
		c.add("path.org", "must be 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit")
	}
	c.line("name", o.Name, roster.MaxName)
	if o.Name == "" {
		c.add("name", "must be a line of text")
	}
	c.line("contact", o.Contact, roster.MaxContact)
	if o.Locale != "" {
		if _, err := language.Parse(o.Locale); err != nil || len(o.Locale) > roster.MaxLocale {
			c.add("locale", `must be a BCP 47 language, like "en" or "pt-BR"`)
		}
	}
	c.policy(o.Policy)
	c.accent(o.Branding.Accent)
	c.text("texts.subject", o.Texts.Subject, roster.MaxSubject)
	c.text("texts.intro", o.Texts.Intro, roster.MaxIntro)
	c.text("texts.button", o.Texts.Button, roster.MaxButton)
	if len(c) > 0 {
		return problem.Fields(c...)
	}
	return nil
}

type complaints []events.FieldError

func (c *complaints) add(location, format string, args ...any) {
	*c = append(*c, events.FieldError{Location: location, Message: fmt.Sprintf(format, args...)})
}

// line complains of what is no line of text, or too long.
func (c *complaints) line(location, s string, most int) {
	switch {
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		c.add(location, "must be a line of text")
	case utf8.RuneCountInString(s) > most:
		c.add(location, "must have at most %d characters", most)
	}
}

// text complains of placeholders that nobody fills in, so that no invitee gets a mail with braces in it.
func (c *complaints) text(location, s string, most int) {
	c.line(location, s, most)
	if rest := knownPlaceholders.Replace(s); strings.ContainsAny(rest, "{}") {
		c.add(location, "may hold the placeholders {organization}, {inviter} and {role}, and no other braces")
	}
}

var knownPlaceholders = strings.NewReplacer("{organization}", "", "{inviter}", "", "{role}", "")

// accent complains of colours that can hardly be seen on a white page. What stands on the button is black or white, and one
// of the two can be read on any colour.
func (c *complaints) accent(s string) {
	if s == "" {
		return
	}
	accent, ok := colour.Parse(s)
	if !ok {
		c.add("branding.accent", `must be a colour like "#1a5fb4"`)
		return
	}
	if ratio := colour.Contrast(accent, colour.White); ratio < colour.Visible {
		c.add("branding.accent", "can hardly be told from a white page (contrast %.1f:1, needed is %.0f:1); %s is a darker shade that can",
			ratio, colour.Visible, accent.Until(colour.Visible, colour.White, colour.Black))
	}
}

// The most there may be of what a policy lists.
const (
	maxReminders     = 5
	maxRedirectHosts = 20
)

var redirectHost = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?$`)

func (c *complaints) policy(p roster.Policy) {
	if ttl := p.InvitationTTL; ttl != "" {
		if d, err := time.ParseDuration(ttl); err != nil || d < invitation.MinTTL || d > invitation.MaxTTL {
			c.add("policy.invitation_ttl", "must be a duration from 5m to 8760h")
		}
	}
	for i, after := range p.ReminderAfter {
		if d, err := time.ParseDuration(after); err != nil || d < time.Minute || d > invitation.MaxTTL || i >= maxReminders {
			c.add(fmt.Sprintf("policy.reminder_after[%d]", i), "must be one of at most five durations from 1m to 8760h")
		}
	}
	for i, host := range p.RedirectHosts {
		switch {
		case i >= maxRedirectHosts:
			c.add(fmt.Sprintf("policy.redirect_hosts[%d]", i), "is one too many; there may be %d", maxRedirectHosts)
		case len(host) > 255 || !redirectHost.MatchString(host):
			c.add(fmt.Sprintf("policy.redirect_hosts[%d]", i), `must be a host in small letters, like "app.example.com", without "https://"`)
		}
	}
	if !slices.Contains([]string{"", roster.AuthorityBlock, roster.AuthorityLower}, p.InviterLostAuthority) {
		c.add("policy.inviter_lost_authority", "must be block or lower")
	}
}
