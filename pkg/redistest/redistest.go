// Package redistest gives tests a real Redis: a redis-server process of their own that they may kill, and one call that
// runs a test against it and against the in-process server alike.
package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redisdb"
)

// startTime is how long a server may take to become ready.
const startTime = 10 * time.Second

// Server is a redis-server process with a folder and a port of its own.
type Server struct {
	// Port is the TCP port on the loopback interface; it stays the same over restarts.
	Port int

	args    []string
	command *exec.Cmd
	output  *output
}

// Run starts a server that ends with the test. Arguments are settings as on redis-server's command line; without any, it
// keeps nothing on disk and evicts nothing.
func Run(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{Port: freePort(t)}
	s.args = append([]string{
		"--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "",
		"--appendonly", "no", "--maxmemory-policy", "noeviction",
	}, args...)
	s.Start(t)
	t.Cleanup(s.Kill9)
	return s
}

// RunSentinel starts a sentinel with that file of settings; it ends with the test.
func RunSentinel(t testing.TB, conf string) *Server {
	t.Helper()
	s := &Server{Port: freePort(t)}
	s.args = []string{conf, "--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--sentinel"}
	s.Start(t)
	t.Cleanup(s.Kill9)
	return s
}

// URL is what USHER_REDIS_URL would say.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Addr is host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Start starts a killed server again, on the same port and folder, and waits until it takes commands.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.command = exec.Command(binary(t), s.args...)
	s.output = &output{ready: make(chan struct{}), ended: make(chan struct{})}
	stdout, err := s.command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.command.Start())
	go s.output.read(stdout)
	select {
	case <-s.output.ready:
	case <-s.output.ended:
		t.Fatalf("redis-server ended at once:\n%s", s.output)
	case <-time.After(startTime):
		t.Fatalf("redis-server did not become ready:\n%s", s.output)
	}
}

// Kill9 ends the server without any chance to tidy up. Killing it twice does no harm.
func (s *Server) Kill9() {
	if s.command == nil {
		return
	}
	_ = s.command.Process.Kill() // fails only when it has ended already
	<-s.output.ended
	_ = s.command.Wait() // says only that it was killed
	s.command = nil
}

// Pid is the process id, for signals.
func (s *Server) Pid() int { return s.command.Process.Pid }

// Flush forgets every key.
func (s *Server) Flush(t testing.TB) { t.Helper(); s.Do(t, "FLUSHALL") }

// Do sends one command whose words hold no spaces, and gives the first line of the answer.
func (s *Server) Do(t testing.TB, words ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "%s\r\n", strings.Join(words, " "))
	require.NoError(t, err)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.False(t, strings.HasPrefix(answer, "-"), answer)
	return strings.TrimSpace(answer)
}

// Each runs a test against the in-process server and against a real one.
func Each(t *testing.T, test func(*testing.T, *redisdb.DB)) {
	t.Helper()
	t.Run("in-process", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("redis-server", func(t *testing.T) { test(t, Open(t, Run(t).URL())) })
}

// Embedded opens an in-process server that ends with the test.
func Embedded(t testing.TB) *redisdb.DB {
	t.Helper()
	server, err := redisdb.InProcess()
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return open(t, redisdb.Options{Embedded: server})
}

// Open connects to a server until the test ends.
func Open(t testing.TB, url string) *redisdb.DB {
	t.Helper()
	return open(t, redisdb.Options{URL: url})
}

func open(t testing.TB, o redisdb.Options) *redisdb.DB {
	t.Helper()
	db, err := redisdb.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// binary finds redis-server. A machine without it fails the test: nothing would be proven by leaving it out.
func binary(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("this test needs redis-server 7.0 or newer in PATH: apt-get install redis-server, brew install redis, or your system's like")
	}
	return path
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// readiness is what a server or a sentinel says when it takes commands.
var readiness = regexp.MustCompile(`[Rr]eady to accept connections|Sentinel ID is`)

// output keeps what the server says, and tells when it is ready and when it has ended.
type output struct {
	ready, ended chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) read(r io.Reader) {
	defer close(o.ended)
	lines, ready := bufio.NewScanner(r), false
	for lines.Scan() {
		o.mu.Lock()
		fmt.Fprintln(&o.text, lines.Text())
		o.mu.Unlock()
		if !ready && readiness.MatchString(lines.Text()) {
			ready = true
			close(o.ready)
		}
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
