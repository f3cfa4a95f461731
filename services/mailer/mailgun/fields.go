package mailgun

import (
	"html"
	"strconv"

	"github.com/usherhq/usher/services/mailer/mail"
)

// Fields of a call to many recipients, beside those of the letter.
const (
	fieldMessageID mail.Field = -1 - iota
	fieldInvitation
	fieldGeneration
	fieldIntent
)

// names are the fields' names among the recipient variables.
var names = map[mail.Field]string{
	mail.FieldGreeting:    "greeting",
	mail.FieldLink:        "link",
	mail.FieldDeadline:    "deadline",
	mail.FieldUnsubscribe: "unsubscribe",
	fieldMessageID:        "message_id",
	fieldInvitation:       "invitation",
	fieldGeneration:       "generation",
	fieldIntent:           "intent",
}

// greetingHTML is the greeting again, escaped: the one field that needs it (mail.Mail.Shareable sees to the others).
const greetingHTML = "greeting_html"

// placeholder is what Mailgun replaces with the recipient's variable.
func placeholder(f mail.Field) string { return "%recipient." + names[f] + "%" }

func htmlPlaceholder(f mail.Field) string {
	if f == mail.FieldGreeting {
		return "%recipient." + greetingHTML + "%"
	}
	return placeholder(f)
}

func recipientVariables(m *mail.Mail) map[string]any {
	greeting := m.Value(mail.FieldGreeting)
	vars := map[string]any{
		"greeting":   greeting,
		greetingHTML: html.EscapeString(greeting),
		"link":       m.Link,
		"deadline":   m.Value(mail.FieldDeadline),
		"message_id": m.MessageID,
		"invitation": m.Invitation,
		"generation": strconv.Itoa(m.Generation),
		"intent":     strconv.FormatUint(m.Intent, 10),
	}
	if m.Unsubscribe != "" {
		vars["unsubscribe"] = m.Unsubscribe
	}
	return vars
}
