// Package views keeps the read side in Redis: every invitation's record, and the indexes that lists are read from.
// It is built from the streams, in any order and any number of times, and can be thrown away.
package views

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/coalesce"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redisdb"
)

// Views reads and writes the read side.
type Views struct {
	db     *redisdb.DB
	ledger *ledger.Ledger
	log    *slog.Logger
	own    *coalesce.Batcher[invitation.Record, struct{}]
	seen   recent
	events *prometheus.CounterVec
}

// New prepares the views; Run keeps them current.
func New(db *redisdb.DB, l *ledger.Ledger, log *slog.Logger, metrics prometheus.Registerer) *Views {
	v := &Views{db: db, ledger: l, log: log, events: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "usher_events_total", Help: "Events that the views took in, by type; one that comes again counts again.",
	}, []string{"type"})}
	for _, t := range events.Types() { // so that a rate is there from the first event on
		v.events.WithLabelValues(string(t))
	}
	metrics.MustRegister(v.events)
	v.own = coalesce.New(coalesce.Options[invitation.Record]{Limit: 256}, v.learn)
	return v
}

// Close lets writes that were begun finish.
func (v *Views) Close() { v.own.Close() }

// invitationFacts are the facts that change a record; timers do not.
var invitationFacts = []string{
	events.FactRequested, events.FactSent, events.FactResend, events.FactReminded, events.FactRefused, events.FactOpened, events.FactRenewal, "delivery.*", "outcome.*",
}

func invitationFilters() []string {
	filters := make([]string, len(invitationFacts))
	for i, fact := range invitationFacts {
		filters[i] = events.InvitationSubject(events.AnyOrganization, "*", fact)
	}
	return filters
}

// How the streams are followed. What a process published itself it has learned, so the events can wait for a moment: then
// Learn was there first and little is done twice, and the rest goes to Redis in batches even when little happens.
const (
	followed = 1000 // events at once
	linger   = 50 * time.Millisecond
)

// Run follows the streams until ctx ends. Processes that run it at the same time share the work.
func (v *Views) Run(ctx context.Context) error {
	done := make(chan error, 2)
	follow := func(stream, durable string, filters ...string) {
		done <- v.ledger.Follow(ctx, ledger.Following{
			Stream: stream, Durable: durable, Filters: filters, Batch: followed, Linger: linger,
		}, v.Apply)
	}
	go follow(events.StreamInvitations, "views", invitationFilters()...)
	go follow(events.StreamMemberships, "views-memberships", events.RootMemberships+".>")
	return errors.Join(<-done, <-done)
}

// Apply takes in stored events of either stream.
func (v *Views) Apply(ctx context.Context, stored []ledger.Record) error {
	failpoint.Here(failpoint.ViewsReceived)
	fresh := stored[:0:0]
	for _, s := range stored {
		if strings.HasPrefix(s.Subject, events.RootInvitations) && v.seen.has(s.Sequence) {
			t, _ := events.TypeOfSubject(s.Subject)
			v.events.WithLabelValues(string(t)).Inc()
			continue
		}
		fresh = append(fresh, s)
	}
	return v.merge(ctx, v.fold(fresh))
}

// fold adds events up to partial records, by organization.
func (v *Views) fold(stored []ledger.Record) map[string]map[string]*invitation.Record {
	partial := map[string]map[string]*invitation.Record{}
	for _, s := range stored {
		if !tells(s.Subject) {
			continue
		}
		e, err := s.Event()
		if err != nil { // an event of a newer version, or damage: the others go on
			v.log.Error("an event cannot be read and is left out of the views", "subject", s.Subject, "sequence", s.Sequence, "error", err)
			continue
		}
		v.events.WithLabelValues(string(e.Type)).Inc()
		org, id, ok := about(s.Subject, e)
		if !ok {
			continue
		}
		r := partial[org][id]
		if r == nil {
			r = &invitation.Record{ID: id, Organization: org}
			if partial[org] == nil {
				partial[org] = map[string]*invitation.Record{}
			}
			partial[org][id] = r
		}
		r.Apply(e, s.Sequence, s.Time)
	}
	return partial
}

