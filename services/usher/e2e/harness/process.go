package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Process is one process, which may be ended and started again with the same words and environment.
type Process struct {
	name, path string
	args, env  []string
	dir        string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	said   Output
}

// Output collects what a process writes, over all its lives.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String is everything so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// environment is what a process gets beside its own settings: nothing that is set here by chance.
func environment(settings ...string) []string {
	env := slices.Clone(settings)
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func newProcess(command string, args, settings []string) (*Process, error) {
	path, err := Binary(command)
	if err != nil {
		return nil, err
	}
	return &Process{name: command, path: path, args: args, env: environment(settings...)}, nil
}

// start starts the process, which must not be running.
func (p *Process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("%s runs already", p.name)
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, p.dir, &p.said, &p.said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its ProcessState tells
		close(exited)
	}()
	p.cmd, p.exited = cmd, exited
	return nil
}

// Said is everything the process wrote, over all its lives.
func (p *Process) Said() string { return p.said.String() }

// Alive reports whether it runs.
func (p *Process) Alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Kill9 ends the process without any chance to tidy up, and returns once it is gone.
func (p *Process) Kill9() { _, _ = p.end(syscall.SIGKILL, time.Minute) }

// Stop asks the process to end, as an operator would, and requires that it does so in order.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	code, err := p.end(syscall.SIGTERM, Patience)
	require.NoError(t, err, "%s said:\n%s", p.name, tail(p.Said()))
	require.Zero(t, code, "%s did not end in order:\n%s", p.name, tail(p.Said()))
}

// Signal sends a signal and does not wait for what becomes of it.
func (p *Process) Signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return os.ErrProcessDone
	}
	return p.cmd.Process.Signal(s)
}

// Wait gives the exit code, once the process has ended.
func (p *Process) Wait(t testing.TB) int {
	t.Helper()
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.mu.Unlock()
	select {
	case <-exited:
	case <-time.After(Patience):
		require.Fail(t, "the process does not end", "%s said:\n%s", p.name, tail(p.Said()))
	}
	p.forget(cmd)
	return cmd.ProcessState.ExitCode()
}

func (p *Process) end(s syscall.Signal, patience time.Duration) (code int, err error) {
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.mu.Unlock()
	if cmd == nil {
		return 0, nil
	}
	_ = cmd.Process.Signal(s) // fails only when it has ended already
	select {
	case <-exited:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-exited
		err = errors.New("the process had to be killed")
	}
	p.forget(cmd)
	return cmd.ProcessState.ExitCode(), err
}

func (p *Process) forget(cmd *exec.Cmd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == cmd {
		p.cmd = nil
	}
}

// tail keeps a failure's text readable.
func tail(s string) string {
	const most = 6000
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}
