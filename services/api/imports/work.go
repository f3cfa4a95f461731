package imports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
)

// Times of the work.
const (
	// leaseTime is how long a process that died keeps others from its job. Two that work on the same page at once do no
	// harm, so the lease may be short and clocks may differ.
	leaseTime = 10 * time.Second
	// pageTime is how long a page may take.
	pageTime = 8 * time.Second
	// maxBacklog is how many first mails may wait when a page is sent: a single invitation's mail stands behind no more
	// than these and a page.
	maxBacklog = pageRows
	// After each invitation comes a rest, at least as long as the invitation took and so that there are no more of them than
	// one every rowEvery: whoever invites a single person finds the ledger and the mailer free half of the time, and is at
	// most one invitation late. Batches would be quicker for the job and slower for everybody else: one holds the ledger as
	// long as ten publishes. "make bench" shows what single invitations notice (the scenario "import").
	rowEvery    = 2 * time.Millisecond
	longestRest = 100 * time.Millisecond
	// maxFailures is how often in a row a page may fail, on a ledger that could be reached, before its job is stopped.
	maxFailures = 10
	// again is how soon to look again at what gives no sign.
	again = 50 * time.Millisecond
	// worstPause is the longest pause after errors.
	worstPause = 30 * time.Second
	// tidyEvery is how often to look for what other processes left behind.
	tidyEvery = time.Second
)

// Run works on jobs, a page at a time, until ctx ends, and finishes the page that it is at. Every process of the service
// runs it.
func (e *Engine) Run(ctx context.Context) error {
	failures, rests := 0, 0
	for ctx.Err() == nil {
		worked, err := e.step(context.WithoutCancel(ctx))
		pause := tidyEvery
		switch {
		case err != nil:
			e.Logger.Warn("bulk jobs cannot be worked on now", "error", err)
			pause = min(time.Second<<min(failures, 5), worstPause)
			failures++
		case worked == rested:
			pause, failures = min(again<<min(rests, 5), tidyEvery), 0
			rests++
		case worked == sent:
			pause, failures = 0, 0
		}
		if worked != rested {
			rests = 0
		}
		e.pause(ctx, pause, worked == idle && err == nil)
	}
	return nil
}

// what a step came to
type step int

const (
	idle   step = iota // there is nothing to do
	rested             // others go first
	sent               // a page was handled
)

