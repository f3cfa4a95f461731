package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/failpoint"
)

// patience is how long anything may take on a busy machine.
const patience = time.Minute

// built makes a binary of this command, with build tags or none.
func built(t *testing.T, tags string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "usher")
	said, err := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-o", path, ".").CombinedOutput()
	require.NoError(t, err, "%s", said)
	return path
}

func TestANormalBuildHasNothingOfFailpoints(t *testing.T) {
	path := built(t, "")
	symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", path).Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(symbols)) {
		require.NotContains(t, line, "usher/pkg/failpoint", "a call of Here was not inlined: a closure within an inlinable function is no place for a point")
	}
	binary, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, p := range failpoint.Points {
		require.False(t, bytes.Contains(binary, []byte(p.About)), "%s", p.Name)
	}
	for _, name := range []string{failpoint.EnvArm, "/failpoints/{name}"} {
		require.False(t, bytes.Contains(binary, []byte(name)), name)
	}
}

// process is "usher up" with its control, in a folder of its own.
type process struct {
	t           *testing.T
	cmd         *exec.Cmd
	url, points string
	key         string
	exited      chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
}

// Write implements io.Writer, for what the process says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// run starts a process, with more settings than those it needs.
func run(t *testing.T, path string, settings ...string) *process {
	t.Helper()
	at, points := free(t), free(t)
	p := &process{t: t, url: "http://" + at, points: "http://" + points, key: apikeys.Generate(), exited: make(chan struct{})}
	p.cmd = exec.Command(path, "up")
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = t.TempDir(), p, p
	p.cmd.Env = append([]string{
		"USHER_HTTP_ADDR=" + at, "USHER_NATS_LISTEN=off", "USHER_BOOTSTRAP_API_KEY=" + p.key, "USHER_FAILPOINTS_ADDR=" + points,
	}, settings...)
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // its ProcessState tells
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended already
		<-p.exited
	})
	return p
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// ready waits until the process can be used.
func (p *process) ready() *process {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		resp, err := http.Get(p.url + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, patience, 20*time.Millisecond, "%s", p.output())
	return p
}

// died waits for the end, and requires that it was this signal's.
func (p *process) died(by syscall.Signal) {
	p.t.Helper()
	p.ended()
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(p.t, ok && status.Signaled() && status.Signal() == by, "%s\n%s", p.cmd.ProcessState, p.output())
}

func (p *process) ended() {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.Fail(p.t, "the process does not end", "%s", p.output())
	}
}

// tell asks the control for something that it can do.
func (p *process) tell(method, path, body string) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.points+path, strings.NewReader(body))
	require.NoError(p.t, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	require.Equal(p.t, http.StatusOK, resp.StatusCode, "%s", said)
}

// answer is what a request came to: a status, or 0 where nothing answered.
type answer struct {
	status int
	body   struct{ ID, Status string }
}

func (p *process) call(method, path, body string) answer {
	r, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	require.NoError(p.t, err)
	r.Header.Set("Authorization", "Bearer "+p.key)
	r.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: patience}).Do(r)
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode}
	_ = json.NewDecoder(resp.Body).Decode(&a.body) // a problem has neither field
	return a
}

func (p *process) invite(name string) answer {
	return p.call(http.MethodPost, "/v1/organizations/acme/invitations", fmt.Sprintf(`{"email":"%s@example.org","role":"member"}`, name))
}

// stopped reports whether the process stands still at a signal.
func (p *process) stopped() bool {
	state, err := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(p.cmd.Process.Pid)).Output()
	return err == nil && bytes.HasPrefix(state, []byte("T"))
}

// A process that was built with failpoints does what it is told at a point, and says at its start that it is such a one.
func TestAProcessOfAFaultRunDoesAsItIsTold(t *testing.T) {
	path := built(t, "failpoints")

	t.Run("it dies at the point, by SIGKILL", func(t *testing.T) {
		p := run(t, path).ready()
		require.Contains(t, p.output(), "built with failpoints: for fault runs only")
		p.tell(http.MethodPut, "/failpoints/mailer.claimed", `{"action":"kill","after":2}`)
		require.Equal(t, http.StatusAccepted, p.invite("first").status)
		p.invite("second") // the mailer may be quicker than the answer
		p.died(syscall.SIGKILL)
	})

	t.Run("it stands still until SIGCONT", func(t *testing.T) {
		p := run(t, path).ready()
		p.tell(http.MethodPut, "/failpoints/admission.judged", `{"action":"stop"}`)
		invited := make(chan answer, 1)
		go func() { invited <- p.invite("waits") }()
		require.Eventually(t, p.stopped, patience, 20*time.Millisecond)
		require.Empty(t, invited)
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGCONT))
		require.Equal(t, http.StatusAccepted, (<-invited).status)
	})

	t.Run("it holds one request up and lets others pass", func(t *testing.T) {
		p := run(t, path).ready()
		p.tell(http.MethodPut, "/failpoints/api.admitted", `{"action":"pause"}`)
		held := make(chan answer, 1)
		go func() { held <- p.invite("held") }()
		p.tell(http.MethodGet, "/reached/api.admitted?timeout="+patience.String(), "")
		require.Equal(t, http.StatusAccepted, p.invite("passes").status)
		require.Empty(t, held)
		p.tell(http.MethodDelete, "/failpoints/api.admitted", "")
		require.Equal(t, http.StatusAccepted, (<-held).status)
	})

	t.Run("it takes its clock for ahead", func(t *testing.T) {
		p := run(t, path).ready()
		ready := func(want int) {
			require.Eventually(t, func() bool { return p.call(http.MethodGet, "/readyz", "").status == want }, patience, 20*time.Millisecond)
		}
		p.tell(http.MethodPut, "/clock", `{"ahead":"169h"}`)
		ready(http.StatusServiceUnavailable)
		require.Equal(t, http.StatusServiceUnavailable, p.invite("late").status, "it knows that its clock is not the broker's")
		p.tell(http.MethodPut, "/clock", `{"ahead":"0s"}`)
		ready(http.StatusOK)
		require.Equal(t, http.StatusAccepted, p.invite("late").status)
	})

	t.Run("it is armed before its start", func(t *testing.T) {
		p := run(t, path, "USHER_FAILPOINTS=start.ledger=kill")
		p.died(syscall.SIGKILL)
		require.NotContains(t, p.output(), "Usher is ready")
	})

	t.Run("it listens to this machine alone", func(t *testing.T) {
		p := run(t, path, "USHER_FAILPOINTS_ADDR=0.0.0.0:0")
		p.ended()
		require.Equal(t, 2, p.cmd.ProcessState.ExitCode())
		require.Contains(t, p.output(), "USHER_FAILPOINTS_ADDR must be an address of this machine alone")
	})
}
