package trial

import (
	"context"
	"fmt"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/services/mailer/fakemailgun"
)

// slowErrands wait for what happens minutes later by itself. Their people come one after the other, so that not all of it
// happens at once.
var slowErrands = []*errand{
	{
		to:    []failpoint.Name{failpoint.ExpiryReceived, failpoint.ExpiryRead},
		round: inviteForMinutes, side: 40, most: 40, pause: 400 * time.Millisecond, rare: true, limit: 7 * time.Minute, settling: slowly,
	},
	{
		to:    []failpoint.Name{failpoint.RenewAdmitted},
		round: renew, side: 24, most: 24, pause: 600 * time.Millisecond, rare: true, arrange: renewable, limit: 7 * time.Minute, settling: slowly,
	},
	{
		to:    []failpoint.Name{failpoint.ReminderDue, failpoint.ReminderMailed},
		round: waitForReminders, side: 40, most: 40, pause: 400 * time.Millisecond, rare: true, arrange: remind, limit: 3 * time.Minute,
		settling: 4 * time.Minute,
	},
}

// shortest is the shortest life of an invitation.
const shortest = 5 * time.Minute

// inviteForMinutes invites somebody who does nothing as long as there is time.
func inviteForMinutes(ctx context.Context, t *traffic, _ int) {
	s := t.newcomer(doorHTTP, endExpire)
	s.expires = shortest.String()
	t.tell(ctx, s)
}

// expire waits until a story's invitation has no time left. From then on the ledger says so.
func (t *traffic) expire(ctx context.Context, s *story) bool {
	if !wait(ctx, time.Until(s.acknowledged.Add(shortest+admission.Grace))) {
		return false
	}
	s.must(func(_ context.Context, all *stored) string {
		if n := all.said(s.id, events.TypeInvitationExpired); n != 1 {
			return fmt.Sprintf("its time is over, and the ledger says so %d times", n)
		}
		return ""
	})
	return true
}

// policy makes an organization's rules other than usual.
func (t *traffic) policy(ctx context.Context, rules map[string]any) error {
	a := insist(ctx, func() answer {
		return t.putOrganization(ctx, t.org, map[string]any{"name": "Trial", "policy": rules})
	})
	if !a.yes() {
		return fmt.Errorf("the rules of the organization: %s", a)
	}
	return nil
}

// renewable lets invitees ask for a new link.
func renewable(ctx context.Context, t *traffic) error {
	return t.policy(ctx, map[string]any{"self_service_renewal": true})
}

// renew has somebody ask for a new link whose old one is too old, and accept with that.
func renew(ctx context.Context, t *traffic, _ int) {
	first := t.newcomer(doorHTTP, endExpire)
	first.expires = shortest.String()
	if !t.invitedAndMailed(ctx, first) || !t.expire(ctx, first) {
		return
	}
	a := insist(ctx, func() answer {
		return post(ctx, t.cluster, "/v1/links/renew", map[string]any{"token": token(t.mailsOf(first)[0])}, nil)
	})
	if !a.yes() {
		if !a.open() {
			first.oddity("a wish for a new link", a)
		}
		return
	}
	second := t.meet(&story{email: first.email, key: "renewed-" + first.email, role: first.role, door: doorHTTP, end: endAccept, acknowledged: a.ended})
	if mail, ok := t.mailBeside(ctx, first, second); ok {
		second.id = mail.Variables["invitation"]
		t.goOn(ctx, second)
	}
}

// mailBeside waits for the first mail of a second invitation to the address of the first.
func (t *traffic) mailBeside(ctx context.Context, first, second *story) (fakemailgun.Mail, bool) {
	for {
		for _, m := range t.mails.to(first.email) {
			if id := m.Variables["invitation"]; id != "" && id != first.id {
				return m, true
			}
		}
		if !wait(ctx, 100*time.Millisecond) {
			second.lonely = true
			return fakemailgun.Mail{}, false
		}
	}
}

// reminders are after how long the organization reminds. The first is the shortest there is; the second leaves time for a
// worker to die of the first.
var reminders = []string{"1m", "3m"}

// remind has whoever does not answer be reminded.
func remind(ctx context.Context, t *traffic) error {
	t.reminders = len(reminders)
	return t.policy(ctx, map[string]any{"reminder_after": reminders})
}

// waitForReminders invites somebody who does nothing until every reminder has come.
func waitForReminders(ctx context.Context, t *traffic, _ int) {
	s := t.newcomer(doorHTTP, endNone)
	if t.invitedAndMailed(ctx, s) {
		t.intents(ctx, s, 1+len(reminders))
	}
}

// intents waits until so many different mails have come, whichever of them came twice.
func (t *traffic) intents(ctx context.Context, s *story, want int) {
	for {
		different := map[string]bool{}
		for _, m := range t.mailsOf(s) {
			different[m.Variables["intent"]] = true
		}
		if len(different) >= want {
			return
		}
		if !wait(ctx, 200*time.Millisecond) {
			s.lonely = true
			return
		}
	}
}
