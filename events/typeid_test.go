package events_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/usherhq/usher/events"
)

// The vectors that the TypeID specification (v0.3) publishes as valid.
func TestValidVectorsOfTheSpecification(t *testing.T) {
	for _, v := range []struct{ name, id, prefix, uuid string }{
		{"nil", "00000000000000000000000000", "", "00000000-0000-0000-0000-000000000000"},
		{"one", "00000000000000000000000001", "", "00000000-0000-0000-0000-000000000001"},
		{"ten", "0000000000000000000000000a", "", "00000000-0000-0000-0000-00000000000a"},
		{"sixteen", "0000000000000000000000000g", "", "00000000-0000-0000-0000-000000000010"},
		{"thirty-two", "00000000000000000000000010", "", "00000000-0000-0000-0000-000000000020"},
		{"max-valid", "7zzzzzzzzzzzzzzzzzzzzzzzzz", "", "ffffffff-ffff-ffff-ffff-ffffffffffff"},
		{"valid-alphabet", "prefix_0123456789abcdefghjkmnpqrs", "prefix", "0110c853-1d09-52d8-d73e-1194e95b5f19"},
		{"valid-uuidv7", "prefix_01h455vb4pex5vsknk084sn02q", "prefix", "01890a5d-ac96-774b-bcce-b302099a8057"},
		{"prefix-underscore", "pre_fix_00000000000000000000000000", "pre_fix", "00000000-0000-0000-0000-000000000000"},
	} {
		want := uuid.MustParse(v.uuid)
		if got, err := events.ParseID(v.prefix, v.id); err != nil || got != want {
			t.Errorf("%s: read as %v, %v", v.name, got, err)
		}
		if got := events.FormatID(v.prefix, want); got != v.id {
			t.Errorf("%s: written as %s", v.name, got)
		}
	}
}

// The vectors that the TypeID specification (v0.3) publishes as invalid. Usher always knows the prefix it wants, so none
// may pass under any of those, nor under the prefix that the vector itself nearly has.
func TestInvalidVectorsOfTheSpecification(t *testing.T) {
	for _, v := range []struct{ name, id string }{
		{"prefix-uppercase", "PREFIX_00000000000000000000000000"},
		{"prefix-numeric", "12345_00000000000000000000000000"},
		{"prefix-period", "pre.fix_00000000000000000000000000"},
		{"prefix-non-ascii", "préfix_00000000000000000000000000"},
		{"prefix-spaces", "  prefix_00000000000000000000000000"},
		{"prefix-64-chars", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl_00000000000000000000000000"},
		{"separator-empty-prefix", "_00000000000000000000000000"},
		{"separator-empty", "_"},
		{"suffix-short", "prefix_1234567890123456789012345"},
		{"suffix-long", "prefix_123456789012345678901234567"},
		{"suffix-spaces", "prefix_1234567890123456789012345 "},
		{"suffix-uppercase", "prefix_0123456789ABCDEFGHJKMNPQRS"},
		{"suffix-hyphens", "prefix_123456789-123456789-123456"},
		{"suffix-wrong-alphabet", "prefix_ooooooiiiiiiuuuuuuulllllll"},
		{"suffix-ambiguous-crockford", "prefix_i23456789ol23456789oi23456"},
		{"suffix-hyphens-crockford", "prefix_123456789-0123456789-0123456"},
		{"suffix-overflow", "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz"},
		{"prefix-underscore-start", "_prefix_00000000000000000000000000"},
		{"prefix-underscore-end", "prefix__00000000000000000000000000"},
		{"empty", ""},
		{"prefix-alone", "prefix_"},
	} {
		for _, prefix := range []string{"", "prefix", events.PrefixInvitation, events.PrefixEvent, events.PrefixKey} {
			if u, err := events.ParseID(prefix, v.id); !errors.Is(err, events.ErrBadID) {
				t.Errorf("%s: read with prefix %q as %v, %v", v.name, prefix, u, err)
			}
		}
		if invitation := strings.Replace(v.id, "prefix", events.PrefixInvitation, 1); events.IsInvitationID(invitation) {
			t.Errorf("%s: %s passes for an invitation", v.name, invitation)
		}
	}
}

func TestNewIdentifiersAreUUIDv7AndSortByTime(t *testing.T) {
	last := ""
	for range 1000 {
		id := events.NewInvitationID()
		u, err := events.ParseID(events.PrefixInvitation, id)
		if err != nil || u.Version() != 7 || events.FormatID(events.PrefixInvitation, u) != id {
			t.Fatalf("%s: version %d, %v", id, u.Version(), err)
		}
		if id <= last {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
	}
}

func TestDerivedIdentifiersNameTheSameThingOnlyForTheSameRequest(t *testing.T) {
	id := events.DerivedInvitationID("crm", "order-4711")
	u, err := events.ParseID(events.PrefixInvitation, id)
	if err != nil || u.Version() != 8 || u.Variant() != uuid.RFC4122 {
		t.Errorf("%s: version %d, %v", id, u.Version(), err)
	}
	// Written down, because a repeat may come after an upgrade.
	if id != "inv_2r2wrhy5xhgae94k25s1ed5fg5" || id != events.DerivedInvitationID("crm", "order-4711") {
		t.Errorf("%s is another identifier than it was", id)
	}
	for _, other := range [][]string{{"erp", "order-4711"}, {"crm", "order-4712"}, {"crmorder-4711"}, {"crm", "order-", "4711"}, {"crm", "order-4711", ""}} {
		if events.DerivedInvitationID(other[0], other[1:]...) == id {
			t.Errorf("%q makes the same identifier", other)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("inv", "inv_01kjpy44hvfs2thgytv7y5vzap")
	f.Add("", "7zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("inv", "inv_8zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("inv", "inv_")
	f.Add("é", "é_0123456789abcdefghjkmnpqrs")
	f.Add("", "ééééééééééééé")
	f.Fuzz(func(t *testing.T, prefix, s string) {
		u, err := events.ParseID(prefix, s)
		if err == nil && events.FormatID(prefix, u) != s {
			t.Errorf("%q is read, and written as %q", s, events.FormatID(prefix, u))
		}
		if err != nil && !errors.Is(err, events.ErrBadID) {
			t.Errorf("an error of no known kind: %v", err)
		}
	})
}
