package views

import (
	"context"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
)

// Progress tells how far a rebuild is.
type Progress struct {
	// Events is how many stored events were read, Of about how many there are, Invitations how many records were written.
	Events, Of, Invitations uint64
}

// rebuildWindow is how many events are added up before their records are written: nearly all events of an invitation
// stand close together, so most records are written once.
const rebuildWindow = 20000

// Rebuild fills Redis from the ledger, while the system runs if need be. tokens is called with every open invitation, so
// that its link can be indexed again.
func (v *Views) Rebuild(ctx context.Context, tokens func(context.Context, []invitation.Record) error, report func(Progress)) error {
	var p Progress
	for _, stream := range []string{events.StreamInvitations, events.StreamMemberships} {
		state, err := v.ledger.State(ctx, stream)
		if err != nil {
			return err
		}
		p.Of += state.Messages
	}
	for _, stream := range []string{events.StreamInvitations, events.StreamMemberships} {
		window := make([]ledger.Record, 0, rebuildWindow)
		for stored, err := range v.ledger.Scan(ctx, stream, "", 1) {
			if err != nil {
				return err
			}
			p.Events++
			if window = append(window, stored); len(window) == rebuildWindow {
				if err := v.rebuildWindow(ctx, window, tokens, &p); err != nil {
					return err
				}
				report(p)
				window = window[:0]
			}
		}
		if err := v.rebuildWindow(ctx, window, tokens, &p); err != nil {
			return err
		}
		report(p)
	}
	return nil
}

func (v *Views) rebuildWindow(ctx context.Context, window []ledger.Record, tokens func(context.Context, []invitation.Record) error, p *Progress) error {
	const chunk = 500
	now := v.ledger.Now()
	for org, records := range v.fold(window) {
		part := map[string]*invitation.Record{}
		var open []invitation.Record
		flush := func() error {
			p.Invitations += uint64(len(part))
			if err := v.merge(ctx, map[string]map[string]*invitation.Record{org: part}); err != nil {
				return err
			}
			failpoint.Here(failpoint.RebuildMerged)
			if err := tokens(ctx, open); err != nil {
				return err
			}
			part, open = map[string]*invitation.Record{}, nil
			return nil
		}
		for id, r := range records {
			part[id] = r
			if r.Request != nil && r.StatusAt(now) == invitation.Pending {
				open = append(open, *r)
			}
			if len(part) == chunk {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if err := flush(); err != nil {
			return err
		}
	}
	failpoint.Here(failpoint.RebuildWindow)
	return nil
}
