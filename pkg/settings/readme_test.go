package settings_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/settings"
)

var update = flag.Bool("update", false, "write the settings table into the README")

func TestTheReadmeListsTheSettingsAsTheyAre(t *testing.T) {
	const path, begin, end = "../../README.md", "<!-- settings -->\n", "<!-- /settings -->"
	readme, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(readme), begin)
	require.True(t, ok)
	have, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(before+begin+settings.Markdown()+end+after), 0o644))
		return
	}
	require.Equal(t, settings.Markdown(), have, "run: cd pkg && go test ./settings -update")
}
