package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// invitingErrands are about inviting people and about what they answer.
var invitingErrands = []*errand{
	{to: []failpoint.Name{failpoint.BulkAdmitted}, round: inviteFour},
	{
		to:    []failpoint.Name{failpoint.PagesEntered, failpoint.PagesShown, failpoint.PagesPosted, failpoint.PagesAnswered},
		round: telling(doorHTTP, endAcceptPage),
	},
	{to: []failpoint.Name{failpoint.DeclineChecked, failpoint.DeclineLearned}, round: telling(doorHTTP, endDecline)},
	{
		to:    []failpoint.Name{failpoint.RevokeChecked, failpoint.RevokePublished, failpoint.RevokeLearned, failpoint.RevokeSettled},
		round: telling(doorHTTP, endRevoke),
	},
	{to: []failpoint.Name{failpoint.ResendJudged, failpoint.ResendPublished, failpoint.ResendLearned}, round: tellResend},
	{
		to:    []failpoint.Name{failpoint.AdmissionRetaking},
		round: inviteAgain, side: 40, rare: true, first: failpoint.LedgerGuarded, firstly: 8, limit: 4 * time.Minute,
	},
	{to: []failpoint.Name{failpoint.LedgerGuarded}, round: inviteAgain, side: 20, limit: 3 * time.Minute},
	{to: []failpoint.Name{failpoint.BusDoorReceived, failpoint.BusDoorAdmitted}, round: telling(doorBus, endAccept)},
	{to: []failpoint.Name{failpoint.BusDoorRejecting, failpoint.BusDoorRejected}, round: askTooMuch},
	{to: []failpoint.Name{failpoint.BusBurying, failpoint.BusBuried}, round: poison},
	{
		to:    []failpoint.Name{failpoint.LedgerBatchStoring, failpoint.LedgerBatchStored, failpoint.LedgerBatchRefused},
		round: acceptInCrowds, side: 2, rare: true, arrange: slowBroker,
	},
	{to: []failpoint.Name{failpoint.LedgerApart}, round: inviteInCrowds, side: 2, rare: true, arrange: slowBroker},
}

// inviteFour asks for four people in one request.
func inviteFour(ctx context.Context, t *traffic, n int) {
	t.inviteTogether(ctx, "errand-"+strconv.Itoa(n), t.newcomers(4, doorBulk, endAccept))
}

// tellResend has a mail sent again, with the same link or a new one.
func tellResend(ctx context.Context, t *traffic, n int) {
	t.tell(ctx, t.newcomer(doorHTTP, []string{endResend, endRotate}[n%2]))
}

// forgetful is how long somebody lets an invitation be that was not answered, before they invite anew.
const forgetful = 15 * time.Second

// inviteAgain invites somebody without an Idempotency-Key, and where that is not answered, anew much later: a claim on the address
// may be all that is left of the first try. It also invites somebody who declined.
func inviteAgain(ctx context.Context, t *traffic, _ int) {
	first := t.newcomer(doorHTTP, endDecline)
	a := t.askOnce(ctx, first, "")
	if a.open() && wait(ctx, forgetful) {
		a = t.ask(ctx, first, "k-"+first.key)
	}
	if a.code() == "already-invited" { // it was made after all, and nobody was told
		return
	}
	if t.invited(first, a) {
		t.goOn(ctx, first)
	}
	if len(first.declined) > 0 {
		t.tell(ctx, t.meet(&story{email: first.email, key: "again-" + first.email, role: "member", door: doorHTTP, end: endAccept}))
	}
}

// askTooMuch asks over the bus for a role that nobody has.
func askTooMuch(ctx context.Context, t *traffic, _ int) {
	s := t.newcomer(doorBus, endRejected)
	s.role = "emperor"
	t.publish(ctx, s)
}

// poison publishes a request that nobody can read. It must become a dead letter, once.
func poison(ctx context.Context, t *traffic, n int) {
	a := insist(ctx, func() answer {
		return t.request(&nats.Msg{
			Subject: events.RequestSubject("harness"), Data: []byte("}{"),
			Header: nats.Header{nats.MsgIdHdr: {fmt.Sprintf("poison-%d", n)}, "Ce-Id": {fmt.Sprintf("poison-%d", n)}},
		})
	})
	var ack struct {
		Stream string
		Seq    uint64
	}
	if !a.yes() || json.Unmarshal(a.body, &ack) != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.letters = append(t.letters, events.DeadLetterSubject("admission", ack.Stream, ack.Seq))
}

// slowBroker makes the way of the API to the broker so slow that what comes meanwhile is gathered.
func slowBroker(_ context.Context, t *traffic) error {
	slow := map[string]any{"latency": 25}
	return t.cluster.Links["api-nats-1"].Poison(cluster.Toxic{Type: "latency", Stream: "upstream", Attributes: slow})
}

// crowd is how many come at once where a batch is wanted: through each of two processes, more messages than are stored side by
// side.
const crowd = 24

// acceptInCrowds invites a crowd of whom everybody accepts from two tabs at once, and all at the same moment: batches that are
// refused for the sake of some.
func acceptInCrowds(ctx context.Context, t *traffic, n int) {
	some := t.newcomers(crowd, doorBulk, endNone)
	t.inviteTogether(ctx, "crowd-"+strconv.Itoa(n), some)
	together(some, func(s *story) {
		mail, ok := t.mail(ctx, s, 0)
		if !ok {
			return
		}
		atOnce(func() { t.accept(ctx, s, mail) }, func() { t.accept(ctx, s, mail) }, func() { t.accept(ctx, s, mail) })
	})
}

// inviteInCrowds has many ask for the same people at once. Of those who ask for the same one, one is told yes.
func inviteInCrowds(ctx context.Context, t *traffic, _ int) {
	together(t.newcomers(2, doorHTTP, endAccept), func(s *story) {
		answers := make(chan answer, crowd)
		asking := make([]func(), crowd/2)
		for i := range asking {
			asking[i] = func() { answers <- t.ask(ctx, s, s.key+strconv.Itoa(i)) }
		}
		atOnce(asking...)
		close(answers)
		for a := range answers {
			if a.yes() {
				t.invited(s, a)
			} else if !a.open() && a.code() != "already-invited" {
				s.oddity("one of many invitations of the same person", a)
			}
		}
		if s.id != "" {
			t.goOn(ctx, s)
		}
	})
}

// ask asks for a story's invitation until that is answered.
func (t *traffic) ask(ctx context.Context, s *story, key string) answer {
	return insist(ctx, func() answer { return t.askOnce(ctx, s, key) })
}
