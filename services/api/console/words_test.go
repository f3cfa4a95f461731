package console

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/invitation"
)

func TestOneReadableStateTellsOfDeliveryAndLife(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	open := func(d invitation.Delivery) invitation.Record {
		return invitation.Record{Deadline: now.Add(49 * time.Hour), Mail: d}
	}
	ended := func(s invitation.Status, reason string) invitation.Record {
		return invitation.Record{Outcome: s, Reason: reason, Deadline: now.Add(time.Hour)}
	}
	joined := ended(invitation.Accepted, "")
	joined.Provisioned = true
	refused := ended(invitation.Accepted, events.RefusedAuthority)
	refused.Refused = true
	opened := open(invitation.Delivered)
	opened.OpenedAt = now
	for want, c := range map[string]struct {
		record invitation.Record
		said   events.Delivery
	}{
		"Being sent, expires in 2 days":      {record: open("")},
		"Sent, expires in 2 days":            {record: open(invitation.Sent)},
		"Delivered, expires in 2 days":       {record: open(invitation.Delivered)},
		"Opened the link, expires in 2 days": {record: opened},
		"Delayed, expires in 2 days":         {record: open(invitation.Deferred)},
		"Bounced: mailbox unknown":           {open(invitation.Bounced), events.Delivery{Code: 550}},
		"Bounced: mailbox full":              {open(invitation.Bounced), events.Delivery{Code: 552}},
		"Bounced: does not want invitations": {open(invitation.Bounced), events.Delivery{Reason: "suppressed: unsubscribed"}},
		"Bounced: not deliverable":           {open(invitation.Bounced), events.Delivery{}},
		"Marked as spam":                     {record: open(invitation.Complained)},
		"Accepted":                           {record: joined},
		"Accepted (being set up)":            {record: ended(invitation.Accepted, "")},
		"Accepted, but not joined (the inviter may no longer grant this role)": {record: refused},
		"Declined (“no, thanks”)":                                              {record: ended(invitation.Declined, "no, thanks")},
		"Revoked":                                                              {record: ended(invitation.Revoked, "")},
		"Expired (no answer came in time)":                                     {record: invitation.Record{Deadline: now}},
	} {
		s := standing(&c.record, c.said, now)
		got := s.Text
		switch {
		case s.Left != nil:
			got += ", expires " + s.Left.Words
		case s.More != "" && s.Tone != "bad" || s.Text == "Accepted, but not joined":
			got += " (" + s.More + ")"
		}
		require.Equal(t, want, got)
	}
}

func TestMomentsAreToldAsPeopleDo(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "just now", -30 * time.Second: "just now", -time.Minute: "1 minute ago", -90 * time.Minute: "2 hours ago", -24 * time.Hour: "1 day ago",
		time.Minute: "in 1 minute", 48 * time.Hour: "in 2 days", 70 * 24 * time.Hour: "in 2 months", 365 * 24 * time.Hour * 2: "in 2 years",
	} {
		require.Equal(t, want, at(now.Add(d), now).Words, d)
	}
	m := at(now, now)
	require.Equal(t, "Monday, 23 November 2026, 12:00:00 UTC", m.Exact)
	require.Equal(t, "2026-11-23T12:00:00Z", m.ISO)
	require.Nil(t, at(time.Time{}, now))
}

func TestInitialsStandInForAPicture(t *testing.T) {
	for name, want := range map[string]string{"Jane Doe": "JD", "jane": "J", "Jane Mary Doe": "JD", "김 민수": "김민", "": "X", "<b>": "B", "🎉": "X"} {
		require.Equal(t, want, initials(name, "x@example.org"), name)
	}
}
