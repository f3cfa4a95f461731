package powerdisk

import "syscall"

// detach takes a mount away from under those who have files open on it.
const detach = syscall.MNT_DETACH
