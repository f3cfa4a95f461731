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

// machine has a disk for each broker and each Redis server, and everything in it loses its power at once.
type machine struct {
	store          string
	brokers, redis []*powerdisk.Disk
}

// openMachine mounts empty disks where a cluster keeps its files.
func openMachine(shape cluster.Shape, names powerdisk.Names) (m *machine, err error) {
	m = &machine{}
	// Not in the unit's folder: a mount that outlived a campaign that was killed is in nobody's way there.
	if m.store, err = os.MkdirTemp("", "usher-disks-"); err != nil {
		return nil, err
	}
	brokers, redis := []string{"nats-1", "nats-2", "nats-3"}[:shape.Brokers], []string{"redis-1"}
	if shape.Replica {
		redis = append(redis, "redis-2")
	}
	if m.brokers, err = m.mount(brokers, names); err == nil {
		m.redis, err = m.mount(redis, names)
	}
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *machine) mount(folders []string, names powerdisk.Names) (disks []*powerdisk.Disk, err error) {
	for _, folder := range folders {
		point := filepath.Join(m.store, folder)
		if err := os.Mkdir(point, 0o700); err != nil {
			return disks, err
		}
		d, err := powerdisk.Mount(point, names)
		if err != nil {
			return disks, err
		}
		disks = append(disks, d)
	}
	return disks, nil
}

// disks are all that are mounted.
func (m *machine) disks() []*powerdisk.Disk {
	return append(append([]*powerdisk.Disk{}, m.brokers...), m.redis...)
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
