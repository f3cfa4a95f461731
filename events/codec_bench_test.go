package events

import (
	"testing"
	"time"
)

func benchEvent() Event {
	return Event{
		ID: NewEventID(), Source: "/usher/api", Subject: NewInvitationID(), Time: time.Now(),
		CorrelationID: NewInvitationID(), CausationID: NewEventID(),
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Data: &InvitationRequested{
			Organization: "acme", Email: "new.person@example.org", Role: "member", Inviter: "owner@example.org",
			Invitation: NewInvitationID(), Person: "abcdefghijklmnopqrstuvwxyz", InviterPerson: "abcdefghijklmnopqrstuvwxyz",
			InviterName: "Olga Owner", ExpiresAt: time.Now().Add(168 * time.Hour), App: "crm", Request: NewEventID(),
		},
	}
}

func BenchmarkEncode(b *testing.B) {
	e := benchEvent()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Encode(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	header, body, err := Encode(benchEvent())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(header, body, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	data := benchEvent().Data
	b.ReportAllocs()
	for b.Loop() {
		if err := data.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseID(b *testing.B) {
	id := NewInvitationID()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseID(PrefixInvitation, id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewEventID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewEventID()
	}
}
