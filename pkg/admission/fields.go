package admission

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/text/language"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
)

// fields checks what can be judged without asking anybody, and clears what only admission may write. All complaints come
// at once.
func fields(data *events.InvitationRequested, roles roster.Roles) error {
	data.Invitation, data.Person, data.InviterPerson, data.InviterName = "", "", "", ""
	err := data.Validate()
	wrong := events.FieldsOf(err)
	if err != nil && len(wrong) == 0 {
		return problem.New(problem.Malformed, "%s", err.Error())
	}
	said := func(location string) bool {
		return slices.ContainsFunc(wrong, func(f events.FieldError) bool { return f.Location == location })
	}
	if !said("role") && !roles.Known(data.Role) {
		wrong = append(wrong, events.FieldError{Location: "role", Message: "must be one of " + strings.Join(roles, ", ")})
	}
	if data.Locale != "" && !said("locale") {
		tag, err := language.Parse(data.Locale)
		if err != nil {
			wrong = append(wrong, events.FieldError{Location: "locale", Message: "must be a BCP 47 language, like \"en\" or \"pt-BR\""})
		}
		data.Locale = tag.String()
	}
	if len(wrong) > 0 {
		return problem.Fields(wrong...)
	}
	return nil
}

// redirectHost is the host of an absolute https address that no browser could read differently.
func redirectHost(target string) (string, error) {
	u, err := url.Parse(target)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Opaque != "":
		return "", errors.New("must be an absolute https address")
	case strings.ContainsAny(target, "\\\t\r\n ") || strings.ContainsFunc(target, func(r rune) bool { return r < 0x20 || r > 0x7e }):
		return "", fmt.Errorf("must be plain ASCII without spaces or backslashes")
	}
	return strings.ToLower(u.Host), nil
}
