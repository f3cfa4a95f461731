package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
)

// Tag is the build tag with which Usher's processes let themselves be stopped between two steps.
const Tag = "failpoints"

// Programs are the paths of the binaries that a cluster is made of.
type Programs struct{ API, Mailer, Acceptance, Usher, NATS, Redis string }

var built = sync.OnceValues(build)

// Build builds the binaries, Usher's with failpoints, the first time it is called. It returns an error where one cannot be
// built, and where there is no redis-server.
func Build() (Programs, error) { return built() }

func build() (p Programs, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "usher-faults", "bin-"+checkout())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, err
	}
	command := exec.Command("go", "build", "-tags", Tag, "-o", dir+"/", "./services/api/cmd/api", "./services/mailer/cmd/mailer",
		"./services/acceptance/cmd/acceptance", "./services/usher", "github.com/nats-io/nats-server/v2")
	command.Dir = Root()
	if said, err := command.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build: %w\n%s", err, said)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	p = Programs{API: at("api"), Mailer: at("mailer"), Acceptance: at("acceptance"), Usher: at("usher"), NATS: at("nats-server")}
	if p.Redis, err = exec.LookPath("redis-server"); err != nil {
		return p, fmt.Errorf("%w: install Redis (Debian: apt-get install redis-server)", err)
	}
	return p, nil
}

// checkout tells one checkout's binaries from another's.
func checkout() string {
	sum := sha256.Sum256([]byte(Root()))
	return hex.EncodeToString(sum[:4])
}

// Root is the folder of the repository.
func Root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "..", "..")
}
