package events

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The most that a field may hold. Sizes are bytes unless the name says runes.
const (
	MaxAddress       = 320 // 64 before the @, 255 after it (RFC 5321, section 4.5.3.1)
	MaxRole          = 64
	MaxNameRunes     = 200
	MaxNoteRunes     = 500
	MaxLocale        = 35 // what RFC 5646, section 4.4.1, asks a buffer to hold
	MaxMetadata      = 20 // entries
	MaxMetadataKey   = 40
	MaxMetadataValue = 500
	MaxRedirectURL   = 2000
	MaxText          = 1000 // reasons, details, and the names other systems gave to things
)

const lengthPerson = 26

// FieldErrors is more than one FieldError.
type FieldErrors []*FieldError

// Error implements error.
func (e FieldErrors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "; ")
}

// Unwrap gives the single complaints to errors.Is and errors.As.
func (e FieldErrors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, f := range e {
		errs[i] = f
	}
	return errs
}

// FieldsOf lists what a Validate or Decode complained about, field by field; nil where err is about no field.
func FieldsOf(err error) []FieldError {
	if many, ok := errors.AsType[FieldErrors](err); ok {
		fields := make([]FieldError, len(many))
		for i, f := range many {
			fields[i] = *f
		}
		return fields
	}
	if one, ok := errors.AsType[*FieldError](err); ok {
		return []FieldError{*one}
	}
	return nil
}

// checker collects complaints. Its zero value is ready, and costs nothing while there are none.
type checker struct{ errs FieldErrors }

func (c *checker) fail(location, message string) {
	c.errs = append(c.errs, &FieldError{Location: location, Message: message})
}

func (c *checker) err() error {
	switch len(c.errs) {
	case 0:
		return nil
	case 1:
		return c.errs[0]
	default:
		return c.errs
	}
}

// text wants clean text of at most limit bytes; it may be empty.
func (c *checker) text(location, value string, limit int) {
	if complaint := textComplaint(value, limit); complaint != "" {
		c.fail(location, complaint)
	}
}

// required is text that may not be empty.
func (c *checker) required(location, value string, limit int) {
	if value == "" {
		c.fail(location, "is required")
		return
	}
	c.text(location, value, limit)
}

// name wants clean text of at most MaxNameRunes code points.
func (c *checker) name(location, value string) { c.runes(location, value, MaxNameRunes) }

// runes wants clean text of at most limit code points.
func (c *checker) runes(location, value string, limit int) {
	// The first comparison spares short texts the counting.
	if len(value) > limit && utf8.RuneCountInString(value) > limit {
		c.fail(location, fmt.Sprintf("is longer than %d characters", limit))
		return
	}
	c.text(location, value, utf8.UTFMax*limit)
}

func textComplaint(value string, limit int) string {
	if len(value) > limit {
		return fmt.Sprintf("is longer than %d bytes", limit)
	}
	return unclean(value)
}

// unclean names what keeps a string from being plain text; empty where nothing does.
func unclean(s string) string {
	for i := range len(s) {
		switch {
		case s[i] >= utf8.RuneSelf:
			return uncleanUnicode(s)
		case s[i] < ' ' || s[i] == 0x7f:
			return hasControl
		}
	}
	return ""
}

const hasControl = "has a control character"

func uncleanUnicode(s string) string {
	if !utf8.ValidString(s) {
		return "is not valid UTF-8"
	}
	if strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return hasControl
	}
	return ""
}

func (c *checker) organization(location, value string) {
	switch {
	case value == "":
		c.fail(location, "is required")
	case !ValidOrganization(value):
		c.fail(location, "is not an organization's short name: 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit")
	}
}

func (c *checker) app(location, value string) {
	if !ValidApp(value) {
		c.fail(location, "is not an app's short name: 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit")
	}
}

func (c *checker) invitation(location, value string) {
	switch {
	case value == "":
		c.fail(location, "is required")
	case !IsInvitationID(value):
		c.fail(location, "is not an invitation's id")
	}
}

func (c *checker) person(location, value string) {
	switch {
	case value == "":
		c.fail(location, "is required")
	case !ValidPerson(value):
		c.fail(location, "is not the hash of an address")
	}
}