// about tells which invitation an event is about.
func about(subject string, e events.Event) (org, id string, ok bool) {
	if m, isMembership := e.Data.(*events.MembershipProvisioned); isMembership {
		return m.Organization, m.Invitation, m.Invitation != ""
	}
	org, id, _, ok = events.SplitInvitation(subject)
	return org, id, ok
}

// tells reports whether what is on a subject changes a record: timers, which a rebuild meets, do not.
func tells(subject string) bool {
	if !strings.HasPrefix(subject, events.RootInvitations+".") {
		return true
	}
	_, _, fact, ok := events.SplitInvitation(subject)
	return ok && !strings.HasPrefix(fact, "timer.") && !strings.HasPrefix(fact, "due.")
}

// merge adds partial records to what Redis has, by compare and set: whoever is second reads again.
func (v *Views) merge(ctx context.Context, partial map[string]map[string]*invitation.Record) error {
	for org, records := range partial {
		for len(records) > 0 {
			left, err := v.mergeOnce(ctx, org, records)
			if err != nil {
				return err
			}
			records = left
		}
	}
	return nil
}

func (v *Views) mergeOnce(ctx context.Context, org string, records map[string]*invitation.Record) (left map[string]*invitation.Record, err error) {
	ids := make([]string, 0, len(records))
	for id := range records {
		ids = append(ids, id)
	}
	have, err := v.db.Records(ctx, org, ids)
	if err != nil {
		return nil, err
	}
	failpoint.Here(failpoint.ViewsRead)
	var changes []redisdb.Change
	for i, id := range ids {
		if change, same := v.change(org, id, have[i], records[id]); !same {
			changes = append(changes, change)
		}
	}
	conflicts, err := v.db.Apply(ctx, org, changes)
	if err != nil {
		return nil, err
	}
	failpoint.Here(failpoint.ViewsApplied)
	left = map[string]*invitation.Record{}
	for _, i := range conflicts {
		left[changes[i].ID] = records[changes[i].ID]
	}
	return left, nil
}

func (v *Views) change(org, id string, old []byte, add *invitation.Record) (redisdb.Change, bool) {
	r := invitation.Record{ID: id, Organization: org}
	if old != nil {
		var err error
		if r, err = invitation.Decode(org, id, old); err != nil { // garbage in Redis is written over: the ledger can fill it again
			v.log.Error("a record in Redis cannot be read and is written anew", "invitation", id, "error", err)
		}
	}
	before := combo(&r)
	if old == nil {
		r = *add
	} else {
		r.Merge(*add)
	}
	now := r.Encode()
	c := redisdb.Change{ID: id, Old: old, New: now, OldCombo: before, NewCombo: combo(&r), Score: listed(&r)}
	if r.Request != nil {
		c.Person = r.Request.Person
	}
	return c, string(now) == string(old)
}

// Place tells where lists show a record: in the index of that combo, at that score; in none where the combo is empty.
func Place(r *invitation.Record) (string, uint64) { return combo(r), listed(r) }

// listed is the place of a record in lists: the sequence of what made it.
func listed(r *invitation.Record) uint64 {
	if r.Requested != 0 {
		return r.Requested
	}
	return r.OutcomeSeq // a rejected request never entered otherwise
}

// combo is the one index entry a record has: its status, delivery and role. A record whose request was not seen yet is in
// no index.
func combo(r *invitation.Record) string {
	switch {
	case r.Request != nil:
		status := r.Outcome
		if status == "" {
			status = invitation.Pending
		}
		return join(status, r.DeliveryState(), r.Request.Role)
	case r.Outcome == invitation.Rejected:
		return join(r.Outcome, r.DeliveryState(), "")
	}
	return ""
}

