package powerdisk

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Disk is a mounted disk. What its switches are set to stays over power cuts.
type Disk struct {
	point string
	delay delays

	mu     sync.Mutex
	volume *volume // after a cut, the one that Restore will show
}

// delays make a disk slow.
type delays struct {
	mu          sync.Mutex
	write, sync time.Duration
}

func (d *delays) get() (write, sync time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write, d.sync
}

// Mount mounts an empty disk on an empty folder. It needs root; the error says what is missing where it can't be done.
func Mount(point string, names Names) (*Disk, error) {
	d := &Disk{point: point, volume: newVolume(names, time.Now)}
	if err := d.mount(); err != nil {
		return nil, err
	}
	return d, nil
}

// Path is where the disk is mounted.
func (d *Disk) Path() string { return d.point }

func (d *Disk) current() *volume {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.volume
}

// set changes a switch of the volume.
func (d *Disk) set(change func(*volume)) {
	v := d.current()
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

// Cut ends the power: from here on everything on the mount fails with EIO, through handles that were opened before too. What
// was not synced is lost, but for what chance leaves of it (nothing, where chance is nil). Restore brings the rest back.
func (d *Disk) Cut(chance *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.volume = d.volume.cut(chance)
}

// Restore mounts what a cut has left.
func (d *Disk) Restore() error {
	if err := d.unmount(); err != nil {
		return err
	}
	return d.mount()
}

// Close unmounts the disk for good.
func (d *Disk) Close() error { return d.unmount() }

// unmount takes the mount away at once, even from under processes that still have handles: those get EIO from the volume.
func (d *Disk) unmount() error {
	if err := detach(d.point); err != nil {
		return fmt.Errorf("powerdisk: unmounting %s: %w", d.point, err)
	}
	return nil
}

// Sync makes everything durable, as the kernel does with what is old enough.
func (d *Disk) Sync() { d.set((*volume).syncAll) }

// Fill leaves so many bytes of space. What needs more fails with ENOSPC, a write after it wrote what there was space for.
func (d *Disk) Fill(left int64) { d.set(func(v *volume) { v.limit = v.used + left }) }

// Clear ends what Fill began.
func (d *Disk) Clear() { d.set(func(v *volume) { v.limit = math.MaxInt64 }) }

// FailSyncs lets the n-th fsync from now fail with EIO, and all after it where forGood is set. Zero ends that.
func (d *Disk) FailSyncs(n int, forGood bool) {
	d.set(func(v *volume) { v.failing, v.forGood = n, forGood })
}

// Slow lets every write, and every fsync (as well as every write that is one), take so much longer.
func (d *Disk) Slow(write, sync time.Duration) {
	d.delay.mu.Lock()
	defer d.delay.mu.Unlock()
	d.delay.write, d.delay.sync = write, sync
}

// Counters count since the disk was made.
type Counters struct {
	// Writes and Syncs are those that succeeded, FailedSyncs the fsyncs that FailSyncs let fail.
	Writes, Syncs, FailedSyncs int64
	// UnsyncedBytes and UnsyncedNames are what a cut would find unsynced now: contents in whole sectors, changes of names.
	UnsyncedBytes, UnsyncedNames int64
}

// Counters tells what was counted.
func (d *Disk) Counters() (c Counters) {
	d.set(func(v *volume) { c = v.counters() })
	return c
}
