package contract

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
)

var update = flag.Bool("update", false, "write the schemas and the AsyncAPI document of package events")

// TestDocumentsFollowTheTypes makes the documents from the types, and compares them with those that are published.
func TestDocumentsFollowTheTypes(t *testing.T) {
	want := map[string][]byte{"asyncapi.yaml": documentText(t, build(t))}
	for typ, schema := range schemas(t) {
		want[filepath.Join("schemas", string(typ)+".json")] = schemaText(t, schema)
	}
	if *update {
		write(t, want)
	}
	for name, text := range want {
		published, err := os.ReadFile(filepath.Join(eventsDir, name))
		require.NoError(t, err, "run go generate in events")
		require.Equal(t, string(text), string(published), "events/%s has drifted from the types: run go generate in events", name)
	}
	files, err := filepath.Glob(filepath.Join(eventsDir, "schemas", "*"))
	require.NoError(t, err)
	require.Len(t, files, len(events.Types()), "events/schemas holds a file that belongs to no type")
}

func write(t *testing.T, documents map[string][]byte) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(eventsDir, "schemas")))
	require.NoError(t, os.MkdirAll(filepath.Join(eventsDir, "schemas"), 0o755))
	for name, text := range documents {
		require.NoError(t, os.WriteFile(filepath.Join(eventsDir, name), text, 0o644))
	}
}
