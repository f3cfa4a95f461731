package imports

import "context"

// Tidy is what the process does before every page.
func (e *Engine) Tidy(ctx context.Context) error { return e.tidy(ctx) }

// Halfway leaves a job as a process does that dies after it invited the first rows of the first page.
func (e *Engine) Halfway(ctx context.Context, who Who, job Job, rows int, state State) error {
	page, err := e.Page(ctx, job, 0)
	if err != nil {
		return err
	}
	job.Inviter = who
	if err := e.invite(ctx, job, &Page{First: page.First, Rows: page.Rows[:rows]}); err != nil {
		return err
	}
	_, err = e.change(ctx, job.ID, func(j *Job) error {
		j.State, j.Inviter, j.StartedAt = state, who, e.Ledger.Now()
		j.Lease = Lease{Holder: "somebody dead", Until: e.Ledger.Now().Add(leaseTime)}
		return nil
	})
	return err
}
