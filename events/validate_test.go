package events_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

func TestReadyMadeEventsAreValid(t *testing.T) {
	for _, typ := range events.Types() {
		eventstest.Check(t, eventstest.Of(typ), eventstest.Is(typ), eventstest.Valid())
	}
	eventstest.Check(t, eventstest.Requested(), eventstest.Valid())
}

func TestTheSmallestRequestIsValid(t *testing.T) {
	r := events.InvitationRequested{Organization: "a", Email: "a@b", Role: "r"}
	if err := r.Validate(); err != nil {
		t.Error(err)
	}
}

// request spoils a valid record in one place.
func request(spoil func(*events.InvitationRequested)) events.Data {
	return eventstest.Admitted(eventstest.With(spoil)).Data
}

// spoiled spoils any other valid body in one place.
func spoiled[T any, D interface {
	*T
	events.Data
}](spoil func(D)) events.Data {
	return eventstest.Of(D(new(T)).EventType(), eventstest.With(spoil)).Data
}

func entries(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint("key", i)] = "value"
	}
	return m
}

func TestValidateNamesTheFieldAndTheFault(t *testing.T) {
	type R = events.InvitationRequested
	long := func(n int) string { return strings.Repeat("x", n) }
	farFuture := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		data events.Data
		want string
	}{
		{request(func(r *R) { r.Organization = "" }), "organization: is required"},
		{request(func(r *R) { r.Organization = "Acme" }), "organization: is not an organization's short name"},
		{request(func(r *R) { r.Organization = "a.b" }), "organization: is not an organization's short name"},
		{request(func(r *R) { r.Email = "" }), "email: is required"},
		{request(func(r *R) { r.Email = long(321) }), "email: is longer than 320 bytes"},
		{request(func(r *R) { r.Email = "a@b\n" }), "email: has a control character"},
		{request(func(r *R) { r.Email = "a@b\x7f" }), "email: has a control character"},
		{request(func(r *R) { r.Role = "" }), "role: is required"},
		{request(func(r *R) { r.Role = long(65) }), "role: is longer than 64 bytes"},
		{request(func(r *R) { r.Inviter = long(321) }), "inviter: is longer than 320 bytes"},
		{request(func(r *R) { r.Name = strings.Repeat("é", 201) }), "name: is longer than 200 characters"},
		{request(func(r *R) { r.Name = "a\xffb" }), "name: is not valid UTF-8"},
		{request(func(r *R) { r.Name = "Nia\u0085" }), "name: has a control character"},
		{request(func(r *R) { r.Locale = long(36) }), "locale: is longer than 35 bytes"},
		{request(func(r *R) { r.ExpiresIn = "7 days" }), "expires_in: is not a duration"},
		{request(func(r *R) { r.Metadata = entries(21) }), "metadata: has more than 20 entries"},
		{request(func(r *R) { r.Metadata = map[string]string{"": "x"} }), "metadata: has a key that is empty"},
		{request(func(r *R) { r.Metadata = map[string]string{long(41): "x"} }), "metadata: has a key that is longer than 40 bytes"},
		{request(func(r *R) { r.Metadata = map[string]string{"a\tb": "x"} }), "metadata: has a key that has a control character"},
		{request(func(r *R) { r.Metadata = map[string]string{"k": long(501)} }), "metadata.k: is longer than 500 bytes"},
		{request(func(r *R) { r.RedirectURL = long(2001) }), "redirect_url: is longer than 2000 bytes"},
		{request(func(r *R) { r.Invitation = "inv_1" }), "invitation: is not an invitation's id"},
		{request(func(r *R) { r.Person = "" }), "person: is required"},
		{request(func(r *R) { r.Person = "new.person@example.org" }), "person: is not the hash of an address"},
		{request(func(r *R) { r.Person = strings.ToUpper(eventstest.Person) }), "person: is not the hash of an address"},
		{request(func(r *R) { r.InviterPerson = "x" }), "inviter_person: is not the hash of an address"},
		{request(func(r *R) { r.InviterName = long(201) }), "inviter_name: is longer than 200 characters"},
		{request(func(r *R) { r.ExpiresAt = time.Time{} }), "expires_at: is required"},
		{request(func(r *R) { r.ExpiresAt = farFuture }), "expires_at: is outside the years 0 to 9999"},
		{request(func(r *R) { r.App = "CRM" }), "app: is not an app's short name"},
		{request(func(r *R) { r.Request = long(1001) }), "request: is longer than 1000 bytes"},
		{request(func(r *R) { r.Replaces = "evt_1" }), "replaces: is not an invitation's id"},
		{spoiled(func(e *events.InvitationRejected) { e.Reason = "" }), "reason: is required"},
		{spoiled(func(e *events.InvitationRejected) { e.App = "" }), "app: is not an app's short name"},
		{spoiled(func(e *events.InvitationRejected) { e.Request = "" }), "request: is required"},
		{spoiled(func(e *events.InvitationRejected) { e.Fields[0].Message = "" }), "fields[0].message: is required"},
		{spoiled(func(e *events.InvitationSent) { e.Generation = 0 }), "generation: is less than 1"},
		{spoiled(func(e *events.InvitationSent) { e.Purpose = "spam" }), "purpose: is none of invitation, resend"},
		{spoiled(func(e *events.InvitationSent) { e.MessageID = "" }), "message_id: is required"},
		{spoiled(func(e *events.InvitationDelivered) { e.Code = -1 }), "code: is less than 0"},
		{spoiled(func(e *events.InvitationBounced) { e.OccurredAt = time.Time{} }), "occurred_at: is required"},
		{spoiled(func(e *events.InvitationDeferred) { e.Invitation = "" }), "invitation: is required"},
		{spoiled(func(e *events.InvitationComplained) { e.Reason = "\x1b[31m" }), "reason: has a control character"},
		{spoiled(func(e *events.InvitationResendRequested) { e.Generation = 0 }), "generation: is less than 1"},
		{spoiled(func(e *events.InvitationReminderDue) { e.Number = 0 }), "number: is less than 1"},
		{spoiled(func(e *events.InvitationExpiryDue) { e.ExpiresAt = time.Time{} }), "expires_at: is required"},
		{spoiled(func(e *events.InvitationReminded) { e.Number = 0 }), "number: is less than 1"},
		{spoiled(func(e *events.InvitationAcceptRefused) { e.Reason = "" }), "reason: is required"},
		{spoiled(func(e *events.InvitationAccepted) { e.Invitee = "" }), "invitee: is none of new, existing"},
		{spoiled(func(e *events.InvitationAccepted) { e.Name = "a\rb" }), "name: has a control character"},
		{spoiled(func(e *events.InvitationDeclined) { e.Reason = long(1001) }), "reason: is longer than 1000 bytes"},
		{spoiled(func(e *events.InvitationRevoked) { e.By = long(1001) }), "by: is longer than 1000 bytes"},
		{spoiled(func(e *events.InvitationExpired) { e.Invitation = eventstest.Person }), "invitation: is not an invitation's id"},
		{spoiled(func(e *events.MembershipProvisioned) { e.Organization = "-" }), "organization: is not an organization's short name"},
		{spoiled(func(e *events.MembershipProvisioned) { e.Invitation = "x" }), "invitation: is not an invitation's id"},
		{spoiled(func(e *events.MembershipRoleChanged) { e.PreviousRole = "" }), "previous_role: is required"},
		{spoiled(func(e *events.MembershipRemoved) { e.JoinedAt = time.Time{} }), "joined_at: is required"},
	} {
		err := c.data.Validate()
		if _, single := err.(*events.FieldError); !single || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.data.EventType(), err, c.want)
		}
	}
}

