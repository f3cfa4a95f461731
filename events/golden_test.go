package events_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

// The golden files are the contract on the wire: what was published once must be read, and written, the same for ever. So
// -update writes the files of new types, and never touches one that exists.
var update = flag.Bool("update", false, "write the golden files that are missing")

// message is a file of testdata: headers, an empty line, the body. The header "subject" is the message's, and a header
// may be repeated.
type message struct {
	subject string
	header  map[string][]string
	body    []byte
}

func parseMessage(t *testing.T, text string) message {
	t.Helper()
	head, body, ok := strings.Cut(text, "\n\n")
	if !ok {
		t.Fatal("want headers, an empty line and a body")
	}
	m := message{header: map[string][]string{}, body: []byte(strings.TrimSuffix(body, "\n"))}
	for line := range strings.Lines(head) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case !ok:
			t.Fatalf("want a header, have %q", line)
		case name == "subject":
			m.subject = value
		default:
			m.header[name] = append(m.header[name], value)
		}
	}
	return m
}

// format writes a message as parseMessage reads it, the headers in the order of their names.
func (m message) format() string {
	var b strings.Builder
	fmt.Fprintf(&b, "subject: %s\n", m.subject)
	for _, name := range slices.Sorted(maps.Keys(m.header)) {
		for _, value := range m.header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", m.body)
	return b.String()
}

func goldenFile(t events.Type) string { return filepath.Join("testdata", "golden", string(t)+".txt") }

func subjectOf(e events.Event) string {
	if fact, ok := events.FactOf(e.Type); ok {
		return events.InvitationSubject(eventstest.Organization, eventstest.Invitation, fact)
	}
	return events.MembershipSubject(eventstest.Organization, eventstest.Person)
}

func writeGolden(t *testing.T, typ events.Type) {
	t.Helper()
	e := eventstest.Of(typ)
	header, body, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	text := message{subjectOf(e), header, body}.format()
	if err := os.WriteFile(goldenFile(typ), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEveryTypeHasAGoldenFile(t *testing.T) {
	for _, typ := range events.Types() {
		_, err := os.Stat(goldenFile(typ))
		if os.IsNotExist(err) && *update {
			writeGolden(t, typ)
		} else if err != nil {
			t.Errorf("%v; write it with: go test . -update", err)
		}
	}
}

func TestGoldenMessagesAreReadAndWrittenByteForByte(t *testing.T) {
	for _, file := range files(t, "golden") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text := read(t, file)
			m := parseMessage(t, text)
			e := eventstest.Decode(t, m.header, m.body, m.subject)
			header, body, err := events.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			if got := (message{m.subject, header, body}).format(); got != text {
				t.Errorf("written again it is\n%s\nwant\n%s", got, text)
			}
			if !strings.HasPrefix(filepath.Base(file), string(e.Type)+".") {
				t.Errorf("the file holds a %s", e.Type)
			}
		})
	}
}

// A field that no golden file has could be renamed unnoticed. A new field is shown in a new file beside the old one, which
// proves that what was written before is still read: <type>.<case>.txt.
func TestGoldenMessagesFillEveryField(t *testing.T) {
	for _, typ := range events.Types() {
		filled := map[string]bool{}
		var fields []string
		for _, file := range files(t, "golden") {
			if !strings.HasPrefix(filepath.Base(file), string(typ)+".") {
				continue
			}
			m := parseMessage(t, read(t, file))
			e := eventstest.Decode(t, m.header, m.body, m.subject)
			fields = note(filled, reflect.ValueOf(e.Data).Elem())
		}
		for _, field := range fields {
			if !filled[field] {
				t.Errorf("%s: no golden file has the field %s", typ, field)
			}
		}
	}
}

// note marks the fields of a struct that are not empty, and gives the names of all.
func note(filled map[string]bool, v reflect.Value) []string {
	var fields []string
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			fields = append(fields, note(filled, v.Field(i))...)
			continue
		}
		name := v.Type().Field(i).Name
		fields = append(fields, name)
		filled[name] = filled[name] || !v.Field(i).IsZero()
	}
	return fields
}

// Each file of testdata/read is a message as somebody else might send it, then the line "== reads as ==", and then either
// the event as Usher would write it, or "error: " and what Decode says.
func TestForeignMessagesAreReadAsTheirFilesSay(t *testing.T) {
	for _, file := range files(t, "read") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sent, want, ok := strings.Cut(read(t, file), "== reads as ==\n")
			if !ok {
				t.Fatal(`want a line "== reads as =="`)
			}
			m := parseMessage(t, sent)
			m.body = unescape(m.body)
			e, err := events.Decode(m.header, m.body, m.subject)
			if got := outcome(m.subject, e, err); got != want {
				t.Errorf("reads as\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// unescape puts in the bytes that a text file cannot show: "\x{NN}" is the byte with that hexadecimal value.
func unescape(body []byte) []byte {
	var out bytes.Buffer
	for {
		before, after, ok := bytes.Cut(body, []byte(`\x{`))
		out.Write(before)
		if !ok {
			return out.Bytes()
		}
		var c byte
		fmt.Sscanf(string(after), "%02x}", &c)
		out.WriteByte(c)
		body = after[3:]
	}
}

// outcome shows an event or an error. Attributes that Encode insists on are shown as "(none)" where a bare message has none.
func outcome(subject string, e events.Event, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	for _, attribute := range []*string{&e.ID, &e.Source} {
		if *attribute == "" {
			*attribute = "(none)"
		}
	}
	header, body, err := events.Encode(e)
	if err != nil {
		return "cannot be written: " + err.Error() + "\n"
	}
	return message{subject, header, body}.format()
}

func files(t *testing.T, folder string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("testdata", folder, "*.txt"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no files in testdata/%s: %v", folder, err)
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
