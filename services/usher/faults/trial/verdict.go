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
	rejected    map[string]string        // an app's event to the reason it was rejected for
	dead        []string                 // subjects of what nobody could handle, with the reason
}

// judge waits for quiet and compares what people were told with what is there.
func (t *Trial) judge(ctx context.Context, stories []*story, desk *office, o *campaign.Outcome) error {
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
	for _, one := range stories {
		t.judgeStory(ctx, one, s, o)
	}
	t.say("judged")
	desk.judge(s, o)
	for id, ends := range s.outcomes {
		if len(ends) > 1 {
			o.Violate("%s ended %d times: %v", id, len(ends), ends)
		}
	}
	for _, letter := range s.dead {
		o.Violate("a dead letter: %s", letter)
	}
	o.Count("memberships", int64(len(s.memberships)))
	t.judgeLogs(o)
	if err := t.judgeStores(ctx, o); err != nil {
		return err
	}
	return t.judgeSecrets(o)
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
		people: map[string]string{}, rejected: map[string]string{},
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
			return // what was done about one
		}
		s.dead = append(s.dead, m.Subject()+" "+m.Headers().Get("Usher-Dead-Reason")+" "+m.Headers().Get("Usher-Dead-Subject"))
		return
	}
	e, err := events.Decode(m.Headers(), m.Data(), m.Subject())
	if err != nil {
		s.dead = append(s.dead, "unreadable: "+m.Subject())
		return
	}
	_, id, _, _ := events.SplitInvitation(m.Subject())
	switch d := e.Data.(type) {
	case *events.InvitationRequested:
		s.requested[id]++
		s.addresses[d.Email] = append(s.addresses[d.Email], id)
		s.people[d.Email] = d.Person
	case *events.InvitationAccepted, *events.InvitationDeclined, *events.InvitationRevoked, *events.InvitationExpired:
		s.outcomes[id] = append(s.outcomes[id], string(e.Type))
	case *events.InvitationRejected:
		s.rejected[d.Request] = d.Reason
	case *events.MembershipProvisioned:
		s.memberships[d.Person] = append(s.memberships[d.Person], d)
	case *events.MembershipRoleChanged:
		s.memberships[d.Person] = append(s.memberships[d.Person], d)
	case *events.MembershipRemoved:
		s.memberships[d.Person] = append(s.memberships[d.Person], d)
	}
}

// judgeStory holds one story against what is stored.
func (t *Trial) judgeStory(ctx context.Context, one *story, s *stored, o *campaign.Outcome) {
	violate := func(format string, args ...any) {
		o.Violate("%s (%s, %s, %s): %s", one.email, one.id, one.door, one.end, fmt.Sprintf(format, args...))
	}
	for _, odd := range one.odd {
		violate("%s", odd)
	}
	ids := s.addresses[one.email]
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
	t.judgeMails(ctx, one, o, violate)
}

type violate func(format string, args ...any)

// judgeRequest: what was acknowledged is there, once, and came out of the mailer, or has ended.
func (t *Trial) judgeRequest(one *story, s *stored, ids []string, violate violate) {
	if reason, ok := s.rejected["bus-"+one.email]; ok {
		violate("was rejected: %s", reason)
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
	case len(t.mails.to(one.email)) == 0 && len(s.outcomes[ids[0]]) == 0:
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
	said := s.memberships[s.people[one.email]]
	accepted := strings.Join(s.outcomes[one.id], " ") == string(events.TypeInvitationAccepted)
	switch {
	case !accepted && len(said) > 0:
		violate("is a member without an acceptance: %d events", len(said))
	case !accepted:
	case len(said) != 1:
		violate("was accepted, and there are %d memberships", len(said))
	default:
		m, ok := said[0].(*events.MembershipProvisioned)
		if !ok || m.Role != one.role || m.Organization != t.org || m.Email != one.email || m.Invitation != one.id {
			violate("has a membership that is not the invitation's: %+v", said[0])
		}
	}
}

// judgeMails: at most two mails for each intent, none after a revoke was answered, and every link works.
func (t *Trial) judgeMails(ctx context.Context, one *story, o *campaign.Outcome, violate violate) {
	sent := t.mails.to(one.email)
	o.Count("mails", int64(len(sent)))
	intents := map[string]int{}
	for _, m := range sent {
		intents[m.Variables["intent"]]++
		for _, r := range one.revoked {
			if m.At.After(r.ended) {
				violate("a mail left %s after the revoke was answered", m.At.Sub(r.ended))
			}
		}
		t.judgeLink(ctx, one, m, violate)
	}
	if most := 1 + one.resent + one.perhaps; len(intents) > most {
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
