package trial

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/mailgunhook"
	"github.com/usherhq/usher/services/mailer/fakemailgun"
	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// mailErrands are about mails and what the provider says of them.
var mailErrands = []*errand{
	{to: []failpoint.Name{failpoint.MailerUnneeded}, round: revokeUnmailed, side: 1, rare: true},
	{to: []failpoint.Name{failpoint.MailerBounced, failpoint.MailgunHalved}, round: inviteUnwanted, side: 1, rare: true, arrange: refuseSome, limit: 4 * time.Minute},
	{to: []failpoint.Name{failpoint.MailerSuppressed}, round: suppressUnmailed, side: 1, rare: true, settling: slowly},
	{to: []failpoint.Name{failpoint.ReplaceEnded}, round: replaceBounced, settling: slowly},
	{
		to:    []failpoint.Name{failpoint.MailerFound, failpoint.MailerFoundTold},
		round: telling(doorHTTP, endAccept), rare: true, first: failpoint.MailerSent, firstly: 12, limit: 4 * time.Minute, settling: slowly,
	},
	{
		to:    []failpoint.Name{failpoint.MailerTakenOver},
		round: telling(doorHTTP, endAccept), rare: true, first: failpoint.MailerCalling, firstly: 12, limit: 4 * time.Minute, settling: slowly,
	},
	{to: []failpoint.Name{failpoint.BusRetrying}, round: inviteWhileRefused, rare: true},
	{
		to:    []failpoint.Name{failpoint.WebhookSigned, failpoint.WebhookMarked, failpoint.WebhookSuppressed, failpoint.WebhookRecorded},
		round: reportOnMail, settling: slowly,
	},
	{to: []failpoint.Name{failpoint.WebhookFailed}, round: reportWhileCut, side: 1, rare: true, limit: 4 * time.Minute, settling: slowly},
	{to: []failpoint.Name{failpoint.LedgerHalved}, round: reportInCrowds, side: 1, rare: true, arrange: slowBroker, limit: 4 * time.Minute, settling: slowly},
}

// slowly is how long things take that wait for a worker to be taken for dead more than once, or for the provider to say
// something again that a process died of.
const slowly = 2 * time.Minute

// freeze stops all processes of a kind, and gives what lets them go on.
func (t *traffic) freeze(kind string) (thaw func()) {
	signal := func(what syscall.Signal) {
		for _, s := range t.cluster.Of(kind) {
			s.Signal(what)
		}
	}
	signal(syscall.SIGSTOP)
	return func() { signal(syscall.SIGCONT) }
}

// revokeUnmailed takes invitations back before any mailer has come to them.
func revokeUnmailed(ctx context.Context, t *traffic, _ int) {
	some := t.newcomers(6, doorHTTP, endRevoke)
	thaw := t.freeze("mailer")
	together(some, func(s *story) {
		if t.invite(ctx, s) {
			t.revoke(ctx, s)
		}
	})
	thaw()
	wait(ctx, time.Second) // for whoever died of it to be there again
}

// unwanted is in the addresses that the provider refuses.
const unwanted = "unwanted-"

// refuseSome has the provider refuse a call for the sake of one address in it.
func refuseSome(_ context.Context, t *traffic) error {
	t.cluster.Mailgun.Fail(fakemailgun.Fault{Status: http.StatusBadRequest, Recipient: unwanted, Times: -1})
	return nil
}

// inviteUnwanted invites many in one go, of whom the provider refuses some: they travel in one call, which is refused as a whole.
// Whoever it refuses has a bounce in the end, or a mail where it was asked again after it had become well.
func inviteUnwanted(ctx context.Context, t *traffic, n int) {
	some := t.newcomers(12, doorBulk, endAccept)
	for i, s := range some {
		if i%4 == 0 {
			s.email, s.end = unwanted+s.email, endBounce
		}
	}
	thaw := t.freeze("mailer")
	thawing := time.AfterFunc(time.Second, thaw)
	defer thawing.Stop()
	t.inviteTogether(ctx, "unwanted-"+strconv.Itoa(n), some)
	thaw()
}

// bounced: the ledger says that the mail did not arrive.
func (s *story) bounced(_ context.Context, all *stored) string {
	if s.id != "" && all.said(s.id, events.TypeInvitationBounced) == 0 {
		return "no mail arrives, and nothing says so"
	}
	return ""
}

// reported has the provider say something about a mail until that is taken in, in the same words, as Mailgun does.
func (t *traffic) reported(ctx context.Context, m fakemailgun.Mail, kind mailgunhook.Kind, token string) bool {
	r := fakemailgun.Report{Mail: m.Number, Kind: kind, ID: reportID(m, kind), Token: token, Timestamp: strconv.FormatInt(time.Now().Unix(), 10)}
	a := insist(ctx, func() (a answer) {
		a.status, a.err = t.cluster.Mailgun.Report(ctx, r)
		return a
	})
	return a.yes()
}

