package contract

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
)

var eventsDir = filepath.Join("..", "..", "..", "..", "events")

// row is one line of the catalogue in the documentation of package events.
type row struct {
	event, subject, publishedBy, heardBy string
}

var columns = regexp.MustCompile(`\s{2,}`)

// catalogue reads the table of events/doc.go: there alone it is written who publishes and who listens.
func catalogue(t *testing.T) []row {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(eventsDir, "doc.go"))
	require.NoError(t, err)
	_, table, found := strings.Cut(string(source), "//\tevent  ")
	require.True(t, found, "events/doc.go has no catalogue")
	var rows []row
	for line := range strings.Lines(table) {
		text, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			continue // the rest of the heading before, and the package line after
		}
		cells := columns.Split(strings.TrimSpace(text), -1)
		require.Len(t, cells, 4, "two spaces or more between the columns: %s", line)
		rows = append(rows, row{cells[0], cells[1], cells[2], cells[3]})
	}
	return rows
}

func nameOf(t *testing.T, typ events.Type) string {
	t.Helper()
	data, ok := events.New(typ)
	require.True(t, ok)
	return reflect.TypeOf(data).Elem().Name()
}

// subjectPattern is a type's subject as the catalogue writes it.
func subjectPattern(typ events.Type) string {
	if fact, ok := events.FactOf(typ); ok {
		return events.InvitationSubject("<org>", "<id>", fact)
	}
	return events.MembershipSubject("<org>", "<person>")
}

func TestTheCatalogueListsEveryEventOnItsSubject(t *testing.T) {
	want := [][2]string{{"InvitationRequested", events.RequestSubject("<app>")}}
	for _, typ := range events.Types() {
		want = append(want, [2]string{nameOf(t, typ), subjectPattern(typ)})
	}
	var got [][2]string
	for _, r := range catalogue(t) {
		got = append(got, [2]string{r.event, r.subject})
	}
	require.Equal(t, want, got)
}
