package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// maxDepth is how deep objects and lists in a message may nest. Usher's own go three deep.
const maxDepth = 32

// encodeJSON leaves <, > and & as they are: people read these bodies on the wire.
func encodeJSON(data Data) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(512) // most bodies fit
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil {
		return nil, malformed("%s cannot be written as JSON: %w", data.EventType(), err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decodeJSON reads one JSON object into a struct. It refuses what encoding/json would let pass or mend in silence: bytes
// that are not UTF-8, null in place of the object, and bottomless nesting.
func decodeJSON(body []byte, into any) error {
	if err := checkText(body); err != nil {
		return err
	}
	if tooDeep(body) {
		return malformed("the body nests deeper than %d levels", maxDepth)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return explain(err, body)
	}
	if bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
		return malformed("the body is null, not an object")
	}
	return nil
}

// checkText wants UTF-8 without a byte order mark.
func checkText(body []byte) error {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return malformed("the body is empty")
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		return malformed("the body starts with a byte order mark")
	case isWide(body):
		return malformed("the body is UTF-16 or UTF-32, not UTF-8")
	case !utf8.Valid(body):
		return malformed("the body is not valid UTF-8 at byte %d", len(body)-len(afterValid(body))+1)
	}
	return nil
}

// isWide recognises UTF-16 and UTF-32 by their byte order mark, or by the zero byte beside the opening brace.
func isWide(body []byte) bool {
	start := body[:min(2, len(body))]
	return bytes.Equal(start, []byte("\xfe\xff")) || bytes.Equal(start, []byte("\xff\xfe")) || bytes.IndexByte(start, 0) >= 0
}

// afterValid is the rest of a text from its first byte that is not UTF-8.
func afterValid(body []byte) []byte {
	for len(body) > 0 {
		r, size := utf8.DecodeRune(body)
		if r == utf8.RuneError && size == 1 {
			break
		}
		body = body[size:]
	}
	return body
}

// tooDeep looks at brackets only: what is wrong with the JSON otherwise, the parser says better.
func tooDeep(body []byte) bool {
	if bytes.Count(body, []byte("{"))+bytes.Count(body, []byte("[")) <= maxDepth {
		return false // too few to nest that deep, as in all honest messages
	}
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return false
}

// explain turns an error of encoding/json into ours, which names the place and never the value.
func explain(err error, body []byte) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return malformed("the body is not valid JSON at byte %d: %s", syntax.Offset, syntax.Error())
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return explainType(wrong)
	}
	if _, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return malformed("%w", &FieldError{Location: "data_base64", Message: "is not base 64"})
	}
	if field := badTime(body); field != "" {
		return malformed("%w", &FieldError{Location: field, Message: "is not an RFC 3339 time"})
	}
	return malformed("the body does not have the shape of its type")
}

func explainType(wrong *json.UnmarshalTypeError) error {
	got, _, _ := strings.Cut(wrong.Value, " ") // "number 1.5"
	want := typeName(wrong.Type)
	switch {
	case wrong.Field == "":
		return malformed("the body is JSON of type %s, not an object", got)
	case got == "number" && want == "integer":
		return malformed("%w", &FieldError{Location: jsonPath(wrong.Field), Message: "is a number, but not an integer in range"})
	}
	return malformed("%w", &FieldError{Location: jsonPath(wrong.Field), Message: "is of type " + got + ", not " + want})
}

// jsonPath drops the name of the embedded Go struct that encoding/json puts before a field; JSON names begin in lower case.
func jsonPath(field string) string {
	if outer, inner, ok := strings.Cut(field, "."); ok && outer[0] >= 'A' && outer[0] <= 'Z' {
		return inner
	}
	return field
}

// typeName is what JSON calls a Go type.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "array"
	case reflect.Struct, reflect.Map:
		return "object"
	default:
		return "integer"
	}
}

// badTime finds the field whose time could not be read: time.Time does not tell encoding/json where it was. All times of
// the contract have names that end in "_at".
func badTime(body []byte) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return ""
	}
	bad := ""
	for name, raw := range fields {
		var at time.Time
		if strings.HasSuffix(name, "_at") && json.Unmarshal(raw, &at) != nil && (bad == "" || name < bad) {
			bad = name
		}
	}
	return bad
}