func reportID(m fakemailgun.Mail, kind mailgunhook.Kind) string {
	return fmt.Sprintf("report-%d-%s", m.Number, kind)
}

// tokenOf is a webhook's token, which Mailgun makes fifty characters long.
func tokenOf(name string) string { return (name + strings.Repeat("0", 50))[:50] }

// reportOnMail reports what became of a mail.
func reportOnMail(ctx context.Context, t *traffic, n int) {
	s := t.newcomer(doorHTTP, endNone)
	if t.invitedAndMailed(ctx, s) {
		t.reportOn(ctx, s, []mailgunhook.Kind{mailgunhook.Bounced, mailgunhook.Delivered}[n%2], 1)
	}
}

// reportOn has the provider report on a story's mail in several words of the same meaning. Once it was told that it was heard,
// the report is in the ledger.
func (t *traffic) reportOn(ctx context.Context, s *story, kind mailgunhook.Kind, words int) {
	mail := t.mailsOf(s)[0]
	heard := make([]bool, words)
	saying := make([]func(), words)
	for i := range saying {
		saying[i] = func() { heard[i] = t.reported(ctx, mail, kind, tokenOf(fmt.Sprintf("%d-%d-", mail.Number, i))) }
	}
	atOnce(saying...)
	if !slices.Contains(heard, true) {
		return
	}
	s.must(func(_ context.Context, all *stored) string {
		if !all.reports[reportID(mail, kind)] {
			return fmt.Sprintf("the provider said %s and was heard, and the ledger does not know it", kind)
		}
		return ""
	})
}

// reportInCrowds reports on many mails at once, on each in two words of the same meaning: batches that are refused for the sake
// of what is there already.
func reportInCrowds(ctx context.Context, t *traffic, n int) {
	some := t.newcomers(2*crowd, doorBulk, endNone)
	t.inviteTogether(ctx, "reports-"+strconv.Itoa(n), some)
	together(some, func(s *story) {
		if _, ok := t.mail(ctx, s, 0); !ok {
			return
		}
		t.reportOn(ctx, s, mailgunhook.Delivered, 3)
	})
}

// reportWhileCut reports while the API loses the broker in the middle of it: the way to Redis, which it takes in between, is
// slow enough for that.
func reportWhileCut(ctx context.Context, t *traffic, _ int) {
	some := t.newcomers(4, doorHTTP, endNone)
	together(some, func(s *story) { t.invitedAndMailed(ctx, s) })
	redis, broker := t.cluster.Links["api-redis-1"], t.cluster.Links["api-nats-1"]
	if redis.Poison(cluster.Toxic{Type: "latency", Stream: "downstream", Attributes: map[string]any{"latency": 600}}) != nil {
		return
	}
	cut := time.AfterFunc(300*time.Millisecond, broker.Cut)
	healed := time.AfterFunc(8*time.Second, func() { _, _ = broker.Heal(ctx), redis.Heal(ctx) }) // Restore heals what this does not
	defer cut.Stop()
	defer healed.Stop()
	together(some, func(s *story) {
		if s.lonely || s.id == "" {
			return
		}
		t.reportOn(ctx, s, mailgunhook.Bounced, 1)
	})
}

// suppressUnmailed has people's second mail asked for, and their first one bounce before any mailer has come to the second.
func suppressUnmailed(ctx context.Context, t *traffic, _ int) {
	some := t.newcomers(6, doorHTTP, endBounce)
	together(some, func(s *story) { t.invitedAndMailed(ctx, s) })
	thaw := t.freeze("mailer")
	together(some, func(s *story) {
		if s.lonely || s.id == "" {
			return
		}
		s.must(s.bounced)
		t.askAgain(ctx, s, map[string]any{})
		t.reported(ctx, t.mailsOf(s)[0], mailgunhook.Bounced, tokenOf(s.id))
	})
	thaw()
	wait(ctx, time.Second) // for whoever died of it to be there again
}

// replaceBounced invites somebody anew whose mail bounced. What asks for it ends the first invitation.
func replaceBounced(ctx context.Context, t *traffic, _ int) {
	first := t.newcomer(doorHTTP, endBounce)
	if !t.invitedAndMailed(ctx, first) || !t.reported(ctx, t.mailsOf(first)[0], mailgunhook.Bounced, tokenOf(first.id)) {
		return
	}
	first.must(first.bounced)
	second := t.meet(&story{email: first.email, key: "second-" + first.email, role: first.role, door: doorHTTP, end: endAccept})
	if a := t.askAgain(ctx, first, map[string]any{"send_anyway": true}); t.invited(second, a) {
		t.goOn(ctx, second)
	}
}

// inviteWhileRefused invites while the provider takes nothing.
func inviteWhileRefused(ctx context.Context, t *traffic, _ int) {
	t.cluster.Mailgun.Fail(fakemailgun.Fault{Status: http.StatusTooManyRequests, RetryAfter: "1"})
	t.tell(ctx, t.newcomer(doorHTTP, endAccept))
}
