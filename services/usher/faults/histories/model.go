package histories

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// What may be done to an invitation.
type what string

const (
	invite  what = "invite"
	accept  what = "accept"
	decline what = "decline"
	revoke  what = "revoke"
	resend  what = "resend"
	lookup  what = "lookup"
	show    what = "show"
)

// How an invitation stands.
const (
	pending  = "pending"
	accepted = "accepted"
	declined = "declined"
	revoked  = "revoked"
	expired  = "expired"
)

// Refusals, as the last part of a problem's type.
const (
	refusedReplaced = "replaced"
	refusedEnded    = "ended"
	refusedConflict = "conflict"
	refusedInvited  = "already-invited"
	refusedMember   = "already-member"
)

// op is one thing that a client asked for, with what it was told. An invite that was refused because of an open invitation is
// an op on that one.
type op struct {
	what   what
	client int
	// address is who is invited, invitation which of their invitations it is about.
	address, invitation string
	// generation is that of the link that was used; rotate whether a resend asked for a new one.
	generation int
	rotate     bool

	// call and ret are when it was asked for and answered, in nanoseconds of the harness; called and returned what the
	// pipeline's clock said then. What was never answered may still happen until the history's end.
	call, ret        int64
	called, returned time.Time

	// unknown: nobody knows whether it happened. Otherwise it was refused with that code, or succeeded where there is none.
	unknown bool
	code    string
	// told is what the answer says of the invitation: of a resend that made another one, nothing.
	told standing
	// made is the other invitation that a resend of an expired one made.
	made string
	// number is what the client put into the request, by which it is found again in the ledger.
	number string
	// maybe are the resends in the ledger that nobody was told of: one of them may be what came of it.
	maybe []standing
}

func (o *op) String() string {
	text := fmt.Sprintf("%s %s", o.what, short(o.invitation))
	if o.generation > 0 {
		text += fmt.Sprintf(" generation %d", o.generation)
	}
	if o.rotate {
		text += " with a new link"
	}
	switch {
	case o.unknown:
		return text + ": no answer"
	case o.code != "":
		return text + ": " + o.code
	case o.made != "":
		return text + ": made " + short(o.made)
	}
	return fmt.Sprintf("%s: %v", text, o.told)
}

// short is the end of an id, which tells it from others.
func short(id string) string { return id[max(0, len(id)-6):] }

// standing is how one invitation stands.
type standing struct {
	made       bool
	outcome    string
	generation int
	deadline   time.Time
	// replaced tells of each generation when the resend was answered that put another in its place.
	replaced [maxGeneration]int64
}

// maxGeneration is how often links are rotated at most in a history.
const maxGeneration = 32

func (s standing) String() string {
	switch {
	case !s.made && s.outcome == "":
		return "not made"
	case s.outcome != "" && s.outcome != pending:
		return s.outcome
	}
	return fmt.Sprintf("pending, generation %d, until %s", s.generation, s.deadline.Format(clockFormat))
}

// open reports whether it may have been open at some instant of an op. The clock that counts is read once, somewhere within:
// who began before the deadline may be done after it.
func (s standing) open(o *op) bool {
	return s.made && s.outcome == "" && o.called.Before(s.deadline)
}

// over reports whether its deadline may have passed at some instant of an op, or had passed for good.
func (s standing) over(o *op) bool {
	return s.outcome == expired || s.made && s.outcome == "" && !o.returned.Before(s.deadline)
}

// usable reports whether a link of that generation opens it: the newest does, and for whoever had begun before the rotation
// was answered, the one before.
func (s standing) usable(o *op) bool {
	return o.generation == s.generation || o.generation < s.generation && o.call <= s.replaced[o.generation]
}

// next are the ways in which it may stand after an op; none where the op cannot have been answered so.
func (s standing) next(o *op) []standing {
	switch o.what {
	case accept:
		return s.answered(o, accepted)
	case decline:
		return s.answered(o, declined)
	case revoke:
		return s.takenBack(o)
	case resend:
		return s.resent(o)
	case lookup, show, invite:
		return s.seen(o)
	}
	return nil
}

func (s standing) ended(how string) standing {
	s.outcome = how
	return s
}

// only is one possibility, where it is one.
func only(s standing, possible bool) []standing {
	if !possible {
		return nil
	}
	return []standing{s}
}

// answered is an accept or a decline.
func (s standing) answered(o *op, how string) []standing {
	works := s.open(o) && s.usable(o)
	switch {
	case o.unknown: // but in the ledger
		return only(s.ended(how), works)
	case o.code == "" && works:
		return []standing{s.ended(how)}
	case o.code == "":
		return only(s, s.outcome == how)
	}
	return s.refused(o)
}

// refused is what a link says that does not work any more.
func (s standing) refused(o *op) []standing {
	switch o.code {
	case expired:
		return only(s, s.over(o))
	case refusedReplaced:
		return only(s, s.open(o) && o.generation < s.generation)
	case accepted, declined, revoked:
		return only(s, s.outcome == o.code)
	}
	return nil
}

func (s standing) takenBack(o *op) []standing {
	switch {
	case o.unknown: // but in the ledger
		return only(s.ended(revoked), s.open(o))
	case o.code == "" && s.open(o):
		return []standing{s.ended(revoked)}
	case o.code == "":
		return only(s, s.outcome == revoked)
	case o.code == refusedEnded:
		return only(s, s.over(o) || s.outcome != "" && s.outcome != revoked)
	}
	return nil
}

