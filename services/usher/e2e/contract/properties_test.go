package contract

import (
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

// attributes draws what CloudEvents lets an attribute hold, with a liking for what headers cannot.
func attributes(least int) *rapid.Generator[string] {
	odd := rapid.SampledFrom([]rune(` "%\,;:=()<>@/?&#+~|{}[]é€🦔` + "\u00a0\u200b\u202e\u2028\ufeff\ufffd"))
	digit := rapid.RuneFrom(nil, unicode.ASCII_Hex_Digit) // after a percent sign, these look like an escape
	other := rapid.Rune().Filter(func(r rune) bool { return !unicode.IsControl(r) })
	return rapid.StringOfN(rapid.OneOf(odd, digit, other), least, 60, events.MaxAttribute)
}

func drawEvent(t *rapid.T) events.Event {
	return events.Event{
		ID:            attributes(1).Draw(t, "id"),
		Source:        attributes(1).Draw(t, "source"),
		Type:          events.TypeInvitationRequested,
		Subject:       attributes(0).Draw(t, "subject"),
		Time:          time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), rapid.Int64Range(1, 999999999).Draw(t, "ns")).UTC(),
		CorrelationID: attributes(0).Draw(t, "correlation"),
		CausationID:   attributes(0).Draw(t, "causation"),
		Data: &events.InvitationRequested{
			Organization: attributes(0).Draw(t, "organization"),
			Email:        rapid.String().Draw(t, "email"),
			Role:         rapid.String().Draw(t, "role"),
			Name:         rapid.String().Draw(t, "name"),
			Metadata:     rapid.MapOfN(rapid.String(), rapid.String(), 1, 5).Draw(t, "metadata"),
			SendAnyway:   rapid.Bool().Draw(t, "anyway"),
			ExpiresAt:    time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "expires"), 0).UTC(),
		},
	}
}

func TestAnyEventIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawEvent(t)
		header, body, err := events.Encode(want)
		require.NoError(t, err)
		got, err := events.Decode(header, body, "")
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// What a broker or proxy may do to header names, and may not do to values.
func TestAnyEventSurvivesHeadersInAnotherCase(t *testing.T) {
	cases := []func(string) string{strings.ToUpper, strings.ToLower, http.CanonicalHeaderKey}
	rapid.Check(t, func(t *rapid.T) {
		want := drawEvent(t)
		header, body, err := events.Encode(want)
		require.NoError(t, err)
		changed := map[string][]string{}
		for name, values := range header {
			recase := rapid.SampledFrom(cases).Draw(t, name)
			changed[recase(name)] = append(values, attributes(0).Draw(t, "repeated"))
		}
		got, err := events.Decode(changed, body, "")
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestHeaderValuesAreAlwaysPrintableASCII(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		e.TraceParent, e.TraceState = rapid.String().Draw(t, "traceparent"), rapid.String().Draw(t, "tracestate")
		header, _, err := events.Encode(e)
		require.NoError(t, err)
		for name, values := range header {
			require.Len(t, values, 1)
			for _, r := range values[0] {
				require.True(t, r >= ' ' && r <= '~', "%s has %U", name, r)
			}
			if strings.HasPrefix(name, "ce-") {
				require.Equal(t, textproto.TrimString(values[0]), values[0], "spaces around a value are lost on the way")
			}
		}
	})
}

func TestAnyIdentifierIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
		prefix := rapid.StringMatching(`([a-z]([a-z_]{0,10}[a-z])?)?`).Draw(t, "prefix")
		id := events.FormatID(prefix, want)
		got, err := events.ParseID(prefix, id)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Regexp(t, `^([a-z_]+_)?[0-7][0-9a-hjkmnp-tv-z]{25}$`, id)
	})
}

// An identifier has one spelling: nobody passes a blocklist or an index by writing another.
func TestAnIdentifierHasOneSpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := []byte(eventstest.Invitation)
		id[rapid.IntRange(0, len(id)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		u, err := events.ParseID(events.PrefixInvitation, string(id))
		if err == nil {
			require.Equal(t, string(id), events.FormatID(events.PrefixInvitation, u))
		}
	})
}
