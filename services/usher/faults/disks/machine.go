package disks

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"github.com/usherhq/usher/services/usher/faults/cluster"
	"github.com/usherhq/usher/services/usher/faults/powerdisk"
)

// machine has a disk for the broker and one for Redis, and everything in it loses its power at once.
type machine struct {
	store         string
	broker, redis *powerdisk.Disk
}

// openMachine mounts empty disks where a cluster of one broker and one Redis keeps its files.
func openMachine(names powerdisk.Names) (*machine, error) {
	store, err := os.MkdirTemp("", "usher-disks-") // not in the unit's folder: a mount that outlived its server is in nobody's way
	if err != nil {
		return nil, err
	}
	m := &machine{store: store}
	if m.broker, err = m.mount("nats-1", names); err == nil {
		m.redis, err = m.mount("redis-1", names)
	}
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *machine) mount(name string, names powerdisk.Names) (*powerdisk.Disk, error) {
	point := filepath.Join(m.store, name)
	if err := os.Mkdir(point, 0o700); err != nil {
		return nil, err
	}
	return powerdisk.Mount(point, names)
}

// disks are those that are mounted.
func (m *machine) disks() (all []*powerdisk.Disk) {
	for _, d := range []*powerdisk.Disk{m.broker, m.redis} {
		if d != nil {
			all = append(all, d)
		}
	}
	return all
}

func (m *machine) close() error {
	var errs []error
	for _, d := range m.disks() {
		errs = append(errs, d.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(m.store))...)
}

// keep copies what the disks show into a folder, to be looked at.
func (m *machine) keep(dir string) error { return os.CopyFS(dir, os.DirFS(m.store)) }

// cut ends all processes and the power of the disks, and brings back what the disks have left.
func (m *machine) cut(c *cluster.Cluster, chance *rand.Rand) error {
	for _, p := range c.All() {
		p.Signal(syscall.SIGKILL) // all at once; what is waited for is below
	}
	for _, p := range c.All() {
		p.Kill()
	}
	for _, d := range m.disks() {
		d.Cut(chance)
		if err := d.Restore(); err != nil {
			return err
		}
	}
	return nil
}
