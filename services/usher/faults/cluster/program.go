package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Program is one process, which may be ended in any way and started again with the same words and environment.
type Program struct {
	// Name is the process's own, like "api-2"; its output is in <name>.log.
	Name string
	// Words are the command line, the program first. Before are words before it, like those of strace.
	Words, Before []string
	// Env is its environment, beside the path and the folders of the user.
	Env []string

	dir    string
	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

// environment is what a process gets beside its own settings: nothing that is set here by chance.
func environment(settings []string) []string {
	env := append([]string{}, settings...)
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// Start starts the process. It returns an error where it runs already.
func (p *Program) Start() error { return p.StartWith() }

// StartWith is Start with settings that this one life has beside its own.
func (p *Program) StartWith(settings ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alive() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	log, err := os.OpenFile(p.LogFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own handle
	words := append(append([]string{}, p.Before...), p.Words...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, environment(slices.Concat(p.Env, settings)), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a signal to the harness is not one to it, and strace dies with its child
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its ProcessState tells
		close(exited)
	}()
	p.cmd, p.exited = cmd, exited
	return nil
}

// LogFile is where its output is, over all its lives.
func (p *Program) LogFile() string { return filepath.Join(p.dir, p.Name+".log") }

// Alive reports whether it runs.
func (p *Program) Alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alive()
}

func (p *Program) alive() bool {
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

// Exited is closed once the process has ended; it is nil before the first start.
func (p *Program) Exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// Pid is the process's id; 0 before the first start.
func (p *Program) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Signal sends a signal to the process and what it started, and does not wait for what becomes of it.
func (p *Program) Signal(s syscall.Signal) {
	if pid := p.Pid(); pid != 0 {
		_ = syscall.Kill(-pid, s) // fails only when it has ended already
	}
}

// Kill ends the process without any chance to tidy up, and returns once it is gone.
func (p *Program) Kill() {
	p.Signal(syscall.SIGKILL)
	if exited := p.Exited(); exited != nil {
		<-exited
	}
}

// ErrStubborn is returned by Terminate for a process that had to be killed.
var ErrStubborn = errors.New("the process did not end by itself")

// Terminate asks the process to end, as an operator would, and kills it where it does not within patience. It gives the exit
// code.
func (p *Program) Terminate(patience time.Duration) (code int, err error) {
	exited := p.Exited()
	if exited == nil {
		return 0, nil
	}
	p.Signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(patience):
		p.Kill()
		return 0, fmt.Errorf("%s: %w", p.Name, ErrStubborn)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.ProcessState.ExitCode(), nil
}

// KilledBySignal reports whether its last life ended by SIGKILL.
func (p *Program) KilledBySignal() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.alive() {
		return false
	}
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
