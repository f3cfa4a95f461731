package check

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/views"
)

// lookAtViews compares each organization's records and lists in Redis with the ledger and with each other.
func (l *look) lookAtViews(ctx context.Context) error {
	by := map[string][]*account{}
	for a := range l.everyone() {
		if a.record != nil {
			by[a.organization()] = append(by[a.organization()], a)
		}
	}
	orgs := map[string]bool{}
	for org := range by {
		orgs[org] = true
	}
	for org := range l.indexes {
		orgs[org] = true
	}
	for _, org := range slices.Sorted(maps.Keys(orgs)) {
		o := &overview{look: l, org: org, accounts: by[org], strangers: map[string]*account{}}
		for _, step := range []func(context.Context) error{o.records, o.lists, o.people, o.counts} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		o.missing()
	}
	return nil
}

// overview is the comparison of one organization's views.
type overview struct {
	*look
	org       string
	accounts  []*account
	strangers map[string]*account // records of invitations that the ledger does not know
}

// of finds the invitation of that id, as far as this organization knows one.
func (o *overview) of(id string) *account {
	if a := o.read.accounts[o.org+"."+id]; a != nil {
		return a
	}
	return o.strangers[id]
}

// records compares every record.
func (o *overview) records(ctx context.Context) error {
	for field, err := range o.Redis.EveryRecord(ctx, o.org) {
		if err != nil {
			return err
		}
		o.checked["views"]++
		a := o.read.accounts[o.org+"."+field.Name]
		have, unreadable := invitation.Decode(o.org, field.Name, []byte(field.Value))
		switch {
		case a == nil || a.record == nil:
			if err := o.stranger(ctx, field, &have); err != nil {
				return err
			}
			continue
		case unreadable != nil:
			o.tell(a, ViewUnreadable, o.rewriting(a, []byte(field.Value), nil), "", "its record in Redis cannot be read; it is to be written anew")
		case field.Value != string(a.record):
			if err := o.compare(ctx, a, &have, []byte(field.Value)); err != nil {
				return err
			}
		}
		o.place(a, &have)
	}
	return nil
}

// place notes where lists have to show a record.
func (o *overview) place(a *account, have *invitation.Record) {
	a.seen, a.enlisted, a.among, a.person = o.number, false, false, 0
	combo, score := views.Place(have)
	a.combo, a.score = o.read.same(combo), score
	if have.Request != nil && have.Request.Person != "" {
		a.person = maphash.String(seed, have.Request.Person)
	}
}

// stranger is about a record of an invitation that the ledger has nothing of.
func (o *overview) stranger(ctx context.Context, field redisdb.Field, have *invitation.Record) error {
	a := &account{name: o.org + "." + field.Name}
	o.strangers[field.Name] = a
	o.place(a, have)
	if lost, err := o.lost(ctx, have, &invitation.Record{}); err != nil || lost {
		if err == nil && !o.agedAway(have) {
			o.tell(a, ViewAhead, mending{}, "", "Redis has a record of it, and the ledger nothing: what the ledger had was deleted or lost")
		}
		return err
	}
	drop := mending{act: func(ctx context.Context) error { return o.Redis.DropRecord(ctx, o.org, field.Name, field.Value) }}
	o.tell(a, ViewUnknown, drop, "", "Redis has a record of it, and the ledger never heard of it; the record is to go")
	return nil
}

// agedAway reports whether the ledger has forgotten, by age, what a record tells of.
func (o *overview) agedAway(have *invitation.Record) bool {
	return max(have.Requested, have.DeadlineSeq, have.OutcomeSeq) < o.read.firstSequence
}

// lost reports whether a record tells of a message that the ledger has not, beyond what want tells of.
func (o *overview) lost(ctx context.Context, have, want *invitation.Record) (bool, error) {
	for _, pair := range [][2]uint64{
		{have.Requested, want.Requested}, {have.DeadlineSeq, want.DeadlineSeq}, {have.OutcomeSeq, want.OutcomeSeq}, {have.RenewalSeq, want.RenewalSeq},
	} {
		if pair[0] == 0 || pair[0] == pair[1] {
			continue
		}
		if gone, err := o.read.gone(ctx, pair[0]); err != nil || gone {
			return gone, err
		}
	}
	return false, nil
}

