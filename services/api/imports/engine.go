package imports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
)

// Options of Open.
type Options struct {
	Ledger    *ledger.Ledger
	Roster    *roster.Roster
	Keys      *apikeys.Keys
	Admission *admission.Admission
	// Learned is told of new invitations, so that lists show them at once; it may be nil.
	Learned func(context.Context, ...invitation.Record)
	// Restless leaves out the rests that let everybody else go first. It is for tests.
	Restless bool
	// Source is the CloudEvents source of what the jobs publish.
	Source string
	Logger *slog.Logger
}

// Engine keeps jobs and works on them.
type Engine struct {
	Options
	self  string // this process among the holders of leases
	jobs  *ledger.Bucket
	pages *ledger.Bucket

	wake chan struct{} // something may have become possible

	mu      sync.Mutex
	known   map[string]Job
	changed chan struct{}        // closed, and made anew, with every change of a job
	turns   map[string]time.Time // organization to when it last had its turn in this process

	failures map[string]int // of the page that is next, by job; for Run alone
}

// Open reads the jobs and keeps them current until ctx ends.
func Open(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{
		Options: o, self: events.NewEventID(), wake: make(chan struct{}, 1),
		known: map[string]Job{}, changed: make(chan struct{}), turns: map[string]time.Time{}, failures: map[string]int{},
	}
	var err error
	if e.jobs, err = o.Ledger.Bucket(ctx, ledger.BucketImports); err != nil {
		return nil, err
	}
	if e.pages, err = o.Ledger.Bucket(ctx, ledger.BucketImportPages); err != nil {
		return nil, err
	}
	if err := e.jobs.Watch(ctx, e.seen); err != nil {
		return nil, fmt.Errorf("imports: %w", err)
	}
	return e, nil
}

