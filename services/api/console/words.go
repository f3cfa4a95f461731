package console

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/suppressions"
)

// state is where an invitation stands, in words.
type state struct {
	// Tone colours it: good, warn, bad, lead, or nothing.
	Tone, Icon, Text string
	// More is the rest of the story, quieter; Left the deadline where it matters.
	More string
	Left *moment
}

// standing combines delivery and lifecycle into the one thing that a reader wants to know.
func standing(r *invitation.Record, said events.Delivery, now time.Time) state {
	switch r.StatusAt(now) {
	case invitation.Accepted:
		return accepted(r)
	case invitation.Declined:
		return state{Tone: "", Icon: "circle-slash", Text: "Declined", More: quoted(r.Reason)}
	case invitation.Revoked:
		return state{Tone: "", Icon: "ban", Text: "Revoked", More: revokedBecause(r.Reason)}
	case invitation.Expired:
		return state{Tone: "warn", Icon: "clock", Text: "Expired", More: "no answer came in time"}
	case invitation.Rejected:
		return state{Tone: "bad", Icon: "circle-x", Text: "Rejected", More: plain(r.Reason)}
	}
	return open(r, said, now)
}

func accepted(r *invitation.Record) state {
	switch r.MembershipState() {
	case invitation.MembershipRefused:
		return state{Tone: "bad", Icon: "circle-x", Text: "Accepted, but not joined", More: refusedBecause(r.Reason)}
	case invitation.MembershipActive:
		return state{Tone: "good", Icon: "circle-check", Text: "Accepted"}
	}
	return state{Tone: "good", Icon: "hourglass", Text: "Accepted", More: "being set up"}
}

// open tells of an invitation that waits for an answer.
func open(r *invitation.Record, said events.Delivery, now time.Time) state {
	left := at(r.Deadline, now)
	switch r.DeliveryState() {
	case invitation.Bounced:
		return state{Tone: "bad", Icon: "mail-x", Text: "Bounced: " + bounce(said), More: "the invitee has no mail"}
	case invitation.Complained:
		return state{Tone: "bad", Icon: "triangle-alert", Text: "Marked as spam", More: "by the invitee"}
	case invitation.Deferred:
		return state{Tone: "warn", Icon: "hourglass", Text: "Delayed", More: "the receiving server asks to try later", Left: left}
	}
	if !r.OpenedAt.IsZero() {
		return state{Tone: "lead", Icon: "eye", Text: "Opened the link", More: "not accepted yet", Left: left}
	}
	switch r.DeliveryState() {
	case invitation.Delivered:
		return state{Tone: "lead", Icon: "mail-check", Text: "Delivered", Left: left}
	case invitation.Sent:
		return state{Tone: "lead", Icon: "send", Text: "Sent", Left: left}
	}
	return state{Tone: "", Icon: "clock", Text: "Being sent", Left: left}
}

// bounce says in plain words why a mail could not be delivered. Providers give an SMTP status, and a word of their own.
func bounce(d events.Delivery) string {
	if why, ok := strings.CutPrefix(d.Reason, "suppressed: "); ok {
		return suppressed(why)
	}
	switch {
	case d.Code == 550 || d.Code == 551 || d.Code == 553 || d.Code == 605:
		return "mailbox unknown"
	case d.Code == 552 || d.Code == 452:
		return "mailbox full"
	case d.Code == 554 || d.Code == 571:
		return "refused by the receiving server"
	case d.Code == 512 || d.Code == 601:
		return "no mail server at that domain"
	case strings.HasPrefix(d.Reason, "suppress-bounce"):
		return suppressed(suppressions.Bounced)
	case strings.HasPrefix(d.Reason, "suppress-complaint"):
		return suppressed(suppressions.Complained)
	case strings.HasPrefix(d.Reason, "suppress-unsubscribe"):
		return suppressed(suppressions.Unsubscribed)
	}
	return "not deliverable"
}

func suppressed(why string) string {
	switch why {
	case suppressions.Bounced:
		return "it bounced before"
	case suppressions.Complained:
		return "an earlier mail was marked as spam"
	case suppressions.Unsubscribed:
		return "does not want invitations"
	}
	return "not written to"
}

// refusedBecause says why an accepted invitation, or somebody with the link, was turned away.
func refusedBecause(reason string) string {
	if words, ok := map[string]string{
		events.RefusedExpired: "it had expired", events.RefusedRevoked: "it had been revoked", events.RefusedDeclined: "it had been declined",
		events.RefusedReplaced: "a newer e-mail had been sent", events.RefusedWrongAccount: "they were signed in with another account",
		events.RefusedAuthority: "the inviter may no longer grant this role", events.RefusedRole: "the role no longer exists",
		events.RefusedMember: "they were a member already",
	}[reason]; ok {
		return words
	}
	return plain(reason)
}

func revokedBecause(reason string) string {
	if reason == "replaced by a new invitation" {
		return "replaced by a new invitation"
	}
	return quoted(reason)
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return "“" + s + "”"
}

// plain makes a machine's word readable.
func plain(code string) string { return strings.ReplaceAll(code, "-", " ") }

// moment is an instant in words, with the exact one beside it.
type moment struct {
	// Exact is for people who look closer, ISO for machines, Words for reading ("3 days ago", "in 2 hours").
	Exact, ISO, Words string
	Past              bool
}

// at tells an instant as seen from now.
func at(instant, now time.Time) *moment {
	if instant.IsZero() {
		return nil
	}
	utc := instant.UTC()
	m := &moment{Exact: utc.Format("Monday, 2 January 2006, 15:04:05 MST"), ISO: utc.Format(time.RFC3339), Past: !instant.After(now)}
	if m.Past {
		m.Words = ago(now.Sub(instant))
	} else {
		m.Words = "in " + span(instant.Sub(now))
	}
	return m
}

func ago(d time.Duration) string {
	if d < 45*time.Second {
		return "just now"
	}
	return span(d) + " ago"
}

// span is a duration as people say it, by its largest unit.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return plural(int(d.Round(time.Minute)/time.Minute), "minute")
	case d < day:
		return plural(int(d.Round(time.Hour)/time.Hour), "hour")
	case d < 60*day:
		return plural(int(d.Round(day)/day), "day")
	case d < 2*365*day:
		return plural(int(d/(30*day)), "month")
	}
	return plural(int(d/(365*day)), "year")
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func lower(s string) string { return strings.ToLower(s) }

// initials are what stands in for somebody's picture.
func initials(name, email string) string {
	var letters []rune
	for _, word := range strings.Fields(name) {
		for _, r := range word {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				letters = append(letters, unicode.ToUpper(r))
				break
			}
		}
	}
	switch {
	case len(letters) > 2:
		letters = []rune{letters[0], letters[len(letters)-1]}
	case len(letters) == 0:
		for _, r := range email {
			return string(unicode.ToUpper(r))
		}
		return "?"
	}
	return string(letters)
}
