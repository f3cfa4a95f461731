// Package powerdisk is a disk that forgets what was not synced when its power is cut: a FUSE file system in memory, for the
// files of servers that say "stored" and must be held to it.
//
// A kill takes nothing from a process but itself: what it wrote is in the kernel's cache and reaches the disk later. Only a
// power cut tells apart what was written and what was synced, so here the cache and the platter are kept as two things.
//
// # What is durable
//
// A file's contents: after fsync or fdatasync of the file, by whatever handle; with O_SYNC or O_DSYNC, after the write
// returned. A new size, from a write or a truncation, is like contents. Of what was not synced, a cut leaves a subset that it
// draws: each sector of 512 bytes by itself is the new or the old one, never half of each. With Strict the size is the new or
// the old one, and a sector inside it that was never written is zeros. With Journalled a file that grew has grown up to any
// of its sectors, and what is in between was written: ext4 (data=ordered, its default) and XFS write contents first and the
// size after. Mode and times are not modelled: they are always durable.
//
// A name (created, removed, renamed; files and folders alike): after fsync as Names says. Changes of names are lost from the
// newest on, as from a journal: a cut draws how many of the newest are gone, and what is older stands. A rename, also over
// another file and between folders, is one change: after a cut it has happened or not. A file whose name is durable and whose
// contents are not is there after a cut, empty or with part of its contents; one whose contents are and whose name is not
// is gone.
//
// # A failed fsync
//
// FailSyncs lets an fsync fail as Linux does: the file's unsynced sectors are then held for clean and will not be written,
// by no later fsync either, though everybody still reads them. A later fsync succeeds and says nothing of them. Only who
// writes them again, or stops, is safe.
//
// # What is left out
//
// Links of either kind, extended attributes, fallocate and holes (EOPNOTSUPP), and everything about owners.
package powerdisk
