package powerdisk_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/faults/powerdisk"
)

// mount mounts a disk that ends with the test.
func mount(t *testing.T, names powerdisk.Names) *powerdisk.Disk {
	t.Helper()
	d, err := powerdisk.Mount(t.TempDir(), names)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// write writes a file without syncing it.
func write(t *testing.T, path, text string) *os.File {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.WriteString(text)
	require.NoError(t, err)
	return f
}

func sync(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func cut(t *testing.T, d *powerdisk.Disk) {
	t.Helper()
	d.Cut(nil)
	require.NoError(t, d.Restore())
}

func TestWhatWasNotSyncedIsGoneAfterACut(t *testing.T) {
	d := mount(t, powerdisk.Strict)
	write(t, filepath.Join(d.Path(), "forgotten"), "text")
	kept := write(t, filepath.Join(d.Path(), "kept"), "synced")
	require.NoError(t, kept.Sync())
	sync(t, d.Path())
	_, err := kept.WriteString(", and not")
	require.NoError(t, err)
	write(t, filepath.Join(d.Path(), "nameless"), "text").Sync()
	cut(t, d)

	text, err := os.ReadFile(filepath.Join(d.Path(), "kept"))
	require.NoError(t, err)
	require.Equal(t, "synced", string(text))
	_, err = os.Stat(filepath.Join(d.Path(), "nameless"))
	require.ErrorIs(t, err, fs.ErrNotExist, "the folder was not synced after it")
	forgotten, err := os.ReadFile(filepath.Join(d.Path(), "forgotten"))
	require.NoError(t, err, "its name was synced with the folder")
	require.Empty(t, forgotten)
}

func TestAJournalTakesTheNameOfASyncedFileAlong(t *testing.T) {
	d := mount(t, powerdisk.Journalled)
	require.NoError(t, os.Mkdir(filepath.Join(d.Path(), "folder"), 0o700))
	require.NoError(t, write(t, filepath.Join(d.Path(), "folder", "file"), "text").Sync())
	write(t, filepath.Join(d.Path(), "later"), "text")
	cut(t, d)
	text, err := os.ReadFile(filepath.Join(d.Path(), "folder", "file"))
	require.NoError(t, err)
	require.Equal(t, "text", string(text))
	_, err = os.Stat(filepath.Join(d.Path(), "later"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestEveryHandleFailsAfterACut(t *testing.T) {
	d := mount(t, powerdisk.Journalled)
	f := write(t, filepath.Join(d.Path(), "file"), "text")
	d.Cut(nil)
	_, err := f.WriteString("more")
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	_, err = os.Create(filepath.Join(d.Path(), "new"))
	require.ErrorIs(t, err, syscall.EIO)

	require.NoError(t, d.Restore())
	_, err = f.WriteString("more")
	require.ErrorIs(t, err, syscall.EIO, "a handle from before the cut writes to the disk after it")
	require.NoError(t, write(t, filepath.Join(d.Path(), "new"), "text").Sync())
}

func TestASynchronousWriteIsDurableWhenItReturns(t *testing.T) {
	for _, flag := range []int{syscall.O_SYNC, syscall.O_DSYNC} {
		d := mount(t, powerdisk.Journalled)
		path := filepath.Join(d.Path(), "file")
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|flag, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString("text")
		require.NoError(t, err)
		cut(t, d)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "text", string(text))
	}
}

func TestNothingIsLeftToSyncAfterAnFsync(t *testing.T) {
	d := mount(t, powerdisk.Journalled)
	f := write(t, filepath.Join(d.Path(), "file"), "text")
	require.Equal(t, powerdisk.Counters{Writes: 1, UnsyncedBytes: 512, UnsyncedNames: 1}, d.Counters())
	require.NoError(t, f.Sync())
	require.Equal(t, powerdisk.Counters{Writes: 1, Syncs: 1}, d.Counters())
}

// TestNoSectorIsTorn: a file that was cut to nothing and grew again is the old one or the new one, never half of each.
func TestNoSectorIsTorn(t *testing.T) {
	d, seen := mount(t, powerdisk.Journalled), map[string]bool{}
	for seed := range uint64(30) {
		f := write(t, filepath.Join(d.Path(), "file"), "xx")
		require.NoError(t, f.Sync())
		require.NoError(t, f.Truncate(0))
		require.NoError(t, f.Truncate(1))
		d.Cut(rand.New(rand.NewPCG(seed, 0)))
		require.NoError(t, d.Restore())
		text, err := os.ReadFile(filepath.Join(d.Path(), "file"))
		require.NoError(t, err)
		seen[string(text)] = true
	}
	require.Equal(t, map[string]bool{"xx": true, "\x00\x00": true, "x": true, "\x00": true}, seen)
}

func TestAfterASyncOfTheDiskNothingIsLost(t *testing.T) {
	d := mount(t, powerdisk.Strict)
	require.NoError(t, os.Mkdir(filepath.Join(d.Path(), "folder"), 0o700))
	write(t, filepath.Join(d.Path(), "folder", "file"), "text")
	d.Sync()
	cut(t, d)
	text, err := os.ReadFile(filepath.Join(d.Path(), "folder", "file"))
	require.NoError(t, err)
	require.Equal(t, "text", string(text))
}

// TestAJournalledFileGrowsUpToAnyOfItsSectors: what is appended is there from its beginning on, up to anywhere.
func TestAJournalledFileGrowsUpToAnyOfItsSectors(t *testing.T) {
	d, sizes := mount(t, powerdisk.Journalled), map[int]bool{}
	for seed := range uint64(60) {
		f := write(t, filepath.Join(d.Path(), "file"), strings.Repeat("-", 100))
		require.NoError(t, f.Sync())
		_, err := f.WriteString(strings.Repeat("+", 1500))
		require.NoError(t, err)
		d.Cut(rand.New(rand.NewPCG(seed, 0)))
		require.NoError(t, d.Restore())
		text, err := os.ReadFile(filepath.Join(d.Path(), "file"))
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("-", 100)+strings.Repeat("+", len(text)-100), string(text))
		sizes[len(text)] = true
	}
	require.Equal(t, map[int]bool{100: true, 512: true, 1024: true, 1536: true, 1600: true}, sizes)
}

// TestARenameOverAFileIsOneChange: with any luck there is the old file or the new one, and never none.
func TestARenameOverAFileIsOneChange(t *testing.T) {
	d := mount(t, powerdisk.Journalled)
	path, seen := filepath.Join(d.Path(), "file"), map[string]bool{}
	for seed := range uint64(30) {
		require.NoError(t, write(t, path, "old").Sync())
		require.NoError(t, write(t, path+".new", "new").Sync())
		require.NoError(t, os.Rename(path+".new", path))
		d.Cut(rand.New(rand.NewPCG(seed, 0)))
		require.NoError(t, d.Restore())
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		seen[string(text)] = true
	}
	require.Equal(t, map[string]bool{"old": true, "new": true}, seen)
}

func TestARenameBetweenFoldersIsOneChange(t *testing.T) {
	for _, synced := range []string{"from", "to"} {
		d := mount(t, powerdisk.Strict)
		for _, folder := range []string{"from", "to"} {
			require.NoError(t, os.Mkdir(filepath.Join(d.Path(), folder), 0o700))
		}
		sync(t, d.Path())
		require.NoError(t, write(t, filepath.Join(d.Path(), "from", "file"), "text").Sync())
		sync(t, filepath.Join(d.Path(), "from"))
		require.NoError(t, os.Rename(filepath.Join(d.Path(), "from", "file"), filepath.Join(d.Path(), "to", "file")))
		sync(t, filepath.Join(d.Path(), synced))
		cut(t, d)
		_, err := os.Stat(filepath.Join(d.Path(), "from", "file"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = os.Stat(filepath.Join(d.Path(), "to", "file"))
		require.NoError(t, err)
	}
}

func TestAFullDiskRefusesAndRecovers(t *testing.T) {
	d := mount(t, powerdisk.Journalled)
	f := write(t, filepath.Join(d.Path(), "file"), "text")
	d.Fill(4096)
	n, err := f.Write(make([]byte, 10000))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 8192-4, n, "what there is space for is written")
	_, err = os.Create(filepath.Join(d.Path(), "more"))
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = f.WriteAt([]byte("over"), 0)
	require.NoError(t, err, "what needs no space is written")
	var free syscall.Statfs_t
	require.NoError(t, syscall.Statfs(d.Path(), &free))
	require.Zero(t, free.Bavail)

	require.NoError(t, f.Truncate(4))
	_, err = f.WriteAt([]byte("more"), 4096)
	require.NoError(t, err, "what was let go is space again")
	d.Clear()
	_, err = f.Write(make([]byte, 10000))
	require.NoError(t, err)
}

// TestAFailedFsyncIsNotMadeGoodByALaterOne: Linux holds the pages for clean after an error.
func TestAFailedFsyncIsNotMadeGoodByALaterOne(t *testing.T) {
	d := mount(t, powerdisk.Journalled)
	f := write(t, filepath.Join(d.Path(), "file"), "text")
	d.FailSyncs(2, false)
	require.NoError(t, f.Sync())
	_, err := f.WriteAt([]byte("lost"), 0)
	require.NoError(t, err)
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	require.NoError(t, f.Sync())
	cut(t, d)
	text, err := os.ReadFile(filepath.Join(d.Path(), "file"))
	require.NoError(t, err)
	require.Equal(t, "text", string(text))
	require.Equal(t, int64(1), d.Counters().FailedSyncs)
}

func TestFsyncFailsForGoodUntilItIsMended(t *testing.T) {
	d := mount(t, powerdisk.Journalled)
	f := write(t, filepath.Join(d.Path(), "file"), "text")
	d.FailSyncs(1, true)
	for range 3 {
		require.ErrorIs(t, f.Sync(), syscall.EIO)
	}
	d.FailSyncs(0, false)
	require.NoError(t, f.Sync())
}

func TestASlowDiskIsSlow(t *testing.T) {
	d := mount(t, powerdisk.Journalled)
	f := write(t, filepath.Join(d.Path(), "file"), "")
	d.Slow(20*time.Millisecond, 50*time.Millisecond)
	began := time.Now()
	_, err := f.WriteString("text")
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond)
	require.NoError(t, f.Sync())
	require.GreaterOrEqual(t, time.Since(began), 70*time.Millisecond)
}

func TestTheSameSeedLeavesTheSame(t *testing.T) {
	left := func(seed uint64) string {
		d := mount(t, powerdisk.Journalled)
		f := write(t, filepath.Join(d.Path(), "file"), strings.Repeat("-", 20*512))
		require.NoError(t, f.Sync())
		_, err := f.WriteAt([]byte(strings.Repeat("+", 20*512)), 0)
		require.NoError(t, err)
		d.Cut(rand.New(rand.NewPCG(seed, 0)))
		require.NoError(t, d.Restore())
		text, err := os.ReadFile(filepath.Join(d.Path(), "file"))
		require.NoError(t, err)
		return string(text)
	}
	all := map[string]bool{}
	for seed := range uint64(10) {
		first, second := left(seed), left(seed)
		require.Equal(t, first, second)
		all[first] = true
	}
	require.Greater(t, len(all), 2, "chance has no part in it")
}

// TestNoOtherProcessServesTheDisk: a process that was started while a disk was mounted must not keep the mount alive, or what
// waits for it would wait for ever when its server is killed.
func TestNoOtherProcessServesTheDisk(t *testing.T) {
	mount(t, powerdisk.Journalled)
	open, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
	require.NoError(t, err)
	require.NotContains(t, string(open), "/dev/fuse")
}

func TestMountingWhereNothingCanBeMountedSaysSo(t *testing.T) {
	_, err := powerdisk.Mount(filepath.Join(t.TempDir(), "missing"), powerdisk.Journalled)
	require.Error(t, err)
	require.Contains(t, err.Error(), "powerdisk: mounting ")
	require.True(t, errors.Is(err, fs.ErrNotExist))
}