func join(s invitation.Status, d invitation.Delivery, role string) string {
	return string(s) + ":" + string(d) + ":" + role
}

// Learn takes in what this process has just published, so that its next list shows it. Redis being down is no error:
// the stream brings it later.
func (v *Views) Learn(ctx context.Context, partial ...invitation.Record) {
	for _, result := range v.own.DoAll(ctx, partial) {
		if result.Err != nil {
			v.log.Warn("a view will be late", "error", result.Err)
			return
		}
	}
}

func (v *Views) learn(items []invitation.Record) []coalesce.Result[struct{}] {
	partial := map[string]map[string]*invitation.Record{}
	for i := range items {
		r := &items[i]
		if partial[r.Organization] == nil {
			partial[r.Organization] = map[string]*invitation.Record{}
		}
		if known := partial[r.Organization][r.ID]; known != nil {
			known.Merge(*r)
		} else {
			partial[r.Organization][r.ID] = r
		}
	}
	err := v.merge(context.Background(), partial)
	results := make([]coalesce.Result[struct{}], len(items))
	for i, r := range items {
		results[i].Err = err
		if err == nil {
			v.seen.add(r.Requested)
			v.seen.add(r.OutcomeSeq)
		}
	}
	return results
}

// Query says what a list is to show. Empty fields match all.
type Query struct {
	Status   invitation.Status
	Delivery invitation.Delivery
	Role     string
	// Only narrows further by what is given; nil for all.
	Only func(invitation.Status, invitation.Delivery) bool
	// Person is the hash of the address, where one is looked for.
	Person string
	// Text is a part of the address or the name, in any case. A page then goes through some thousand invitations at most,
	// so that it may be short although there is a next one.
	Text string
	// Limit is the most rows of a page; Cursor the place after which it begins.
	Limit  int
	Cursor string
}

// Page is one page of a list, newest first.
type Page struct {
	Records []invitation.Record
	// Next is the cursor of the page after this one; empty on the last.
	Next string
	// Top is the cursor with which a page begins at the same record, whatever came meanwhile; empty where there is none.
	Top string
}

// topped adds Top.
func (p Page) topped() Page {
	if len(p.Records) > 0 {
		p.Top = formatCursor(listed(&p.Records[0]) + 1)
	}
	return p
}

// List reads a page. It returns problem.Invalid for a cursor that is none and problem.NotNow while Redis is down.
func (v *Views) List(ctx context.Context, org string, q Query) (Page, error) {
	p, err := v.list(ctx, org, q)
	return p.topped(), err
}

func (v *Views) list(ctx context.Context, org string, q Query) (Page, error) {
	before, err := parseCursor(q.Cursor)
	if err != nil {
		return Page{}, err
	}
	if q.Person != "" {
		return v.ofPerson(ctx, org, q)
	}
	if q.Text != "" {
		return v.search(ctx, org, q, before)
	}
	entries, err := v.db.Page(ctx, org, q.matches, before, q.Limit+1)
	if err != nil {
		return Page{}, err
	}
	var p Page
	if len(entries) > q.Limit {
		entries = entries[:q.Limit]
		p.Next = formatCursor(entries[q.Limit-1].Score)
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	p.Records, err = v.records(ctx, org, ids)
	return p, err
}

// ofPerson lists one address's invitations: few enough to be read whole.
func (v *Views) ofPerson(ctx context.Context, org string, q Query) (Page, error) {
	ids, err := v.db.PersonInvitations(ctx, org, q.Person)
	if err != nil {
		return Page{}, err
	}
	records, err := v.records(ctx, org, ids)
	if err != nil {
		return Page{}, err
	}
	var p Page
	for _, r := range records {
		if q.matches(combo(&r)) {
			p.Records = append(p.Records, r)
		}
	}
	newestFirst(p.Records)
	return p, nil
}

// How a search reads: so many records at a time, and so many for one page.
const (
	searchStep  = 500
	searchPages = 10
)

// search goes through the invitations, newest first, for those whose address or name holds the text.
func (v *Views) search(ctx context.Context, org string, q Query, before uint64) (Page, error) {
	var p Page
	wanted := strings.ToLower(q.Text)
	for range searchPages {
		entries, err := v.db.Page(ctx, org, q.matches, before, searchStep)
		if err != nil {
			return Page{}, err
		}
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i] = e.ID
		}
		records, err := v.records(ctx, org, ids)
		if err != nil {
			return Page{}, err
		}
		for _, r := range records {
			if r.Request == nil || !strings.Contains(strings.ToLower(r.Request.Email+" "+r.Request.Name), wanted) {
				continue
			}
			if p.Records = append(p.Records, r); len(p.Records) == q.Limit {
				p.Next = formatCursor(listed(&r))
				return p, nil
			}
		}
		if len(entries) < searchStep {
			return p, nil
		}
		before = entries[len(entries)-1].Score
	}
	p.Next = formatCursor(before)
	return p, nil
}

