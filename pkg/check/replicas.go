package check

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
)

// mostDiffering is how many differing messages of one stream are named.
const mostDiffering = 100

// lookAtReplicas looks at the copies of each stream: whether they are there, and whether they hold the same.
func (l *look) lookAtReplicas(ctx context.Context) error {
	for _, stream := range []string{events.StreamRequests, events.StreamInvitations, events.StreamMemberships, events.StreamDeadLetters} {
		copies, err := l.Ledger.Replicas(ctx, stream)
		if err != nil {
			return err
		}
		l.checked["replicas"] += len(copies)
		var there []string
		for _, r := range copies {
			what := stream + " on " + r.Name
			switch {
			case r.Offline:
				l.tellOf("", "", ReplicaOffline, mending{}, what, "the copy of %s is not there", what)
				continue
			case !r.Current:
				l.tellOf("", "", ReplicaBehind, mending{}, what, "the copy of %s has fallen behind by %d messages", what, r.Lag)
				continue
			}
			there = append(there, r.Name)
		}
		if len(there) > 1 && !l.same[stream] {
			if err := l.compareCopies(ctx, stream, there); err != nil {
				return err
			}
		}
	}
	return nil
}

// held is what one copy holds: a hash for each message by sequence, and the sequence it begins at.
type held struct {
	first    uint64
	messages map[uint64]uint64
}

// compareCopies reads every copy of a stream whole. That is the most expensive part of a check, so once they were the
// same they are not read again.
func (l *look) compareCopies(ctx context.Context, stream string, servers []string) error {
	state, err := l.Ledger.State(ctx, stream)
	if err != nil || state.Messages == 0 {
		return err
	}
	copies := map[string]held{}
	for _, server := range servers {
		if copies[server], err = l.readCopy(ctx, stream, server, state.LastSequence); err != nil {
			return err
		}
	}
	differing := differences(copies)
	if l.same[stream] = len(differing) == 0; l.same[stream] {
		return nil
	}
	about, err := l.whose(ctx, stream, servers, state.LastSequence, differing)
	if err != nil {
		return err
	}
	for _, sequence := range slices.Sorted(maps.Keys(differing))[:min(len(differing), mostDiffering)] {
		l.tellOf(about[sequence][0], about[sequence][1], ReplicaDiffers, mending{}, stream+decimal(sequence),
			"%s: what is stored at sequence %d is not the same on %s", stream, sequence, strings.Join(differing[sequence], " and "))
	}
	return nil
}

// readCopy reads what one copy holds. Timers are left out: they go while the copies are read one after the other.
func (l *look) readCopy(ctx context.Context, stream, server string, until uint64) (held, error) {
	h := held{messages: map[uint64]uint64{}}
	err := l.Ledger.ScanCopy(ctx, stream, server, until, func(r ledger.Record) {
		if h.first == 0 {
			h.first = r.Sequence
		}
		if _, isTimer := r.DueAt(); !isTimer {
			h.messages[r.Sequence] = fingerprint(r)
		}
	})
	return h, err
}

// fingerprint tells one stored message from another.
func fingerprint(r ledger.Record) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(r.Subject)
	_, _ = h.WriteString(r.Time.UTC().String())
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		_, _ = h.WriteString(name + "\n" + strings.Join(r.Header[name], "\n"))
	}
	_, _ = h.Write(r.Data)
	return h.Sum64()
}

// differences gives the sequences at which not all copies hold the same, each with the servers that differ from the first
// by name. What stands before the latest beginning was forgotten by age, at each copy in its own time.
func differences(copies map[string]held) map[uint64][]string {
	servers := slices.Sorted(maps.Keys(copies))
	begin := uint64(0)
	all := map[uint64]struct{}{}
	for _, c := range copies {
		begin = max(begin, c.first)
		for sequence := range c.messages {
			all[sequence] = struct{}{}
		}
	}
	differing := map[uint64][]string{}
	for sequence := range all {
		for _, server := range servers[1:] {
			if sequence >= begin && copies[server].messages[sequence] != copies[servers[0]].messages[sequence] {
				differing[sequence] = append(differing[sequence], server)
			}
		}
		if len(differing[sequence]) > 0 {
			differing[sequence] = append([]string{servers[0]}, differing[sequence]...)
		}
	}
	return differing
}

// whose reads the copies once more and tells which invitations the differing messages are about: any copy may be the one
// that has a message still.
func (l *look) whose(ctx context.Context, stream string, servers []string, until uint64, differing map[uint64][]string) (map[uint64][2]string, error) {
	about := map[uint64][2]string{}
	for _, server := range servers {
		err := l.Ledger.ScanCopy(ctx, stream, server, until, func(r ledger.Record) {
			if len(differing[r.Sequence]) > 0 {
				org, id := invitationOf(r)
				about[r.Sequence] = [2]string{org, id}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return about, nil
}

// invitationOf tells which invitation a stored message is about, where it is about one.
func invitationOf(r ledger.Record) (org, id string) {
	if e, err := r.Event(); err == nil {
		if m, ok := e.Data.(*events.MembershipProvisioned); ok {
			return m.Organization, m.Invitation
		}
	}
	return named(r.Subject)
}
