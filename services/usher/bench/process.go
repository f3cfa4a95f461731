package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one program of the system under test.
type process struct {
	name    string
	command *exec.Cmd
	log     string
}

// start runs a program in a folder of its own, its output in a file there.
func start(name, dir string, env []string, program string, args ...string) (*process, error) {
	p := &process{name: name, command: exec.Command(program, args...), log: filepath.Join(dir, name+".log")}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	p.command.Dir, p.command.Env = dir, append(os.Environ(), env...)
	p.command.Stdout, p.command.Stderr = out, out
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// stop ends the program as an operator would, and by force where it does not end.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	force := time.AfterFunc(30*time.Second, func() { _ = p.command.Process.Kill() })
	defer force.Stop()
	_ = p.command.Wait() // the exit code after a signal says nothing
}

// said is the end of the program's output, for errors.
func (p *process) said() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// ticks is what a second of CPU time counts in /proc on every architecture.
const ticks = 100

// cpu is the processor time that the program has used so far.
func (p *process) cpu() (time.Duration, error) { return cpuOf(p.command.Process.Pid) }

func cpuOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name before it may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("/proc: stat is too short")
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticks, err
}

// resident is how many bytes of the program are in memory.
func (p *process) resident() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("/proc: status has no VmRSS")
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10, err
}

// until asks again and again until ok, or two minutes have passed.
func until(ctx context.Context, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not come up: %w", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort is a port that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// binaries are the programs that were built.
type binaries struct{ usher, natsServer, api, mailer, acceptance string }

// build makes the programs from the workspace that the command runs in.
func build(ctx context.Context, dir string) (binaries, error) {
	var b binaries
	const here = "github.com/usherhq/usher/services/"
	wanted := map[*string]string{
		&b.usher: here + "usher", &b.natsServer: "github.com/nats-io/nats-server/v2", // the version that pkg requires
		&b.api: here + "api/cmd/api", &b.mailer: here + "mailer/cmd/mailer", &b.acceptance: here + "acceptance/cmd/acceptance",
	}
	for path, pkg := range wanted {
		*path = filepath.Join(dir, filepath.Base(strings.TrimSuffix(pkg, "/v2")))
		if said, err := exec.CommandContext(ctx, "go", "build", "-o", *path, pkg).CombinedOutput(); err != nil {
			return b, fmt.Errorf("build %s: %w\n%s", pkg, err, said)
		}
	}
	return b, nil
}
