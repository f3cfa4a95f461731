package brokertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// BrokerProcess is a nats-server in a process of its own.
type BrokerProcess struct {
	// URL is where clients connect, MonitoringURL where /varz and /jsz are. Both stay the same across starts.
	URL, MonitoringURL string

	settings *settings
	command  *exec.Cmd
	output   bytes.Buffer
}

// Process builds the nats-server binary from its Go module (once per version, kept in the user's cache folder), starts it,
// and ends it with the test.
func Process(t testing.TB, opts ...Option) *BrokerProcess {
	t.Helper()
	p := &BrokerProcess{settings: newSettings(t, opts)}
	t.Cleanup(func() {
		p.Kill9()
		if t.Failed() {
			t.Logf("nats-server said:\n%s", p.output.String())
		}
	})
	p.Start(t)
	return p
}

// Start starts the broker on the files and ports it had before. It must not be running.
func (p *BrokerProcess) Start(t testing.TB) {
	t.Helper()
	require.Nil(t, p.command, "the broker runs already")
	p.command = exec.Command(Binary(t), "-c", p.settings.write(t))
	p.command.Stdout, p.command.Stderr = &p.output, &p.output
	require.NoError(t, p.command.Start())
	if p.URL == "" {
		p.learnPorts(t)
	}
	require.Eventually(t, p.healthy, patience, 10*time.Millisecond, "nats-server did not come up")
}

// Kill9 ends the broker without giving it a chance to tidy up.
func (p *BrokerProcess) Kill9() {
	if p.command != nil {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
		p.command = nil
	}
}

// Stop ends the broker in order, as an operator would.
func (p *BrokerProcess) Stop(t testing.TB) {
	t.Helper()
	require.NoError(t, p.command.Process.Signal(os.Interrupt))
	_ = p.command.Wait() // the server's exit code after a signal says nothing
	p.command = nil
}

// Pid is the process id, for tests that freeze or trace the broker.
func (p *BrokerProcess) Pid() int { return p.command.Process.Pid }

// Conn is a connection of the test's own that reconnects fast and for ever.
func (p *BrokerProcess) Conn(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return connect(t, p.URL, opts)
}

// JetStream is a JetStream context on a connection of its own.
func (p *BrokerProcess) JetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	return newJetStream(t, p.Conn(t))
}

// learnPorts reads where the server listens from the file it writes for that, so that no port is guessed.
func (p *BrokerProcess) learnPorts(t testing.TB) {
	t.Helper()
	var ports struct{ Nats, Monitoring []string }
	path := filepath.Join(p.settings.dir, fmt.Sprintf("%s_%d.ports", filepath.Base(p.command.Path), p.Pid()))
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(path)
		return err == nil && json.Unmarshal(text, &ports) == nil
	}, patience, 10*time.Millisecond, "nats-server wrote no ports file")
	p.URL, p.MonitoringURL = ports.Nats[0], ports.Monitoring[0]
	p.settings.port, p.settings.monitoring = portOf(t, p.URL), portOf(t, p.MonitoringURL)
}

func portOf(t testing.TB, url string) (port int) {
	t.Helper()
	_, err := fmt.Sscanf(url[strings.LastIndexByte(url, ':'):], ":%d", &port)
	require.NoError(t, err)
	return port
}

func (p *BrokerProcess) healthy() bool {
	answer, err := http.Get(p.MonitoringURL + "/healthz")
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

var building sync.Mutex

// Binary is the path of a nats-server binary of the version that this module requires.
func Binary(t testing.TB) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "usher-test")
	path := filepath.Join(dir, "nats-server-v"+server.VERSION+"-"+runtime.Version())
	if _, err := os.Stat(path); err == nil {
		return path
	}
	require.NoError(t, os.MkdirAll(dir, 0o700))
	build(t, path)
	return path
}

// build writes the binary beside its place and moves it there, so that test processes that build at the same time never
// start half a file.
func build(t testing.TB, path string) {
	t.Helper()
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	_, here, _, _ := runtime.Caller(0)
	command := exec.Command("go", "build", "-o", fresh, "github.com/nats-io/nats-server/v2")
	command.Dir = filepath.Dir(here) // this module requires nats-server; the caller's may not
	said, err := command.CombinedOutput()
	require.NoError(t, err, "building nats-server: %s", said)
	require.NoError(t, os.Rename(fresh, path))
}
