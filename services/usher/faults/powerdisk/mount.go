package powerdisk

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// mount serves the volume at the disk's place. The kernel may keep what it has read for as long as the mount is there: nobody
// else changes it, and after a cut there is a new mount.
func (d *Disk) mount() error {
	handle, err := attach(d.point)
	if err == nil {
		keep := time.Hour
		_, err = fs.Mount(fmt.Sprintf("/dev/fd/%d", handle), &node{disk: d, volume: d.volume, inode: d.volume.root}, &fs.Options{
			EntryTimeout: &keep, AttrTimeout: &keep, RootStableAttr: &fs.StableAttr{Ino: d.volume.root.number},
			MountOptions: fuse.MountOptions{DisableXAttrs: true, MaxWrite: 1 << 20},
		})
	}
	if err == nil {
		err = calm(d.point)
	}
	if err != nil {
		return fmt.Errorf("powerdisk: mounting %s: %w", d.point, err)
	}
	return nil
}

// node is what the kernel knows of an inode. It hands everything on to the volume that it was mounted with.
type node struct {
	fs.Inode
	disk   *Disk
	volume *volume
	inode  *inode
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeFlusher   = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

func (n *node) Lookup(ctx context.Context, called string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	found, errno := n.volume.lookup(n.inode, called)
	if errno != 0 {
		return nil, errno
	}
	return n.child(ctx, found, out)
}

// child gives the kernel a node for an inode.
func (n *node) child(ctx context.Context, i *inode, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	errno := n.volume.attributes(i, &out.Attr)
	made := &node{disk: n.disk, volume: n.volume, inode: i}
	return n.NewInode(ctx, made, fs.StableAttr{Mode: i.kind(), Ino: i.number}), errno
}

func (i *inode) kind() uint32 {
	if i.folder {
		return syscall.S_IFDIR
	}
	return syscall.S_IFREG
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	names, inodes, errno := n.volume.list(n.inode)
	entries := make([]fuse.DirEntry, len(names))
	for at, i := range inodes {
		entries[at] = fuse.DirEntry{Name: names[at], Mode: i.kind(), Ino: i.number}
	}
	return fs.NewListDirStream(entries), errno
}

func (n *node) Create(ctx context.Context, called string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	made, errno := n.volume.create(n.inode, called, false, mode)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	child, errno := n.child(ctx, made, out)
	return child, nil, fuse.FOPEN_KEEP_CACHE, errno
}

func (n *node) Mkdir(ctx context.Context, called string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	made, errno := n.volume.create(n.inode, called, true, mode)
	if errno != 0 {
		return nil, errno
	}
	return n.child(ctx, made, out)
}

func (n *node) Unlink(_ context.Context, called string) syscall.Errno {
	return n.volume.remove(n.inode, called)
}

func (n *node) Rmdir(_ context.Context, called string) syscall.Errno {
	return n.volume.remove(n.inode, called)
}

// renameNoReplace is the one flag of renameat2 that is taken; package syscall does not name it.
const renameNoReplace = 1

func (n *node) Rename(_ context.Context, old string, to fs.InodeEmbedder, called string, flags uint32) syscall.Errno {
	if flags&^renameNoReplace != 0 {
		return syscall.EINVAL
	}
	folder := to.(*node).inode
	if flags == renameNoReplace {
		if _, errno := n.volume.lookup(folder, called); errno != syscall.ENOENT {
			return syscall.EEXIST
		}
	}
	return n.volume.rename(n.inode, old, folder, called)
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	errno := syscall.Errno(0)
	if flags&syscall.O_TRUNC != 0 {
		errno = n.volume.truncate(n.inode, 0)
	}
	return nil, fuse.FOPEN_KEEP_CACHE, errno
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	read, errno := n.volume.read(n.inode, dest, offset)
	return fuse.ReadResultData(dest[:read]), errno
}

// Write writes to the cache. Of files that were opened with O_SYNC or O_DSYNC the kernel asks for an fsync after each.
func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, offset int64) (uint32, syscall.Errno) {
	delay, _ := n.disk.delay.get()
	time.Sleep(delay)
	written, errno := n.volume.write(n.inode, data, offset)
	return uint32(written), errno
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	_, delay := n.disk.delay.get()
	time.Sleep(delay)
	return n.volume.sync(n.inode)
}

// Flush is a close: it makes nothing durable, and says nothing of what was lost.
func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.volume.attributes(n.inode, &out.Attr)
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if errno := n.volume.truncate(n.inode, int64(size)); errno != 0 {
			return errno
		}
	}
	mode, changed := in.GetMode()
	mtime, touched := in.GetMTime()
	errno := n.volume.do(func() syscall.Errno {
		if changed {
			n.inode.mode = mode & 0o7777
		}
		if touched {
			n.inode.mtime = mtime
		}
		return 0
	})
	if errno != 0 {
		return errno
	}
	return n.volume.attributes(n.inode, &out.Attr)
}

// attributes fills in what stat shows.
func (v *volume) attributes(i *inode, out *fuse.Attr) syscall.Errno {
	return v.do(func() syscall.Errno {
		out.Ino, out.Mode, out.Nlink = i.number, i.kind()|i.mode, 1
		if i.gone {
			out.Nlink = 0
		}
		out.Size, out.Blksize = uint64(len(i.data)), block
		out.Blocks = uint64(blocks(int64(len(i.data))) / sector)
		out.SetTimes(&i.mtime, &i.mtime, &i.mtime)
		return 0
	})
}

// size is what a disk without a limit says it has.
const size = 1 << 40

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	v := n.volume
	return v.do(func() syscall.Errno {
		limit := min(v.limit, size)
		out.Bsize, out.Frsize, out.NameLen = block, block, 255
		out.Blocks, out.Bfree = uint64(limit/block), uint64(max(limit-v.used, 0)/block)
		out.Bavail, out.Files, out.Ffree = out.Bfree, 1<<20, 1<<20
		return 0
	})
}
