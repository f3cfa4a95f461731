package check_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/check"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
	"github.com/usherhq/usher/pkg/views"
)

const org = "acme"

// settle is how long a disagreement must last in these tests.
const settle = 300 * time.Millisecond

// world is broker, Redis and views, without workers: what those would do, each test does, or leaves out.
type world struct {
	*ledger.Ledger
	t         testing.TB
	broker    *brokertest.BrokerProcess
	redis     *redisdb.DB
	server    *redistest.Server // nil for the in-process one
	views     *views.Views
	links     *links.Ring
	options   check.Options
	early     atomic.Int64 // how far Redis's clock is behind, nanoseconds
	people    int
	published uint64
}

// each runs a test over a nats-server of its own and both kinds of Redis.
func each(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Run("in-process", func(t *testing.T) { test(newWorld(t, nil)) })
	t.Run("redis-server", func(t *testing.T) { test(newWorld(t, redistest.Run(t))) })
}

func newWorld(t testing.TB, server *redistest.Server) *world {
	t.Helper()
	w := &world{t: t, server: server, broker: brokertest.Process(t)}
	var err error
	w.Ledger, err = ledger.Open(t.Context(), w.broker.Conn(t), ledger.Options{Durable: ledger.Durability{Declared: true}})
	require.NoError(t, err)
	t.Cleanup(w.Close)
	w.redis = w.openRedis()
	w.links, err = links.ParseRing(links.NewKey())
	require.NoError(t, err)
	people, err := roster.Open(t.Context(), w.Ledger, roster.DefaultRoles)
	require.NoError(t, err)
	_, _, err = people.Put(t.Context(), roster.Organization{ID: org, Name: "Acme", Policy: roster.Policy{ReminderAfter: []string{"30m"}}})
	require.NoError(t, err)
	list, err := suppressions.Open(t.Context(), w.Ledger)
	require.NoError(t, err)
	w.options = check.Options{
		Ledger: w.Ledger, Redis: w.redis, Roster: people, Suppressions: list, Links: w.links, MaxAge: 400 * 24 * time.Hour, Settle: settle,
	}
	w.views = views.New(w.redis, w.Ledger, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	t.Cleanup(w.views.Close)
	w.follow()
	return w
}

// follow keeps the views current, until the test ends.
func (w *world) follow() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.views.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		require.NoError(w.t, <-done)
	})
}

func (w *world) openRedis() *redisdb.DB {
	o := redisdb.Options{Clock: func() time.Time { return time.Now().Add(-time.Duration(w.early.Load())) }}
	if w.server != nil {
		o.URL = w.server.URL()
	} else {
		embedded, err := redisdb.InProcess()
		require.NoError(w.t, err)
		w.t.Cleanup(embedded.Close)
		o.Embedded = embedded
	}
	db, err := redisdb.Open(w.t.Context(), o)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, db.Close()) })
	return db
}

// workers are the consumers that nobody runs here.
var workers = map[string][]string{
	events.StreamRequests:    {"admission"},
	events.StreamInvitations: {"mailer", "mailer-resend", "mailer-reminder", "mailer-notices", "acceptance", "expiry"},
}

// handled makes every worker one that has handled everything there is.
func (w *world) handled() {
	w.t.Helper()
	for stream, names := range workers {
		for _, name := range names {
			brokertest.Handled(w.t, w.broker.JetStream(w.t), stream, name)
		}
	}
	for stream, name := range map[string]string{events.StreamInvitations: "views", events.StreamMemberships: "views-memberships"} {
		require.Eventually(w.t, func() bool {
			c, err := w.Consumers(w.t.Context(), stream)
			return err == nil && c[name].Pending+c[name].Unsettled == 0 && c[name].Name != ""
		}, 20*time.Second, 10*time.Millisecond)
	}
}

func (w *world) run(do check.Do) check.Report {
	w.t.Helper()
	r, err := check.New(w.options).Run(w.t.Context(), do)
	require.NoError(w.t, err)
	return r
}

// invited is an invitation of a person of its own, open for an hour.
type invited struct {
	*events.InvitationRequested
	w        *world
	event    events.Event
	sequence uint64
}

func (w *world) event(id string, data events.Data) events.Event {
	return events.Event{ID: events.NewEventID(), Source: "/test", Type: data.EventType(), Subject: id, CorrelationID: id, Time: w.Now(), Data: data}
}

func (w *world) publish(stream string, unit ...ledger.Message) uint64 {
	w.t.Helper()
	sequence, err := w.Publish(w.t.Context(), stream, unit...)
	require.NoError(w.t, err)
	return sequence
}

// fact publishes something about an invitation.
func (w *world) fact(in, id, fact string, data events.Data) uint64 {
	w.t.Helper()
	m, err := ledger.Fact(events.InvitationSubject(in, id, fact), w.event(id, data))
	require.NoError(w.t, err)
	return w.publish(events.StreamInvitations, m)
}

// asked publishes a request with its timer, as admission does.
func (w *world) asked(change ...func(*events.InvitationRequested)) *invited {
	w.t.Helper()
	w.people++
	i := &invited{w: w, InvitationRequested: &events.InvitationRequested{
		Organization: org, Invitation: events.NewInvitationID(), Email: fmt.Sprintf("person-%d@example.org", w.people), Role: "member",
		Inviter: "owner@example.org", Person: fmt.Sprintf("person%020d", w.people), ExpiresAt: w.Now().Add(time.Hour).Truncate(time.Millisecond),
	}}
	for _, c := range change {
		c(i.InvitationRequested)
	}
	i.event = w.event(i.Invitation, i.InvitationRequested)
	m, err := ledger.Fact(events.InvitationSubject(i.Organization, i.Invitation, events.FactRequested), i.event)
	require.NoError(w.t, err)
	timer, err := admission.ExpiryTimer(i.event, i.Organization, i.Person, i.ExpiresAt)
	require.NoError(w.t, err)
	i.sequence = w.publish(events.StreamInvitations, timer.Expecting(i.claim(), 0), m.Guarded())
	return i
}

