package events_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/usherhq/usher/events"
)

// An app invites somebody. Its own id for the wish is the event's id, so that publishing it again invites nobody twice.
func Example_publishARequest() {
	request := &events.InvitationRequested{
		Organization: "acme",
		Email:        "new.person@example.org",
		Role:         "member",
		Inviter:      "owner@example.org",
	}
	if err := request.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	header, body, err := events.Encode(events.Event{
		ID:     "order-4711",
		Source: "/crm",
		Time:   time.Date(2026, time.March, 2, 9, 30, 0, 0, time.UTC),
		Data:   request,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// With nats.go, this is &nats.Msg{Subject: …, Header: nats.Header(header), Data: body}.
	fmt.Println(events.RequestSubject("crm"))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Println(name+":", header[name][0])
	}
	fmt.Println(string(body))
	// Output:
	// requests.crm
	// ce-id: order-4711
	// ce-source: /crm
	// ce-specversion: 1.0
	// ce-time: 2026-03-02T09:30:00Z
	// ce-type: usher.invitation.requested.v1
	// content-type: application/json
	// {"organization":"acme","email":"new.person@example.org","role":"member","inviter":"owner@example.org"}
}

// A listener hears what became of invitations, and skips events that were added after it was built.
func ExampleDecode() {
	hear := func(subject string, header map[string][]string, body string) {
		e, err := events.Decode(header, []byte(body), subject)
		if err != nil {
			fmt.Println(err)
			return
		}
		switch data := e.Data.(type) {
		case *events.InvitationAccepted:
			fmt.Println("accepted:", data.Invitation)
		case *events.MembershipProvisioned:
			fmt.Println("member:", data.Person, "as", data.Role)
		}
	}
	hear("invitations.acme.inv_01kjpy44hvfs2thgytv7y5vzap.outcome.accepted", nil,
		`{"invitation":"inv_01kjpy44hvfs2thgytv7y5vzap","generation":1,"person":"mfrggzdfmztwq2lkmvwg43tpoa","invitee":"new"}`)
	hear("memberships.acme.mfrggzdfmztwq2lkmvwg43tpoa",
		map[string][]string{
			"ce-specversion": {"1.0"}, "ce-id": {"evt_1"}, "ce-source": {"/usher/acceptance"},
			"ce-type": {"usher.membership.provisioned.v1"},
		},
		`{"organization":"acme","person":"mfrggzdfmztwq2lkmvwg43tpoa","email":"new.person@example.org","role":"member","joined_at":"2026-03-02T10:00:00Z"}`)
	hear("requests.crm", nil, `{"organization":"acme","email":["new.person@example.org"]}`)
	// Output:
	// accepted: inv_01kjpy44hvfs2thgytv7y5vzap
	// member: mfrggzdfmztwq2lkmvwg43tpoa as member
	// malformed event: email: is of type array, not string
}

// Validate reports everything that is wrong at once.
func ExampleFieldsOf() {
	request := &events.InvitationRequested{Organization: "Acme Inc.", Role: "member", ExpiresIn: "a week"}
	for _, field := range events.FieldsOf(request.Validate()) {
		fmt.Println(field.Location, "→", field.Message)
	}
	// Output:
	// organization → is not an organization's short name: 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit
	// email → is required
	// expires_in → is not a duration such as "168h" or "30m"
}
