package cluster

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Redis is one redis-server.
type Redis struct {
	*Program
	Port int
	// Store is where its files are.
	Store string
}

// Do sends one command whose words hold no spaces, and gives the first line of the answer. It returns an error where the
// server is not there or refuses.
func (r *Redis) Do(words ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", Addr(r.Port), 2*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err = fmt.Fprintf(conn, "%s\r\n", strings.Join(words, " ")); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.HasPrefix(answer, "-") {
		err = fmt.Errorf("redis: %s: %s", words[0], strings.TrimSpace(answer))
	}
	return strings.TrimSpace(answer), err
}

// masterName is what the sentinel calls the pair.
const masterName = "usher"

// addRedis prepares one server, or a primary with a replica and a sentinel that swaps them.
func (c *Cluster) addRedis(replica bool) error {
	names := []string{"redis-1"}
	if replica {
		names = append(names, "redis-2")
	}
	for _, name := range names {
		port, err := Port()
		if err != nil {
			return err
		}
		r := &Redis{Program: &Program{Name: name, dir: c.Dir}, Port: port, Store: filepath.Join(c.store(), name)}
		if err := os.MkdirAll(r.Store, 0o700); err != nil {
			return err
		}
		r.Words = []string{
			c.Programs.Redis, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", r.Store, "--save", "",
			"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
		}
		c.Redis = append(c.Redis, r)
	}
	if !replica {
		return nil
	}
	c.Redis[1].Words = append(c.Redis[1].Words, "--replicaof", "127.0.0.1 "+strconv.Itoa(c.Redis[0].Port))
	return c.addSentinel()
}

// addSentinel prepares a sentinel. One is enough here: it is not what is tested, and a quorum of one decides quickly.
func (c *Cluster) addSentinel() error {
	port, err := Port()
	if err != nil {
		return err
	}
	config := filepath.Join(c.Dir, "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %s 127.0.0.1 %d 1\n"+
		"sentinel down-after-milliseconds %[3]s 1000\nsentinel failover-timeout %[3]s 6000\n", port, c.Dir, masterName, c.Redis[0].Port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	c.Sentinel = &Redis{Program: &Program{Name: "sentinel", dir: c.Dir, Words: []string{c.Programs.Redis, config, "--sentinel"}}, Port: port}
	return nil
}

// Primary is the server that takes writes now, as the sentinel has it; the only one where there is no sentinel.
func (c *Cluster) Primary() (*Redis, error) {
	if c.Sentinel == nil {
		return c.Redis[0], nil
	}
	for _, r := range c.Redis {
		if !r.Alive() {
			continue
		}
		role, err := r.role()
		if err == nil && role == "master" {
			return r, nil
		}
	}
	return nil, fmt.Errorf("no redis-server is the primary now")
}

// role asks a server for its role. The answer to ROLE is a list, its first item the name.
func (r *Redis) role() (string, error) {
	conn, err := net.DialTimeout("tcp", Addr(r.Port), 2*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprint(conn, "ROLE\r\n"); err != nil {
		return "", err
	}
	lines := bufio.NewScanner(conn)
	for i := 0; lines.Scan(); i++ {
		if i == 2 { // after the list's length and the word's
			return lines.Text(), nil
		}
	}
	return "", fmt.Errorf("redis: ROLE: no answer: %w", lines.Err())
}
