package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redistest"
	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// load invites new people over and over, from many sides, and accepts some of what it invited. It notes what was
// answered "yes": that is what must never be lost.
type load struct {
	o       *harness.Organization
	mailgun *harness.Mailgun
	stop    chan struct{}
	running sync.WaitGroup

	answered atomic.Int64
	mu       sync.Mutex
	invited  map[string]string // id by address
	accepted []string          // addresses
	failed   []error           // requests that were not answered
	refused  []string          // answers that are neither "yes" nor "not now"
}

func begin(o *harness.Organization, mailgun *harness.Mailgun, workers int) *load {
	l := &load{o: o, mailgun: mailgun, stop: make(chan struct{}), invited: map[string]string{}}
	for range workers {
		l.running.Go(l.work)
	}
	return l
}

func (l *load) work() {
	for {
		select {
		case <-l.stop:
			return
		default:
			l.one()
		}
	}
}

func (l *load) one() {
	if !harness.Alive(l.o.URL) {
		return
	}
	email := harness.Address("load")
	a := try(l.o.API(), l.o.Path("/invitations"), map[string]any{"email": email, "role": "member"})
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case a.err != nil:
		l.failed = append(l.failed, a.err)
	case a.Status == http.StatusAccepted:
		l.invited[email] = a.Header.Get("Location")[len("/v1/invitations/"):]
		l.answered.Add(1)
	case a.Status != http.StatusServiceUnavailable:
		l.refused = append(l.refused, fmt.Sprintf("%d %s", a.Status, a.Body))
	}
}

// after waits for that many more answers.
func (l *load) after(t *testing.T, n int64) {
	t.Helper()
	want := l.answered.Load() + n
	harness.Eventually(t, "more answers", func() bool { return l.answered.Load() >= want })
}

func (l *load) end() {
	close(l.stop)
	l.running.Wait()
}

