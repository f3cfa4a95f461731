package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/links"
)

func TestKeysInitMakesSecretsOnceAndForTheirOwnerAlone(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "secrets")
	secrets := func() map[string]string {
		var out, said bytes.Buffer
		require.Equal(t, exitOK, Execute(t.Context(), []string{"keys", "init", folder}, Streams{Out: &out, Err: &said}), said.String())
		found := map[string]string{}
		entries, err := os.ReadDir(folder)
		require.NoError(t, err)
		for _, e := range entries {
			info, err := e.Info()
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode(), e.Name())
			content, err := os.ReadFile(filepath.Join(folder, e.Name()))
			require.NoError(t, err)
			found[e.Name()] = string(bytes.TrimSpace(content))
			require.NotContains(t, out.String(), found[e.Name()], "a secret is shown")
		}
		return found
	}
	first := secrets()
	require.Len(t, first, 3)
	_, err := links.ParseRing(first["link-keys"])
	require.NoError(t, err)
	require.True(t, apikeys.WellFormed(first["api-key"]))
	require.GreaterOrEqual(t, len(first["webhook-signing-key"]), 26)
	require.Equal(t, first, secrets(), "a second start made other secrets: every link would be dead")
}
