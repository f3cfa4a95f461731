package powerdisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// attach mounts a file system that is served on the handle it gives. The library can mount too, but leaves its handle open in
// every process that is started from here: they keep the mount alive when this process has gone, and whoever waits for an
// answer of it then waits for ever.
func attach(point string) (handle int, err error) {
	if handle, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return 0, missing(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,allow_other,default_permissions", handle, unix.S_IFDIR, os.Geteuid(), os.Getegid())
	if err := unix.Mount("powerdisk", point, "fuse.powerdisk", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		_ = unix.Close(handle)
		return 0, missing(err)
	}
	return handle, nil
}

// missing says what a machine lacks, where that is why a disk cannot be mounted.
func missing(err error) error {
	switch _, there := os.Stat("/dev/fuse"); {
	case errors.Is(there, os.ErrNotExist):
		return errors.New("there is no /dev/fuse: load the kernel's fuse module (modprobe fuse), and give it to a container (--device /dev/fuse)")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: it needs root, and in a container --device /dev/fuse --cap-add SYS_ADMIN", err)
	}
	return err
}

// calm has the kernel learn that nobody can poll on these files, by one system call that may block. Else Go's scheduler would
// ask with one that must not, for a file that this process serves itself.
func calm(point string) error {
	f, err := unix.Open(filepath.Join(point, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0) // the library answers for it
	if err != nil {
		return err
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(f), Events: unix.POLLIN}}, 0) // the answer is that it can't be done
	return unix.Close(f)
}

// detach takes a mount away, also from under those who have files open on it.
func detach(point string) error { return unix.Unmount(point, unix.MNT_DETACH) }
