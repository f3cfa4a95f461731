package contract

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Others import package events: what it drags in, they get.
func TestPackageEventsDependsOnUUIDAlone(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-test", "-f", "{{if not .Standard}}{{with .Module}}{{.Path}}{{end}}{{end}}", "./...")
	list.Dir, list.Env = eventsDir, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	out, err := list.Output()
	require.NoError(t, err)
	for _, module := range strings.Fields(string(out)) {
		require.Contains(t, []string{eventsPackage, "github.com/google/uuid"}, module)
	}
	require.Contains(t, string(out), "github.com/google/uuid")
}

// A replace directive would make the module unusable for everybody else.
func TestTheModuleOfPackageEventsReplacesNothing(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(eventsDir, "go.mod"))
	require.NoError(t, err)
	require.NotContains(t, string(file), "replace")
}
