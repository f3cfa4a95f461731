package check

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
)

// foldWindow is how many events are added up before their records are packed again: nearly all events of an invitation
// stand close together, so most are packed once.
const foldWindow = 20000

// reading is what the streams said up to some sequence. It is read on from there for a second look.
type reading struct {
	ledger *ledger.Ledger
	looks  int
	said   func(string)

	accounts map[string]*account // by "<organization>.<invitation>"
	claims   map[string]timer    // by subject
	members  map[string]bool     // by subject: whether that person is a member now
	letters  map[uint64]letter   // by the sequence in INVITATIONS of what could not be handled
	broken   []broken
	gaps     gaps
	upTo     map[string]uint64 // by stream: the sequence that is read on from
	events   int
	// The oldest message of INVITATIONS: its sequence, and when it was stored.
	firstSequence uint64
	began         time.Time

	partial map[*account]*invitation.Record // of the running window
	words   map[string]string               // that very many invitations have in common
}

// account is what the streams say of one invitation, kept small: there may be very many.
type account struct {
	name   string // "<organization>.<invitation>"
	record []byte // what the events add up to, encoded; nil until one was seen

	newest    uint64 // its last message in INVITATIONS
	newestNs  int64
	request   uint64   // its request's sequence, 0 for none
	intents   []uint64 // what asked for mails
	reminders []uint64 // those of them that are reminders
	reported  bool     // by the provider: that a mail bounced, or was complained about
	mails     []mailed
	outcomes  uint8
	joined    *joined
	expired   uint64 // the last word of its expiry timer
	reminder  timer
	odd       []oddity

	// What the look of that number found in Redis.
	seen          int
	combo         string
	score, person uint64
	enlisted      bool
	among, token  bool
}

type mailed struct{ intent, provider uint64 }

// joined is the membership that came of an invitation.
type joined struct {
	person, email uint64 // hashes
	role          string
	at            time.Time
	sequence      uint64
	times         int
	again         bool   // the person was a member already
	elsewhere     string // the subject, where it is not that of the person
}

// timer is a stored timer.
type timer struct {
	sequence uint64
	at       time.Time
	about    *account
}

// letter is a dead letter about a message of INVITATIONS.
type letter struct {
	sequence uint64
	worker   string
	reason   string
}

// oddity is a disagreement that shows while the ledger is read.
type oddity struct {
	kind   Kind
	what   uint64
	detail string
}

// broken is a stored message that cannot be read.
type broken struct {
	stream, subject string
	sequence        uint64
}

func newReading(o Options) *reading {
	return &reading{
		ledger: o.Ledger, said: o.Said, accounts: map[string]*account{}, claims: map[string]timer{}, members: map[string]bool{},
		letters: map[uint64]letter{}, upTo: map[string]uint64{}, gaps: newGaps(), partial: map[*account]*invitation.Record{},
		words: map[string]string{},
	}
}

func (a *account) organization() string { org, _, _ := strings.Cut(a.name, "."); return org }
func (a *account) invitation() string   { _, id, _ := strings.Cut(a.name, "."); return id }

func (a *account) newestAt() time.Time {
	if a.newestNs == 0 {
		return time.Time{}
	}
	return time.Unix(0, a.newestNs)
}

// same gives one string for all that are equal.
func (r *reading) same(word string) string {
	if known, ok := r.words[word]; ok {
		return known
	}
	r.words[word] = word
	return word
}

// fold is the record that the events add up to.
func (a *account) fold() invitation.Record {
	if a.record == nil {
		return invitation.Record{ID: a.invitation(), Organization: a.organization()}
	}
	r, _ := invitation.Decode(a.organization(), a.invitation(), a.record) // it was encoded here
	return r
}

func (r *reading) account(org, id string) *account {
	name := org + "." + id
	a := r.accounts[name]
	if a == nil {
		a = &account{name: name}
		r.accounts[name] = a
	}
	return a
}

// on reads on to where the streams end now.
func (r *reading) on(ctx context.Context) error {
	for _, part := range []struct {
		stream string
		take   func(ledger.Record)
	}{
		{events.StreamInvitations, r.takeFact}, {events.StreamMemberships, r.takeMembership}, {events.StreamDeadLetters, r.takeLetter},
	} {
		if err := r.readStream(ctx, part.stream, part.take); err != nil {
			return err
		}
	}
	return nil
}