// ValidPerson reports whether s has the form of the keyed hash that stands for an address in subjects and events:
// 26 letters and digits in lower case.
func ValidPerson(s string) bool {
	if len(s) != lengthPerson {
		return false
	}
	for i := range len(s) {
		if (s[i] < 'a' || s[i] > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

func (c *checker) instant(location string, value time.Time) {
	switch {
	case value.IsZero():
		c.fail(location, "is required")
	case !writable(value):
		c.fail(location, "is outside the years 0 to 9999")
	}
}

// writable reports whether RFC 3339 can write an instant.
func writable(at time.Time) bool {
	year := at.UTC().Year()
	return year >= 0 && year <= 9999
}

func (c *checker) duration(location, value string) {
	if value == "" {
		return
	}
	if _, err := time.ParseDuration(value); err != nil {
		c.fail(location, `is not a duration such as "168h" or "30m"`)
	}
}

// atLeast wants a count or generation that has begun.
func (c *checker) atLeast(location string, value, least int) {
	if value < least {
		c.fail(location, fmt.Sprintf("is less than %d", least))
	}
}

func (c *checker) oneOf(location, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	c.fail(location, "is none of "+strings.Join(allowed, ", "))
}

// metadata complains in the order of the keys, so that the same request always gets the same answer.
func (c *checker) metadata(entries map[string]string) {
	if len(entries) > MaxMetadata {
		c.fail("metadata", fmt.Sprintf("has more than %d entries", MaxMetadata))
		return
	}
	before := len(c.errs)
	for key, value := range entries {
		if complaint := textComplaint(key, MaxMetadataKey); complaint != "" || key == "" {
			c.fail("metadata", "has a key that "+cmp.Or(complaint, "is empty"))
		} else if complaint := textComplaint(value, MaxMetadataValue); complaint != "" {
			c.fail("metadata."+key, complaint)
		}
	}
	slices.SortFunc(c.errs[before:], func(a, b *FieldError) int {
		return cmp.Or(cmp.Compare(a.Location, b.Location), cmp.Compare(a.Message, b.Message))
	})
}

// Validate implements Data. It holds for both forms: an app's request, and the record that admission makes of it.
// Whether the address can be written to, the role exists and the inviter may grant it is for admission to say.
func (e InvitationRequested) Validate() error {
	var c checker
	c.organization("organization", e.Organization)
	c.required("email", e.Email, MaxAddress)
	c.required("role", e.Role, MaxRole)
	c.text("inviter", e.Inviter, MaxAddress)
	c.name("name", e.Name)
	c.text("locale", e.Locale, MaxLocale)
	c.duration("expires_in", e.ExpiresIn)
	c.metadata(e.Metadata)
	c.text("redirect_url", e.RedirectURL, MaxRedirectURL)
	c.runes("note", e.Note, MaxNoteRunes)
	if e.Invitation != "" {
		e.validateRecord(&c)
	}
	return c.err()
}

// validateRecord checks what admission writes.
func (e *InvitationRequested) validateRecord(c *checker) {
	c.invitation("invitation", e.Invitation)
	c.person("person", e.Person)
	if e.InviterPerson != "" {
		c.person("inviter_person", e.InviterPerson)
	}
	c.name("inviter_name", e.InviterName)
	c.instant("expires_at", e.ExpiresAt)
	if e.App != "" {
		c.app("app", e.App)
	}
	c.text("request", e.Request, MaxText)
	if e.Replaces != "" {
		c.invitation("replaces", e.Replaces)
	}
}

// Validate implements Data.
func (e InvitationRejected) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	// The request may have been refused for its organization: only its size matters then.
	c.text("organization", e.Organization, MaxText)
	c.app("app", e.App)
	c.required("request", e.Request, MaxText)
	c.required("reason", e.Reason, MaxText)
	c.required("detail", e.Detail, MaxText)
	for i := range e.Fields {
		c.required(fmt.Sprintf("fields[%d].location", i), e.Fields[i].Location, MaxText)
		c.required(fmt.Sprintf("fields[%d].message", i), e.Fields[i].Message, MaxText)
	}
	return c.err()
}

// Validate implements Data.
func (e InvitationSent) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.atLeast("generation", e.Generation, 1)
	c.oneOf("purpose", e.Purpose, PurposeInvitation, PurposeResend)
	c.required("message_id", e.MessageID, MaxText)
	c.text("provider_message_id", e.ProviderMessageID, MaxText)
	return c.err()
}

// Validate implements Data.
func (d Delivery) Validate() error {
	var c checker
	c.invitation("invitation", d.Invitation)
	c.atLeast("generation", d.Generation, 0)
	c.text("provider_event", d.ProviderEvent, MaxText)
	c.instant("occurred_at", d.OccurredAt)
	c.atLeast("code", d.Code, 0)
	c.text("reason", d.Reason, MaxText)
	return c.err()
}

// Validate implements Data.
func (e InvitationResendRequested) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.atLeast("generation", e.Generation, 1)
	c.instant("expires_at", e.ExpiresAt)
	c.text("by", e.By, MaxText)
	return c.err()
}

