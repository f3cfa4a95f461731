package eventstest

import (
	"fmt"
	"testing"

	"github.com/usherhq/usher/events"
)

// Matcher says what is wrong with an event; nil where it matches.
type Matcher func(events.Event) error

// Check fails the test for each matcher that the event does not satisfy.
func Check(t testing.TB, e events.Event, matchers ...Matcher) {
	t.Helper()
	for _, match := range matchers {
		if err := match(e); err != nil {
			t.Errorf("event %s: %v", e.ID, err)
		}
	}
}

// Find gives the first event that satisfies all matchers.
func Find(all []events.Event, matchers ...Matcher) (events.Event, bool) {
	for _, e := range all {
		if satisfies(e, matchers) {
			return e, true
		}
	}
	return events.Event{}, false
}

func satisfies(e events.Event, matchers []Matcher) bool {
	for _, match := range matchers {
		if match(e) != nil {
			return false
		}
	}
	return true
}

// Is matches events of one type.
func Is(t events.Type) Matcher {
	return func(e events.Event) error { return differ("type", string(e.Type), string(t)) }
}

// About matches events about one invitation, or for memberships about one person.
func About(subject string) Matcher {
	return func(e events.Event) error { return differ("subject", e.Subject, subject) }
}

// From matches events of one source.
func From(source string) Matcher {
	return func(e events.Event) error { return differ("source", e.Source, source) }
}

// Follows matches events that another one led to.
func Follows(cause events.Event) Matcher {
	return func(e events.Event) error { return differ("causation", e.CausationID, cause.ID) }
}

// Valid matches events whose body may be published.
func Valid() Matcher {
	return func(e events.Event) error {
		if e.Data == nil {
			return fmt.Errorf("there is no body")
		}
		return e.Data.Validate()
	}
}

// That matches events whose body is a D of which the predicate holds; what is the predicate in words.
func That[D events.Data](what string, holds func(D) bool) Matcher {
	return func(e events.Event) error {
		data, ok := e.Data.(D)
		if !ok {
			return fmt.Errorf("body is %T, want %T", e.Data, data)
		}
		if !holds(data) {
			return fmt.Errorf("it does not hold that %s", what)
		}
		return nil
	}
}

// Same matches events that look the same on the wire.
func Same(want events.Event) Matcher {
	return func(got events.Event) error {
		gotText, err := wire(got)
		if err != nil {
			return err
		}
		wantText, err := wire(want)
		if err != nil {
			return fmt.Errorf("the wanted event: %w", err)
		}
		return differ("wire form", gotText, wantText)
	}
}

// wire writes an event with its headers in the order of their names, as fmt prints maps.
func wire(e events.Event) (string, error) {
	header, body, err := events.Encode(e)
	return fmt.Sprintf("%v %s", header, body), err
}

// Decode reads a message and fails the test where it is not a valid event.
func Decode(t testing.TB, header map[string][]string, body []byte, subject string) events.Event {
	t.Helper()
	e, err := events.Decode(header, body, subject)
	if err == nil {
		err = e.Data.Validate()
	}
	if err != nil {
		t.Fatalf("message on %s: %v", subject, err)
	}
	return e
}

func differ(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s is %q, want %q", what, got, want)
	}
	return nil
}
