package contract

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

// The two drafts of JSON Schema that the published schemas must mean the same in.
var drafts = map[string]*validator.Draft{"draft-07": validator.Draft7, "2020-12": validator.Draft2020}

// published reads a schema as programs in other languages do, from the embedded files.
func published(t *testing.T, typ events.Type) map[string]any {
	t.Helper()
	text, err := fs.ReadFile(events.Schemas, string(typ)+".json")
	require.NoError(t, err)
	return parse(t, text).(map[string]any)
}

func parse(t *testing.T, text []byte) any {
	t.Helper()
	v, err := validator.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	return v
}

// compile reads the schema under a draft; what it says of its own draft is taken off.
func compile(t *testing.T, schema map[string]any, draft *validator.Draft) *validator.Schema {
	t.Helper()
	delete(schema, "$schema")
	c := validator.NewCompiler()
	c.DefaultDraft(draft)
	c.AssertFormat()
	require.NoError(t, c.AddResource("mem:schema", schema))
	compiled, err := c.Compile("mem:schema")
	require.NoError(t, err)
	return compiled
}

func TestGoldenBodiesFitTheirSchemas(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(eventsDir, "testdata", "golden", "*.txt"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), len(events.Types()))
	for name, draft := range drafts {
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			_, body, _ := strings.Cut(string(text), "\n\n")
			typ := events.Type(filepath.Base(file)[:strings.Index(filepath.Base(file), ".v1.")+len(".v1")])
			require.NoError(t, compile(t, published(t, typ), draft).Validate(parse(t, []byte(body))), "%s under %s", file, name)
		}
	}
}

// sharedKeywords mean the same in draft-07 and 2020-12.
var sharedKeywords = []string{
	"$schema", "$id", "title", "description", "examples", "type", "format", "enum", "const", "properties", "required",
	"additionalProperties", "propertyNames", "maxProperties", "items", "pattern", "minLength", "maxLength", "minimum", "if", "then",
}

func TestSchemasUseOnlyWhatTheDraftsShare(t *testing.T) {
	for _, typ := range events.Types() {
		checkKeywords(t, published(t, typ))
	}
}

func checkKeywords(t *testing.T, schema map[string]any) {
	t.Helper()
	for keyword, value := range schema {
		require.Contains(t, sharedKeywords, keyword)
		switch inner, isObject := value.(map[string]any); {
		case keyword == "properties":
			for _, property := range inner {
				checkKeywords(t, property.(map[string]any))
			}
		case isObject:
			checkKeywords(t, inner)
		}
	}
}

// with is the type's ready-made body with one field set, or left out where the value is nil.
func with(t *testing.T, typ events.Type, field string, value any) []byte {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal(body(t, eventstest.Of(typ)), &fields))
	if fields[field] = value; value == nil {
		delete(fields, field)
	}
	text, err := json.Marshal(fields)
	require.NoError(t, err)
	return text
}

// accepts asks the Go side: whether a body is one that may be published.
func accepts(t *testing.T, typ events.Type, body []byte) bool {
	t.Helper()
	e, err := events.Decode(map[string][]string{"ce-type": {string(typ)}}, body, "")
	return err == nil && e.Data.Validate() == nil
}

// extremes are the values on both sides of what a property's schema allows.
func extremes(t *testing.T, property map[string]any) (good, bad []any) {
	t.Helper()
	if most, ok := property["maxLength"]; ok {
		n := number(t, most)
		good, bad = append(good, strings.Repeat("x", n)), append(bad, strings.Repeat("x", n+1))
	}
	if least, ok := property["minimum"]; ok {
		n := number(t, least)
		good, bad = append(good, n), append(bad, n-1, float64(n)+0.5)
	}
	if values, ok := property["enum"]; ok {
		good, bad = append(good, values.([]any)...), append(bad, "something else")
	}
	if _, ok := property["minLength"]; ok {
		bad = append(bad, "")
	}
	if _, ok := property["pattern"]; ok {
		bad = append(bad, "Not A Match!", "x.y", strings.Repeat("a", 64))
	}
	if property["format"] == "date-time" {
		good, bad = append(good, "2026-03-02T09:30:00+01:00"), append(bad, "yesterday", "2026-03-02")
	}
	return good, append(bad, []any{"a list"})
}

