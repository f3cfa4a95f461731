package powerdisk_test

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"github.com/usherhq/usher/services/usher/faults/powerdisk"
)

// TestTheDiskBehavesAsPOSIXSays runs those of go-fuse's own conformance tests that are about what this disk has.
func TestTheDiskBehavesAsPOSIXSays(t *testing.T) {
	for _, name := range []string{
		"AppendWrite", "DirectIO", "DirSeek", "FdLeak", "FileBasic", "FileLarge", "FstatDeleted", "MkdirRmdir", "NlinkZero", "OpenAt",
		"ParallelFileOpen", "ReadDirBasic", "ReadDirConsistency", "RenameOpenDir", "RenameOverwriteDestExist",
		"RenameOverwriteDestNoExist", "TruncateFile", "TruncateNoFile",
	} {
		t.Run(name, func(t *testing.T) { posixtest.All[name](t, mount(t, powerdisk.Journalled).Path()) })
	}
}
