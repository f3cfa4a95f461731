// Package roster knows the organizations, their members and who may do what: a copy of the membership stream and the
// organizations bucket in memory, kept current by watching them.
package roster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/coalesce"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
)

// Organization is one organization and its policy.
type Organization struct {
	// ID is its short name, as in subjects.
	ID string `json:"id"`
	// Name is how people call it.
	Name string `json:"name"`
	// Locale is the BCP 47 language its invitees are written to in, unless an invitation says another; empty for theirs.
	Locale string `json:"locale,omitempty"`
	// Contact is whom to ask when something does not work: an address or a sentence, shown to members and invitees.
	Contact   string    `json:"contact,omitempty"`
	Policy    Policy    `json:"policy"`
	Branding  Branding  `json:"branding,omitzero"`
	Texts     Texts     `json:"texts,omitzero"`
	CreatedAt time.Time `json:"created_at"`

	revision uint64
	changed  time.Time
}

// The most characters an organization's own words may have. Mails have room for no more.
const (
	MaxName    = 100
	MaxContact = 200
	MaxLocale  = 35
	MaxSubject = 150
	MaxIntro   = 1000
	MaxButton  = 60
)

// Revision tells one version of an organization from another; 0 for one that is not stored.
func (o Organization) Revision() uint64 { return o.revision }

// ChangedAt is when this version of the organization was stored.
func (o Organization) ChangedAt() time.Time { return o.changed }

// Policy is what an organization decided for itself. The zero value is the instance's default.
type Policy struct {
	// InvitationTTL is how long its invitations stay open, as a Go duration; empty for the instance's default.
	InvitationTTL string `json:"invitation_ttl,omitempty"`
	// ReminderAfter are the times after the request at which an unanswered invitation is mailed again; empty for none.
	ReminderAfter []string `json:"reminder_after,omitempty"`
	// RedirectHosts are the hosts that redirect_url may name; empty for none.
	RedirectHosts []string `json:"redirect_hosts,omitempty"`
	// InviterLostAuthority is what happens to an acceptance whose inviter may no longer grant the role: "block", or
	// "lower" to the inviter's own role; empty for the instance's default.
	InviterLostAuthority string `json:"inviter_lost_authority,omitempty"`
	// PersonalNotes allows inviters to say something of their own in the mail.
	PersonalNotes bool `json:"personal_notes,omitempty"`
	// SelfServiceRenewal lets whoever holds the link of an expired invitation have a new one mailed to the same address.
	SelfServiceRenewal bool `json:"self_service_renewal,omitempty"`
	// ReplyToInviter makes answers to the mail go to the inviter.
	ReplyToInviter bool `json:"reply_to_inviter,omitempty"`
}

// Branding is how mails and pages of an organization look.
type Branding struct {
	// Logo names the picture among the organization's logos; empty for none.
	Logo string `json:"logo,omitempty"`
	// Accent is the colour of buttons, like "#1a5fb4"; empty for Usher's own.
	Accent string `json:"accent,omitempty"`
}

// Texts are an organization's own words in its invitation mails; empty where Usher's do. The only placeholders are
// {organization}, {inviter} and {role}.
type Texts struct {
	Subject string `json:"subject,omitempty"`
	Intro   string `json:"intro,omitempty"`
	Button  string `json:"button,omitempty"`
}

// Member is what the roster keeps of a membership.
type Member struct {
	Role string
	Name string
	// Sequence is that of the membership's last event, Removed true where that event took it away.
	Sequence uint64
	Removed  bool
}

// Roster answers from memory.
type Roster struct {
	ledger  *ledger.Ledger
	roles   Roles
	bucket  *ledger.Bucket
	current *coalesce.Batcher[string, Place]

	mu            sync.RWMutex
	organizations map[string]Organization
	members       map[string]map[string]Member // organization, person
	places        map[string]int               // person to the number of organizations they are in
}

// Open fills the roster and keeps it current until ctx ends.
func Open(ctx context.Context, l *ledger.Ledger, roles Roles) (*Roster, error) {
	bucket, err := l.Bucket(ctx, ledger.BucketOrganizations)
	if err != nil {
		return nil, err
	}
	r := &Roster{
		ledger: l, roles: roles, bucket: bucket,
		organizations: map[string]Organization{}, members: map[string]map[string]Member{}, places: map[string]int{},
	}
	r.current = coalesce.New(coalesce.Options[string]{Limit: 256, Parallel: 2}, r.readCurrent)
	context.AfterFunc(ctx, r.current.Close)
	if err := bucket.Watch(ctx, r.organizationChanged); err != nil {
		return nil, fmt.Errorf("roster: organizations: %w", err)
	}
	if err := l.Watch(ctx, events.StreamMemberships, events.RootMemberships+".>", r.membershipChanged); err != nil {
		return nil, fmt.Errorf("roster: memberships: %w", err)
	}
	return r, nil
}

// Roles is the order of roles.
func (r *Roster) Roles() Roles { return r.roles }