func number(t *testing.T, v any) int {
	t.Helper()
	n, err := v.(json.Number).Int64()
	require.NoError(t, err)
	return int(n)
}

// Schemas and Validate are two statements of the same rules; here each is the other's check.
func TestSchemasAndValidateAgreeAtEveryLimit(t *testing.T) {
	for name, draft := range drafts {
		for _, typ := range events.Types() {
			schema := published(t, typ)
			compiled := compile(t, schema, draft)
			check := func(field string, value any, want bool) {
				text := with(t, typ, field, value)
				require.Equal(t, want, compiled.Validate(parse(t, text)) == nil, "%s, schema under %s: %s = %.80v", typ, name, field, value)
				require.Equal(t, want, accepts(t, typ, text), "%s, Validate: %s = %.80v", typ, field, value)
			}
			for field, property := range schema["properties"].(map[string]any) {
				good, bad := extremes(t, property.(map[string]any))
				for _, value := range good {
					check(field, value, true)
				}
				for _, value := range bad {
					check(field, value, false)
				}
			}
			for _, field := range schema["required"].([]any) {
				if field != "intent" { // Go reads an absent number as 0, which is one that intent may have
					check(field.(string), nil, false)
				}
			}
		}
	}
}

func TestAnAdmittedRequestNeedsItsPersonAndDeadline(t *testing.T) {
	for _, draft := range drafts {
		for _, field := range []string{"person", "expires_at"} {
			text := with(t, events.TypeInvitationRequested, field, nil)
			require.Error(t, compile(t, published(t, events.TypeInvitationRequested), draft).Validate(parse(t, text)), field)
			require.False(t, accepts(t, events.TypeInvitationRequested, text), field)
		}
	}
}

// asJSON reads the published AsyncAPI document the way a tool does.
func asJSON(t *testing.T) map[string]any {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal(events.AsyncAPI, &v))
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return parse(t, text).(map[string]any)
}

func TestTheAsyncAPIDocumentFitsTheSpecification(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "asyncapi-3.0.0.schema.json"))
	require.NoError(t, err)
	c := validator.NewCompiler()
	require.NoError(t, c.AddResource("http://asyncapi.com/definitions/3.0.0/asyncapi.json", parse(t, text)))
	specification, err := c.Compile("http://asyncapi.com/definitions/3.0.0/asyncapi.json")
	require.NoError(t, err)
	require.NoError(t, specification.Validate(asJSON(t)))
}

func TestReferencesInTheAsyncAPIDocumentLeadSomewhere(t *testing.T) {
	d := asJSON(t)
	seen := 0
	walkReferences(d, func(reference string) {
		seen++
		var at any = d
		for _, step := range strings.Split(strings.TrimPrefix(reference, "#/"), "/") {
			inner, ok := at.(map[string]any)
			require.True(t, ok, reference)
			at = inner[step]
		}
		require.NotNil(t, at, reference)
	})
	require.Greater(t, seen, len(events.Types()))
}

func walkReferences(v any, visit func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if reference, ok := inner.(string); ok && key == "$ref" {
				visit(reference)
			}
			walkReferences(inner, visit)
		}
	case []any:
		for _, inner := range v {
			walkReferences(inner, visit)
		}
	}
}

func TestExamplesInTheAsyncAPIDocumentFitTheirSchemas(t *testing.T) {
	d := asJSON(t)
	c := validator.NewCompiler()
	c.DefaultDraft(validator.Draft7)
	c.AssertFormat()
	require.NoError(t, c.AddResource("mem:asyncapi", d))
	messages := d["components"].(map[string]any)["messages"].(map[string]any)
	require.Len(t, messages, len(events.Types()))
	for name, m := range messages {
		payload, err := c.Compile("mem:asyncapi#/components/schemas/" + name)
		require.NoError(t, err)
		headers, err := c.Compile("mem:asyncapi#/components/messages/" + name + "/headers")
		require.NoError(t, err)
		for _, e := range m.(map[string]any)["examples"].([]any) {
			e := e.(map[string]any)
			require.NoError(t, payload.Validate(e["payload"]), name)
			require.NoError(t, headers.Validate(e["headers"]), name)
			e["headers"].(map[string]any)["ce-type"] = "com.example.other"
			require.Error(t, headers.Validate(e["headers"]), "%s: any type passes", name)
		}
	}
}