// pause waits; where nothing is to be done, until something changes.
func (e *Engine) pause(ctx context.Context, d time.Duration, interruptible bool) {
	over := time.NewTimer(d)
	defer over.Stop()
	wake := e.wake
	if !interruptible {
		wake = nil
	}
	select {
	case <-over.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// step handles one page of the organization whose turn it is.
func (e *Engine) step(ctx context.Context) (step, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	if err := e.tidy(ctx); err != nil {
		return idle, err
	}
	job, ok := e.next()
	if !ok {
		return idle, nil
	}
	waiting, err := e.Ledger.Backlog(ctx, events.StreamInvitations, ledger.ConsumerMailer)
	if err != nil {
		return idle, err
	}
	if waiting > maxBacklog {
		return rested, nil
	}
	job, err = e.claim(ctx, job.ID)
	if errors.Is(err, errTaken) {
		return rested, nil
	}
	if err != nil {
		return idle, err
	}
	failpoint.Here(failpoint.ImportClaimed)
	return sent, e.handle(ctx, job)
}

// next is the job that has waited longest of the organization that has waited longest, among those that nobody works on.
func (e *Engine) next() (Job, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.Ledger.Now()
	var best Job
	for _, j := range e.known {
		if j.State != Running || j.leased(now) {
			continue
		}
		if best.ID == "" || e.before(j, best) {
			best = j
		}
	}
	if best.ID != "" {
		e.turns[best.Organization] = now
	}
	return best, best.ID != ""
}

func (e *Engine) before(a, b Job) bool {
	if a.Organization != b.Organization {
		if first, second := e.turns[a.Organization], e.turns[b.Organization]; !first.Equal(second) {
			return first.Before(second)
		}
	}
	return a.ChangedAt.Before(b.ChangedAt)
}

// errTaken tells that a job has no page for this process.
var errTaken = errors.New("taken")

// claim takes the lease of a job's next page.
func (e *Engine) claim(ctx context.Context, id string) (Job, error) {
	job, err := e.change(ctx, id, func(j *Job) error {
		if j.State != Running || j.leased(e.Ledger.Now()) {
			return errTaken
		}
		j.Lease = Lease{Holder: e.self, Until: e.Ledger.Now().Add(leaseTime)}
		return nil
	})
	if errors.Is(err, ledger.ErrNotFound) {
		e.drop(id)
		return job, errTaken
	}
	return job, err
}

// drop takes a job that is gone out of memory.
func (e *Engine) drop(id string) { e.seen(ledger.Entry{Key: id, Deleted: true}) }

// handle sends the next page of a job and writes down what came of it. The invitations come first, then the page, then
// the job: after a crash in between, the page is sent again, which makes the same invitations.
func (e *Engine) handle(ctx context.Context, job Job) error {
	page, err := e.pageToSend(ctx, job)
	if err == nil && !page.Sent && page.ready() > 0 {
		err = e.send(ctx, job, &page)
	}
	var stop *stopped
	switch {
	case err == nil:
		delete(e.failures, job.ID)
		failpoint.Here(failpoint.ImportPageSent)
		return e.finish(ctx, job, page)
	case errors.As(err, &stop):
		return e.stop(ctx, job, stop.reason)
	}
	if e.failures[job.ID]++; e.failures[job.ID] >= maxFailures {
		delete(e.failures, job.ID)
		return errors.Join(err, e.stop(ctx, job, "It failed again and again, and others wait; resume it to try once more."))
	}
	_, releasing := e.change(ctx, job.ID, e.release)
	return errors.Join(err, ignore(releasing, errTaken))
}

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// stopped says why a job cannot go on.
type stopped struct{ reason string }

func (s *stopped) Error() string { return s.reason }

// pageToSend gives the next page, empty at the end, if the inviter may still invite.
func (e *Engine) pageToSend(ctx context.Context, job Job) (Page, error) {
	if job.Next >= job.Pages {
		return Page{Sent: true}, nil
	}
	if err := e.mayGoOn(e.manages(ctx, job.Inviter, job.Organization)); err != nil {
		return Page{}, err
	}
	page, err := e.Page(ctx, job, job.Next)
	if problem.Is(err, problem.NotFound) {
		return page, &stopped{"The rows are not kept any more; upload the file again."}
	}
	if broken := (*json.SyntaxError)(nil); errors.As(err, &broken) {
		return page, &stopped{"A page of it cannot be read; upload the file again."}
	}
	return page, err
}

// mayGoOn turns a refusal that is about the inviter, and so about every row, into a stop.
func (e *Engine) mayGoOn(err error) error {
	if err == nil {
		return nil
	}
	switch p := problem.As(err); p.Code {
	case problem.NoAuthority:
		return &stopped{"Who started it is not an owner or admin of the organization any more."}
	case problem.Forbidden, problem.UnknownOrganization:
		return &stopped{p.Detail}
	}
	return err
}

// rowID is the id of the invitation that a row becomes, always the same.
func rowID(job Job, page Page, i int) string {
	return events.DerivedInvitationID("import", job.ID, strconv.Itoa(page.First+i))
}

func (e *Engine) send(ctx context.Context, job Job, page *Page) error {
	if err := e.invite(ctx, job, page); err != nil {
		return err
	}
	failpoint.Here(failpoint.ImportInvited)
	page.Sent = true
	return e.putPage(ctx, job.ID, job.Next, *page)
}

// invite admits the ready rows of a page, one after the other. What was invited before, by a process that died since, is
// only looked up.
func (e *Engine) invite(ctx context.Context, job Job, page *Page) error {
	said, err := e.said(ctx, job, *page)
	if err != nil {
		return err
	}
	for i := range page.Rows {
		if page.Rows[i].Verdict != RowReady {
			continue
		}
		if said[rowID(job, *page, i)] {
			err = e.lookUp(ctx, job, *page, i)
		} else {
			err = e.inviteRow(ctx, job, page, i)
		}
		if err != nil {
			return err
		}
		failpoint.Here(failpoint.ImportRow)
	}
	return nil
}

// said finds the ready rows of a page whose invitations are there already.
func (e *Engine) said(ctx context.Context, job Job, page Page) (map[string]bool, error) {
	var subjects []string
	for i, row := range page.Rows {
		if row.Verdict == RowReady {
			subjects = append(subjects, events.InvitationSubject(row.in(job), rowID(job, page, i), events.FactRequested))
		}
	}
	found, err := e.Ledger.LastOf(ctx, events.StreamInvitations, subjects...)
	said := map[string]bool{}
	for _, stored := range found {
		_, id, _, _ := events.SplitInvitation(stored.Subject)
		said[id] = true
	}
	return said, err
}

func (e *Engine) inviteRow(ctx context.Context, job Job, page *Page, i int) error {
	row := &page.Rows[i]
	request, err := e.requestFor(job, *row, job.Inviter)
	if err := e.mayGoOn(err); err != nil {
		return err
	}
	request.ID, request.Unsaid = rowID(job, *page, i), true
	began := e.Ledger.Now()
	made, err := e.Admission.Admit(ctx, request)
	switch {
	case err == nil:
		row.Verdict, row.Invitation = RowInvited, made.ID
		if e.Learned != nil {
			e.Learned(ctx, made)
		}
	case problem.As(err).Code == problem.NotNow:
		return err
	case problem.Is(err, problem.NoAuthority) && row.Organization == "":
		return e.mayGoOn(err)
	default:
		row.refuse(RowRefused, err)
	}
	e.rest(ctx, e.Ledger.Now().Sub(began))
	return nil
}

// rest lets everybody else go first.
func (e *Engine) rest(ctx context.Context, worked time.Duration) {
	if e.Restless {
		return
	}
	over := time.NewTimer(min(max(rowEvery-worked, worked), longestRest))
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	}
}

// finish counts a page that was handled, and gives the lease back.
func (e *Engine) finish(ctx context.Context, job Job, page Page) error {
	_, err := e.change(ctx, job.ID, func(j *Job) error {
		if j.Next != job.Next { // another process, which took this one for dead, was quicker
			return e.release(j)
		}
		countPage(j, page)
		j.Next = min(j.Next+1, j.Pages)
		if j.Next == j.Pages && j.State == Running {
			j.State, j.EndedAt = Done, e.Ledger.Now()
		}
		j.Lease = Lease{}
		return nil
	})
	failpoint.Here(failpoint.ImportCounted)
	return ignore(err, errTaken)
}

func countPage(j *Job, page Page) {
	for _, row := range page.Rows {
		switch row.Verdict {
		case RowInvited:
			j.Invited++
		case RowRefused:
			if j.Refused == nil {
				j.Refused = map[string]int{}
			}
			j.Refused[row.Code]++
		case RowReady, RowFaulty:
		}
	}
}

// release gives the lease back, where it is this process's.
func (e *Engine) release(j *Job) error {
	if j.Lease.Holder != e.self {
		return errTaken
	}
	j.Lease = Lease{}
	return nil
}

// stop stops a job that cannot go on.
func (e *Engine) stop(ctx context.Context, job Job, reason string) error {
	_, err := e.change(ctx, job.ID, func(j *Job) error {
		if j.State == Running {
			j.State, j.Reason = Stopped, reason
		}
		return e.release(j)
	})
	return ignore(err, errTaken)
}

// tidy deals with what processes that died left behind: files that never arrived whole, and pages of cancelled jobs that
// may have been sent or not.
func (e *Engine) tidy(ctx context.Context) error {
	now := e.Ledger.Now()
	if err := e.Ledger.Healthy(); err != nil { // by a wrong clock every file may have been on its way for too long
		return err
	}
	var abandoned, halfway []Job
	e.mu.Lock()
	for _, j := range e.known {
		switch {
		case j.State == uploading && now.Sub(j.CreatedAt) > uploadTime+time.Minute:
			abandoned = append(abandoned, j.clone())
		case j.State == Cancelled && j.Lease.Holder != "" && !j.leased(now):
			halfway = append(halfway, j.clone())
		}
	}
	e.mu.Unlock()
	for _, j := range abandoned {
		if err := e.forget(ctx, j.ID); err != nil {
			return err
		}
		e.drop(j.ID)
	}
	for _, j := range halfway {
		if err := e.reconcile(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// reconcile looks up which rows of a page were invited before its process died, so that the report of a cancelled job is
// true, and sends nothing.
func (e *Engine) reconcile(ctx context.Context, job Job) error {
	page, err := e.Page(ctx, job, job.Next)
	if err != nil && !problem.Is(err, problem.NotFound) {
		return err
	}
	if err == nil && !page.Sent {
		for i := range page.Rows {
			if err := e.lookUp(ctx, job, page, i); err != nil {
				return err
			}
		}
		page.Sent = true
		if err := e.putPage(ctx, job.ID, job.Next, page); err != nil {
			return err
		}
	}
	_, err = e.change(ctx, job.ID, func(j *Job) error {
		if j.Next != job.Next || j.Lease != job.Lease {
			return errTaken
		}
		countPage(j, page)
		j.Next, j.Lease = min(j.Next+1, j.Pages), Lease{}
		return nil
	})
	return ignore(err, errTaken)
}

func (e *Engine) lookUp(ctx context.Context, job Job, page Page, i int) error {
	row := &page.Rows[i]
	if row.Verdict != RowReady {
		return nil
	}
	made, err := invitation.Load(ctx, e.Ledger, row.in(job), rowID(job, page, i))
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("import %s: %w", job.ID, err)
	}
	row.Verdict, row.Invitation = RowInvited, made.ID
	return nil
}
