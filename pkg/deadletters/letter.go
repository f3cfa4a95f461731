// Package deadletters is what an operator does about messages that could not be handled: it tells how each stands, has them
// handed to their workers again, dismisses and prunes them, and turns what the broker gave up by itself into dead letters too.
//
// Everything that is done about a letter is a message of its own beside it, so the stream tells a letter's whole story; and
// each is one conditional publish, so that of two operators, or of a command and the same command run again, one acts.
package deadletters

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/ledger"
)

// ErrNotFound is returned for a sequence at which there is no dead letter.
var ErrNotFound = errors.New("there is no such dead letter")

// State tells how a letter stands.
type State string

// The states. What waits for an operator is open; Failed has become a letter of its own, which is open.
const (
	Open      State = "open"      // nothing was done yet
	Handed    State = "handed"    // it was handed to its worker again, which has not finished with it
	Done      State = "done"      // handed again, and handled
	Failed    State = "failed"    // handed again, and given up again
	Dismissed State = "dismissed" // an operator decided that nothing needs to be done
	Pruned    State = "pruned"    // it was over, and removed
)

// States are all of them but Pruned, which no list shows.
var States = []State{Open, Handed, Done, Failed, Dismissed}

// Act is one thing that was done about a letter.
type Act struct {
	Sequence uint64         `json:"sequence"`
	Kind     events.DeadAct `json:"act"`
	Time     time.Time      `json:"time"`
	By       string         `json:"by,omitempty"`
	Note     string         `json:"note,omitempty"`
	// Became is the letter that the message became when its worker gave it up again.
	Became uint64 `json:"became,omitempty"`
}

// Letter is a message that could not be handled.
type Letter struct {
	Sequence     uint64 `json:"sequence"`
	Worker       string `json:"worker"`
	State        State  `json:"state"`
	Reason       string `json:"reason"`
	Detail       string `json:"detail,omitempty"`
	Organization string `json:"organization,omitempty"`
	// Subject, Stream and Original are where the message was stored, Stored is when.
	Subject    string    `json:"subject"`
	Stream     string    `json:"stream"`
	Original   uint64    `json:"original"`
	Stored     time.Time `json:"stored,omitzero"`
	Deliveries int       `json:"deliveries"`
	// Time is when the message was given up.
	Time time.Time `json:"time"`
	// AgainOf is the letter that the message was before.
	AgainOf uint64 `json:"again_of,omitempty"`
	Acts    []Act  `json:"acts,omitempty"`
	// Header and Body are the message, where the letter was asked for whole.
	Header map[string][]string `json:"header,omitempty"`
	Body   string              `json:"body,omitempty"`
}

// read makes a letter of what is stored; ok is false for anything else.
func read(r ledger.Record) (l *Letter, ok bool) {
	worker, stream, sequence, ok := events.SplitDeadLetter(r.Subject)
	if !ok {
		return nil, false
	}
	l = &Letter{Sequence: r.Sequence, Worker: worker, State: Open, Reason: first(r, bus.DeadReason), Stream: stream, Original: sequence, Time: r.Time}
	if given, ok := bus.Restored(r.Header); ok {
		l.Detail, l.Subject, l.Stream, l.Original, l.Stored = given.Detail, given.Subject, given.Stream, given.Sequence, given.Stored
		l.Deliveries, l.AgainOf = given.Deliveries, given.Before
		if !given.At.IsZero() {
			l.Time = given.At
		}
	}
	l.Organization = organizationOf(l.Subject, r.Data)
	return l, true
}

func (l *Letter) whole(r ledger.Record) {
	l.Header, l.Body = r.Header, string(r.Data)
}

// last is the sequence of the last act, 0 where there is none.
func (l *Letter) last() uint64 {
	if len(l.Acts) == 0 {
		return 0
	}
	return l.Acts[len(l.Acts)-1].Sequence
}

