package events_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

func TestEncodeRefusesWhatCouldNotBeReadBack(t *testing.T) {
	cases := []struct {
		want  string
		spoil eventstest.Option
	}{
		{"there is no data", func(e *events.Event) { e.Data = nil }},
		{"the attribute id is missing", func(e *events.Event) { e.ID = "" }},
		{"the attribute source is missing", func(e *events.Event) { e.Source = "" }},
		{"the attribute type does not go with data", func(e *events.Event) { e.Type = events.TypeInvitationSent }},
		{"the attribute id has a control character", func(e *events.Event) { e.ID = "a\r\nNats-Msg-Id: b" }},
		{"the attribute subject is not valid UTF-8", func(e *events.Event) { e.Subject = "a\xffb" }},
		{"the attribute source is longer than 1000 bytes", func(e *events.Event) { e.Source = strings.Repeat("x", 1001) }},
		{"the attribute correlationid has a control character", func(e *events.Event) { e.CorrelationID = "\x00" }},
		{"the attribute causationid has a control character", func(e *events.Event) { e.CausationID = "a\u0085b" }},
		{"the attribute time is outside the years", func(e *events.Event) { e.Time = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"cannot be written as JSON", eventstest.With(func(d *events.InvitationExpired) { d.ExpiresAt = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC) })},
	}
	for _, c := range cases {
		_, _, err := events.Encode(eventstest.Of(events.TypeInvitationExpired, c.spoil))
		if !errors.Is(err, events.ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

func TestEncodeTakesTheTypeFromTheData(t *testing.T) {
	header, _, err := events.Encode(eventstest.Accepted(func(e *events.Event) { e.Type = "" }))
	if err != nil || header["ce-type"][0] != string(events.TypeInvitationAccepted) {
		t.Errorf("header %v, error %v", header, err)
	}
}

func TestEncodeTakesBodiesByValueToo(t *testing.T) {
	pointer := eventstest.Accepted()
	value := eventstest.Accepted(func(e *events.Event) { e.Data = *e.Data.(*events.InvitationAccepted) })
	eventstest.Check(t, value, eventstest.Same(pointer))
}

// A trace that is no header value is left out: it must neither break the message nor slip a header in.
func TestEncodeLeavesABrokenTraceOut(t *testing.T) {
	header, _, err := events.Encode(eventstest.Accepted(func(e *events.Event) {
		e.TraceParent = "00-\r\nNats-Msg-Id: forged"
		e.TraceState = strings.Repeat("a=1,", 1000)
	}))
	if err != nil || header["traceparent"] != nil || header["tracestate"] != nil {
		t.Errorf("header %v, error %v", header, err)
	}
}

// Tools that know W3C trace context and not CloudEvents read these two headers raw.
func TestEncodeWritesTraceStateUnescaped(t *testing.T) {
	header, _, err := events.Encode(eventstest.Accepted(func(e *events.Event) { e.TraceState = "a=50%, b=x y" }))
	if err != nil || header["tracestate"][0] != "a=50%, b=x y" {
		t.Errorf("header %v, error %v", header, err)
	}
}

func TestAppendingToAHeaderLeavesTheOthersAlone(t *testing.T) {
	header, _, err := events.Encode(eventstest.Accepted())
	if err != nil {
		t.Fatal(err)
	}
	for name := range header {
		header[name] = append(header[name], "more")
	}
	for name, values := range header {
		if len(values) != 2 || values[0] == "more" || values[1] != "more" {
			t.Errorf("%s is %q", name, values)
		}
	}
}

// A refusal has to name the event it refuses.
func TestDecodeGivesTheAttributesEvenWhenTheBodyIsBroken(t *testing.T) {
	header, _, err := events.Encode(eventstest.Requested())
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.Decode(header, []byte(`{"email":`), "requests.crm")
	if !errors.Is(err, events.ErrMalformed) || e.ID != "order-4711" || e.Type != events.TypeInvitationRequested || e.Data != nil {
		t.Errorf("event %v, error %v", e, err)
	}
}

// Go goes through maps in another order each time: what counts must not be a matter of luck.
func TestDecodeReadsTwoSpellingsOfAHeaderTheSameEachTime(t *testing.T) {
	header := map[string][]string{"Ce-Id": {"second"}, "CE-ID": {"first"}, "cE-iD": {"third"}}
	for range 100 {
		e, err := events.Decode(header, []byte(`{}`), "requests.crm")
		if err != nil || e.ID != "first" {
			t.Fatalf("id %s, error %v", e.ID, err)
		}
	}
}

func TestDecodeGivesTimesInUTC(t *testing.T) {
	header := map[string][]string{"ce-time": {"2026-03-02T10:30:00+01:00"}}
	e, err := events.Decode(header, []byte(`{}`), "requests.crm")
	if want := time.Date(2026, time.March, 2, 9, 30, 0, 0, time.UTC); err != nil || e.Time != want {
		t.Errorf("time %v, error %v", e.Time, err)
	}
}

func TestDecodeNamesTheFieldAtFault(t *testing.T) {
	_, err := events.Decode(nil, []byte(`{"metadata":{"order":"4711"},"role":["member"]}`), "requests.crm")
	field, ok := errors.AsType[*events.FieldError](err)
	if !ok || field.Location != "role" || field.Message != "is of type array, not string" {
		t.Errorf("error %v", err)
	}
}

// Errors of Decode end up in logs and dead letters, where no address may be.
func TestDecodeErrorsNeverRepeatAValue(t *testing.T) {
	const secret = "new.person@example.org"
	for _, body := range []string{
		`{"email":{"new.person@example.org":1}}`,
		`{"expires_at":"new.person@example.org"}`,
		`{"send_anyway":"new.person@example.org"}`,
		`"new.person@example.org"`,
		`new.person@example.org`,
		`{"new.person@example.org":NaN}`,
	} {
		_, err := events.Decode(nil, []byte(body), "requests.crm")
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, name := range []string{"ce-time", "ce-specversion", "ce-type", "content-type", "ce-datacontenttype"} {
		_, err := events.Decode(map[string][]string{name: {secret}}, []byte(`{}`), "requests.crm")
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("", "", "", "requests.crm", []byte(`{"organization":"acme","email":"a@example.org","role":"member"}`))
	f.Add("1.0", "usher.invitation.sent.v1", "application/json", "", []byte(`{"invitation":"x","generation":1}`))
	f.Add("1.0", "usher.membership.removed.v1", "application/json;charset=utf-8", "a.b", []byte(`{"metadata":{"a":"b"},"joined_at":"x"}`))
	f.Add("", "", "application/cloudevents+json", "", []byte(`{"specversion":"1.0","id":"1","source":"/a","type":"usher.invitation.revoked.v1","data":{"by":"x"}}`))
	f.Add("", "", "application/cloudevents+json", "", []byte(`{"specversion":"1.0","id":"1","source":"/a","type":"usher.invitation.revoked.v1","data_base64":"e30="}`))
	f.Add("%31%2e0", `"usher.\invitation.sent.v1"`, "text/json", "invitations.a.inv_b.sent", []byte(`[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[`))
	f.Add("1.0", "usher.invitation.declined.v1", "application/json", `"é"%2541`, []byte(`{"reason":"<&>\u2028"}`))
	f.Add("1.0%", "%", "a/b;c", "memberships.acme.x", []byte("\xff\xfe{\x00}\x00"))
	f.Fuzz(func(t *testing.T, version, typ, media, subject string, body []byte) {
		header := map[string][]string{
			"ce-specversion": {version}, "CE-Type": {typ}, "Content-Type": {media}, "ce-id": {subject, typ}, "ce-source": {media + "x"},
		}
		e, err := events.Decode(header, body, subject)
		if err != nil {
			if !errors.Is(err, events.ErrMalformed) && !errors.Is(err, events.ErrUnknownType) {
				t.Fatalf("an error of no known kind: %v", err)
			}
			return
		}
		checkRoundTrip(t, e)
	})
}

// checkRoundTrip proves that what was read can be written and read again, and is the same.
func checkRoundTrip(t *testing.T, e events.Event) {
	t.Helper()
	_ = e.Data.Validate() // must not panic on anything that can be read
	if e.ID == "" || e.Source == "" {
		return // a bare message, which Encode refuses
	}
	header, body, err := events.Encode(e)
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	again, err := events.Decode(header, body, "")
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	eventstest.Check(t, again, eventstest.Same(e))
}

// FuzzDecodeHeaders is FuzzDecode for whatever headers there may be: names in any case, several values, none, unknown ones. The
// text has one in each line.
func FuzzDecodeHeaders(f *testing.F) {
	f.Add("ce-specversion: 1.0\nce-type: usher.invitation.declined.v1\nce-id: 1\nce-source: /a\ncontent-type: application/json", "invitations.a.inv_b.outcome.declined", []byte(`{"invitation":"inv_1"}`))
	f.Add("CE-SPECVERSION: 1.0\nce-specversion: 0.3\nce-Type:\nce-time: 2026-11-23T14:00:00+25:00\ntraceparent: 00-0-0-0", "a", []byte(`{}`))
	f.Add("content-type: application/cloudevents+json; charset=latin1\nce-id: 2", "requests.crm", []byte(`{"specversion":"1.0","id":"1","source":"/a","type":"usher.invitation.revoked.v1","time":null,"data":{"by":"x"},"data_base64":"e30="}`))
	f.Add("content-type: application/cloudevents-batch+json", "requests.crm", []byte(`[{}]`))
	f.Add("ce-dataschema: :\nce-datacontenttype: application/json\nce-extension_1: %\n: x", "requests.crm", []byte(`{"organization":"acme","email":"a@example.org","role":"member"}`))
	f.Fuzz(func(t *testing.T, headers, subject string, body []byte) {
		header := map[string][]string{}
		for line := range strings.SplitSeq(headers, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			header[name] = append(header[name], value)
		}
		e, err := events.Decode(header, body, subject)
		if err != nil {
			if !errors.Is(err, events.ErrMalformed) && !errors.Is(err, events.ErrUnknownType) {
				t.Fatalf("an error of no known kind: %v", err)
			}
			return
		}
		checkRoundTrip(t, e)
	})
}
