package invitation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
)

// StateFacts are the facts that decide where an invitation stands.
var StateFacts = []string{events.FactRequested, events.FactResend, events.FactSent, "outcome.*"}

// Load reads an invitation from the ledger itself; ledger.ErrNotFound where there is none.
func Load(ctx context.Context, l *ledger.Ledger, org, id string) (Record, error) {
	return existing(load(ctx, l, org, id, StateFacts...))
}

// standingFacts are the facts that decide whether an invitation can be answered.
var standingFacts = []string{events.FactRequested, events.FactResend, "outcome.*"}

// Standing is Load without what is known of the mails: all that matters to an answer, for less than half the reading.
func Standing(ctx context.Context, l *ledger.Ledger, org, id string) (Record, error) {
	return existing(load(ctx, l, org, id, standingFacts...))
}

func existing(r Record, err error) (Record, error) {
	if err == nil && r.Request == nil && r.Outcome == "" {
		return r, ledger.ErrNotFound
	}
	return r, err
}

// Progress reads what came after the request: outcome, resends, mails, and the facts named beside them. The record has no
// Request.
func Progress(ctx context.Context, l *ledger.Ledger, org, id string, beside ...string) (Record, error) {
	return load(ctx, l, org, id, slices.Concat(StateFacts[1:], beside)...)
}

// WithRefusal adds whether the acceptance was refused for good, which Load leaves out.
func WithRefusal(ctx context.Context, l *ledger.Ledger, r Record) (Record, error) {
	refused, err := load(ctx, l, r.Organization, r.ID, events.FactRefused)
	if err == nil {
		r.Merge(refused)
	}
	return r, err
}

// WithRenewal adds whether the invitee asked for a new link, which Load leaves out.
func WithRenewal(ctx context.Context, l *ledger.Ledger, r Record) (Record, error) {
	asked, err := load(ctx, l, r.Organization, r.ID, events.FactRenewal)
	if err == nil {
		r.Merge(asked)
	}
	return r, err
}

func load(ctx context.Context, l *ledger.Ledger, org, id string, facts ...string) (Record, error) {
	r := Record{ID: id, Organization: org}
	records, err := l.Facts(ctx, org, id, facts...)
	if err != nil {
		return r, err
	}
	for _, stored := range records {
		e, err := stored.Event()
		if err != nil {
			return r, fmt.Errorf("invitation %s: sequence %d: %w", id, stored.Sequence, err)
		}
		r.Apply(e, stored.Sequence, stored.Time)
	}
	return r, nil
}

// Find reads an invitation of which only the id is known; ledger.ErrNotFound where there is none. What is no id at all is not
// looked for: as a part of a subject it could be a wildcard, and find somebody else's.
func Find(ctx context.Context, l *ledger.Ledger, id string) (Record, error) {
	if !events.IsInvitationID(id) {
		return Record{}, ledger.ErrNotFound
	}
	for _, fact := range []string{events.FactRequested, events.FactRejected} {
		stored, err := l.Last(ctx, events.StreamInvitations, events.InvitationSubject(events.AnyOrganization, id, fact))
		if err == nil {
			org, _, _, _ := events.SplitInvitation(stored.Subject)
			return Load(ctx, l, org, id)
		}
		if !errors.Is(err, ledger.ErrNotFound) {
			return Record{}, err
		}
	}
	return Record{}, ledger.ErrNotFound
}
