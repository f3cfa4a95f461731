package events_test

import (
	"strings"
	"testing"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

func TestEveryTypeHasAnEmptyBodyOfItsOwn(t *testing.T) {
	for _, typ := range events.Types() {
		data, ok := events.New(typ)
		if !ok || data.EventType() != typ {
			t.Errorf("New(%s) gives %v, %v", typ, data, ok)
		}
	}
	if data, ok := events.New("usher.invitation.requested.v9"); ok || data != nil {
		t.Errorf("an unknown type has the body %v", data)
	}
}

func TestASubjectOfTheLedgerTellsItsType(t *testing.T) {
	for _, typ := range events.Types() {
		fact, ok := events.FactOf(typ)
		if strings.HasPrefix(string(typ), "usher.membership.") == ok {
			t.Errorf("FactOf(%s) is %q, %v", typ, fact, ok)
		}
		if !ok {
			continue
		}
		subject := events.InvitationSubject(eventstest.Organization, eventstest.Invitation, fact)
		if got, ok := events.TypeOfSubject(subject); !ok || got != typ {
			t.Errorf("%s tells %s, %v", subject, got, ok)
		}
	}
}

func TestOtherSubjectsTellNoType(t *testing.T) {
	for _, subject := range []string{
		"", "requests", "requests.", "requests.CRM", "requests.crm.eu", "orders.created",
		events.MembershipSubject(eventstest.Organization, eventstest.Person),
		events.ClaimSubject(eventstest.Organization, eventstest.Person),
		events.ReminderTimerSubject(eventstest.Organization, eventstest.Invitation),
		events.InvitationSubject(eventstest.Organization, eventstest.Invitation, "teleported"),
		events.InvitationSubject(eventstest.Organization, eventstest.Invitation, ""),
	} {
		if typ, ok := events.TypeOfSubject(subject); ok {
			t.Errorf("%q tells %s", subject, typ)
		}
	}
	if typ, ok := events.TypeOfSubject(events.RequestSubject("crm")); !ok || typ != events.TypeInvitationRequested {
		t.Errorf("a request's subject tells %s, %v", typ, ok)
	}
}

func TestSubjectsComeApartAsTheyWerePutTogether(t *testing.T) {
	org, id, fact, ok := events.SplitInvitation("invitations.acme." + eventstest.Invitation + ".outcome.accepted")
	if !ok || org != "acme" || id != eventstest.Invitation || fact != events.FactAccepted {
		t.Errorf("got %s, %s, %s, %v", org, id, fact, ok)
	}
	org, person, ok := events.SplitMembership(events.MembershipSubject("acme", eventstest.Person))
	if !ok || org != "acme" || person != eventstest.Person {
		t.Errorf("got %s, %s, %v", org, person, ok)
	}
	app, ok := events.SplitRequest(events.RequestSubject("crm"))
	if !ok || app != "crm" {
		t.Errorf("got %s, %v", app, ok)
	}
}

func TestOrganizationsAreNamedAsSubjectsAllow(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "0": true, "acme": true, "a-b_c": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "_a": false, "A": false, "a.b": false, "a b": false, "a*": false, ">": false, "é": false,
		"a\n": false, strings.Repeat("a", 64): false,
	} {
		if got := events.ValidOrganization(name); got != want {
			t.Errorf("ValidOrganization(%q) is %v", name, got)
		}
	}
}
