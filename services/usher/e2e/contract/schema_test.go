package contract

import (
	"bytes"
	"encoding/json"
	"strconv"
	"testing"

	"github.com/invopop/jsonschema"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

const (
	draft07       = "http://json-schema.org/draft-07/schema#"
	schemaBase    = "https://github.com/usherhq/usher/events/schemas/"
	eventsPackage = "github.com/usherhq/usher/events"

	patternShortName  = `^[a-z0-9][a-z0-9_-]{0,62}$`
	patternPerson     = `^[a-z0-9]{26}$`
	patternInvitation = `^inv_[0-7][0-9a-hjkmnp-tv-z]{25}$`
	patternDuration   = `^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
)

// rules say what the Go types cannot: how long, which form. They are keyed by the JSON name, which means the same in every
// event; where one event differs, by type and name. A field without a rule stops the generator: give it one.
var rules = map[string]func(*jsonschema.Schema){
	"about":               oneOf(events.NoticeAccepted, events.NoticeDeclined, events.NoticeBounced, events.NoticeRenewal),
	"app":                 pattern(patternShortName),
	"by":                  longest(events.MaxText),
	"code":                least(0),
	"detail":              between(1, events.MaxText),
	"email":               between(1, events.MaxAddress),
	"expires_at":          anything, // the reflector knows times
	"expires_in":          pattern(patternDuration),
	"fields":              rejectedFields,
	"final":               anything,
	"generation":          least(1),
	"intent":              least(0),
	"invitation":          pattern(patternInvitation),
	"invitee":             oneOf(events.InviteeNew, events.InviteeExisting),
	"inviter":             longest(events.MaxAddress),
	"inviter_name":        longest(events.MaxNameRunes),
	"inviter_person":      pattern(patternPerson),
	"joined_at":           anything,
	"locale":              longest(events.MaxLocale),
	"message_id":          between(1, events.MaxText),
	"metadata":            metadata,
	"name":                longest(events.MaxNameRunes),
	"note":                longest(events.MaxNoteRunes),
	"number":              least(1),
	"occurred_at":         anything,
	"organization":        pattern(patternShortName),
	"person":              pattern(patternPerson),
	"previous_role":       between(1, events.MaxRole),
	"provider_event":      longest(events.MaxText),
	"provider_message_id": longest(events.MaxText),
	"purpose":             oneOf(events.PurposeInvitation, events.PurposeResend),
	"reason":              longest(events.MaxText),
	"redirect_url":        longest(events.MaxRedirectURL),
	"renewal":             anything,
	"renewed":             anything,
	"replaces":            pattern(patternInvitation),
	"request":             longest(events.MaxText),
	"role":                between(1, events.MaxRole),
	"send_anyway":         anything,

	"InvitationAcceptRefused.reason":  between(1, events.MaxText),
	"InvitationBounced.generation":    least(0),
	"InvitationComplained.generation": least(0),
	"InvitationDeferred.generation":   least(0),
	"InvitationDelivered.generation":  least(0),
	"InvitationRejected.organization": longest(events.MaxText),
	"InvitationRejected.reason":       between(1, events.MaxText),
	"InvitationRejected.request":      between(1, events.MaxText),
}

// meanings describe the fields that speak for themselves in Go, and so have no comment there.
var meanings = map[string]string{
	"app":                 "The upstream app's short name, as in the subject of its requests.",
	"detail":              "The refusal as a sentence, without addresses.",
	"email":               "The member's address.",
	"expires_at":          "The deadline of the invitation: one absolute instant.",
	"generation":          "The link generation, from 1.",
	"intent":              "The ledger sequence of the event that asked for the mail.",
	"invitation":          "The invitation's id.",
	"joined_at":           "When the person became a member.",
	"message_id":          "The mail's own Message-ID.",
	"metadata":            "What the request brought along, untouched.",
	"name":                "The member's name.",
	"number":              "Counts the reminders of one invitation from 1.",
	"organization":        "The organization's short name, as in subjects.",
	"person":              "The keyed hash of the member's canonical address.",
	"previous_role":       "What the member was before.",
	"provider_message_id": "The provider's name for the mail.",
	"reason":              "Why, in the words of whoever did it.",
	"role":                "What the member is in the organization.",
}

func anything(*jsonschema.Schema) {}

func pattern(p string) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) { s.Pattern = p }
}

func longest(most uint64) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) { s.MaxLength = &most }
}

func between(least, most uint64) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) { s.MinLength, s.MaxLength = &least, &most }
}

func least(n int) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) { s.Minimum = json.Number(strconv.Itoa(n)) }
}

func oneOf(values ...any) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) { s.Enum = values }
}

func metadata(s *jsonschema.Schema) {
	entries := uint64(events.MaxMetadata)
	s.MaxProperties = &entries
	s.PropertyNames = &jsonschema.Schema{}
	between(1, events.MaxMetadataKey)(s.PropertyNames)
	longest(events.MaxMetadataValue)(s.AdditionalProperties)
}

func rejectedFields(s *jsonschema.Schema) {
	for p := s.Items.Properties.Oldest(); p != nil; p = p.Next() {
		between(1, events.MaxText)(p.Value)
	}
}

// schemas makes the schema of every type.
func schemas(t *testing.T) map[events.Type]*jsonschema.Schema {
	t.Helper()
	r := &jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: true, DoNotReference: true, ExpandedStruct: true}
	require.NoError(t, r.AddGoComments(eventsPackage+"/services/usher/e2e/contract/..", eventsDir))
	all := map[events.Type]*jsonschema.Schema{}
	for _, typ := range events.Types() {
		data, _ := events.New(typ)
		all[typ] = describe(t, typ, r.Reflect(data))
	}
	return all
}

// describe adds to a reflected schema what reflection does not see.
func describe(t *testing.T, typ events.Type, s *jsonschema.Schema) *jsonschema.Schema {
	t.Helper()
	name := nameOf(t, typ)
	s.Version, s.ID, s.Title = draft07, jsonschema.ID(schemaBase+string(typ)+".json"), name
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		rule, ok := rules[name+"."+p.Key]
		if !ok {
			rule, ok = rules[p.Key]
		}
		require.True(t, ok, "the field %s of %s has no rule in this file", p.Key, name)
		rule(p.Value)
		if p.Value.Description == "" {
			p.Value.Description = meanings[p.Key]
		}
		require.NotEmpty(t, p.Value.Description, "the field %s of %s has neither a comment nor a meaning in this file", p.Key, name)
	}
	if typ == events.TypeInvitationRequested {
		s.If = &jsonschema.Schema{Required: []string{"invitation"}}
		s.Then = &jsonschema.Schema{Required: []string{"person", "expires_at"}}
	}
	s.Examples = []any{json.RawMessage(body(t, eventstest.Of(typ)))}
	return s
}

func body(t *testing.T, e events.Event) []byte {
	t.Helper()
	_, body, err := events.Encode(e)
	require.NoError(t, err)
	return body
}

func schemaText(t *testing.T, s *jsonschema.Schema) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	require.NoError(t, enc.Encode(s))
	// The library escapes this one for HTML pages, whatever the encoder is told.
	return bytes.ReplaceAll(b.Bytes(), []byte(`\u0026`), []byte("&"))
}
