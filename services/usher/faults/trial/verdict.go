package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/mailer/fakemailgun"
	"github.com/usherhq/usher/services/usher/faults/campaign"
)

// stored is what the streams say in the end, read past Usher.
type stored struct {
	requested   map[string]int           // invitation to the number of requests that made it
	addresses   map[string][]string      // address to the invitations made for it
	outcomes    map[string][]string      // invitation to its ends, in order
	memberships map[string][]events.Data // person to everything said of their membership
	people      map[string]string        // address to person
	rejected    map[string][]string      // an app's event to the reasons it was rejected for
	dead        map[string][]string      // subject of what nobody could handle to what is said of it
	facts       map[fact][]string        // what is said of an invitation to the ids of the events that say it
	reports     map[string]bool          // ids of the provider's reports that were taken in
	owners      map[string][]string      // organization to the addresses of those who were its owners from the beginning
	known       map[string]*story        // invitation to the story that is about it
	again       map[uint64]int           // how often a dead letter was handed out again
	handed      []string                 // the subjects of the letters that what was handed out again has become
}

// fact is something said of an invitation.
type fact struct {
	invitation string
	what       events.Type
}

// said gives how often something is said of an invitation: an event that is stored twice has one id, and is one to whoever reads it.
func (s *stored) said(invitation string, what events.Type) int {
	return len(s.facts[fact{invitation, what}])
}