func (s standing) resent(o *op) []standing {
	switch {
	case o.unknown:
		return s.perhapsResent(o)
	case o.made != "": // first it was seen that this one was over; the other was made after that, as by an invite
		return only(s, s.over(o))
	case o.code == "":
		return only(s.with(o, o.told), s.open(o) && s.follows(o, o.told))
	case o.code == refusedEnded:
		return only(s, s.over(o) || s.outcome != "")
	case o.code == refusedConflict:
		return []standing{s} // somebody else was quicker four times
	case o.code == refusedInvited, o.code == refusedMember:
		return only(s, s.over(o))
	}
	return nil
}

func (s standing) perhapsResent(o *op) []standing {
	all := []standing{s}
	for _, m := range o.maybe {
		if s.open(o) && s.follows(o, m) {
			all = append(all, s.with(o, m))
		}
	}
	return all
}

// follows reports whether a resend that was answered so has followed on this standing.
func (s standing) follows(o *op, told standing) bool {
	generation := s.generation
	if o.rotate {
		generation++
	}
	return told.generation == generation && !told.deadline.Before(s.deadline)
}

func (s standing) with(o *op, told standing) standing {
	if told.generation > s.generation {
		s.replaced[s.generation] = o.ret
	}
	s.generation, s.deadline = told.generation, told.deadline
	return s
}

// seen is what changes nothing: a lookup, a look by an admin, or an invite that was refused because this one is open.
func (s standing) seen(o *op) []standing {
	switch {
	case o.code == refusedInvited:
		return only(s, s.open(o))
	case o.what == lookup && o.code != "":
		return s.refused(o)
	case o.code != "":
		return nil
	case o.what == lookup && o.generation != s.generation:
		return nil
	}
	switch t := o.told; t.outcome {
	case pending:
		return only(s, s.open(o) && t.deadline.Equal(s.deadline) && t.generation == s.generation)
	case expired:
		return only(s, s.over(o))
	default:
		return only(s, s.outcome == t.outcome)
	}
}

// address is how the invitations of one address stand, by their place in the history. One invitation alone is one of these,
// too.
type address []standing

// create makes the n-th invitation, which the ledger has even where nobody was told so. None of the others may be open then:
// that is the claim on the address.
func (a address) create(o *op, n int) []address {
	var possible []address
	free := !a[n].made
	next := slices.Clone(a)
	for i, other := range a {
		if i == n || !other.made || other.outcome != "" {
			continue
		}
		free = free && other.over(o)
		next[i] = other.ended(expired)
	}
	if free {
		next[n] = standing{made: true, generation: 1, deadline: o.told.deadline}
		possible = append(possible, next)
	}
	return possible
}

// step are the ways in which the address may stand after an op on its n-th invitation.
func (a address) step(o *op, n int) []address {
	if o.what == invite && o.code == "" {
		return a.create(o, n)
	}
	var possible []address
	for _, s := range a[n].next(o) {
		next := slices.Clone(a)
		next[n] = s
		possible = append(possible, next)
	}
	return possible
}

// model is the sequential specification of the given invitations.
func model(invitations []string) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{make(address, len(invitations))} },
		Step: func(state, input, _ any) []any {
			o := input.(*op)
			var possible []any
			for _, next := range state.(address).step(o, slices.Index(invitations, o.invitation)) {
				possible = append(possible, next)
			}
			return possible
		},
		Equal:             func(a, b any) bool { return slices.Equal(a.(address), b.(address)) },
		DescribeOperation: func(input, _ any) string { return input.(*op).String() },
		DescribeState:     func(state any) string { return fmt.Sprint(state) },
	}
	return m.ToModel()
}

// patience is how long one check may take. What is not decided by then has failed.
const patience = time.Minute

// check finds out whether a history of some invitations can have happened one thing after another. It gives what speaks
// against it, and empty where nothing does.
func check(name string, ops []*op, picture string) string {
	var invitations []string
	var history []porcupine.Operation
	for _, o := range ops {
		if !slices.Contains(invitations, o.invitation) {
			invitations = append(invitations, o.invitation)
		}
		history = append(history, porcupine.Operation{ClientId: o.client, Input: o, Call: o.call, Return: o.ret})
	}
	m := model(invitations)
	result, info := porcupine.CheckOperationsVerbose(m, history, patience)
	if result == porcupine.Ok {
		return ""
	}
	_ = porcupine.VisualizePath(m, info, picture) // a help, where it can be drawn
	return fmt.Sprintf("%s: %d operations are %s in any order (drawn in %s):%s", name, len(ops), strings.ToLower(string(result)), picture, list(ops))
}

// list writes down operations in the order in which they were asked for.
func list(ops []*op) string {
	var text strings.Builder
	for _, o := range slices.SortedFunc(slices.Values(ops), func(a, b *op) int { return cmp.Compare(a.call, b.call) }) {
		ret := fmt.Sprint(time.Duration(o.ret).Round(10 * time.Microsecond))
		if o.unknown {
			ret = "…"
		}
		_, _ = fmt.Fprintf(&text, "\n    %v to %s, by the clock %s to %s, client %d: %v", time.Duration(o.call).Round(10*time.Microsecond), ret,
			o.called.Format(clockFormat), o.returned.Format(clockFormat), o.client, o)
	}
	return text.String()
}

const clockFormat = "15:04:05.000"
