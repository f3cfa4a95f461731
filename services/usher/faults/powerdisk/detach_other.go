//go:build !linux

package powerdisk

// detach is nothing where there is no /dev/fuse: Mount says so first.
const detach = 0
