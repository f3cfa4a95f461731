package trial

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/mailer/fakemailgun"
)

// Doors through which people are invited.
const (
	doorHTTP = "http"
	doorBulk = "bulk"
	doorBus  = "bus"
)

// Ends that a story may have.
const (
	endAccept      = "accept"
	endAcceptTwice = "accept-twice" // from two tabs at once
	endAcceptPage  = "accept-page"  // in a browser
	endDecline     = "decline"
	endRevoke      = "revoke"
	endRace        = "race" // accept, decline and revoke at once
	endResend      = "resend"
	endRotate      = "rotate"
	endNone        = "none"
	endRejected    = "rejected" // by the system: the request asks for what cannot be
	endBounce      = "bounce"   // the provider does not take the mail, or says later that nobody did
	endExpire      = "expire"
	endLost        = "lost" // accepted, and whoever invited may not invite any more before that has led to anything
)

// ends are the ends with how often each is chosen.
var ends = []string{
	endAccept, endAccept, endAccept, endAcceptPage, endAcceptTwice, endAcceptTwice, endDecline, endRevoke, endRevoke, endRace, endRace,
	endResend, endRotate, endNone,
}

// story is one invitation as the people who take part in it see it: what they asked, and what they were answered.
type story struct {
	email, role, door, end string
	// key names the request; another story about the same address has another.
	key string
	// inviter is who invites in their own name; the owner where it is empty. expires is how long the invitation stays open, empty
	// for the usual time.
	inviter, expires string
	// hasty people give up after the first request that is not answered, so that only the system can finish it.
	hasty bool

	mu sync.Mutex
	// id is the invitation's, once somebody was told.
	id string
	// acknowledged is when the request was answered yes; zero where it was not.
	acknowledged time.Time
	// accepted, declined and revoked are the requests answered yes.
	accepted, declined, revoked []answer
	// refused are the answers to an accept that were a clear no.
	refused []answer
	// resent is how many more mails were asked for and acknowledged; perhaps how many may have been.
	resent, perhaps int
	// left is true where who came by the invitation was made to leave again.
	left bool
	// odd are answers that nobody should get.
	odd []string
	// lonely is true where the mail did not come in time.
	lonely bool
	// promises are what else must be in the end.
	promises []promise
}

// promise says what is missing of something that somebody was told, and nothing where all is there.
type promise func(ctx context.Context, s *stored) string

// must adds a promise.
func (s *story) must(p promise) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promises = append(s.promises, p)
}

func (s *story) note(list *[]answer, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, a)
}

func (s *story) oddity(what string, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.odd = append(s.odd, fmt.Sprintf("%s was answered %s", what, a))
}

// traffic is all stories of a trial.
type traffic struct {
	*Trial
	stories []*story
	bus     *nats.Conn

	number   atomic.Int64 // of newcomers
	mu       sync.Mutex
	promises []promise
	letters  []string // the subjects of the dead letters that there must be
}

// meet adds a story that begins later.
func (t *traffic) meet(s *story) *story {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stories = append(t.stories, s)
	return s
}

// newcomer is the story of somebody whom nobody knows yet.
func (t *traffic) newcomer(door, end string) *story {
	email := fmt.Sprintf("e%d.%s@example.org", t.number.Add(1), t.org)
	return t.meet(&story{email: email, key: email, role: "viewer", door: door, end: end})
}

// must adds a promise that is about no one person.
func (t *traffic) must(p promise) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.promises = append(t.promises, p)
}

func (t *traffic) plan(rng *rand.Rand, n int) {
	roles := []string{"viewer", "member", "admin"}
	doors := []string{doorHTTP, doorHTTP, doorHTTP, doorHTTP, doorHTTP, doorBulk, doorBulk, doorBus, doorBus, doorImport}
	for i := range n {
		email := fmt.Sprintf("p%d.%s@example.org", i, t.org)
		t.stories = append(t.stories, &story{
			email: email, key: email, role: roles[rng.IntN(len(roles))], door: doors[rng.IntN(len(doors))],
			end: ends[rng.IntN(len(ends))], hasty: rng.IntN(8) == 0,
		})
	}
}