// compare tells in which way a record differs from what the ledger says.
func (o *overview) compare(ctx context.Context, a *account, have *invitation.Record, value []byte) error {
	want := a.fold()
	have.Correlation = want.Correlation // that of whichever event came first; it decides nothing
	if string(have.Encode()) == string(want.Encode()) {
		return nil
	}
	lost, err := o.lost(ctx, have, &want)
	if err != nil {
		return err
	}
	completed := *have
	completed.Merge(want)
	mend := o.rewriting(a, value, have)
	switch {
	case lost:
		o.tell(a, ViewAhead, mending{}, "", "its record in Redis tells of a message that the ledger does not have: that was deleted or lost")
	case string(completed.Encode()) != string(want.Encode()):
		o.tell(a, ViewWrong, mend, "", "its record in Redis says what the ledger does not; it is to be what the ledger says")
	case o.told(a):
		o.tell(a, ViewStale, mend, "", "its record in Redis lacks what the ledger says up to sequence %d; it is to be brought up to date", a.newest)
	}
	return nil
}

// told reports whether the views have been handed everything that is known of an invitation.
func (l *look) told(a *account) bool {
	return l.done(consumerViews, a.newest) && (a.joined == nil || l.done(consumerMemberships, a.joined.sequence))
}

// rewriting replaces a record by what the ledger says. old is the record that the value decodes to, nil for none.
func (o *overview) rewriting(a *account, value []byte, old *invitation.Record) mending {
	want := a.fold()
	c := redisdb.Change{ID: want.ID, Old: value, New: want.Encode()}
	c.NewCombo, c.Score = views.Place(&want)
	if old != nil {
		c.OldCombo, c.OldScore = views.Place(old)
	}
	if want.Request != nil {
		c.Person = want.Request.Person
	}
	return mending{change: &c}
}

// missing tells of what records and lists do not have.
func (o *overview) missing() {
	for _, a := range o.accounts {
		if a.seen != o.number {
			if o.told(a) {
				o.tell(a, ViewMissing, o.rewriting(a, nil, nil), "", "Redis has no record of it; it is to be written")
			}
			continue
		}
		if a.combo == "" {
			continue
		}
		if !a.enlisted {
			o.tell(a, IndexMissing, mending{act: func(ctx context.Context) error { return o.enlist(ctx, a) }}, "",
				"no list shows it; it belongs into %q", a.combo)
		}
		if a.person != 0 && !a.among {
			o.tell(a, PersonMissing, mending{act: func(ctx context.Context) error { return o.include(ctx, a) }}, "",
				"it is not among the invitations of its person; it belongs there")
		}
	}
}

// enlist puts a record, as it stands now, into its list.
func (o *overview) enlist(ctx context.Context, a *account) error {
	r, value, err := o.current(ctx, a)
	if err != nil || value == nil {
		return err
	}
	combo, score := views.Place(&r)
	return o.Redis.Enlist(ctx, o.org, redisdb.Entry{ID: a.invitation(), Score: score}, combo, value)
}

// include adds an invitation to those of its person.
func (o *overview) include(ctx context.Context, a *account) error {
	r, value, err := o.current(ctx, a)
	if err != nil || value == nil || r.Request == nil {
		return err
	}
	have, err := o.Redis.PersonInvitations(ctx, o.org, r.Request.Person)
	if err != nil || slices.Contains(have, a.invitation()) {
		return err
	}
	return o.Redis.SetPerson(ctx, o.org, r.Request.Person, strings.Join(have, " "), strings.Join(append(have, a.invitation()), " "))
}

// current reads a record as it stands; the value is nil where there is none that can be read.
func (o *overview) current(ctx context.Context, a *account) (invitation.Record, []byte, error) {
	values, err := o.Redis.Records(ctx, o.org, []string{a.invitation()})
	if err != nil || values[0] == nil {
		return invitation.Record{}, nil, err
	}
	r, err := invitation.Decode(o.org, a.invitation(), values[0])
	if err != nil {
		return r, nil, nil // it is written anew first, and listed with that
	}
	return r, values[0], nil
}