func (i *invited) claim() string { return events.ClaimSubject(i.Organization, i.Person) }

// mailed publishes a request, and that it was mailed, with its link indexed and its reminder set, as the mailer does.
func (w *world) mailed(change ...func(*events.InvitationRequested)) *invited {
	w.t.Helper()
	i := w.asked(change...)
	i.index()
	i.sent("p-" + i.Invitation)
	i.remind()
	return i
}

func (i *invited) index() {
	i.w.t.Helper()
	require.NoError(i.w.t, i.w.redis.PutToken(i.w.t.Context(), i.token()))
}

func (i *invited) token() redisdb.Token {
	i.w.t.Helper()
	token, err := i.w.links.Derive(links.PurposeInvite, i.Invitation, 1)
	require.NoError(i.w.t, err)
	return redisdb.Token{Hash: token.Hash(), Organization: i.Organization, Invitation: i.Invitation, ExpiresAt: i.ExpiresAt}
}

func (i *invited) sent(provider string) {
	i.w.t.Helper()
	i.tell(events.FactSent, &events.InvitationSent{
		Invitation: i.Invitation, Generation: 1, Purpose: events.PurposeInvitation, Intent: i.sequence, MessageID: "m", ProviderMessageID: provider,
	})
}

func (i *invited) remind() {
	i.w.t.Helper()
	m, err := admission.ReminderTimer(i.event, i.Organization, 1, i.event.Time.Add(30*time.Minute))
	require.NoError(i.w.t, err)
	i.w.publish(events.StreamInvitations, m)
}

func (i *invited) tell(fact string, data events.Data) uint64 {
	i.w.t.Helper()
	return i.w.fact(i.Organization, i.Invitation, fact, data)
}

// ended publishes an outcome that stops the timer.
func (i *invited) ended(fact string, data events.Data, at time.Time) uint64 {
	i.w.t.Helper()
	e := i.w.event(i.Invitation, data)
	e.Time = at
	m, err := ledger.Fact(events.InvitationSubject(i.Organization, i.Invitation, fact), e)
	require.NoError(i.w.t, err)
	return i.w.publish(events.StreamInvitations, m.Expecting(events.OutcomeFilter(i.Organization, i.Invitation), 0).Stopping(i.claim()))
}

func (i *invited) accepted() *invited {
	i.w.t.Helper()
	i.ended(events.FactAccepted, &events.InvitationAccepted{Invitation: i.Invitation, Generation: 1, Person: i.Person, Invitee: events.InviteeNew}, i.w.Now())
	return i
}

func (i *invited) revoked() *invited {
	i.w.t.Helper()
	i.ended(events.FactRevoked, &events.InvitationRevoked{Invitation: i.Invitation}, i.w.Now())
	return i
}

// joined publishes the membership.
func (i *invited) joined(change ...func(*events.Membership)) *invited {
	i.w.t.Helper()
	m := events.Membership{
		Organization: i.Organization, Person: i.Person, Email: i.Email, Role: i.Role, Invitation: i.Invitation, JoinedAt: i.w.Now(),
	}
	for _, c := range change {
		c(&m)
	}
	i.joinedOn(events.MembershipSubject(m.Organization, m.Person), m)
	return i
}

func (i *invited) joinedOn(subject string, m events.Membership) {
	i.w.t.Helper()
	fact, err := ledger.Fact(subject, i.w.event(m.Person, &events.MembershipProvisioned{Membership: m}))
	require.NoError(i.w.t, err)
	i.w.publish(events.StreamMemberships, fact)
}

// record is what Redis has of it.
func (i *invited) record() (invitation.Record, []byte) {
	i.w.t.Helper()
	values, err := i.w.redis.Records(i.w.t.Context(), i.Organization, []string{i.Invitation})
	require.NoError(i.w.t, err)
	r, err := invitation.Decode(i.Organization, i.Invitation, values[0])
	require.NoError(i.w.t, err)
	return r, values[0]
}

// rewrite makes what Redis has of it something else, lists and all.
func (i *invited) rewrite(change func(*invitation.Record)) {
	i.w.t.Helper()
	r, old := i.record()
	from, _ := views.Place(&r)
	change(&r)
	to, score := views.Place(&r)
	i.w.apply(i.Organization, redisdb.Change{ID: i.Invitation, Old: old, New: r.Encode(), OldCombo: from, NewCombo: to, Score: score, Person: i.Person})
}

func (w *world) apply(in string, c redisdb.Change) {
	w.t.Helper()
	conflicts, err := w.redis.Apply(w.t.Context(), in, []redisdb.Change{c})
	require.NoError(w.t, err)
	require.Empty(w.t, conflicts)
}

// place is the index entry that lists show it by.
func (i *invited) place() (index string, e redisdb.Entry) {
	i.w.t.Helper()
	r, _ := i.record()
	combo, score := views.Place(&r)
	return strconv.FormatUint(redisdb.Bucket(score), 10) + ":" + combo, redisdb.Entry{ID: i.Invitation, Score: score}
}

// claimed has a worker claim a mail of it, a minute ago.
func (i *invited) claimed(intent uint64) {
	i.w.t.Helper()
	i.w.early.Store(int64(time.Minute))
	defer i.w.early.Store(0)
	_, err := i.w.redis.Claim(i.w.t.Context(), redisdb.Intent{Organization: i.Organization, Invitation: i.Invitation, Sequence: intent}, "worker", i.token())
	require.NoError(i.w.t, err)
}