// run tells stories, their beginnings spread over a time. It returns when each has come to its end, or ctx ends.
func (t *traffic) run(ctx context.Context, stories []*story, rng *rand.Rand, over time.Duration) {
	var running sync.WaitGroup
	together := map[string][]*story{}
	for _, s := range stories {
		if s.door == doorBulk || s.door == doorImport {
			together[s.door] = append(together[s.door], s)
			continue
		}
		begin := upTo(rng, over)
		running.Go(func() {
			if wait(ctx, begin) && t.invite(ctx, s) {
				t.goOn(ctx, s)
			}
		})
	}
	for n, some := range slices.Collect(slices.Chunk(together[doorBulk], 20)) {
		begin := upTo(rng, over)
		running.Go(func() {
			if wait(ctx, begin) {
				t.inviteTogether(ctx, strconv.Itoa(n), some)
			}
		})
	}
	for n, some := range slices.Collect(slices.Chunk(together[doorImport], 20)) {
		begin := upTo(rng, over)
		running.Go(func() {
			if wait(ctx, begin) {
				t.importAll(ctx, strconv.Itoa(n), some)
			}
		})
	}
	running.Wait()
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// machine is the header of an app with a key; owner that of a member it acts for.
func (t *traffic) machine(key string) map[string]string {
	h := map[string]string{"Authorization": "Bearer " + t.cluster.Key}
	if key != "" {
		h["Idempotency-Key"] = key
	}
	return h
}

func (t *traffic) owner(key string) map[string]string {
	h := t.machine(key)
	h["Usher-Actor"] = t.ownerAddress
	return h
}

// again repeats a request until it is answered, or once where people are hasty.
func (t *traffic) again(ctx context.Context, s *story, try func() answer) answer {
	if s.hasty {
		return try()
	}
	return insist(ctx, try)
}

// invite asks for the invitation, and reports whether the story goes on.
func (t *traffic) invite(ctx context.Context, s *story) bool {
	if s.door == doorBus {
		return t.publish(ctx, s)
	}
	return t.invited(s, t.again(ctx, s, func() answer { return t.askOnce(ctx, s, "k-"+s.key) }))
}

// askOnce asks for a story's invitation.
func (t *traffic) askOnce(ctx context.Context, s *story, key string) answer {
	return post(ctx, t.cluster, "/v1/organizations/"+t.org+"/invitations",
		map[string]any{"email": s.email, "role": s.role, "inviter": cmp.Or(s.inviter, t.ownerAddress), "expires_in": s.expires}, t.machine(key))
}

func (t *traffic) invited(s *story, a answer) bool {
	switch {
	case a.open():
		return false
	case a.status != http.StatusAccepted:
		s.oddity("an invitation", a)
		return false
	}
	var made struct{ ID string }
	_ = json.Unmarshal(a.body, &made) // an empty id is found out later
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.acknowledged = made.ID, a.ended
	return true
}

// inviteTogether asks for many in one request.
func (t *traffic) inviteTogether(ctx context.Context, name string, some []*story) {
	rows := make([]map[string]any, len(some))
	for i, s := range some {
		rows[i] = map[string]any{"organization": t.org, "email": s.email, "role": s.role, "inviter": t.ownerAddress}
	}
	verdicts := make([]answer, len(some))
	last := insist(ctx, func() answer {
		a := post(ctx, t.cluster, "/v1/invitations", map[string]any{"invitations": rows}, t.machine(fmt.Sprintf("bulk-%s-%s", name, t.org)))
		var body struct {
			Results []struct {
				Status     int
				Invitation json.RawMessage
				Problem    json.RawMessage
			}
		}
		if !a.yes() || json.Unmarshal(a.body, &body) != nil || len(body.Results) != len(some) {
			return a
		}
		for i, r := range body.Results {
			verdicts[i] = answer{status: r.Status, body: r.Invitation, began: a.began, ended: a.ended}
			if r.Problem != nil {
				verdicts[i].body = r.Problem
			}
			if verdicts[i].open() {
				a.status = http.StatusServiceUnavailable // to be asked again, with the same key
			}
		}
		return a
	})
	if last.open() {
		t.say("a bulk request came to nothing: %s", last)
	}
	var running sync.WaitGroup
	for i, s := range some {
		if verdicts[i].status != 0 && t.invited(s, verdicts[i]) {
			running.Go(func() { t.goOn(ctx, s) })
		}
	}
	running.Wait()
}

// publish invites over the bus, as an upstream app does.
func (t *traffic) publish(ctx context.Context, s *story) bool {
	header, body, err := events.Encode(events.Event{
		ID: "bus-" + s.key, Source: "/harness", Time: time.Now(),
		Data: &events.InvitationRequested{Organization: t.org, Email: s.email, Role: s.role, Inviter: t.ownerAddress},
	})
	if err != nil {
		s.oddity("a request on the bus", answer{err: err})
		return false
	}
	header[nats.MsgIdHdr] = []string{"bus-" + s.key}
	a := t.again(ctx, s, func() answer {
		return t.request(&nats.Msg{Subject: events.RequestSubject("harness"), Header: header, Data: body})
	})
	if !a.yes() {
		return false
	}
	s.mu.Lock()
	s.acknowledged = a.ended
	s.mu.Unlock()
	return true
}

// request publishes a message and gives the broker's acknowledgement as the body of an answer.
func (t *traffic) request(m *nats.Msg) (a answer) {
	a.began = time.Now()
	reply, err := t.bus.RequestMsg(m, 3*time.Second)
	a.ended = time.Now()
	var ack struct {
		Stream string
		Error  *struct{ Description string }
	}
	switch {
	case err != nil:
		a.err = err
	case json.Unmarshal(reply.Data, &ack) != nil || ack.Error != nil || ack.Stream == "":
		a.err = fmt.Errorf("no acknowledgement: %s", reply.Data)
	default:
		a.status, a.body = http.StatusAccepted, reply.Data
	}
	return a
}

// goOn waits for the mail and does what the story ends with.
func (t *traffic) goOn(ctx context.Context, s *story) {
	if s.end == endBounce {
		return // no mail comes
	}
	mail, ok := t.mail(ctx, s, 0)
	if !ok {
		return
	}
	s.mu.Lock()
	if s.id == "" { // nobody who publishes is told
		s.id = mail.Variables["invitation"]
	}
	s.mu.Unlock()
	switch s.end {
	case endAccept:
		t.accept(ctx, s, mail)
	case endAcceptPage:
		t.acceptInBrowser(ctx, s, mail)
	case endAcceptTwice:
		atOnce(func() { t.accept(ctx, s, mail) }, func() { t.accept(ctx, s, mail) })
	case endDecline:
		t.decline(ctx, s, mail)
	case endRevoke:
		t.revoke(ctx, s)
		t.accept(ctx, s, mail)
	case endRace:
		atOnce(func() { t.accept(ctx, s, mail) }, func() { t.decline(ctx, s, mail) }, func() { t.revoke(ctx, s) })
	case endResend, endRotate:
		t.resend(ctx, s)
	case endExpire:
		t.expire(ctx, s)
	}
}

func atOnce(all ...func()) {
	var running sync.WaitGroup
	for _, one := range all {
		running.Go(one)
	}
	running.Wait()
}

// mail waits for the mail after the first have many to a story's invitee.
func (t *traffic) mail(ctx context.Context, s *story, have int) (fakemailgun.Mail, bool) {
	for {
		if mails := t.mailsOf(s); len(mails) > have {
			return mails[have], true
		}
		if !wait(ctx, 20*time.Millisecond) {
			s.mu.Lock()
			s.lonely = true
			s.mu.Unlock()
			return fakemailgun.Mail{}, false
		}
	}
}

// mailsOf are the mails about a story's invitation: all to the address as long as nobody knows which that is.
func (t *traffic) mailsOf(s *story) (about []fakemailgun.Mail) {
	s.mu.Lock()
	id := s.id
	s.mu.Unlock()
	for _, m := range t.mails.to(s.email) {
		if of := m.Variables["invitation"]; of == id || id == "" && of != "" { // a notice to an inviter is about none of theirs
			about = append(about, m)
		}
	}
	return about
}

var link = regexp.MustCompile(`https://invite\.example\.com/i/([\w-]+)`)

// token is the secret part of a mail's link; "" where there is none.
func token(m fakemailgun.Mail) string {
	if found := link.FindStringSubmatch(m.Text()); found != nil {
		return found[1]
	}
	return ""
}

func (t *traffic) accept(ctx context.Context, s *story, m fakemailgun.Mail) {
	t.accepted(s, t.again(ctx, s, func() answer {
		return post(ctx, t.cluster, "/v1/links/accept", map[string]any{"token": token(m), "name": "Nell Newcomer"}, nil)
	}))
}

func (t *traffic) acceptInBrowser(ctx context.Context, s *story, m fakemailgun.Mail) {
	t.accepted(s, t.again(ctx, s, func() answer { return acceptOnPage(ctx, t.cluster, token(m)) }))
}

func (t *traffic) accepted(s *story, a answer) {
	switch {
	case a.yes():
		s.note(&s.accepted, a)
	case a.status == http.StatusGone:
		s.note(&s.refused, a)
	case !a.open():
		s.oddity("an accept", a)
	}
}

func (t *traffic) decline(ctx context.Context, s *story, m fakemailgun.Mail) {
	a := t.again(ctx, s, func() answer {
		return post(ctx, t.cluster, "/v1/links/decline", map[string]any{"token": token(m)}, nil)
	})
	switch {
	case a.yes():
		s.note(&s.declined, a)
	case a.status != http.StatusGone && !a.open():
		s.oddity("a decline", a)
	}
}

func (t *traffic) revoke(ctx context.Context, s *story) {
	a := t.again(ctx, s, func() answer {
		return post(ctx, t.cluster, "/v1/invitations/"+s.id+"/revoke", struct{}{}, t.owner(""))
	})
	switch {
	case a.yes():
		s.note(&s.revoked, a)
	case a.code() != "ended" && !a.open():
		s.oddity("a revoke", a)
	}
}

// askAgain asks for another mail, until that is answered.
func (t *traffic) askAgain(ctx context.Context, s *story, how map[string]any) answer {
	tries := 0
	a := t.again(ctx, s, func() answer {
		tries++
		return post(ctx, t.cluster, "/v1/invitations/"+s.id+"/resend", how, t.owner("again-"+s.key))
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.perhaps += tries - 1
	if a.yes() {
		s.resent++
	} else {
		s.perhaps++
	}
	return a
}

// resend asks for another mail, and accepts with the newest link that came.
func (t *traffic) resend(ctx context.Context, s *story) {
	a := t.askAgain(ctx, s, map[string]any{"rotate": s.end == endRotate})
	if !a.yes() {
		if !a.open() && a.code() != "ended" {
			s.oddity("a resend", a)
		}
		return
	}
	if newest, ok := t.mail(ctx, s, 1); ok && s.end == endResend {
		t.accept(ctx, s, newest)
	}
}
