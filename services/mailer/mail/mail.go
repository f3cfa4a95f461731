// Package mail is one e-mail to one person: what it says, how it fares, and how many leave together.
//
// A Renderer writes mails. Those that invite to the same organization for the same inviter, role, purpose, language and
// note share one Letter, so that a provider can take a thousand of them in one call. A Sender hands mails to a provider; Batching
// stands before it and turns many concurrent sends into few calls.
package mail

import (
	"context"
	"fmt"
	"html"
	"strings"
	"time"
)

// Purpose is why a mail is sent.
type Purpose string

// The purposes.
const (
	PurposeInvitation Purpose = "invitation"
	PurposeResend     Purpose = "resend"
	PurposeReminder   Purpose = "reminder"
	// PurposeRenewal is an invitation that the invitee asked for, because the link of an earlier one had expired.
	PurposeRenewal Purpose = "renewal"
)

// The purposes of notices: mails that tell the inviter what became of an invitation.
const (
	PurposeAccepted Purpose = "accepted"
	PurposeDeclined Purpose = "declined"
	PurposeBounced  Purpose = "bounced"
	// PurposeUnwanted tells that the invitee wants no such mails any more.
	PurposeUnwanted Purpose = "unwanted"
	// PurposeRenewalAsked tells that the invitee asks for a new link, PurposeRenewed that they got one.
	PurposeRenewalAsked Purpose = "renewal-asked"
	PurposeRenewed      Purpose = "renewed"
)

// Notice reports whether such a mail goes to the inviter and not to the invitee.
func (p Purpose) Notice() bool {
	switch p {
	case PurposeAccepted, PurposeDeclined, PurposeBounced, PurposeUnwanted, PurposeRenewalAsked, PurposeRenewed:
		return true
	}
	return false
}

// Recipient is what is particular to one mail.
type Recipient struct {
	// Invitation, Generation and Intent (the ledger sequence of the event that asked for the mail) make, with the
	// letter's purpose, the mail's Message-ID.
	Invitation string
	Generation int
	Intent     uint64
	// To is the bare address; Name is how whoever is written to is called, or empty.
	To   string
	Name string
	// Link is where the invitee accepts or declines, or where the inviter sees more.
	Link string
	// Unsubscribe is the address of the one-click unsubscribe (RFC 8058), or empty.
	Unsubscribe string
	// Deadline is when the invitation ends.
	Deadline time.Time
}

// Mail is one e-mail to one person. Renderer.Mail makes it.
type Mail struct {
	Recipient
	// Letter is what the mail shares with others.
	Letter *Letter
	// MessageID is the same each time the mail is made: "<…@domain>".
	MessageID string
	// Looked is when it was last looked at whether the mail is wanted; zero for when it is handed in. It leaves soon after
	// that or not at all: a process may have stood still for long, and all may be different by now.
	Looked time.Time
}

// MessageID is the Message-ID of the mail that an event of the ledger asked for. A mail that is sent twice, because
// nobody could tell whether the first try succeeded, is then one mail to the receiving server, too.
func MessageID(domain, invitation string, generation int, purpose Purpose, intent uint64) string {
	return fmt.Sprintf("<%s.%d.%s.%d@%s>", invitation, generation, purpose, intent, domain)
}

// Subject is the mail's subject.
func (m Mail) Subject() string { return m.Letter.Subject }

// HTML is the mail's HTML part.
func (m Mail) HTML() string {
	return m.Letter.html.fill(func(f Field) string { return escapeHTML(m.Value(f)) })
}

// Text is the mail's plain text part; it says what the HTML part says.
func (m Mail) Text() string {
	return m.Letter.text.fill(func(f Field) string {
		if f == FieldGreeting {
			return breakVariables(m.Value(f))
		}
		return m.Value(f)
	})
}

// Value is what stands in the field for this recipient, as plain text.
func (m Mail) Value(f Field) string {
	switch f {
	case FieldGreeting:
		return m.Letter.greeting.to(m.Name)
	case FieldLink:
		return m.Link
	case FieldDeadline:
		return m.Letter.speaks.Moment(m.Deadline.UTC())
	case FieldUnsubscribe:
		return m.Unsubscribe
	}
	return ""
}

// Header is one header field of a mail.
type Header struct{ Name, Value string }

// Headers are the mail's own header fields, beside From, To, Subject and Date.
func (m Mail) Headers() []Header {
	return HeadersFor(m.Letter, m.MessageID, m.Unsubscribe)
}

// HeadersFor are the header fields of a mail with the given Message-ID and unsubscribe address: those of one mail, or a
// provider's placeholders for those of many.
func HeadersFor(l *Letter, messageID, unsubscribe string) []Header {
	headers := []Header{
		{"Message-Id", messageID},
		{"Auto-Submitted", "auto-generated"},           // RFC 3834: out-of-office programs stay silent
		{"X-Auto-Response-Suppress", "OOF, AutoReply"}, // what Exchange obeys instead
	}
	if l.ReplyTo != "" {
		headers = append(headers, Header{"Reply-To", l.ReplyTo})
	}
	if l.unsubscribe {
		headers = append(headers,
			Header{"List-Unsubscribe", "<" + unsubscribe + ">"},
			Header{"List-Unsubscribe-Post", "List-Unsubscribe=One-Click"})
	}
	return headers
}

// Shareable reports whether the mail may travel with others that have the same Letter, the provider filling in what is
// particular to each. It may not when a text that somebody typed holds a "%", for the provider's placeholders are made
// of those, or when a value would need other escaping in HTML than in a header.
func (m Mail) Shareable() bool {
	return m.Letter.shareable && !strings.Contains(m.To, "%") && !strings.Contains(m.Name, "%") &&
		!strings.ContainsAny(m.Link, special) && !strings.ContainsAny(m.Unsubscribe, special)
}

// special are the characters that need escaping in HTML or before Mailgun.
const special = `%&<>"'`

func escapeHTML(s string) string {
	return strings.ReplaceAll(html.EscapeString(s), "%", "&#37;")
}

// Result is what became of one mail.
type Result struct {
	// ID is the provider's name for what it took.
	ID string
	// Err is nil, *Permanent, *Later, *Paused or *Unknown.
	Err error
}

// Sender hands mails to a provider.
type Sender interface {
	// Send tries each mail once and answers with one result a mail, in order. Mails that share a Letter may travel
	// together, if no two of them go to the same address.
	Send(ctx context.Context, mails []Mail) []Result
}

// Finder settles what became of a mail whose sending ended in *Unknown.
type Finder interface {
	// Find reports whether the provider took the mail, of which the first try was made at the given instant, and the
	// provider's name for it. It returns *Later when it is too early to tell, or *Later or *Paused when the provider
	// can't be asked.
	Find(ctx context.Context, m Mail, attempted time.Time) (id string, found bool, err error)
}