// Validate implements Data.
func (e InvitationReminderDue) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.atLeast("number", e.Number, 1)
	return c.err()
}

// Validate implements Data.
func (e InvitationExpiryDue) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.instant("expires_at", e.ExpiresAt)
	return c.err()
}

// Validate implements Data.
func (e InvitationReminded) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.atLeast("generation", e.Generation, 1)
	c.atLeast("number", e.Number, 1)
	c.required("message_id", e.MessageID, MaxText)
	c.text("provider_message_id", e.ProviderMessageID, MaxText)
	return c.err()
}

// Validate implements Data. Reasons other than the Refused constants are let through: new ones are an additive change.
func (e InvitationAcceptRefused) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.required("reason", e.Reason, MaxText)
	return c.err()
}

// Validate implements Data.
func (e InvitationOpened) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.atLeast("generation", e.Generation, 1)
	return c.err()
}

// Validate implements Data.
func (e InvitationRenewalAsked) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	return c.err()
}

// Validate implements Data.
func (e InvitationNoticed) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.oneOf("about", e.About, NoticeAccepted, NoticeDeclined, NoticeBounced, NoticeRenewal)
	c.required("message_id", e.MessageID, MaxText)
	c.text("provider_message_id", e.ProviderMessageID, MaxText)
	return c.err()
}

// Validate implements Data.
func (e InvitationAccepted) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.atLeast("generation", e.Generation, 1)
	c.person("person", e.Person)
	c.name("name", e.Name)
	c.text("locale", e.Locale, MaxLocale)
	c.oneOf("invitee", e.Invitee, InviteeNew, InviteeExisting)
	return c.err()
}

// Validate implements Data.
func (e InvitationDeclined) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.atLeast("generation", e.Generation, 1)
	c.text("reason", e.Reason, MaxText)
	return c.err()
}

// Validate implements Data.
func (e InvitationRevoked) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.text("by", e.By, MaxText)
	c.text("reason", e.Reason, MaxText)
	return c.err()
}

// Validate implements Data.
func (e InvitationExpired) Validate() error {
	var c checker
	c.invitation("invitation", e.Invitation)
	c.instant("expires_at", e.ExpiresAt)
	return c.err()
}

// Validate implements Data.
func (m Membership) Validate() error {
	var c checker
	m.validate(&c)
	return c.err()
}

func (m *Membership) validate(c *checker) {
	c.organization("organization", m.Organization)
	c.person("person", m.Person)
	c.required("email", m.Email, MaxAddress)
	c.name("name", m.Name)
	c.text("locale", m.Locale, MaxLocale)
	c.required("role", m.Role, MaxRole)
	if m.Invitation != "" {
		c.invitation("invitation", m.Invitation)
	}
	c.instant("joined_at", m.JoinedAt)
	c.metadata(m.Metadata)
	c.text("by", m.By, MaxText)
}

// Validate implements Data.
func (e MembershipRoleChanged) Validate() error {
	var c checker
	e.Membership.validate(&c)
	c.required("previous_role", e.PreviousRole, MaxRole)
	return c.err()
}
