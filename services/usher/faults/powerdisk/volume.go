package powerdisk

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// sector is the most that is written in one piece or not at all, in bytes.
	sector = 512
	// block is what space is given out in, in bytes.
	block = 4096
)

// Names is when a created, removed or renamed name is durable.
type Names int

const (
	// Journalled is what ext4 and XFS do: names are written to a journal, in order, and an fsync of a file or a folder takes
	// the journal along up to the newest change that concerns it, which for a file with a new size is all there is.
	Journalled Names = iota
	// Strict is what POSIX promises and no more: a name is durable after an fsync of its folder, and of the folders above it.
	Strict
)

// inode is a file or a folder.
type inode struct {
	number uint64
	mode   uint32 // permissions
	folder bool
	mtime  time.Time
	// gone is set with the last name: its space is free.
	gone bool

	// data is what readers see, stored what is on the platter, unsynced the sectors that differ.
	data, stored []byte
	unsynced     map[int64]struct{}

	// names is a folder's contents as readers see them, storedNames those on the platter.
	names, storedNames map[string]*inode
}

// change is one change of names, done or lost as a whole.
type change struct {
	sets []name
	// about is who was created, removed or renamed.
	about *inode
}

// name is what a name in a folder stands for from now on; nil for nothing.
type name struct {
	in   *inode
	name string
	is   *inode
}

func (c change) concerns(i *inode) bool {
	return c.about == i || slices.ContainsFunc(c.sets, func(n name) bool { return n.in == i })
}

// volume is the disk between two power cuts. Its methods answer as system calls do.
type volume struct {
	rules Names
	now   func() time.Time
	root  *inode

	mu   sync.Mutex
	dead bool // after the cut
	last uint64
	// pending are the changes of names that are not on the platter, oldest first.
	pending []change
	// used is how much space is taken, limit how much there is, in bytes.
	used, limit int64
	// failing is how many fsyncs from now one fails (0 for none), forGood whether all after it do.
	failing int
	forGood bool
	counts  Counters
}

func newVolume(rules Names, now func() time.Time) *volume {
	v := &volume{rules: rules, now: now, limit: math.MaxInt64}
	v.root = v.inode(true, 0o755)
	return v
}

// inode makes a file or a folder without a name. The caller holds the lock, or is alone.
func (v *volume) inode(folder bool, mode uint32) *inode {
	v.last++
	i := &inode{number: v.last, folder: folder, mode: mode & 0o7777, mtime: v.now(), unsynced: map[int64]struct{}{}}
	if folder {
		i.names, i.storedNames = map[string]*inode{}, map[string]*inode{}
	}
	return i
}

// do runs one operation alone; after the cut every one fails with EIO.
func (v *volume) do(operation func() syscall.Errno) syscall.Errno {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dead {
		return syscall.EIO
	}
	return operation()
}

func (v *volume) lookup(folder *inode, called string) (found *inode, errno syscall.Errno) {
	return found, v.do(func() syscall.Errno {
		if found = folder.names[called]; found == nil {
			return syscall.ENOENT
		}
		return 0
	})
}

// list gives a folder's names in order, and what they stand for.
func (v *volume) list(folder *inode) (names []string, inodes []*inode, errno syscall.Errno) {
	return names, inodes, v.do(func() syscall.Errno {
		names = slices.Sorted(maps.Keys(folder.names))
		for _, called := range names {
			inodes = append(inodes, folder.names[called])
		}
		return 0
	})
}

// create makes an empty file or folder. Where the name is taken it answers EEXIST, without space ENOSPC.
func (v *volume) create(in *inode, called string, folder bool, mode uint32) (made *inode, errno syscall.Errno) {
	return made, v.do(func() syscall.Errno {
		switch {
		case in.gone:
			return syscall.ENOENT
		case in.names[called] != nil:
			return syscall.EEXIST
		case v.limit-v.used < block:
			return syscall.ENOSPC
		}
		made = v.inode(folder, mode)
		v.change(change{about: made, sets: []name{{in, called, made}}})
		return 0
	})
}

// remove takes a file's or an empty folder's name away.
func (v *volume) remove(in *inode, called string) syscall.Errno {
	return v.do(func() syscall.Errno {
		found := in.names[called]
		switch {
		case found == nil:
			return syscall.ENOENT
		case len(found.names) > 0:
			return syscall.ENOTEMPTY
		}
		v.change(change{about: found, sets: []name{{in, called, nil}}})
		v.forget(found)
		return 0
	})
}

