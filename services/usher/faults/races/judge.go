package races

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

// The ways to end an invitation that race each other.
const (
	accept  = "accept"
	decline = "decline"
	revoke  = "revoke"
)

// ends are the outcomes that a contender wants.
var ends = map[string]string{accept: "accepted", decline: "declined", revoke: "revoked"}

const expired = "expired"

// contest is one invitation that several want to end.
type contest struct {
	id, org, email, role string
	deadline             time.Time
	tokens               []string
	tries                []try
}

// try is one contender's call, with the pipeline's clock before it and after.
type try struct {
	what             string
	answer           pipeline.Answer
	called, returned time.Time
}

// sentMail is one that was sent.
type sentMail struct {
	to string
	at time.Time
}

// evidence is all that there is to judge by: what the contenders were told, what the broker has, what was mailed, and what
// the lists of each organization show.
type evidence struct {
	contests    []*contest
	ledger      []pipeline.Stored
	memberships []pipeline.Stored
	mails       []sentMail
	lists       map[string]map[string]shown // organization, invitation
}

// shown is an invitation in a list.
type shown struct {
	status, membership string
}

// judge finds what should not have been.
func judge(e evidence) []string {
	j := &judging{evidence: e, facts: map[string][]pipeline.Stored{}, provisioned: map[string][]*events.MembershipProvisioned{}, mailed: map[string][]sentMail{}}
	for _, s := range e.ledger {
		if _, id, _, ok := events.SplitInvitation(s.Subject); ok {
			j.facts[id] = append(j.facts[id], s)
		}
	}
	for _, s := range e.memberships {
		if m, ok := s.Event.Data.(*events.MembershipProvisioned); ok {
			j.provisioned[m.Invitation] = append(j.provisioned[m.Invitation], m)
		}
	}
	for _, m := range e.mails {
		j.mailed[m.to] = append(j.mailed[m.to], m)
	}
	for _, c := range e.contests {
		j.contest(c)
	}
	j.foreign()
	j.secrets()
	return j.found
}

type judging struct {
	evidence
	facts       map[string][]pipeline.Stored
	provisioned map[string][]*events.MembershipProvisioned
	mailed      map[string][]sentMail
	found       []string
}

func (j *judging) violate(c *contest, format string, args ...any) {
	j.found = append(j.found, c.id+": "+fmt.Sprintf(format, args...))
}

func (j *judging) contest(c *contest) {
	outcomes := j.outcomes(c)
	if len(outcomes) != 1 {
		j.violate(c, "it has %d outcomes in the ledger: %v", len(outcomes), outcomes) // I2, I3
	}
	if len(outcomes) == 0 {
		return
	}
	winner := outcomes[0]
	j.answers(c, winner)
	j.membership(c, winner)
	j.list(c, winner)
	j.mailing(c)
}

// outcomes are the ways in which the ledger says that an invitation ended, first things first.
func (j *judging) outcomes(c *contest) (all []string) {
	for _, s := range j.facts[c.id] {
		if how := outcome(s); how != "" {
			all = append(all, how)
		}
	}
	return all
}

// outcome is how a stored message ends its invitation; empty where it does not.
func outcome(s pipeline.Stored) string {
	_, _, fact, _ := events.SplitInvitation(s.Subject)
	how, ok := strings.CutPrefix(fact, "outcome.")
	if !ok {
		return ""
	}
	return how
}

// answers looks at what the contenders were told.
func (j *judging) answers(c *contest, winner string) {
	confirmed := winner == expired // nobody asks for that and is answered
	for _, t := range c.tries {
		if t.answer.Unknown() {
			confirmed = confirmed || ends[t.what] == winner
			continue
		}
		said, ok := told(t)
		switch {
		case !ok:
			j.violate(c, "%s was answered %s", t.what, t.answer)
		case said == ends[t.what] && t.answer.Status == 200 && winner != said:
			j.violate(c, "%s was answered with success, and it was %s first", t.what, winner) // I2
		case said == expired && winner != expired && t.returned.Before(c.deadline):
			j.violate(c, "%s was told that it had expired, %s before the deadline", t.what, c.deadline.Sub(t.returned))
		case said != expired && said != ended && said != winner:
			j.violate(c, "%s was told that it was %s, and it was %s", t.what, said, winner)
		case said == ended && winner == revoked && t.returned.Before(c.deadline):
			j.violate(c, "%s was told that it had ended otherwise, and it was revoked", t.what)
		}
		if t.what == accept && t.answer.Status == 200 && !t.called.Before(c.deadline) {
			j.violate(c, "an accept that began %s after the deadline was answered with success", t.called.Sub(c.deadline)) // I4
		}
		confirmed = confirmed || t.answer.Status == 200 && ends[t.what] == winner
	}
	if !confirmed {
		j.violate(c, "it was %s, and nobody who wanted that was told so", winner)
	}
}

