package powerdisk

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// history is a disk of two flat folders as somebody would describe it who keeps every state that it ever had: a list of
// name tables, of which one is known to be durable, and for each file its contents when it was synced last.
type history struct {
	rules Names
	// tables are the names after each change, since the newest that is durable: path to file.
	tables []map[string]int
	// newest is the last table that concerns a file or a folder, counted from the first of all.
	newest  map[any]int
	dropped int // tables that were let go
	files   map[int]*contents
	last    int
}

type contents struct{ now, synced []byte }

func newHistory(rules Names) *history {
	return &history{rules: rules, tables: []map[string]int{{}}, newest: map[any]int{}, files: map[int]*contents{}}
}

func (h *history) now() map[string]int { return h.tables[len(h.tables)-1] }

func (h *history) change(about int, folders []string, change func(map[string]int)) {
	next := maps.Clone(h.now())
	change(next)
	h.tables = append(h.tables, next)
	at := h.dropped + len(h.tables) - 1
	h.newest[about] = at
	for _, f := range folders {
		h.newest[f] = at
	}
}

// durable makes the table with that number the oldest that a cut may leave.
func (h *history) durable(number int) {
	if drop := number - h.dropped; drop > 0 {
		h.tables, h.dropped = h.tables[drop:], number
	}
}

func (h *history) syncFile(file int) {
	c := h.files[file]
	if h.rules == Journalled {
		if len(c.now) != len(c.synced) {
			h.durable(h.dropped + len(h.tables) - 1)
		} else {
			h.durable(h.newest[file])
		}
	}
	c.synced = bytes.Clone(c.now)
}

func (h *history) write(file, offset int, data []byte) {
	c := h.files[file]
	if grow := offset + len(data) - len(c.now); grow > 0 {
		c.now = append(c.now, make([]byte, grow)...)
	}
	copy(c.now[offset:], data)
}

func sectorOf(b []byte, at int) string {
	if at*sector >= len(b) {
		return ""
	}
	return string(b[at*sector : min((at+1)*sector, len(b))])
}

// subject is the volume under test, driven by paths.
type subject struct {
	*volume
	folders map[string]*inode
}

func newSubject(t require.TestingT, rules Names) *subject {
	s := &subject{volume: newVolume(rules, func() time.Time { return time.Time{} }), folders: map[string]*inode{}}
	for _, f := range []string{"a", "b"} {
		_, errno := s.create(s.root, f, true, 0o755)
		require.Zero(t, errno)
	}
	require.Zero(t, s.sync(s.root))
	s.find(t)
	return s
}

func (s *subject) find(t require.TestingT) {
	for _, f := range []string{"a", "b"} {
		found, errno := s.lookup(s.root, f)
		require.Zero(t, errno)
		s.folders[f] = found
	}
}

func (s *subject) at(path string) (folder *inode, called string) {
	return s.folders[path[:1]], path[2:]
}

func (s *subject) file(t require.TestingT, path string) *inode {
	found, errno := s.lookup(s.at(path))
	require.Zero(t, errno, path)
	return found
}

// TestOnlyWhatWasSyncedSurvivesACut compares with a history: without chance a cut leaves exactly what was synced; with
// chance a table of names no older than the durable one, and in each file sectors as they were synced or as they are.
func TestOnlyWhatWasSyncedSurvivesACut(t *testing.T) {
	for rules, called := range map[Names]string{Journalled: "journalled", Strict: "strict"} {
		t.Run(called, rapid.MakeCheck(func(t *rapid.T) {
			r := &run{t: t, h: newHistory(rules), s: newSubject(t, rules)}
			t.Repeat(map[string]func(*rapid.T){
				"create": r.create, "write": r.write, "truncate": r.truncate, "rename": r.rename, "remove": r.remove,
				"sync": r.syncFile, "sync folder": r.syncFolder, "cut": r.cut, "": r.same,
			})
		}))
	}
}

type run struct {
	t *rapid.T
	h *history
	s *subject
}

var paths = []string{"a/1", "a/2", "b/1", "b/2"}

func (r *run) existing(t *rapid.T) string {
	all := slices.Sorted(maps.Keys(r.h.now()))
	if len(all) == 0 {
		t.Skip("there is no file")
	}
	return rapid.SampledFrom(all).Draw(t, "file")
}

func (r *run) create(t *rapid.T) {
	path := rapid.SampledFrom(paths).Draw(t, "path")
	folder, called := r.s.at(path)
	_, errno := r.s.volume.create(folder, called, false, 0o600)
	if _, taken := r.h.now()[path]; taken {
		require.Equal(t, syscall.EEXIST, errno)
		return
	}
	require.Zero(t, errno)
	r.h.last++
	file := r.h.last
	r.h.files[file] = &contents{}
	r.h.change(file, []string{path[:1]}, func(names map[string]int) { names[path] = file })
}

func (r *run) write(t *rapid.T) {
	path := r.existing(t)
	offset := rapid.IntRange(0, 3*sector).Draw(t, "offset")
	data := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(1, 2*sector).Draw(t, "length"))
	n, errno := r.s.volume.write(r.s.file(t, path), data, int64(offset))
	require.Zero(t, errno)
	require.Equal(t, len(data), n)
	r.h.write(r.h.now()[path], offset, data)
}

func (r *run) truncate(t *rapid.T) {
	path := r.existing(t)
	size := rapid.IntRange(0, 3*sector).Draw(t, "size")
	require.Zero(t, r.s.volume.truncate(r.s.file(t, path), int64(size)))
	c := r.h.files[r.h.now()[path]]
	c.now = slices.Clip(append(c.now, make([]byte, max(size-len(c.now), 0))...)[:size])
}