// rename moves a name, over a file or an empty folder that may stand there.
func (v *volume) rename(from *inode, old string, to *inode, called string) syscall.Errno {
	return v.do(func() syscall.Errno {
		moved, over := from.names[old], to.names[called]
		switch {
		case moved == nil:
			return syscall.ENOENT
		case moved == over:
			return 0
		case over != nil && len(over.names) > 0:
			return syscall.ENOTEMPTY
		}
		v.change(change{about: moved, sets: []name{{from, old, nil}, {to, called, moved}}})
		if over != nil {
			v.forget(over)
		}
		return 0
	})
}

func (v *volume) change(c change) {
	for _, n := range c.sets {
		n.set(n.in.names)
		n.in.mtime = v.now()
	}
	v.pending = append(v.pending, c)
}

func (n name) set(names map[string]*inode) {
	if n.is == nil {
		delete(names, n.name)
	} else {
		names[n.name] = n.is
	}
}

func (v *volume) forget(i *inode) {
	i.gone = true
	v.used -= blocks(int64(len(i.data)))
}

func blocks(size int64) int64 { return (size + block - 1) / block * block }

func (v *volume) read(i *inode, dest []byte, offset int64) (n int, errno syscall.Errno) {
	return n, v.do(func() syscall.Errno {
		if offset < int64(len(i.data)) {
			n = copy(dest, i.data[offset:])
		}
		return 0
	})
}

// write writes what there is space for, and returns how much that was: ENOSPC only where nothing was written.
func (v *volume) write(i *inode, data []byte, offset int64) (n int, errno syscall.Errno) {
	return n, v.do(func() syscall.Errno {
		end := min(offset+int64(len(data)), max(v.room(i), int64(len(i.data))))
		if end <= offset && len(data) > 0 {
			return syscall.ENOSPC
		}
		v.resize(i, max(end, int64(len(i.data))))
		n = copy(i.data[offset:end], data)
		i.touch(offset, end)
		i.mtime = v.now()
		v.counts.Writes++
		return 0
	})
}

// room is how large a file can grow with the space that is left.
func (v *volume) room(i *inode) int64 {
	if v.limit == math.MaxInt64 || i.gone {
		return math.MaxInt64
	}
	return blocks(int64(len(i.data))) + max(v.limit-v.used, 0)/block*block
}

// truncate changes a file's size.
func (v *volume) truncate(i *inode, size int64) syscall.Errno {
	return v.do(func() syscall.Errno {
		if size > v.room(i) {
			return syscall.ENOSPC
		}
		v.resize(i, size)
		i.mtime = v.now()
		return 0
	})
}

// resize changes a file's size and keeps account of the space. What is new is zeros.
func (v *volume) resize(i *inode, size int64) {
	old := int64(len(i.data))
	if !i.gone {
		v.used += blocks(size) - blocks(old)
	}
	if size <= old {
		clear(i.data[size:])
		i.data = i.data[:size]
		i.touch(size, old)
		return
	}
	i.data = slices.Grow(i.data, int(size-old))[:size]
	i.touch(old, size)
}

// touch marks what lies between two offsets as not synced.
func (i *inode) touch(from, to int64) {
	for s := from / sector; s*sector < to; s++ {
		i.unsynced[s] = struct{}{}
	}
}

// sync makes a file's contents, or a folder's names, durable.
func (v *volume) sync(i *inode) syscall.Errno {
	return v.do(func() syscall.Errno {
		if v.fails() {
			clear(i.unsynced) // held for clean, and never written
			return syscall.EIO
		}
		v.storeNames(i)
		i.storeContents()
		v.counts.Syncs++
		return 0
	})
}

// syncAll makes all of the volume durable. The caller holds the lock.
func (v *volume) syncAll() {
	v.storeOldest(len(v.pending))
	v.each((*inode).storeContents)
}

// each goes through all files and folders that have a name.
func (v *volume) each(visit func(*inode)) {
	var walk func(*inode)
	walk = func(i *inode) {
		visit(i)
		for _, in := range i.names {
			walk(in)
		}
	}
	walk(v.root)
}

func (i *inode) storeContents() {
	for s := range i.unsynced {
		i.store(s, len(i.data))
	}
	clear(i.unsynced)
	i.storeSize(len(i.data))
}

// fails tells whether it is this fsync's turn to fail.
func (v *volume) fails() bool {
	if v.failing == 0 {
		return false
	}
	if v.failing--; v.failing > 0 {
		return false
	}
	if v.forGood {
		v.failing = 1
	}
	v.counts.FailedSyncs++
	return true
}

// storeNames writes those changes of names that an fsync takes along.
func (v *volume) storeNames(i *inode) {
	switch {
	case v.rules == Journalled && len(i.data) != len(i.stored):
		v.storeOldest(len(v.pending))
	case v.rules == Journalled:
		for n := len(v.pending); n > 0; n-- {
			if v.pending[n-1].concerns(i) {
				v.storeOldest(n)
				return
			}
		}
	case i.folder:
		v.storeFolders(map[*inode]bool{i: true})
	}
}

