package redeem

import (
	"context"
	"errors"
	"slices"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/problem"
)

// OpenFor lists the invitations that are open for the owner of a verified address in all organizations, the one that ends
// first at the top. They are found by the claims that open invitations hold, which the ledger keeps by person.
func (r *Redeemer) OpenFor(ctx context.Context, email string) ([]Preview, error) {
	person, ok := r.person(email)
	if !ok {
		return nil, nil
	}
	claims, err := r.Ledger.LastOf(ctx, events.StreamInvitations, events.ClaimSubject(events.AnyOrganization, person))
	if err != nil {
		return nil, err
	}
	var open []Preview
	for _, claim := range claims {
		p, err := r.claimed(ctx, claim, person)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			return nil, err
		case p.Status == invitation.Pending:
			open = append(open, p)
		}
	}
	slices.SortFunc(open, func(a, b Preview) int { return a.Record.Deadline.Compare(b.Record.Deadline) })
	return open, nil
}

// claimed reads the invitation that holds a claim; ledger.ErrNotFound where its publisher died before it made one.
func (r *Redeemer) claimed(ctx context.Context, claim ledger.Record, person string) (Preview, error) {
	timer, err := claim.Event()
	if err != nil {
		return Preview{}, problem.Unavailable("The claim on that address", err)
	}
	org, _, _ := events.SplitClaim(claim.Subject)
	record, err := invitation.Standing(ctx, r.Ledger, org, timer.Subject)
	if err != nil {
		return Preview{}, err
	}
	if record.Request == nil || record.Request.Person != person {
		return Preview{}, ledger.ErrNotFound
	}
	return r.preview(ctx, record)
}

// Own shows one invitation of the owner of a verified address. It returns what Lookup returns, and problem.NotFound for
// somebody else's.
func (r *Redeemer) Own(ctx context.Context, id, email string) (Preview, error) {
	o, err := r.own(ctx, id, email)
	if err != nil {
		return Preview{}, err
	}
	p, err := r.preview(ctx, o.record)
	if err != nil {
		return Preview{}, err
	}
	if end := r.ended(o); end != nil {
		return p, end
	}
	return p, nil
}

// AcceptOwn is Accept for the owner of a verified address: by.Email is the right, and no link is needed.
func (r *Redeemer) AcceptOwn(ctx context.Context, id string, by By) (Success, error) {
	o, err := r.own(ctx, id, by.Email)
	if err != nil {
		return Success{}, err
	}
	return r.accept(ctx, o, by)
}

// DeclineOwn is Decline for the owner of a verified address.
func (r *Redeemer) DeclineOwn(ctx context.Context, id, email string) (Preview, error) {
	o, err := r.own(ctx, id, email)
	if err != nil {
		return Preview{}, err
	}
	return r.decline(ctx, o, "")
}

// own is open for who holds no link. Whether an invitation that is not theirs exists at all is not told.
func (r *Redeemer) own(ctx context.Context, id, email string) (opened, error) {
	missing := problem.New(problem.NotFound, "There is no such invitation.")
	person, ok := r.person(email)
	if !ok || !events.IsInvitationID(id) {
		return opened{}, missing
	}
	record, err := invitation.Find(ctx, r.Ledger, id)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return opened{}, missing
	case err != nil:
		return opened{}, err
	case record.Request == nil || record.Request.Person != person:
		return opened{}, missing
	}
	if record.Outcome == invitation.Accepted {
		if record, err = invitation.WithRefusal(ctx, r.Ledger, record); err != nil {
			return opened{}, err
		}
	}
	return opened{record: record, claim: links.Claim{Invitation: id, Generation: record.Generation}}, nil
}
