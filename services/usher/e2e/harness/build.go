package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// The commands that there are, by the folder of their module and the package in it.
var commands = map[string]struct{ module, pkg string }{
	"usher":      {"services/usher", "."},
	"api":        {"services/api", "./cmd/api"},
	"mailer":     {"services/mailer", "./cmd/mailer"},
	"acceptance": {"services/acceptance", "./cmd/acceptance"},
}

var builds = struct {
	sync.Mutex
	folder string
	done   map[string]string
}{done: map[string]string{}}

// Main runs a package's tests and then removes the binaries that were built for them. TestMain hands its exit code on.
func Main(m *testing.M) int {
	defer func() {
		if builds.folder != "" {
			_ = os.RemoveAll(builds.folder) // what stays is in the system's own folder for such things
		}
	}()
	return m.Run()
}

// Binary is the path of one of the commands, built the first time it is asked for. GOFLAGS=-race in the environment
// builds the race detector into them.
func Binary(command string) (string, error) {
	builds.Lock()
	defer builds.Unlock()
	if path, ok := builds.done[command]; ok {
		return path, nil
	}
	if builds.folder == "" {
		folder, err := os.MkdirTemp("", "usher-e2e-")
		if err != nil {
			return "", fmt.Errorf("a folder for binaries: %w", err)
		}
		builds.folder = folder
	}
	path := filepath.Join(builds.folder, command)
	build := exec.Command("go", "build", "-ldflags=-w", "-o", path, commands[command].pkg) // without debug symbols it links in half the time
	build.Dir = filepath.Join(Root(), commands[command].module)
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", command, err, said)
	}
	builds.done[command] = path
	return path, nil
}

// Root is the folder of the repository.
func Root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "..", "..")
}