func TestValidateLetsTheLimitsThemselvesPass(t *testing.T) {
	data := request(func(r *events.InvitationRequested) {
		r.Organization = strings.Repeat("a", 63)
		r.Email = strings.Repeat("x", 320)
		r.Role = strings.Repeat("x", 64)
		r.Name = strings.Repeat("🦔", 200)
		r.Metadata = entries(20)
		r.Metadata["key0"] = strings.Repeat("x", 500)
		r.RedirectURL = strings.Repeat("x", 2000)
	})
	if err := data.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	err := (&events.InvitationRequested{Metadata: map[string]string{"b": "\x00", "a": "\x00"}}).Validate()
	want := []string{"organization", "email", "role", "metadata.a", "metadata.b"}
	fields := events.FieldsOf(fmt.Errorf("admission: %w", err))
	if len(fields) != len(want) {
		t.Fatalf("got %v", fields)
	}
	for i, f := range fields {
		if f.Location != want[i] {
			t.Errorf("complaint %d is about %s, want %s", i, f.Location, want[i])
		}
	}
	if one, ok := errors.AsType[*events.FieldError](err); !ok || one.Location != "organization" {
		t.Errorf("the first complaint is not found in %v", err)
	}
}

func TestFieldsOfOtherErrorsIsEmpty(t *testing.T) {
	if fields := events.FieldsOf(errors.New("disk full")); fields != nil {
		t.Errorf("got %v", fields)
	}
}