func (r *reading) readStream(ctx context.Context, stream string, take func(ledger.Record)) error {
	window := 0
	state, err := r.ledger.State(ctx, stream) // others write on, perhaps faster than this reads
	if err != nil {
		return err
	}
	// What is kept of a message is copied: its texts are cut from one, which would be kept whole.
	for stored, err := range r.ledger.Scan(ctx, stream, "", r.upTo[stream]+1) {
		if err != nil {
			return err
		}
		take(stored)
		r.upTo[stream] = stored.Sequence
		r.events++
		if window++; window == foldWindow {
			r.pack()
			r.said("read " + strconv.Itoa(r.events) + " events")
			window = 0
		}
		if stored.Sequence >= state.LastSequence {
			break
		}
	}
	r.pack()
	return nil
}

// pack adds the window's partial records to what is known.
func (r *reading) pack() {
	for a, add := range r.partial {
		whole := a.fold()
		if a.record == nil {
			whole = *add
		} else {
			whole.Merge(*add)
		}
		a.record = whole.Encode()
	}
	clear(r.partial)
}

func (r *reading) add(a *account, e events.Event, stored ledger.Record) {
	p := r.partial[a]
	if p == nil {
		p = &invitation.Record{ID: a.invitation(), Organization: a.organization()}
		r.partial[a] = p
	}
	p.Apply(e, stored.Sequence, stored.Time)
}

func (r *reading) breakage(stream string, stored ledger.Record) {
	r.broken = append(r.broken, broken{stream: stream, subject: strings.Clone(stored.Subject), sequence: stored.Sequence})
}

// takeFact takes in a message of INVITATIONS.
func (r *reading) takeFact(stored ledger.Record) {
	if r.firstSequence == 0 {
		r.firstSequence, r.began = stored.Sequence, stored.Time
	}
	r.gaps.next(stored)
	if subject := stored.Stopped(); subject != "" {
		r.stopped(subject)
	}
	e, err := stored.Event()
	if err != nil {
		r.breakage(events.StreamInvitations, stored)
		return
	}
	if at, isTimer := stored.DueAt(); isTimer {
		r.takeTimer(stored, e, at)
		return
	}
	org, id, fact, ok := events.SplitInvitation(stored.Subject)
	if !ok {
		r.breakage(events.StreamInvitations, stored)
		return
	}
	a := r.account(org, id)
	a.newest, a.newestNs = stored.Sequence, stored.Time.UnixNano()
	r.takeSaid(a, fact, e, stored)
	if !strings.HasPrefix(fact, "due.") && fact != events.FactNoticed {
		r.add(a, e, stored)
	}
}

// stopped forgets a timer that went.
func (r *reading) stopped(subject string) {
	if org, id, _, ok := events.SplitInvitation(subject); ok {
		r.account(org, id).reminder = timer{}
		return
	}
	delete(r.claims, subject)
}

func (r *reading) takeTimer(stored ledger.Record, e events.Event, at time.Time) {
	org, id, _, isReminder := events.SplitInvitation(stored.Subject)
	if isReminder {
		a := r.account(org, id)
		a.reminder = timer{sequence: stored.Sequence, at: at, about: a}
		return
	}
	if org, _, ok := events.SplitClaim(stored.Subject); ok {
		r.claims[strings.Clone(stored.Subject)] = timer{sequence: stored.Sequence, at: at, about: r.account(org, e.Subject)}
		return
	}
	r.breakage(events.StreamInvitations, stored)
}

// takeSaid notes what the record does not keep.
func (r *reading) takeSaid(a *account, fact string, e events.Event, stored ledger.Record) {
	switch d := e.Data.(type) {
	case *events.InvitationRequested:
		a.request = stored.Sequence
		a.intents = append(a.intents, stored.Sequence)
	case *events.InvitationResendRequested:
		a.intents = append(a.intents, stored.Sequence)
	case *events.InvitationReminderDue:
		a.intents, a.reminders = append(a.intents, stored.Sequence), append(a.reminders, stored.Sequence)
		r.gaps.reminded(a, stored.Sequence)
	case *events.InvitationExpiryDue:
		a.expired = stored.Sequence
		r.gaps.expired(a, stored.Sequence)
	case *events.InvitationSent:
		r.takeMail(a, d.Intent, d.ProviderMessageID, stored.Sequence)
	case *events.InvitationReminded:
		r.takeMail(a, d.Intent, d.ProviderMessageID, stored.Sequence)
	case *events.InvitationDelivered, *events.InvitationDeferred, *events.InvitationBounced, *events.InvitationComplained:
		a.takeDelivery(deliveryOf(e.Data), stored.Sequence)
	}
	if strings.HasPrefix(fact, "outcome.") {
		a.takeOutcome(fact, stored.Sequence)
	}
}