// rename keeps to one folder under the strict rules: there a rename between two ties their fsyncs together, which
// TestARenameBetweenFoldersIsOneChange looks at.
func (r *run) rename(t *rapid.T) {
	from, to := r.existing(t), rapid.SampledFrom(paths).Draw(t, "to")
	if from == to || r.h.rules == Strict && from[0] != to[0] {
		t.Skip("nothing to rename")
	}
	folder, called := r.s.at(from)
	target, as := r.s.at(to)
	require.Zero(t, r.s.volume.rename(folder, called, target, as))
	file := r.h.now()[from]
	r.h.change(file, []string{from[:1], to[:1]}, func(names map[string]int) {
		delete(names, from)
		names[to] = file
	})
}

func (r *run) remove(t *rapid.T) {
	path := r.existing(t)
	require.Zero(t, r.s.volume.remove(r.s.at(path)))
	r.h.change(r.h.now()[path], []string{path[:1]}, func(names map[string]int) { delete(names, path) })
}

func (r *run) syncFile(t *rapid.T) {
	path := r.existing(t)
	require.Zero(t, r.s.volume.sync(r.s.file(t, path)))
	r.h.syncFile(r.h.now()[path])
}

func (r *run) syncFolder(t *rapid.T) {
	folder := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "folder")
	require.Zero(t, r.s.volume.sync(r.s.folders[folder]))
	if r.h.rules == Journalled {
		r.h.durable(r.h.newest[folder])
		return
	}
	// The names in this folder are durable as they are now, in every state that a cut may still leave.
	now := r.h.now()
	for i, table := range r.h.tables {
		merged := maps.Clone(now)
		for _, path := range paths {
			if path[:1] == folder {
				continue
			}
			delete(merged, path)
			if file, ok := table[path]; ok {
				merged[path] = file
			}
		}
		r.h.tables[i] = merged
	}
}

// same requires that the volume shows what was done to it.
func (r *run) same(t *rapid.T) {
	require.Equal(t, describe(r.h.now(), func(file int) []byte { return r.h.files[file].now }), r.s.describe(t))
}

func describe(names map[string]int, contents func(int) []byte) map[string]string {
	all := map[string]string{}
	for path, file := range names {
		all[path] = string(contents(file))
	}
	return all
}

func (s *subject) describe(t require.TestingT) map[string]string {
	all := map[string]string{}
	for called, folder := range s.folders {
		names, inodes, errno := s.list(folder)
		require.Zero(t, errno)
		for i, n := range names {
			data := make([]byte, len(inodes[i].data))
			_, errno := s.read(inodes[i], data, 0)
			require.Zero(t, errno)
			all[called+"/"+n] = string(data)
		}
	}
	return all
}

func (r *run) cut(t *rapid.T) {
	var chance *rand.Rand
	if rapid.Bool().Draw(t, "chance") {
		chance = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	}
	dead := r.s.volume
	r.s.volume = dead.cut(chance)
	_, _, errno := dead.list(dead.root)
	require.Equal(t, syscall.EIO, errno, "the old volume lives")
	r.s.find(t)
	left := r.s.describe(t)
	if chance == nil {
		require.Equal(t, describe(r.h.tables[0], func(file int) []byte { return r.h.files[file].synced }), left)
	} else {
		r.h.allows(t, left)
	}
	r.h.restart(left)
}

// allows requires that the names are one of the tables, and every sector as it was synced or as it was when the power went.
func (h *history) allows(t require.TestingT, left map[string]string) {
	for _, table := range h.tables {
		if slices.Equal(slices.Sorted(maps.Keys(table)), slices.Sorted(maps.Keys(left))) && h.contentsAllowed(table, left) == "" {
			return
		}
	}
	why := ""
	for _, table := range h.tables {
		why += fmt.Sprintf("%v: %s\n", table, h.contentsAllowed(table, left))
	}
	require.Fail(t, "a cut left what never was", "%v is none of\n%s", slices.Sorted(maps.Keys(left)), why)
}

func (h *history) contentsAllowed(table map[string]int, left map[string]string) string {
	for path, file := range table {
		c := h.files[file]
		if n := len(left[path]); !h.sizeAllowed(c, n) {
			return fmt.Sprintf("%s is %d long, was %d and is %d", path, n, len(c.synced), len(c.now))
		}
		for at := 0; at*sector < len(left[path]); at++ {
			if got := sectorOf([]byte(left[path]), at); !h.sectorAllowed(c, at, got) {
				return fmt.Sprintf("sector %d of %s is %q", at, path, got)
			}
		}
	}
	return ""
}

func (h *history) sizeAllowed(c *contents, n int) bool {
	partly := h.rules == Journalled && n%sector == 0 && n > len(c.synced) && n < len(c.now)
	return n == len(c.synced) || n == len(c.now) || partly
}

// sectorAllowed tells whether a sector may hold that: what was synced or what it is now, filled with zeros or cut to the
// size. Where the strict rules let a file grow over what was not written there are zeros; a journal writes first.
func (h *history) sectorAllowed(c *contents, at int, got string) bool {
	candidates := []string{sectorOf(c.now, at)}
	if h.rules == Strict || at*sector+len(got) <= len(c.synced) {
		candidates = append(candidates, sectorOf(c.synced, at))
	}
	return slices.ContainsFunc(candidates, func(s string) bool {
		filled := s + string(make([]byte, max(len(got)-len(s), 0)))
		return filled[:len(got)] == got
	})
}

// restart goes on from what a cut has left, all of which is durable.
func (h *history) restart(left map[string]string) {
	*h = *newHistory(h.rules)
	for path, data := range left {
		h.last++
		h.files[h.last] = &contents{now: []byte(data), synced: []byte(data)}
		h.tables[0][path] = h.last
	}
}
