package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	flag.Parse()
	if wanted := flag.Lookup("test.parallel"); wanted.Value.String() == wanted.DefValue {
		_ = wanted.Value.Set("4") // pages mostly wait for their server; more of them at once make each slow
	}
	defer func() {
		if said := endCommon(); strings.Contains(said, "panic") || strings.Contains(said, "DATA RACE") {
			fmt.Println("FAIL: the common usher panicked or has a data race:\n" + said)
			code = 1
		}
	}()
	if code = harness.Main(m); code != 0 || flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" {
		return code
	}
	if missing := unseen(); len(missing) > 0 {
		fmt.Println("FAIL: nobody looked at these pages; add a look at each:\n  " + strings.Join(missing, "\n  "))
		return 1
	}
	return 0
}

var shared struct {
	sync.Mutex
	usher  *harness.Usher
	folder string
	end    context.CancelFunc
	// chromium is the one browser; people have a profile of their own in it.
	chromium context.Context
	err      error
}

// common is one "usher up" for all tests that do not stop it: each makes an organization of its own in it.
func common(t *testing.T) *harness.Usher {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.usher == nil && shared.err == nil {
		shared.folder, shared.err = os.MkdirTemp("", "usher-browser-")
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

// endCommon ends what the tests share, and gives everything that usher wrote.
func endCommon() string {
	if shared.end != nil {
		shared.end()
	}
	if shared.usher == nil {
		return ""
	}
	shared.usher.Kill9()
	_ = os.RemoveAll(shared.folder) // in the system's own folder for such things
	return shared.usher.Said()
}

// chromium is the running browser.
func chromium(t *testing.T) context.Context {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.chromium != nil {
		return shared.chromium
	}
	path := find(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WindowSize(wide, high),
		chromedp.Flag("lang", "en"), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // its sandbox refuses to run as root; all it shows is ours
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	shared.end = func() { cancel(); end() }
	require.NoError(t, chromedp.Do(ctx), "chromium does not start")
	shared.chromium = ctx
	return ctx
}

func find(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	require.Fail(t, "there is no Chromium", "Install it (Debian: apt-get install chromium), or let \"make needs\" do so.")
	return ""
}
