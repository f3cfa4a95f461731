package imports

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
)

// Bounds of a job.
const (
	// MaxRows is the most rows one file may have.
	MaxRows = 100_000
	// MaxBytes is the most bytes one file may have.
	MaxBytes = 64 << 20
	// maxOpen is the most jobs of one organization that have not ended.
	maxOpen = 20
	// maxOrganizations is how many organizations beside its own a job's rows may name.
	maxOrganizations = 20

	// StartWithin is how long a judgement stands: a job that is older is not started or resumed.
	StartWithin = 14 * 24 * time.Hour
	// KeptFor is how long a job and its rows can be looked at.
	KeptFor = 30 * 24 * time.Hour
)

// State is where a job stands.
type State string

// The states. A job begins ready, once its file was read.
const (
	uploading State = "uploading"
	// Ready: the rows were judged, and nobody was invited yet.
	Ready State = "ready"
	// Running: people are being invited.
	Running State = "running"
	// Paused: somebody stopped it for a while.
	Paused State = "paused"
	// Stopped: it cannot go on as it is; Reason says why. Somebody who may invite can resume it in their own name.
	Stopped State = "stopped"
	// Cancelled: somebody ended it before its end.
	Cancelled State = "cancelled"
	// Done: every row was handled.
	Done State = "done"
)

// Ended reports whether nothing more will happen.
func (s State) Ended() bool { return s == Cancelled || s == Done }

// Who acts: a member, a machine by its key, or a machine for a member.
type Who struct {
	// Email and Person are the member's, empty for a machine alone.
	Email  string `json:"email,omitempty"`
	Person string `json:"person,omitempty"`
	// Key is the id of the machine's API key, empty where the member acts themselves.
	Key string `json:"key,omitempty"`
}

// Job is one file of people to invite, and how far it got.
type Job struct {
	ID           string `json:"id"`
	Organization string `json:"organization"`
	// Others are the other organizations that its rows name.
	Others []string `json:"others,omitempty"`
	// Name is what people know it by, mostly the file's name.
	Name  string `json:"name"`
	State State  `json:"state"`
	// Reason says why it stopped.
	Reason string `json:"reason,omitempty"`
	// By uploaded it; Inviter started or resumed it last, and it invites in their name.
	By      Who `json:"by"`
	Inviter Who `json:"inviter,omitzero"`

	CreatedAt time.Time `json:"created_at"`
	ChangedAt time.Time `json:"changed_at"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`

	// Rows is how many rows the file has, Ready how many of them may be invited, Faults why the others may not, by code.
	Rows   int            `json:"rows"`
	Ready  int            `json:"ready"`
	Faults map[string]int `json:"faults,omitempty"`
	// Ignored are the headings of columns that mean nothing here.
	Ignored []string `json:"ignored,omitempty"`

	// Invited is how many people were invited, Refused how many were not after all, by code.
	Invited int            `json:"invited"`
	Refused map[string]int `json:"refused,omitempty"`

	// Pages is how many pages hold the rows; Next is the first that was not handled.
	Pages int `json:"pages"`
	Next  int `json:"next"`
	// Lease is held while a page is being handled.
	Lease Lease `json:"lease,omitzero"`
	// Digest is that of the file, and of what was said with it.
	Digest string `json:"digest,omitempty"`

	revision uint64
}

// Lease is one process's leave to handle a page of a job.
type Lease struct {
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
}

// Handled is how many of the Ready rows were handled.
func (j Job) Handled() int {
	n := j.Invited
	for _, refused := range j.Refused {
		n += refused
	}
	return n
}

// leased reports whether some process is handling a page.
func (j Job) leased(now time.Time) bool { return j.Lease.Holder != "" && now.Before(j.Lease.Until) }

// clone is a copy that shares nothing with j.
func (j Job) clone() Job {
	j.Faults, j.Refused = maps.Clone(j.Faults), maps.Clone(j.Refused)
	j.Others, j.Ignored = slices.Clone(j.Others), slices.Clone(j.Ignored)
	return j
}

func decodeJob(e ledger.Entry) (Job, error) {
	var j Job
	if err := json.Unmarshal(e.Value, &j); err != nil {
		return j, fmt.Errorf("import %s: %w", e.Key, err)
	}
	j.ID, j.revision = e.Key, e.Revision
	return j, nil
}

// Verdict is what became of a row.
type Verdict string

// The verdicts.
const (
	// RowReady may be invited, as things were when the file was read.
	RowReady Verdict = "ready"
	// RowFaulty cannot be invited; nobody tried.
	RowFaulty Verdict = "faulty"
	// RowInvited was invited.
	RowInvited Verdict = "invited"
	// RowRefused was ready and refused when it was sent.
	RowRefused Verdict = "refused"
)

// CodeDuplicate is the code of a row whose address stands earlier in the file. Other codes are those of problems.
const CodeDuplicate = "duplicate"

// Row is one row and what became of it.
type Row struct {
	Fields
	// Line is its line in the file.
	Line    int     `json:"line"`
	Verdict Verdict `json:"verdict"`
	// Code and Detail say why not, for machines and for people.
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Invitation is the one that was made, or that stands in the way.
	Invitation string `json:"invitation,omitempty"`
}

// in is the organization that the row is about.
func (r Row) in(job Job) string {
	if r.Organization != "" {
		return r.Organization
	}
	return job.Organization
}

// refuse writes down why a row is not invited.
func (r *Row) refuse(verdict Verdict, err error) {
	p := problem.As(err)
	r.Verdict, r.Code, r.Detail = verdict, string(p.Code), p.Detail
	if len(p.Fields) > 0 {
		r.Detail = sentences(p.Fields)
	}
	if events.IsInvitationID(p.Other) {
		r.Invitation = p.Other
	}
}

func sentences(fields []events.FieldError) string {
	s := ""
	for i, f := range fields {
		if i > 0 {
			s += " "
		}
		s += f.Location + ": " + strings.TrimSuffix(f.Message, ".") + "."
	}
	return s
}

// Page is a part of a job's rows that is kept, shown and sent together.
type Page struct {
	// First is the number of its first row, counted from 0.
	First int   `json:"first"`
	Rows  []Row `json:"rows"`
	// Sent is true once it was handled.
	Sent bool `json:"sent,omitempty"`
}

// ready is how many rows of the page may be invited.
func (p Page) ready() (n int) {
	for _, r := range p.Rows {
		if r.Verdict == RowReady {
			n++
		}
	}
	return n
}