// storeOldest writes the n oldest changes of names.
func (v *volume) storeOldest(n int) {
	for _, c := range v.pending[:n] {
		c.store()
	}
	v.pending = slices.Clone(v.pending[n:])
}

// storeFolders writes the changes in some folders, and in those with which a rename ties them together.
func (v *volume) storeFolders(folders map[*inode]bool) {
	for before := 0; before != len(folders); {
		before = len(folders)
		for _, c := range v.pending {
			if slices.ContainsFunc(c.sets, func(n name) bool { return folders[n.in] }) {
				for _, n := range c.sets {
					folders[n.in] = true
				}
			}
		}
	}
	v.pending = slices.DeleteFunc(v.pending, func(c change) bool {
		if !folders[c.sets[0].in] {
			return false
		}
		c.store()
		return true
	})
}

func (c change) store() {
	for _, n := range c.sets {
		n.set(n.in.storedNames)
	}
}

// store writes one sector of a file that is size long on the platter. What is behind the end of the data is zeros.
func (i *inode) store(s int64, size int) {
	from, to := int(s*sector), min(int((s+1)*sector), size)
	if from >= to {
		return
	}
	if len(i.stored) < to {
		i.stored = append(i.stored, make([]byte, to-len(i.stored))...)
	}
	clear(i.stored[from:to])
	if from < len(i.data) {
		copy(i.stored[from:to], i.data[from:])
	}
}

func (i *inode) storeSize(size int) {
	if size <= len(i.stored) {
		clear(i.stored[size:])
		i.stored = i.stored[:size]
		return
	}
	i.stored = append(i.stored, make([]byte, size-len(i.stored))...)
}

// cut ends the volume and gives the one that is found afterwards: what is on the platter, and of what was not synced what
// chance leaves. No chance leaves nothing of it.
func (v *volume) cut(chance *rand.Rand) *volume {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dead = true
	next := newVolume(v.rules, v.now)
	next.limit, next.failing, next.forGood, next.counts = v.limit, v.failing, v.forGood, v.counts
	if chance != nil {
		v.storeOldest(chance.IntN(len(v.pending) + 1))
	}
	left := survivors{chance: chance, next: next, made: map[*inode]*inode{v.root: next.root}}
	if chance != nil {
		left.share = [...]float64{0, 0.5, 0.9}[chance.IntN(3)]
	}
	left.fill(v.root, next.root)
	return next
}

// counters are the counts with what is unsynced now. The caller holds the lock.
func (v *volume) counters() Counters {
	c := v.counts
	c.UnsyncedNames = int64(len(v.pending))
	v.each(func(i *inode) { c.UnsyncedBytes += int64(len(i.unsynced)) * sector })
	return c
}

// survivors carries over what a cut leaves.
type survivors struct {
	chance *rand.Rand
	share  float64 // of the unsynced sectors
	next   *volume
	made   map[*inode]*inode
	grown  int // the size that a file had on the platter before the cut
}

func (s *survivors) fill(old, folder *inode) {
	for _, called := range slices.Sorted(maps.Keys(old.storedNames)) { // in order, so that a seed means the same each time
		was := old.storedNames[called]
		is := s.made[was]
		if is == nil {
			is = s.next.inode(was.folder, was.mode)
			s.made[was] = is
			s.contents(was, is)
			s.fill(was, is)
		}
		folder.names[called], folder.storedNames[called] = is, is
	}
}

func (s *survivors) contents(was, is *inode) {
	is.mtime = was.mtime
	if s.chance != nil {
		s.size(was)
		for _, at := range slices.Sorted(maps.Keys(was.unsynced)) {
			if s.appended(was, at) || s.chance.Float64() < s.share {
				was.store(at, len(was.stored))
			}
		}
	}
	is.data, is.stored = slices.Clone(was.stored), slices.Clone(was.stored)
	s.next.used += blocks(int64(len(is.data)))
}

// size draws what size a file has on the platter.
func (s *survivors) size(was *inode) {
	s.grown = len(was.stored)
	grows := len(was.data) > len(was.stored)
	if s.chance.Float64() >= s.share {
		return
	}
	if grows && s.next.rules == Journalled {
		first := len(was.stored) / sector
		written := s.chance.IntN((len(was.data)-1)/sector - first + 2)
		was.storeSize(max(min((first+written)*sector, len(was.data)), len(was.stored)))
		return
	}
	was.storeSize(len(was.data))
}

// appended tells whether a sector is in what a journal wrote before it let the file grow over it.
func (s *survivors) appended(was *inode, at int64) bool {
	end := min((at+1)*sector, int64(len(was.data)))
	return s.next.rules == Journalled && end > int64(s.grown) && end <= int64(len(was.stored))
}