const (
	ended   = "ended" // what a revoke is told that comes too late
	revoked = "revoked"
)

// told is how an answer says that the invitation ended; false for an answer that there should not be.
func told(t try) (string, bool) {
	switch {
	case t.answer.Status == 200:
		return ends[t.what], true
	case t.answer.Status == 410 && slices.Contains([]string{"accepted", "declined", revoked, expired}, t.answer.Code):
		return t.answer.Code, t.what != revoke
	case t.answer.Status == 409 && t.answer.Code == ended:
		return ended, t.what == revoke
	}
	return "", false
}

// membership looks at what the winner led to: I1, I2 and I5.
func (j *judging) membership(c *contest, winner string) {
	have := j.provisioned[c.id]
	want := 0
	if winner == ends[accept] {
		want = 1
	}
	if len(have) != want {
		j.violate(c, "it was %s and led to %d memberships", winner, len(have))
	}
	for _, m := range have {
		if m.Organization != c.org || m.Role != c.role || m.Email != c.email {
			j.violate(c, "the membership is not what was issued: %s in %s, issued was %s in %s", m.Role, m.Organization, c.role, c.org)
		}
	}
}

// list looks at what is shown: I3 and I11.
func (j *judging) list(c *contest, winner string) {
	have, ok := j.lists[c.org][c.id]
	membership := "none"
	if winner == ends[accept] {
		membership = "active"
	}
	if want := (shown{winner, membership}); !ok || have != want {
		j.violate(c, "its organization's list shows %+v, and it is %+v", have, want)
	}
}

// mailing looks at the mails: I7. Of a contest that nobody resends there is one mail at most, and none after a revoke.
func (j *judging) mailing(c *contest) {
	if n := len(j.mailed[c.email]); n > 1 {
		j.violate(c, "%d mails were sent", n)
	}
	for _, t := range c.tries {
		if t.what != revoke || t.answer.Status != 200 {
			continue
		}
		for _, m := range j.mailed[c.email] {
			if m.at.After(t.returned) {
				j.violate(c, "a mail was sent %s after the revoke was answered", m.at.Sub(t.returned))
			}
		}
	}
}

// foreign looks for what belongs to nobody: memberships without an invitation (I2), and invitations in lists of other
// organizations (I8).
func (j *judging) foreign() {
	home := map[string]string{}
	for _, c := range j.contests {
		home[c.id] = c.org
	}
	for id, members := range j.provisioned {
		if id != "" && home[id] == "" {
			j.found = append(j.found, fmt.Sprintf("%s: nobody made this invitation, and it led to %d memberships", id, len(members)))
		}
	}
	for _, org := range slices.Sorted(maps.Keys(j.lists)) {
		for id := range j.lists[org] {
			if home[id] != org {
				j.found = append(j.found, fmt.Sprintf("%s: %s sees it, and it is of %q", id, org, home[id]))
			}
		}
	}
}

// secrets looks for tokens in the ledger: I6.
func (j *judging) secrets() {
	tokens := map[string]*contest{}
	for _, c := range j.contests {
		for _, t := range c.tokens {
			tokens[t] = c
		}
	}
	for _, s := range j.ledger {
		for _, word := range strings.FieldsFunc(string(s.Data), notOfTokens) {
			if c := tokens[word]; c != nil {
				j.violate(c, "sequence %d of the ledger holds its token", s.Sequence)
			}
		}
	}
}

func notOfTokens(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
