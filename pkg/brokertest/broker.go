// Package brokertest gives tests a real nats-server with JetStream: embedded from its Go module, or as a process of its
// own that can be killed and started again on the same files.
package brokertest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// patience is how long a broker may take to be up. Long, because many tests share few cores.
const patience = 30 * time.Second

// settings are what the options say, and become the broker's configuration file.
type settings struct {
	dir, store       string
	lazy             bool
	extra            string
	port, monitoring int
}

// Option changes a broker before it starts.
type Option func(*settings)

// Lazy leaves the server's default sync interval: an acknowledged publish is not yet on disk. The default here is what
// Usher asks of its brokers, sync always.
func Lazy() Option { return func(s *settings) { s.lazy = true } }

// Store keeps the broker's files in dir instead of a folder that goes with the test.
func Store(dir string) Option { return func(s *settings) { s.store = dir } }

// Config appends lines in the server's own configuration language: users, permissions, limits.
func Config(lines string) Option { return func(s *settings) { s.extra += lines + "\n" } }

func newSettings(t testing.TB, opts []Option) *settings {
	s := &settings{dir: t.TempDir(), port: server.RANDOM_PORT, monitoring: server.RANDOM_PORT}
	s.store = filepath.Join(s.dir, "store")
	for _, o := range opts {
		o(s)
	}
	return s
}

// write puts the configuration file in place and returns its path.
func (s *settings) write(t testing.TB) string {
	sync := "sync_interval: always"
	if s.lazy {
		sync = ""
	}
	text := fmt.Sprintf("listen: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\nports_file_dir: %q\njetstream {\n  store_dir: %q\n  %s\n}\n%s",
		s.port, s.monitoring, s.dir, s.store, sync, s.extra)
	path := filepath.Join(s.dir, "nats.conf")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Broker is a nats-server inside the test's own process. It is also a nats.InProcessConnProvider, across restarts.
type Broker struct {
	// URL is where clients connect, MonitoringURL where /varz and /jsz are. Both stay the same across a Restart.
	URL, MonitoringURL string

	settings *settings
	mu       sync.Mutex
	server   *server.Server
}

// Run starts an embedded broker that ends with the test.
func Run(t testing.TB, opts ...Option) *Broker {
	t.Helper()
	b := &Broker{settings: newSettings(t, opts)}
	t.Cleanup(b.Stop)
	b.start(t)
	return b
}

func (b *Broker) start(t testing.TB) {
	t.Helper()
	opts, err := server.ProcessConfigFile(b.settings.write(t))
	require.NoError(t, err)
	opts.NoLog, opts.NoSigs, opts.PortsFileDir = true, true, ""
	s, err := server.NewServer(opts)
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(patience), "the embedded nats-server did not come up")
	b.settings.port, b.settings.monitoring = s.Addr().(*net.TCPAddr).Port, s.MonitorAddr().Port
	b.URL, b.MonitoringURL = s.ClientURL(), "http://127.0.0.1:"+strconv.Itoa(b.settings.monitoring)
	b.mu.Lock()
	b.server = s
	b.mu.Unlock()
}

// Stop shuts the broker down and returns once it is gone. Stopping twice does nothing.
func (b *Broker) Stop() {
	b.mu.Lock()
	s := b.server
	b.server = nil
	b.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// Restart stops the broker, if it runs, and starts it again on the same files and ports.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	b.Stop()
	b.start(t)
}

// InProcessConn implements nats.InProcessConnProvider. It fails while the broker is stopped.
func (b *Broker) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	s := b.server
	b.mu.Unlock()
	if s == nil {
		return nil, net.ErrClosed
	}
	return s.InProcessConn()
}

// Conn is a connection of the test's own, over TCP, that reconnects fast and for ever.
func (b *Broker) Conn(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return connect(t, b.URL, opts)
}

// JetStream is a JetStream context on a connection of its own.
func (b *Broker) JetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	return newJetStream(t, b.Conn(t))
}

func connect(t testing.TB, url string, opts []nats.Option) *nats.Conn {
	t.Helper()
	opts = append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0)}, opts...)
	nc, err := nats.Connect(url, opts...)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func newJetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}
