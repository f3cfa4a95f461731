// Package imports invites many people from one file of comma-separated values: it reads and judges the rows, keeps them,
// and sends them page by page, behind everybody else.
//
// A job and its rows are in the ledger's buckets before the upload is answered, so that any process of the service can go
// on with what another began. A job's work is done a page at a time, under a lease that keeps two processes from doing the
// same; that a page done twice invites nobody twice follows from the invitations' ids, which are derived from the job and
// the row.
package imports