func (q Query) matches(combo string) bool {
	status, rest, _ := strings.Cut(combo, ":")
	delivery, role, _ := strings.Cut(rest, ":")
	if q.Only != nil && !q.Only(invitation.Status(status), invitation.Delivery(delivery)) {
		return false
	}
	return (q.Status == "" || status == string(q.Status)) && (q.Delivery == "" || delivery == string(q.Delivery)) && (q.Role == "" || role == q.Role)
}

func (v *Views) records(ctx context.Context, org string, ids []string) ([]invitation.Record, error) {
	raw, err := v.db.Records(ctx, org, ids)
	if err != nil {
		return nil, err
	}
	records := make([]invitation.Record, 0, len(raw))
	for i, data := range raw {
		r, err := invitation.Decode(org, ids[i], data)
		if err != nil {
			v.log.Warn("an index names a record that is not there", "invitation", ids[i], "error", err)
			continue
		}
		records = append(records, r)
	}
	return records, nil
}

// Tally is how many invitations of an organization stand at one status and delivery state.
type Tally struct {
	Status   invitation.Status
	Delivery invitation.Delivery
	Count    int
}

// Tallies counts an organization's invitations by status and delivery. It returns problem.NotNow while Redis is down.
func (v *Views) Tallies(ctx context.Context, org string) ([]Tally, error) {
	combos, err := v.db.Counts(ctx, org)
	if err != nil {
		return nil, err
	}
	tallies := make([]Tally, 0, len(combos))
	for c, n := range combos {
		status, rest, _ := strings.Cut(c, ":")
		delivery, _, _ := strings.Cut(rest, ":")
		tallies = append(tallies, Tally{Status: invitation.Status(status), Delivery: invitation.Delivery(delivery), Count: n})
	}
	return tallies, nil
}

// Get reads invitations by their ids; those that are not there are left out. It returns problem.NotNow while Redis is down.
func (v *Views) Get(ctx context.Context, org string, ids []string) (map[string]invitation.Record, error) {
	raw, err := v.db.Records(ctx, org, ids)
	if err != nil {
		return nil, err
	}
	found := make(map[string]invitation.Record, len(ids))
	for i, data := range raw {
		if r, err := invitation.Decode(org, ids[i], data); err == nil {
			found[ids[i]] = r
		}
	}
	return found, nil
}

func formatCursor(sequence uint64) string {
	return base64.RawURLEncoding.EncodeToString([]byte("s" + strconv.FormatUint(sequence, 36)))
}

func parseCursor(cursor string) (uint64, error) {
	if cursor == "" {
		return 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil && len(raw) > 1 && raw[0] == 's' {
		if sequence, err := strconv.ParseUint(string(raw[1:]), 36, 53); err == nil {
			return sequence, nil
		}
	}
	return 0, problem.Fields(events.FieldError{Location: "query.cursor", Message: "is not a cursor that a list gave out"})
}
