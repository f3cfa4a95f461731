package events_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

// What the ready-made events hold of people, and no log may.
var private = []string{
	eventstest.Email, eventstest.Name, eventstest.Inviter, eventstest.InviterName, "Förderung", "I left the company",
	"Wrong address", "app.example.org",
}

func TestLogsShowIdsAndNeverAnAddressANameOrMetadata(t *testing.T) {
	for _, typ := range events.Types() {
		e := eventstest.Of(typ)
		for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var out bytes.Buffer
			slog.New(handler(&out)).Info("event", "event", e, "pointer", &e, "data", e.Data)
			for _, secret := range private {
				if strings.Contains(out.String(), secret) {
					t.Errorf("%s: the %s log shows %q: %s", typ, name, secret, &out)
				}
			}
			if !strings.Contains(out.String(), e.ID) || !strings.Contains(out.String(), eventstest.Invitation) {
				t.Errorf("%s: the %s log does not tell which event it was: %s", typ, name, &out)
			}
		}
	}
}

func TestTheMembershipBehindARoleChangeIsLoggedWithBothRoles(t *testing.T) {
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("event", "data", eventstest.Of(events.TypeMembershipRoleChanged).Data)
	if !strings.Contains(out.String(), "data.role=member") || !strings.Contains(out.String(), "data.previous_role=viewer") {
		t.Error(out.String())
	}
}