// seen takes in an entry of the bucket.
func (e *Engine) seen(entry ledger.Entry) {
	var job Job
	if !entry.Deleted {
		var err error
		if job, err = decodeJob(entry); err != nil {
			e.Logger.Error("a bulk job cannot be read", "error", err)
			return
		}
	}
	e.mu.Lock()
	if entry.Deleted {
		delete(e.known, entry.Key)
	} else if entry.Revision > e.known[entry.Key].revision {
		e.known[entry.Key] = job
	}
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Changed is closed with the next change of any job.
func (e *Engine) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// List gives an organization's jobs, newest first. Those with rows of other organizations are among them only where may
// says that the reader manages those too.
func (e *Engine) List(org string, may func(org string) bool) []Job {
	e.mu.Lock()
	defer e.mu.Unlock()
	forgotten := e.Ledger.Now().Add(-KeptFor)
	if e.Ledger.Healthy() != nil { // by a wrong clock all of them may be old
		forgotten = time.Time{}
	}
	var found []Job
	for id, j := range e.known {
		switch {
		case j.ChangedAt.Before(forgotten): // the bucket drops what is old without a word
			delete(e.known, id)
		case j.Organization == org && j.State != uploading && !slices.ContainsFunc(j.Others, func(o string) bool { return !may(o) }):
			found = append(found, j.clone())
		}
	}
	slices.SortFunc(found, func(a, b Job) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return found
}

// Job gives a job that somebody may see: who manages the organizations it is about. To others it is not there.
func (e *Engine) Job(ctx context.Context, who Who, id string) (Job, error) {
	missing := problem.New(problem.NotFound, "There is no such import. Imports are kept for 30 days.")
	if !events.IsImportID(id) {
		return Job{}, missing
	}
	job, err := e.load(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && job.State == uploading {
		return Job{}, missing
	}
	if err != nil {
		return Job{}, err
	}
	for _, org := range append([]string{job.Organization}, job.Others...) {
		err := e.manages(ctx, who, org)
		if err != nil && problem.As(err).Code == problem.NotNow {
			return Job{}, err
		}
		if err != nil {
			return Job{}, missing
		}
	}
	return job, nil
}

// load reads a job from the bucket itself, or ledger.ErrNotFound.
func (e *Engine) load(ctx context.Context, id string) (Job, error) {
	entry, err := e.jobs.Get(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return decodeJob(entry)
}

// manages checks that somebody may invite to an organization, and so see and do what jobs see and do.
func (e *Engine) manages(ctx context.Context, who Who, org string) error {
	if _, err := e.key(who, org); err != nil {
		return err
	}
	if _, err := e.Roster.Organization(ctx, org); err != nil {
		return err
	}
	if who.Person == "" {
		return nil
	}
	m, ok, err := e.Roster.Authority(ctx, org, who.Person)
	if err != nil {
		return err
	}
	if !ok || !e.Roster.Roles().MayInvite(m.Role) {
		return problem.New(problem.NoAuthority, "Only owners and admins of the organization may do this.")
	}
	return nil
}

// key gives the API key somebody acts with, nil for a member themselves.
func (e *Engine) key(who Who, org string) (*apikeys.Key, error) {
	if who.Key == "" {
		if who.Person == "" {
			return nil, problem.New(problem.Forbidden, "Nobody is signed in.")
		}
		return nil, nil
	}
	key, ok := e.Keys.Find(who.Key)
	if !ok {
		return nil, problem.New(problem.Forbidden, "The API key does not work any more.")
	}
	if !key.May(org) {
		return nil, problem.New(problem.Forbidden, "This API key does not work for that organization.")
	}
	return &key, nil
}

// change changes a job as it is now, however often others change it meanwhile. What to returns an error for is not changed.
func (e *Engine) change(ctx context.Context, id string, to func(*Job) error) (Job, error) {
	for {
		job, err := e.load(ctx, id)
		if err != nil {
			return job, err
		}
		if err := to(&job); err != nil {
			return job, err
		}
		job.ChangedAt = e.Ledger.Now()
		stored, err := e.store(ctx, job)
		if !errors.Is(err, ledger.ErrConflict) {
			return stored, err
		}
	}
}

// store writes a job whose revision is still the one that was read; 0 for a new one.
func (e *Engine) store(ctx context.Context, job Job) (Job, error) {
	value, err := json.Marshal(job)
	if err != nil {
		return job, fmt.Errorf("import %s: %w", job.ID, err)
	}
	if job.revision == 0 {
		job.revision, err = e.jobs.Create(ctx, job.ID, value)
	} else {
		job.revision, err = e.jobs.Update(ctx, job.ID, value, job.revision)
	}
	if err == nil {
		e.seen(ledger.Entry{Key: job.ID, Value: value, Revision: job.revision})
	}
	return job, err
}

func pageKey(id string, n int) string { return fmt.Sprintf("%s.%d", id, n) }

// Page gives the n-th page of a job, counted from 0, or problem.NotFound.
func (e *Engine) Page(ctx context.Context, job Job, n int) (Page, error) {
	var page Page
	if n < 0 || n >= job.Pages {
		return page, problem.New(problem.NotFound, "The import has no such page.")
	}
	entry, err := e.pages.Get(ctx, pageKey(job.ID, n))
	if errors.Is(err, ledger.ErrNotFound) {
		return page, problem.New(problem.NotFound, "The rows are not kept any more.")
	}
	if err == nil {
		err = json.Unmarshal(entry.Value, &page)
	}
	return page, err
}

func (e *Engine) putPage(ctx context.Context, id string, n int, page Page) error {
	value, err := json.Marshal(page)
	if err == nil {
		_, err = e.pages.Put(ctx, pageKey(id, n), value)
	}
	if err != nil {
		return fmt.Errorf("import %s, page %d: %w", id, n, err)
	}
	return nil
}

// Start begins to invite the ready rows, in the name of whoever starts it.
func (e *Engine) Start(ctx context.Context, who Who, id string) (Job, error) {
	return e.turn(ctx, who, id, func(j *Job) error {
		if j.State != Ready {
			return wrongState("It cannot be started: it is %s.", j.State)
		}
		if j.Ready == 0 {
			return wrongState("No row of it can be invited.")
		}
		return e.run(j, who)
	})
}

// Resume goes on with a job that was paused or stopped, from then on in the name of whoever resumes it.
func (e *Engine) Resume(ctx context.Context, who Who, id string) (Job, error) {
	return e.turn(ctx, who, id, func(j *Job) error {
		if j.State != Paused && j.State != Stopped {
			return wrongState("It cannot be resumed: it is %s.", j.State)
		}
		return e.run(j, who)
	})
}

func (e *Engine) run(j *Job, who Who) error {
	now := e.Ledger.Now()
	if now.Sub(j.CreatedAt) > StartWithin {
		return wrongState("It was uploaded more than %d days ago; upload the file again.", int(StartWithin.Hours()/24))
	}
	if j.StartedAt.IsZero() {
		j.StartedAt = now
	}
	j.State, j.Reason, j.Inviter = Running, "", who
	return nil
}

// Pause stops a running job until it is resumed. When Pause returns, nobody more is invited.
func (e *Engine) Pause(ctx context.Context, who Who, id string) (Job, error) {
	job, err := e.turn(ctx, who, id, func(j *Job) error {
		if j.State != Running {
			return wrongState("It cannot be paused: it is %s.", j.State)
		}
		j.State = Paused
		return nil
	})
	if err != nil {
		return job, err
	}
	return e.settled(ctx, job)
}

// Cancel ends a job. When Cancel returns, nobody more is invited; who was, stays invited. The rows of a job that never
// began are deleted.
func (e *Engine) Cancel(ctx context.Context, who Who, id string) (Job, error) {
	job, err := e.turn(ctx, who, id, func(j *Job) error {
		if j.State.Ended() {
			return wrongState("It cannot be cancelled: it is %s.", j.State)
		}
		j.State, j.EndedAt = Cancelled, e.Ledger.Now()
		return nil
	})
	if err != nil {
		return job, err
	}
	if job.StartedAt.IsZero() {
		return job, e.pages.Drop(ctx, job.ID)
	}
	return e.settled(ctx, job)
}

func wrongState(format string, args ...any) error {
	return problem.New(problem.WrongState, format, args...)
}

// turn changes the state of a job for somebody who may.
func (e *Engine) turn(ctx context.Context, who Who, id string, to func(*Job) error) (Job, error) {
	if _, err := e.Job(ctx, who, id); err != nil {
		return Job{}, err
	}
	return e.change(ctx, id, to)
}

// settled waits until no process handles a page of the job any more.
func (e *Engine) settled(ctx context.Context, job Job) (Job, error) {
	for {
		changed := e.Changed()
		now, err := e.load(ctx, job.ID)
		if err != nil || !now.leased(e.Ledger.Now()) {
			return now, err
		}
		over := time.NewTimer(now.Lease.Until.Sub(e.Ledger.Now()))
		select {
		case <-changed:
		case <-over.C:
		case <-ctx.Done():
			over.Stop()
			return now, problem.Unavailable("The import", context.Cause(ctx))
		}
		over.Stop()
	}
}
