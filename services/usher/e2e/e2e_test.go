// Package e2e proves Usher from outside: real processes, real servers, and only the doors that everybody has.
//
//	go test ./...          # in this folder; -short takes smaller slices of the long ones
package e2e

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	flag.Parse()
	if wanted := flag.Lookup("test.parallel"); wanted.Value.String() == wanted.DefValue {
		_ = wanted.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))) // these tests wait for others more than they work
	}
	defer func() {
		if said := endCommon(); strings.Contains(said, "panic") || strings.Contains(said, "DATA RACE") {
			fmt.Println("FAIL: the common usher panicked or has a data race:\n" + said)
			code = 1
		}
	}()
	return harness.Main(m)
}

var shared struct {
	sync.Mutex
	usher  *harness.Usher
	folder string
	err    error
}

// common is one "usher up" as a newcomer starts it, for all tests that neither stop it nor fill its outbox: each makes an
// organization of its own in it.
func common(t *testing.T) *harness.Usher {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.usher == nil && shared.err == nil {
		shared.folder, shared.err = os.MkdirTemp("", "usher-e2e-common-")
		if shared.err == nil {
			shared.usher, shared.err = harness.NewUp(shared.folder)
		}
		if shared.err == nil {
			shared.err = shared.usher.Start()
		}
	}
	require.NoError(t, shared.err)
	return shared.usher
}

// endCommon ends it and gives everything it wrote.
func endCommon() string {
	if shared.usher == nil {
		return ""
	}
	shared.usher.Kill9()
	_ = os.RemoveAll(shared.folder) // in the system's own folder for such things
	return shared.usher.Said()
}

// short is a smaller number where -short was given.
func short(all, some int) int {
	if testing.Short() {
		return some
	}
	return all
}