func (a *account) takeOutcome(fact string, sequence uint64) {
	if a.outcomes++; a.outcomes > 1 {
		a.note(SecondOutcome, sequence, "it ended before, and %s at sequence %d came after that; the first outcome counts", fact, sequence)
	}
}

// seed is of the hashes that keep provider's ids small.
var seed = maphash.MakeSeed()

func (r *reading) takeMail(a *account, intent uint64, provider string, sequence uint64) {
	if !slices.Contains(a.intents, intent) {
		a.note(MailUnasked, sequence, "the mail told at sequence %d answers sequence %d, where nobody asked for one", sequence, intent)
	}
	m := mailed{intent: intent, provider: maphash.String(seed, provider)}
	for _, before := range a.mails {
		if before.intent == intent && before.provider != m.provider {
			a.note(MailTwice, sequence, "the mail that sequence %d asked for left twice, the second time at sequence %d", intent, sequence)
		}
	}
	a.mails = append(a.mails, m)
}

func deliveryOf(data events.Data) events.Delivery {
	switch d := data.(type) {
	case *events.InvitationDelivered:
		return d.Delivery
	case *events.InvitationDeferred:
		return d.Delivery
	case *events.InvitationBounced:
		return d.Delivery
	case *events.InvitationComplained:
		return d.Delivery
	}
	return events.Delivery{}
}

func (a *account) takeDelivery(d events.Delivery, sequence uint64) {
	if d.ProviderEvent != "" {
		a.reported = true
	}
	if d.Intent != 0 && !slices.Contains(a.intents, d.Intent) {
		a.note(DeliveryUnasked, sequence, "the delivery told at sequence %d is of a mail for sequence %d, where nobody asked for one", sequence, d.Intent)
	}
}

// takeMembership takes in a message of MEMBERSHIPS.
func (r *reading) takeMembership(stored ledger.Record) {
	e, err := stored.Event()
	if err != nil {
		r.breakage(events.StreamMemberships, stored)
		return
	}
	was := r.members[stored.Subject]
	_, removed := e.Data.(*events.MembershipRemoved)
	r.members[strings.Clone(stored.Subject)] = !removed
	m, isNew := e.Data.(*events.MembershipProvisioned)
	if !isNew || m.Invitation == "" {
		return
	}
	a := r.account(m.Organization, m.Invitation)
	if a.joined == nil {
		a.joined = &joined{
			person: maphash.String(seed, m.Person), email: maphash.String(seed, m.Email), role: r.same(m.Role), at: m.JoinedAt, sequence: stored.Sequence,
		}
		if stored.Subject != events.MembershipSubject(m.Organization, m.Person) {
			a.joined.elsewhere = strings.Clone(stored.Subject)
		}
	}
	a.joined.times++
	a.joined.again = a.joined.again || was
	r.add(a, e, stored)
}

// takeLetter takes in a message of DEADLETTERS.
func (r *reading) takeLetter(stored ledger.Record) {
	worker, _, _, ok := events.SplitDeadLetter(stored.Subject)
	sequence, err := strconv.ParseUint(first(stored.Header[bus.DeadSequence]), 10, 64)
	if !ok || err != nil || first(stored.Header[bus.DeadStream]) != events.StreamInvitations {
		return
	}
	r.letters[sequence] = letter{sequence: stored.Sequence, worker: worker, reason: first(stored.Header[bus.DeadReason])}
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// gone reports whether nothing is stored at a sequence of INVITATIONS.
func (r *reading) gone(ctx context.Context, sequence uint64) (bool, error) {
	_, err := r.ledger.At(ctx, events.StreamInvitations, sequence)
	if errors.Is(err, ledger.ErrNotFound) {
		return true, nil
	}
	return false, err
}

func (a *account) note(kind Kind, what uint64, format string, args ...any) {
	a.odd = append(a.odd, oddity{kind: kind, what: what, detail: fmt.Sprintf(format, args...)})
}