// indexesAtOnce is how many indexes are read in one round trip.
const indexesAtOnce = 32

// lists compares every index with the records.
func (o *overview) lists(ctx context.Context) error {
	listed, err := o.Redis.Listed(ctx, o.org)
	if err != nil {
		return err
	}
	all := maps.Clone(o.indexes[o.org])
	if all == nil {
		all = map[string]bool{}
	}
	for _, name := range listed {
		all[name] = true
	}
	for names := range slices.Chunk(slices.Sorted(maps.Keys(all)), indexesAtOnce) {
		indexes, err := o.Redis.Indexes(ctx, o.org, names)
		if err != nil {
			return err
		}
		for _, i := range indexes {
			o.list(i, slices.Contains(listed, i.Name))
		}
	}
	return nil
}

func (o *overview) list(i redisdb.Index, listed bool) {
	bucket, combo, ok := i.Parts()
	switch {
	case listed && len(i.Entries) == 0:
		strike := mending{act: func(ctx context.Context) error { return o.Redis.Strike(ctx, o.org, i.Name) }}
		o.tellOf(o.org, "", IndexEmpty, strike, i.Name, "lists are read from index %q, which is not there; it is to be taken off", i.Name)
	case !listed && len(i.Entries) > 0:
		announce := mending{act: func(ctx context.Context) error { return o.Redis.Announce(ctx, o.org, i) }}
		o.tellOf(o.org, "", IndexUnlisted, announce, i.Name, "no list is read from index %q, which has %d invitations; it is to be listed", i.Name, len(i.Entries))
	}
	for _, e := range i.Entries {
		o.checked["index_entries"]++
		a := o.of(e.ID)
		if ok && a != nil && a.seen == o.number && a.combo == combo && a.score == e.Score && redisdb.Bucket(e.Score) == bucket {
			a.enlisted = true
			continue
		}
		strike := mending{act: func(ctx context.Context) error { return o.Redis.Strike(ctx, o.org, i.Name, e) }}
		o.tellOf(o.org, e.ID, IndexOrphan, strike, i.Name, "the list %q shows it, where it does not belong; the entry is to go", i.Name)
	}
}

// people compares every person's invitations with the records.
func (o *overview) people(ctx context.Context) error {
	for field, err := range o.Redis.EveryPerson(ctx, o.org) {
		if err != nil {
			return err
		}
		o.checked["people"]++
		person := maphash.String(seed, field.Name)
		var right []string
		for _, id := range strings.Fields(field.Value) {
			if a := o.of(id); a != nil && a.seen == o.number && a.person == person {
				a.among = true
				right = append(right, id)
			}
		}
		o.others(field, right)
	}
	return nil
}

// others tells of the invitations among a person's that are not theirs.
func (o *overview) others(person redisdb.Field, right []string) {
	for _, id := range strings.Fields(person.Value) {
		if slices.Contains(right, id) {
			continue
		}
		set := mending{act: func(ctx context.Context) error {
			return o.Redis.SetPerson(ctx, o.org, person.Name, person.Value, strings.Join(right, " "))
		}}
		o.tellOf(o.org, id, PersonOrphan, set, person.Name, "it is among the invitations of a person whose it is not; it is to be taken out")
	}
}

// counts compares the counts with the indexes, both of one moment.
func (o *overview) counts(ctx context.Context) error {
	counted, held, err := o.Redis.Tally(ctx, o.org, false)
	if err != nil {
		return err
	}
	maps.DeleteFunc(held, func(_ string, n int) bool { return n == 0 })
	combos := maps.Clone(counted)
	maps.Copy(combos, held)
	for combo := range combos {
		o.checked["counts"]++
		if counted[combo] != held[combo] {
			o.tellOf(o.org, "", CountWrong, mending{counted: true}, combo, "the count of %q is %d, and there are %d", combo, counted[combo], held[combo])
		}
	}
	return nil
}