func (r *Roster) organizationChanged(e ledger.Entry) {
	if !events.ValidOrganization(e.Key) || e.Deleted {
		return
	}
	o, err := decodeOrganization(e)
	if err != nil {
		slog.Error("an organization's entry cannot be read", "organization", e.Key, "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Revision > r.organizations[o.ID].revision {
		r.organizations[o.ID] = o
	}
}

func decodeOrganization(e ledger.Entry) (Organization, error) {
	var o Organization
	err := json.Unmarshal(e.Value, &o)
	o.ID, o.revision, o.changed = e.Key, e.Revision, e.Time
	return o, err
}

func (r *Roster) membershipChanged(stored ledger.Record) {
	m, removed, err := Decode(stored)
	if err != nil {
		slog.Error("a membership cannot be read", "sequence", stored.Sequence, "error", err)
		return
	}
	r.Learn(m, stored.Sequence, removed)
}

// Decode reads a membership event: the membership it leaves, and whether it took it away.
func Decode(stored ledger.Record) (m events.Membership, removed bool, err error) {
	e, err := stored.Event()
	if err != nil {
		return m, false, err
	}
	switch d := e.Data.(type) {
	case *events.MembershipProvisioned:
		return d.Membership, false, nil
	case *events.MembershipRoleChanged:
		return d.Membership, false, nil
	case *events.MembershipRemoved:
		return d.Membership, true, nil
	}
	return m, false, fmt.Errorf("roster: %s is no membership event", e.Type)
}

// Learn takes in a membership event that was stored at that sequence, so that whoever published it sees it at once.
func (r *Roster) Learn(m events.Membership, sequence uint64, removed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	people := r.members[m.Organization]
	if people == nil {
		people = map[string]Member{}
		r.members[m.Organization] = people
	}
	before, known := people[m.Person]
	if known && before.Sequence >= sequence {
		return
	}
	people[m.Person] = Member{Role: m.Role, Name: m.Name, Sequence: sequence, Removed: removed}
	was, is := known && !before.Removed, !removed
	switch {
	case is && !was:
		r.places[m.Person]++
	case was && !is:
		if r.places[m.Person]--; r.places[m.Person] == 0 {
			delete(r.places, m.Person)
		}
	}
}

// Organization gives one organization, or problem.UnknownOrganization. What memory does not have is looked up.
func (r *Roster) Organization(ctx context.Context, id string) (Organization, error) {
	r.mu.RLock()
	o, ok := r.organizations[id]
	r.mu.RUnlock()
	if ok {
		return o, nil
	}
	if !events.ValidOrganization(id) {
		return Organization{}, unknown()
	}
	e, err := r.bucket.Get(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return Organization{}, unknown()
	}
	if err != nil {
		return Organization{}, err
	}
	return decodeOrganization(e)
}

func unknown() error {
	return problem.New(problem.UnknownOrganization, "There is no such organization.")
}

// Put stores an organization in the place of what was there. created tells whether it is new.
func (r *Roster) Put(ctx context.Context, o Organization) (stored Organization, created bool, err error) {
	return r.Change(ctx, o.ID, func(now *Organization, _ bool) error {
		*now = o
		return nil
	})
}

// Change creates an organization or changes it. change is given it as it stands, known where there is one, and alters it;
// whoever changed it at the same time is never overwritten, for change is then called again. An error of change ends it
// with nothing stored.
func (r *Roster) Change(ctx context.Context, id string, change func(o *Organization, known bool) error) (stored Organization, created bool, err error) {
	for range 8 {
		o, err := r.stored(ctx, id)
		if err != nil {
			return o, false, err
		}
		revision, since := o.revision, o.CreatedAt
		if err := change(&o, revision != 0); err != nil {
			return o, false, err
		}
		if o.ID, o.CreatedAt = id, since; revision == 0 {
			o.CreatedAt = r.ledger.Now()
		}
		err = r.store(ctx, &o, revision)
		if errors.Is(err, ledger.ErrConflict) {
			continue
		}
		return o, revision == 0, err
	}
	return Organization{ID: id}, false, problem.Again("The organization is being changed by others; try again.")
}

// Stored reads an organization from the ledger itself, where memory may not know of the newest change yet. It returns
// problem.UnknownOrganization where there is none.
func (r *Roster) Stored(ctx context.Context, id string) (Organization, error) {
	o, err := r.stored(ctx, id)
	if err == nil && o.revision == 0 {
		err = unknown()
	}
	return o, err
}

// stored reads an organization from the bucket; one that is not there has revision 0.
func (r *Roster) stored(ctx context.Context, id string) (Organization, error) {
	e, err := r.bucket.Get(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return Organization{ID: id}, nil
	}
	if err != nil {
		return Organization{}, err
	}
	o, err := decodeOrganization(e)
	if err != nil {
		return o, fmt.Errorf("roster: organization %s: %w", id, err)
	}
	return o, nil
}

// store writes an organization whose revision is still the given one; ledger.ErrConflict where it is not.
func (r *Roster) store(ctx context.Context, o *Organization, revision uint64) error {
	value, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("roster: %w", err)
	}
	if revision == 0 {
		o.revision, err = r.bucket.Create(ctx, o.ID, value)
	} else {
		o.revision, err = r.bucket.Update(ctx, o.ID, value, revision)
	}
	if err == nil {
		r.organizationChanged(ledger.Entry{Key: o.ID, Value: value, Revision: o.revision, Time: r.ledger.Now()})
	}
	return err
}