// acceptSome accepts every n-th invitation that was mailed, and notes what was answered "yes".
func (l *load) acceptSome(t *testing.T, n int) {
	t.Helper()
	mails := l.mailgun.Invitations(t)
	var some []harness.Mail
	for i, m := range mails {
		if i%n == 0 {
			some = append(some, m)
		}
	}
	answers := atOnce(len(some), func(i int) tried {
		return try(harness.Client{URL: l.o.URL}, "/v1/links/accept", map[string]any{"token": some[i].Token(t), "name": "Nell"})
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, a := range answers {
		if a.err == nil && a.Status == http.StatusOK {
			l.accepted = append(l.accepted, some[i].Recipient)
		}
	}
}

// mailed waits until everything that was answered "yes" is mailed, at most that often each, and gives the mails by address
// and how many addresses have more than one.
func (l *load) mailed(t *testing.T, most int) (mails map[string][]harness.Mail, twice int) {
	t.Helper()
	l.mailgun.Taken(t, len(l.invited))
	harness.Eventually(t, "every invitation to be mailed", func() bool {
		mails = l.mailgun.ByRecipient(t)
		for email := range l.invited {
			if len(mails[email]) == 0 {
				return false
			}
		}
		return true
	})
	l.o.Bus(t).Idle(t, "INVITATIONS", "mailer")
	mails = l.mailgun.ByRecipient(t)
	for email := range l.invited {
		require.LessOrEqual(t, len(mails[email]), most, email)
		if len(mails[email]) > 1 {
			twice++
		}
	}
	return mails, twice
}

// TestNothingAcknowledgedIsLostByKill9 kills "usher up", broker and in-process Redis and all, while it works.
func TestNothingAcknowledgedIsLostByKill9(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "") // a process of its own: its mails outlive whoever sent them
	u := harness.Up(t, mailgun.Settings()...)
	o := u.Organization(t)
	early, earlyMail := invited(t, o, mailgun)
	rounds := short(6, 3)
	l := begin(o, mailgun, 6)
	for round := range rounds {
		l.after(t, 20+rand.Int64N(120))
		if round%2 == 1 {
			l.acceptSome(t, 20)
		}
		u.Kill9()
		require.NoError(t, u.Start())
	}
	l.after(t, 20)
	l.end()
	t.Logf("%d invitations answered 202, %d accepts answered 200, %d requests cut off", len(l.invited), len(l.accepted), len(l.failed))
	require.Empty(t, l.refused)

	// The link from before all this works, although Redis was in the process.
	o.Accept(t, early, earlyMail)

	bus := u.Bus(t)
	listed := map[string]harness.Invitation{}
	for _, i := range harness.All[harness.Invitation](t, u.API(), o.Path("/invitations?limit=200")) {
		listed[i.Email] = i
	}
	mails, twice := l.mailed(t, 1+rounds)
	t.Logf("%d were mailed more than once", twice)
	for email, id := range l.invited {
		require.Equal(t, id, listed[email].ID, "%s was answered 202 and is not in the list", email)
		require.NotEmpty(t, bus.Stored(t, "INVITATIONS", "invitations."+o.ID+"."+id+".requested"))
	}
	for email := range l.invited {
		a := harness.Client{URL: u.URL}.Post(t, "/v1/links/lookup", map[string]any{"token": mails[email][0].Token(t)})
		require.Contains(t, []int{http.StatusOK, http.StatusGone}, a.Status, "the link to %s does not work: %s", email, a.Body)
	}
	harness.Eventually(t, "every acceptance that was answered to be a membership", func() bool {
		members := map[string]int{}
		for _, m := range o.Members(t) {
			members[m.Email]++
		}
		for _, email := range l.accepted {
			if members[email] != 1 {
				return false
			}
		}
		return true
	})
	for subject, n := range bus.Subjects(t, "INVITATIONS", "invitations."+o.ID+".*.outcome.*") {
		require.Equal(t, 1, n, subject)
	}
	for subject, n := range bus.Subjects(t, "MEMBERSHIPS", "memberships."+o.ID+".*") {
		require.Equal(t, 1, n, subject)
	}
}

// invited invites somebody through the mailbox of a Mailgun.
func invited(t *testing.T, o *harness.Organization, mailgun *harness.Mailgun) (harness.Invitation, harness.Mail) {
	t.Helper()
	invitation := o.Invite(t, harness.Address("invitee"), "member")
	return invitation, mailgun.Next(t, invitation.Email, 0)
}

func TestASecondUsherOverTheSameFolderIsRefused(t *testing.T) {
	t.Parallel()
	u := harness.Up(t)
	second, err := harness.NewUp(t.TempDir(), "USHER_DATA_DIR="+u.Data)
	require.NoError(t, err)
	require.Error(t, second.Start())
	require.NotZero(t, second.Wait(t))
	require.Contains(t, second.Said(), "in use")
}

// TestAStopUnderLoadFailsNoRequestAndLosesNoMail ends "usher up" in order while it works.
func TestAStopUnderLoadFailsNoRequestAndLosesNoMail(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, mailgun.Settings()...)
	o := u.Organization(t)
	bus := u.Bus(t)
	mailgun.Fault(t, map[string]any{"delay": "40ms", "times": -1}) // mails are always on their way

	for round := range short(4, 2) {
		seen := bus.Observe(t, "invitations."+o.ID+".*.requested")
		l := begin(o, mailgun, 4)
		l.after(t, 30)
		// One request that takes long is certainly under way.
		rows := make([]map[string]any, 1000)
		for i := range rows {
			rows[i] = map[string]any{"organization": o.ID, "email": harness.Address("bulk"), "role": "member"}
		}
		before := seen.Len()
		long := make(chan tried, 1)
		go func() { long <- try(o.API(), "/v1/invitations", map[string]any{"invitations": rows}) }()
		harness.Eventually(t, "the long request to be under way", func() bool { return seen.Len() > before+500 })
		require.NoError(t, u.Signal(syscall.SIGTERM))
		bulk := <-long
		require.NoError(t, bulk.err, "a request under way was cut off")
		verdicts := harness.Read[harness.Bulk](t, bulk.Answer, http.StatusOK).Results
		require.Zero(t, u.Wait(t), "it did not end in order")
		l.end()
		require.Empty(t, l.refused)

		require.NoError(t, u.Start())
		bus = u.Bus(t)
		for _, v := range verdicts {
			require.Equal(t, http.StatusAccepted, v.Status, "%+v", v.Problem)
			l.invited[v.Invitation.Email] = v.Invitation.ID
		}
		_, twice := l.mailed(t, 1)
		require.Zero(t, twice, "round %d: a stop in order led to a second mail", round)
	}
}

