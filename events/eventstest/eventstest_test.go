package eventstest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

// recorder is a testing.TB that remembers failures instead of failing.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...) }

func TestMatchersTellWhatIsWrong(t *testing.T) {
	cause := eventstest.Requested()
	e := eventstest.Accepted(eventstest.CausedBy(cause))
	isNew := eventstest.That("the invitee is new", func(d *events.InvitationAccepted) bool { return d.Invitee == events.InviteeNew })
	eventstest.Check(t, e, eventstest.Is(events.TypeInvitationAccepted), eventstest.About(eventstest.Invitation),
		eventstest.From("/usher/api"), eventstest.Follows(cause), eventstest.Valid(), eventstest.Same(e), isNew)

	known := func(d *events.InvitationAccepted) { d.Invitee = events.InviteeExisting }
	for want, match := range map[string]eventstest.Matcher{
		`type is "usher.invitation.accepted.v1", want "usher.invitation.sent.v1"`: eventstest.Is(events.TypeInvitationSent),
		`subject is "inv_01kjpy44hvfs2thgytv7y5vzap", want "inv_1"`:               eventstest.About("inv_1"),
		`source is "/usher/api", want "/crm"`:                                     eventstest.From("/crm"),
		`causation is "order-4711", want "evt_1"`:                                 eventstest.Follows(events.Event{ID: "evt_1"}),
		`wire form is `: eventstest.Same(eventstest.Accepted(eventstest.With(known))),
		`it does not hold that the name is Bo`: eventstest.That("the name is Bo",
			func(d *events.InvitationAccepted) bool { return d.Name == "Bo" }),
		`body is *events.InvitationAccepted, want *events.InvitationSent`: eventstest.That("", func(*events.InvitationSent) bool { return true }),
	} {
		r := &recorder{}
		eventstest.Check(r, e, match)
		if len(r.failures) != 1 || !strings.Contains(r.failures[0], want) {
			t.Errorf("want %q, got %q", want, r.failures)
		}
	}
}

func TestValidFailsOnWhatMayNotBePublished(t *testing.T) {
	r := &recorder{}
	eventstest.Check(r, eventstest.Requested(eventstest.With(func(d *events.InvitationRequested) { d.Email = "" })), eventstest.Valid())
	eventstest.Check(r, events.Event{}, eventstest.Valid())
	if len(r.failures) != 2 {
		t.Errorf("got %q", r.failures)
	}
}

func TestFindGivesTheFirstThatMatches(t *testing.T) {
	heard := []events.Event{eventstest.Requested(), eventstest.Accepted(eventstest.ID("evt_1")), eventstest.Accepted(eventstest.ID("evt_2"))}
	if e, ok := eventstest.Find(heard, eventstest.Is(events.TypeInvitationAccepted)); !ok || e.ID != "evt_1" {
		t.Errorf("found %s, %v", e.ID, ok)
	}
	if e, ok := eventstest.Find(heard, eventstest.Is(events.TypeInvitationSent)); ok {
		t.Errorf("found %s", e.ID)
	}
}

func TestDecodeFailsTheTestOnABrokenMessage(t *testing.T) {
	r := &recorder{}
	eventstest.Decode(r, nil, []byte(`{`), "requests.crm")
	eventstest.Decode(r, nil, []byte(`{}`), "requests.crm")
	if len(r.failures) != 2 {
		t.Errorf("got %q", r.failures)
	}
}

func TestReadyMadeEventsAreFreshEachTime(t *testing.T) {
	spoil := eventstest.With(func(d *events.InvitationRequested) { d.Metadata["order"], d.Role = "x", "owner" })
	eventstest.Requested(spoil)
	r := eventstest.Requested().Data.(*events.InvitationRequested)
	if r.Role != eventstest.Role || r.Metadata["order"] != "4711" {
		t.Errorf("changed by another test: %v", r.Metadata)
	}
}