// All lists every organization, sorted.
func (r *Roster) All() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.organizations))
}

// Organizations lists the organizations a person is a member of, sorted.
func (r *Roster) Organizations(person string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var in []string
	for org, people := range r.members {
		if m, ok := people[person]; ok && !m.Removed {
			in = append(in, org)
		}
	}
	slices.Sort(in)
	return in
}

// Member gives a person's place in an organization, from memory.
func (r *Roster) Member(org, person string) (Member, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, ok := r.members[org][person]
	return m, ok && !m.Removed
}

// Known reports whether a person is a member anywhere.
func (r *Roster) Known(person string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.places[person] > 0
}

// Authority gives a person's role as far as memory knows it, and looks up what memory does not have, so that a member of
// a moment ago is not turned away. ok is false for somebody who is no member.
func (r *Roster) Authority(ctx context.Context, org, person string) (Member, bool, error) {
	if m, ok := r.Member(org, person); ok {
		return m, true, nil
	}
	p, err := r.Current(ctx, org, person)
	if err != nil || p.Membership == nil {
		return Member{}, false, err
	}
	return Member{Role: p.Membership.Role, Name: p.Membership.Name, Sequence: p.Sequence}, true, nil
}

// Place is what the ledger says of one person in one organization at this moment.
type Place struct {
	// Membership is nil for somebody who is no member.
	Membership *events.Membership
	// Left is the membership that was taken away last, nil for a member and for somebody who never was one.
	Left *events.Membership
	// Sequence is that of the last event, 0 where there never was one; At when it was stored.
	Sequence uint64
	At       time.Time
}

// Current reads a membership from the ledger itself. Concurrent callers share one request.
func (r *Roster) Current(ctx context.Context, org, person string) (Place, error) {
	p, err := r.current.Do(ctx, events.MembershipSubject(org, person))
	if errors.Is(err, coalesce.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Place{}, problem.Unavailable("The roster", err)
	}
	return p, err
}

func (r *Roster) readCurrent(subjects []string) []coalesce.Result[Place] {
	results := make([]coalesce.Result[Place], len(subjects))
	distinct := slices.Compact(slices.Sorted(slices.Values(subjects)))
	records, err := r.ledger.LastOf(context.Background(), events.StreamMemberships, distinct...)
	found := map[string]Place{}
	for _, stored := range records {
		m, removed, broken := Decode(stored)
		switch {
		case broken != nil:
			err = broken
		case removed:
			found[stored.Subject] = Place{Left: &m, Sequence: stored.Sequence, At: stored.Time}
		default:
			found[stored.Subject] = Place{Membership: &m, Sequence: stored.Sequence, At: stored.Time}
		}
	}
	for i, subject := range subjects {
		results[i] = coalesce.Result[Place]{Value: found[subject], Err: err}
	}
	return results
}

// Memberships reads several memberships of one organization from the ledger, by person. Who is no member is not in it.
func (r *Roster) Memberships(ctx context.Context, org string, people []string) (map[string]events.Membership, error) {
	found := map[string]events.Membership{}
	if len(people) == 0 {
		return found, nil
	}
	subjects := make([]string, len(people))
	for i, person := range people {
		subjects[i] = events.MembershipSubject(org, person)
	}
	records, err := r.ledger.LastOf(ctx, events.StreamMemberships, subjects...)
	if err != nil {
		return nil, err
	}
	for _, stored := range records {
		m, removed, err := Decode(stored)
		if err != nil {
			return nil, err
		}
		if !removed {
			found[m.Person] = m
		}
	}
	return found, nil
}

// Person is one entry of a member list.
type Person struct {
	ID string
	Member
}

// People lists an organization's members in the order in which they joined or last changed.
func (r *Roster) People(org string) []Person {
	r.mu.RLock()
	defer r.mu.RUnlock()
	people := make([]Person, 0, len(r.members[org]))
	for id, m := range r.members[org] {
		if !m.Removed {
			people = append(people, Person{ID: id, Member: m})
		}
	}
	slices.SortFunc(people, func(a, b Person) int { return int(int64(a.Sequence) - int64(b.Sequence)) })
	return people
}

// Inviters names up to limit people of an organization who may invite, for the sentence that tells others whom to ask.
func (r *Roster) Inviters(org string, limit int) []string {
	var names []string
	for _, p := range r.People(org) {
		if r.roles.MayInvite(p.Role) && p.Name != "" && len(names) < limit {
			names = append(names, p.Name)
		}
	}
	return names
}