func TestLinksWorkAtOnceAfterRedisForgotEverythingAndRebuildCompletesTheLists(t *testing.T) {
	t.Parallel()
	redis := redistest.Run(t)
	u := harness.Up(t, "USHER_REDIS_URL="+redis.URL(), "USHER_LINK_KEYS="+linkKeys(t))
	o := u.Organization(t)
	owner := u.API().As(o.Owner)
	var invitations []harness.Invitation
	var mails []harness.Mail
	for range 12 {
		i, m := o.Invited(t, "member")
		invitations, mails = append(invitations, i), append(mails, m)
	}
	o.Accept(t, invitations[0], mails[0])
	owner.Post(t, "/v1/invitations/"+invitations[1].ID+"/revoke", nil)
	owner.Post(t, "/v1/invitations/"+invitations[2].ID+"/resend", map[string]any{"rotate": true})
	newer := u.Mails.Next(t, invitations[2].Email, 1)
	list := func() []harness.Invitation {
		return harness.All[harness.Invitation](t, u.API(), o.Path("/invitations?limit=5"))
	}
	var before []harness.Invitation
	harness.Eventually(t, "the list to have settled", func() bool {
		before = list()
		for _, i := range before {
			if i.Delivery != "sent" || i.Status == "accepted" && i.Membership != "active" {
				return false
			}
		}
		return len(before) == len(invitations)
	})

	redis.Flush(t)
	invitee := harness.Client{URL: u.URL}
	lookup := func(m harness.Mail) harness.Answer {
		return invitee.Post(t, "/v1/links/lookup", map[string]any{"token": m.Token(t)})
	}
	require.Equal(t, http.StatusOK, lookup(mails[3]).Status)
	lookup(mails[0]).Refused(t, http.StatusGone, "accepted")
	lookup(mails[1]).Refused(t, http.StatusGone, "revoked")
	lookup(mails[2]).Refused(t, http.StatusGone, "replaced")
	require.Equal(t, http.StatusOK, lookup(newer).Status)
	o.Accept(t, invitations[4], mails[4])

	require.Regexp(t, `[0-9]+ records`, u.Command(t, "rebuild").Must(t))
	after := list()
	require.Len(t, after, len(before))
	for n := range before {
		if before[n].ID == invitations[4].ID {
			continue // accepted since
		}
		require.Equal(t, before[n], after[n])
	}
	harness.Eventually(t, "counting to be right", func() bool {
		return len(harness.All[harness.Invitation](t, u.API(), o.Path("/invitations?status=pending&limit=3"))) == len(invitations)-3
	})

	// Idempotency, too, rests on the ledger: the same key makes the same invitation.
	post := func() harness.Answer {
		return o.API().Post(t, o.Path("/invitations"), map[string]any{"email": "same." + o.ID + "@example.org", "role": "viewer"}, "Idempotency-Key", "k-"+o.ID)
	}
	first := harness.Read[harness.Invitation](t, post(), http.StatusAccepted)
	redis.Flush(t)
	again := harness.Read[harness.Invitation](t, post(), http.StatusAccepted)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, first.ExpiresAt, again.ExpiresAt)
	require.Equal(t, 1, u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+"."+first.ID+".requested"))
}

func linkKeys(t *testing.T) string {
	t.Helper()
	return harness.Secret(t, "keys", "link")
}

// TestKill9WithARedisOfItsOwnMailsOnce: where the claims outlive the process, what is not known is asked of Mailgun before
// anything is sent again.
func TestKill9WithARedisOfItsOwnMailsOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes most of a minute: claims of the dead are left alone for half of one")
	}
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, append(mailgun.Settings(), "USHER_REDIS_URL="+redistest.Run(t).URL())...)
	o := u.Organization(t)
	l := begin(o, mailgun, 6)
	for range 2 {
		l.after(t, 20+rand.Int64N(80))
		u.Kill9()
		require.NoError(t, u.Start())
	}
	l.after(t, 20)
	l.end()
	_, twice := l.mailed(t, 1)
	require.Zero(t, twice)
}