// of gives the ids of a story's own: an address may have invitations of several stories.
func (s *stored) of(one *story) (ids []string) {
	for _, id := range s.addresses[one.email] {
		if s.mayBe(one, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// mayBe reports whether an invitation is a story's, as far as anybody knows.
func (s *stored) mayBe(one *story, id string) bool { return s.known[id] == nil || s.known[id] == one }

// judge waits for quiet and compares what people were told with what is there.
func (t *Trial) judge(ctx context.Context, people *traffic, desk *office, o *campaign.Outcome) error {
	if err := t.quiet(ctx); err != nil {
		o.Violate("%v", err)
	}
	o.Figure("seconds until quiet", time.Since(t.healed).Seconds())
	t.say("quiet")
	s, err := t.read(ctx)
	if err != nil {
		return err
	}
	t.say("read")
	ctx, cancel := context.WithTimeout(ctx, t.options.Settling) // a system that does not come back answers nothing for ever
	defer cancel()
	for _, one := range people.stories {
		if one.id != "" {
			s.known[one.id] = one
		}
	}
	for _, one := range people.stories {
		t.judgeStory(ctx, one, s, o)
	}
	judgePromises(ctx, people.promises, s, o.Violate)
	t.say("judged")
	desk.judge(s, o)
	for id, ends := range s.outcomes {
		if len(ends) > 1 {
			o.Violate("%s ended %d times: %v", id, len(ends), ends)
		}
	}
	judgeLetters(people.letters, s, o)
	judgeMembers(s, o)
	o.Count("memberships", int64(len(s.memberships)))
	t.judgeLogs(o)
	if err := t.judgeStores(ctx, o); err != nil {
		return err
	}
	return t.judgeSecrets(o)
}

// judgePromises: what else was promised is there.
func judgePromises(ctx context.Context, all []promise, s *stored, violate violate) {
	for _, p := range all {
		if missing := p(ctx, s); missing != "" {
			violate("%s", missing)
		}
	}
}

// judgeLetters: what nobody can handle is a dead letter, once, and nothing else is.
func judgeLetters(expected []string, s *stored, o *campaign.Outcome) {
	for letter, times := range s.again {
		if times > 1 {
			o.Violate("dead letter %d was handed out again %d times", letter, times)
		}
	}
	o.Count("dead letters handed out again", int64(len(s.handed)))
	for _, subject := range slices.Concat(expected, s.handed) {
		if n := len(s.dead[subject]); n != 1 {
			o.Violate("%s is there %d times, and nobody can handle what it is about", subject, n)
		}
		delete(s.dead, subject)
	}
	o.Count("dead letters of what nobody could handle", int64(len(expected)))
	for subject, letters := range s.dead {
		o.Violate("a dead letter: %s %v", subject, letters)
	}
}

// judgeMembers: whoever came by an invitation said yes to it, and came once.
func judgeMembers(s *stored, o *campaign.Outcome) {
	for person, said := range s.memberships {
		came := 0
		for _, data := range said {
			m, ok := data.(*events.MembershipProvisioned)
			if !ok || m.Invitation == "" {
				continue
			}
			came++
			if ends := s.outcomes[m.Invitation]; len(ends) != 1 || ends[0] != string(events.TypeInvitationAccepted) {
				o.Violate("%s is a member by %s, whose ends are %v", person, m.Invitation, ends)
			}
		}
		if came > 1 {
			o.Violate("%s became a member %d times", person, came)
		}
	}
}

// judgeStores: everything that Usher keeps says the same. Where Redis lost what it had, one command brings it back.
func (t *Trial) judgeStores(ctx context.Context, o *campaign.Outcome) error {
	first, err := t.check(ctx, "--repair")
	if err != nil {
		return err
	}
	for _, d := range first.Disagreements {
		if !d.Repaired || !t.redisLost {
			o.Violate("the stores disagree: %s %s %s", d.Kind, d.Invitation, d.Detail)
		}
	}
	if len(first.Disagreements) == 0 {
		return nil
	}
	o.Count("disagreements after Redis lost something, mended by usher check", int64(len(first.Disagreements)))
	second, err := t.check(ctx)
	if err != nil {
		return err
	}
	for _, d := range second.Disagreements {
		o.Violate("the stores disagree after they were mended: %s %s %s", d.Kind, d.Invitation, d.Detail)
	}
	return nil
}

// report is what "usher check" tells.
type report struct {
	Disagreements []struct {
		Kind, Invitation, Detail string
		Repaired                 bool
	}
}

func (t *Trial) check(ctx context.Context, words ...string) (r report, err error) {
	out, code, err := t.cluster.Command(ctx, append([]string{"check", "--json"}, words...)...)
	if err != nil {
		return r, err
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("usher check ended with %d: %s", code, out)
	}
	return r, nil
}

// read reads all streams to their ends.
func (t *Trial) read(ctx context.Context) (*stored, error) {
	s := &stored{
		requested: map[string]int{}, addresses: map[string][]string{}, outcomes: map[string][]string{}, memberships: map[string][]events.Data{},
		people: map[string]string{}, rejected: map[string][]string{}, dead: map[string][]string{}, facts: map[fact][]string{},
		reports: map[string]bool{}, owners: map[string][]string{}, known: map[string]*story{}, again: map[uint64]int{},
	}
	for _, stream := range []string{events.StreamInvitations, events.StreamMemberships, events.StreamDeadLetters} {
		if err := t.scan(ctx, stream, s.take); err != nil {
			return nil, fmt.Errorf("read %s: %w", stream, err)
		}
	}
	return s, nil
}

func (t *Trial) scan(ctx context.Context, name string, take func(jetstream.Msg)) error {
	stream, err := t.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	left := stream.CachedInfo().State.Msgs
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	for ; err == nil && left > 0; left-- {
		var m jetstream.Msg
		if m, err = consumer.Next(jetstream.FetchMaxWait(10 * time.Second)); err == nil {
			take(m)
		}
	}
	return err
}

func (s *stored) take(m jetstream.Msg) {
	if strings.HasPrefix(m.Subject(), events.RootDeadLetters) {
		if _, _, _, ok := events.SplitDeadLetter(m.Subject()); !ok {
			s.takeAct(m)
			return
		}
		s.dead[m.Subject()] = append(s.dead[m.Subject()], m.Headers().Get("Usher-Dead-Reason")+" "+m.Headers().Get("Usher-Dead-Subject"))
		return
	}
	e, err := events.Decode(m.Headers(), m.Data(), m.Subject())
	if err != nil {
		s.dead[m.Subject()] = append(s.dead[m.Subject()], "unreadable")
		return
	}
	_, id, _, _ := events.SplitInvitation(m.Subject())
	if of := (fact{id, e.Type}); !slices.Contains(s.facts[of], e.ID) {
		s.facts[of] = append(s.facts[of], e.ID)
	}
	switch d := e.Data.(type) {
	case *events.InvitationRequested:
		s.requested[id]++
		s.addresses[d.Email] = append(s.addresses[d.Email], id)
		s.people[d.Email] = d.Person
	case *events.InvitationAccepted, *events.InvitationDeclined, *events.InvitationRevoked, *events.InvitationExpired:
		s.outcomes[id] = append(s.outcomes[id], string(e.Type))
	case *events.InvitationDelivered:
		s.reports[d.ProviderEvent] = true
	case *events.InvitationBounced:
		s.reports[d.ProviderEvent] = true
	case *events.InvitationRejected:
		s.rejected[d.Request] = append(s.rejected[d.Request], d.Reason)
	case *events.MembershipProvisioned:
		if d.Role == "owner" && d.Invitation == "" {
			s.owners[d.Organization] = append(s.owners[d.Organization], d.Email)
		}
		s.memberships[d.Person] = append(s.memberships[d.Person], d)
	case *events.MembershipRoleChanged:
		s.memberships[d.Person] = append(s.memberships[d.Person], d)
	case *events.MembershipRemoved:
		s.memberships[d.Person] = append(s.memberships[d.Person], d)
	}
}

// takeAct takes in what was done about a dead letter: handed out again, what nobody could handle is a dead letter once more.
func (s *stored) takeAct(m jetstream.Msg) {
	worker, act, letter, ok := events.SplitDeadAct(m.Subject())
	told, err := m.Metadata()
	if !ok || act != events.DeadAgain || err != nil {
		return
	}
	s.again[letter]++
	s.handed = append(s.handed, events.DeadLetterSubject(worker, events.StreamDeadLetters, told.Sequence.Stream))
}

// judgeStory holds one story against what is stored.
func (t *Trial) judgeStory(ctx context.Context, one *story, s *stored, o *campaign.Outcome) {
	violate := func(format string, args ...any) {
		o.Violate("%s (%s, %s, %s): %s", one.email, one.id, one.door, one.end, fmt.Sprintf(format, args...))
	}
	for _, odd := range one.odd {
		violate("%s", odd)
	}
	ids := s.of(one)
	if one.acknowledged.IsZero() {
		if len(ids) > 1 {
			violate("was never acknowledged and is there as %v", ids)
		}
	} else {
		o.Count("requests acknowledged", 1)
		t.judgeRequest(one, s, ids, violate)
	}
	t.judgeAnswers(one, s, o, violate)
	t.judgeMembership(one, s, violate)
	t.judgeMails(ctx, one, s, o, violate)
	judgePromises(ctx, one.promises, s, violate)
}

type violate func(format string, args ...any)

// judgeRequest: what was acknowledged is there, once, and came out of the mailer, or has ended.
func (t *Trial) judgeRequest(one *story, s *stored, ids []string, violate violate) {
	if reasons := s.rejected["bus-"+one.key]; len(reasons) > 0 || one.end == endRejected {
		if one.end != endRejected || len(reasons) != 1 || len(ids) > 0 {
			violate("was rejected %d times (%v), and is there as %v", len(reasons), reasons, ids)
		}
		return
	}
	switch {
	case len(ids) != 1:
		violate("was acknowledged and is in the ledger %d times: %v", len(ids), ids)
	case one.id != "" && ids[0] != one.id:
		violate("was acknowledged as another invitation than %s", ids[0])
	case s.requested[ids[0]] != 1:
		violate("was requested %d times", s.requested[ids[0]])
	case one.lonely:
		violate("a mail did not come in time")
	case len(t.mails.to(one.email)) == 0 && len(s.outcomes[ids[0]]) == 0 && s.said(ids[0], events.TypeInvitationBounced) == 0:
		violate("was never mailed")
	}
}

// judgeAnswers: whoever was told yes finds it so, and nobody was told yes who came too late.
func (t *Trial) judgeAnswers(one *story, s *stored, o *campaign.Outcome, violate violate) {
	ends := strings.Join(s.outcomes[one.id], " ")
	for _, told := range []struct {
		answers []answer
		end     events.Type
	}{{one.accepted, events.TypeInvitationAccepted}, {one.declined, events.TypeInvitationDeclined}, {one.revoked, events.TypeInvitationRevoked}} {
		if len(told.answers) > 0 {
			o.Count(string(told.end)+" answered yes", 1)
			if ends != string(told.end) {
				violate("%s was answered yes, and the ledger says %q", told.end, ends)
			}
		}
	}
	for _, no := range one.refused {
		if no.code() == "expired" || len(s.outcomes[one.id]) == 0 && no.code() != "replaced" {
			violate("an accept was refused without a reason: %s", no)
		}
	}
}

// judgeMembership: an acceptance in the ledger is exactly one membership, with the role of the request; nothing else is one.
func (t *Trial) judgeMembership(one *story, s *stored, violate violate) {
	var said []events.Data
	for _, data := range s.memberships[s.people[one.email]] {
		if s.mayBe(one, invitationOf(data)) {
			said = append(said, data)
		}
	}
	accepted := strings.Join(s.outcomes[one.id], " ") == string(events.TypeInvitationAccepted)
	switch {
	case !accepted && len(said) > 0:
		violate("is a member without an acceptance: %d events", len(said))
	case !accepted:
	case one.end == endLost && len(said) == 0:
		if n := s.said(one.id, events.TypeInvitationAcceptRefused); n != 1 {
			violate("was accepted, there is no membership, and that was said %d times", n)
		}
	case one.left && len(said) == 2 && said[1].EventType() == events.TypeMembershipRemoved:
	case len(said) != 1:
		violate("was accepted, and there are %d memberships", len(said))
	default:
		m, ok := said[0].(*events.MembershipProvisioned)
		if !ok || m.Role != one.role || m.Organization != t.org || m.Email != one.email || m.Invitation != one.id {
			violate("has a membership that is not the invitation's: %+v", said[0])
		}
	}
}

// invitationOf is the one by which somebody is a member.
func invitationOf(data events.Data) string {
	switch m := data.(type) {
	case *events.MembershipProvisioned:
		return m.Invitation
	case *events.MembershipRoleChanged:
		return m.Invitation
	case *events.MembershipRemoved:
		return m.Invitation
	}
	return ""
}

// judgeMails: at most two mails for each intent, none after a revoke was answered, and every link works.
func (t *Trial) judgeMails(ctx context.Context, one *story, s *stored, o *campaign.Outcome, violate violate) {
	intents := map[string]int{}
	for _, m := range t.mails.to(one.email) {
		if id := m.Variables["invitation"]; id == "" || !s.mayBe(one, id) {
			continue // a notice to an inviter, or another story's
		}
		o.Count("mails", 1)
		intents[m.Variables["intent"]]++
		for _, r := range one.revoked {
			if m.At.After(r.ended) {
				violate("a mail left %s after the revoke was answered", m.At.Sub(r.ended))
			}
		}
		t.judgeLink(ctx, one, m, violate)
	}
	if most := 1 + one.resent + one.perhaps + t.reminders; len(intents) > most {
		violate("%d mails were asked for and %d different ones left", most, len(intents))
	}
	for intent, n := range intents {
		if n > 1 {
			o.Count("mails sent twice", 1)
		}
		if n > 2 {
			violate("the mail asked for at %s left %d times", intent, n)
		}
	}
}

// judgeLink: a link leads to its invitation, or says how that ended.
func (t *Trial) judgeLink(ctx context.Context, one *story, m fakemailgun.Mail, violate violate) {
	if m.Variables["invitation"] != one.id && one.id != "" {
		violate("a mail is about %s", m.Variables["invitation"])
	}
	secret := token(m)
	a := insist(ctx, func() answer { return post(ctx, t.cluster, "/v1/links/lookup", map[string]any{"token": secret}, nil) })
	if a.status != http.StatusOK && a.status != http.StatusGone {
		violate("the link of mail %d does not work: %s", m.Number, a)
	}
}

var alarms = regexp.MustCompile(`(?m)^(panic:|fatal error:|WARNING: DATA RACE).*`)

// judgeLogs: no process fell over by itself.
func (t *Trial) judgeLogs(o *campaign.Outcome) {
	for _, s := range t.cluster.Services {
		text, err := os.ReadFile(s.LogFile())
		if err != nil {
			o.Violate("%v", err)
			continue
		}
		for _, alarm := range alarms.FindAllString(string(text), -1) {
			if !strings.Contains(alarm, "failpoint") {
				o.Violate("%s: %s", s.Name, alarm)
			}
		}
	}
}

var tokenLike = regexp.MustCompile(`[\w-]{40,}`)

// judgeSecrets: no link's secret is in any file that a broker, a Redis server or a service wrote.
func (t *Trial) judgeSecrets(o *campaign.Outcome) error {
	secrets := map[string]bool{}
	for _, m := range t.cluster.Mailgun.Mails() {
		secrets[token(m)] = true
	}
	return filepath.WalkDir(t.cluster.Dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // brokers remove files while this looks
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		for _, word := range tokenLike.FindAll(text, -1) {
			if secrets[string(word)] {
				o.Violate("the secret of a link is in %s", filepath.Base(path))
				return nil
			}
		}
		return nil
	})
}
