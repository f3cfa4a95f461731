package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"

	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// redisServer is a redis-server process that keeps nothing on disk.
type redisServer struct {
	addr    string
	command *exec.Cmd
}

// startRedis starts one in a folder, and returns once it takes commands.
func startRedis(ctx context.Context, dir string) (*redisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: install Redis 7 (Debian: apt-get install redis-server)", err)
	}
	port, err := cluster.Port()
	if err != nil {
		return nil, err
	}
	r := &redisServer{addr: cluster.Addr(port)}
	r.command = exec.Command(program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--appendonly", "no", "--maxmemory-policy", "noeviction")
	if err := r.command.Start(); err != nil {
		return nil, err
	}
	err = Until(ctx, "redis-server", func() (bool, error) { return r.do("PING") == nil, nil })
	if err != nil {
		err = errors.Join(err, r.stop())
	}
	return r, err
}

// stop ends the process.
func (r *redisServer) stop() error {
	err := r.command.Process.Kill()
	_ = r.command.Wait() // says only that it was killed
	return err
}

func (r *redisServer) do(command string) error {
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.HasPrefix(answer, "-") {
		err = fmt.Errorf("redis-server: %s: %s", command, strings.TrimSpace(answer))
	}
	return err
}