// add takes in an act, in the order of the stream.
func (l *Letter) add(a Act) {
	l.Acts = append(l.Acts, a)
	switch a.Kind {
	case events.DeadAgain:
		l.State = Handed
	case events.DeadDone:
		l.State = Done
	case events.DeadDismissed:
		l.State = Dismissed
	case events.DeadPruned:
		l.State = Pruned
	}
}

// became takes in that what was handed out again by the act at a sequence is a letter once more.
func (l *Letter) became(handed, letter uint64) {
	for i := range l.Acts {
		if l.Acts[i].Sequence == handed {
			l.Acts[i].Became = letter
		}
	}
	if l.last() == handed {
		l.State = Failed
	}
}

func act(r ledger.Record, kind events.DeadAct) Act {
	a := Act{Sequence: r.Sequence, Kind: kind, Time: r.Time, By: first(r, bus.ActBy), Note: first(r, bus.ActNote)}
	if at, err := time.Parse(time.RFC3339Nano, first(r, bus.ActAt)); err == nil {
		a.Time = at
	}
	return a
}

func first(r ledger.Record, name string) string {
	if values := r.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// organizationOf is whose message it was: subjects of facts say so, and requests do, where they can be read at all.
func organizationOf(subject string, body []byte) string {
	root, rest, _ := strings.Cut(subject, ".")
	if root == events.RootInvitations || root == events.RootMemberships {
		org, _, _ := strings.Cut(rest, ".")
		return org
	}
	var said struct {
		Organization string
		Data         struct{ Organization string } // in structured mode
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	if said.Organization == "" {
		said.Organization = said.Data.Organization
	}
	if !events.ValidOrganization(said.Organization) {
		return ""
	}
	return said.Organization
}

// Filter says which letters are meant. What is empty matches all.
type Filter struct {
	Worker, Reason, Organization string
	// Subject is what the message was published on, wildcards allowed.
	Subject string
	// Since and Until bound when the message was given up.
	Since, Until time.Time
	States       []State
}

func (f Filter) matches(l *Letter) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return is(f.Worker, l.Worker) && is(f.Reason, l.Reason) && is(f.Organization, l.Organization) &&
		(f.Subject == "" || subjectMatches(f.Subject, l.Subject)) &&
		(f.Since.IsZero() || !l.Time.Before(f.Since)) && (f.Until.IsZero() || l.Time.Before(f.Until)) &&
		(len(f.States) == 0 || slices.Contains(f.States, l.State))
}

// subjectMatches compares as the broker does: * stands for one token, > for all that follow.
func subjectMatches(filter, subject string) bool {
	want, have := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range want {
		switch {
		case token == ">":
			return len(have) > i
		case i >= len(have), token != "*" && token != have[i]:
			return false
		}
	}
	return len(have) == len(want)
}

// Tally is how many letters of one worker have one reason.
type Tally struct {
	Worker  string    `json:"worker"`
	Reason  string    `json:"reason"`
	Letters int       `json:"letters"`
	Oldest  time.Time `json:"oldest"`
}

// Count adds letters up by worker and reason, most first.
func Count(letters []*Letter) []Tally {
	byKind := map[[2]string]*Tally{}
	for _, l := range letters {
		t := byKind[[2]string{l.Worker, l.Reason}]
		if t == nil {
			t = &Tally{Worker: l.Worker, Reason: l.Reason, Oldest: l.Time}
			byKind[[2]string{l.Worker, l.Reason}] = t
		}
		t.Letters++
		if l.Time.Before(t.Oldest) {
			t.Oldest = l.Time
		}
	}
	counts := make([]Tally, 0, len(byKind))
	for _, t := range byKind {
		counts = append(counts, *t)
	}
	slices.SortFunc(counts, func(a, b Tally) int {
		if a.Letters != b.Letters {
			return b.Letters - a.Letters
		}
		return strings.Compare(a.Worker+" "+a.Reason, b.Worker+" "+b.Reason)
	})
	return counts
}
