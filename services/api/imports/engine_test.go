package imports_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/suppressions"
	"github.com/usherhq/usher/services/api/imports"
)

// office is one process of the service, with organizations acme and other, and one member of each role in both.
type office struct {
	*imports.Engine
	ledger *ledger.Ledger
	roster *roster.Roster
	keys   *apikeys.Keys
	ahead  *atomic.Int64 // nanoseconds that the clock is ahead
	// learned, where it is set, is called between inviting a page and writing that down.
	learned atomic.Pointer[func()]
}

// held stops the process's work at the next page that it has invited. entered is closed once it stands there.
func (o *office) held() (entered chan struct{}, let func()) {
	entered, gate := make(chan struct{}), make(chan struct{})
	hold := func() {
		o.learned.Store(nil)
		close(entered)
		<-gate
	}
	o.learned.Store(&hold)
	return entered, func() { close(gate) }
}

func setup(t *testing.T) *office {
	t.Helper()
	o := another(t, brokertest.Run(t), &atomic.Int64{})
	o.furnish(t)
	return o
}

// furnish makes two organizations with a member of each role.
func (o *office) furnish(t *testing.T) {
	t.Helper()
	for _, org := range []string{"acme", "other"} {
		_, _, err := o.roster.Put(t.Context(), roster.Organization{ID: org, Name: "The " + org})
		require.NoError(t, err)
		for _, role := range roster.DefaultRoles {
			o.join(t, org, role+"@"+org+".example.org", role)
		}
	}
}

// another is a process more on the same broker.
func another(t *testing.T, b *brokertest.Broker, ahead *atomic.Int64, changes ...func(*ledger.Options)) *office {
	t.Helper()
	o := &office{ahead: ahead}
	how := ledger.Options{
		Durable: ledger.Durability{Declared: true}, ClockIsMoved: true, Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())).UTC() },
	}
	for _, change := range changes {
		change(&how)
	}
	var err error
	o.ledger, err = ledger.Open(t.Context(), b.Conn(t), how)
	require.NoError(t, err)
	t.Cleanup(o.ledger.Close)
	o.roster, err = roster.Open(t.Context(), o.ledger, roster.DefaultRoles)
	require.NoError(t, err)
	s, err := suppressions.Open(t.Context(), o.ledger)
	require.NoError(t, err)
	o.keys, err = apikeys.Open(t.Context(), o.ledger)
	require.NoError(t, err)
	o.Engine, err = imports.Open(t.Context(), imports.Options{
		Ledger: o.ledger, Roster: o.roster, Keys: o.keys, Source: "/test", Restless: true, Logger: slog.New(slog.DiscardHandler),
		Learned: func(context.Context, ...invitation.Record) {
			if hold := o.learned.Load(); hold != nil {
				(*hold)()
			}
		},
		Admission: &admission.Admission{Ledger: o.ledger, Roster: o.roster, Suppressions: s, Keys: o.keys, TTL: time.Hour},
	})
	require.NoError(t, err)
	return o
}

func (o *office) person(email string) string {
	a, err := address.Parse(email)
	if err != nil {
		panic(err)
	}
	return address.Person(o.ledger.PersonKey(), a.Canonical)
}

func (o *office) who(email string) imports.Who {
	return imports.Who{Email: email, Person: o.person(email)}
}

func (o *office) owner() imports.Who { return o.who("owner@acme.example.org") }

func (o *office) join(t *testing.T, org, email, role string) { o.member(t, org, email, role, false) }

func (o *office) member(t *testing.T, org, email, role string, removed bool) {
	t.Helper()
	m := events.Membership{Organization: org, Person: o.person(email), Email: email, Role: role, JoinedAt: time.Now()}
	var data events.Data = &events.MembershipProvisioned{Membership: m}
	if removed {
		data = &events.MembershipRemoved{Membership: m}
	}
	e := events.Event{ID: events.NewEventID(), Source: "/test", Type: data.EventType(), Subject: m.Person, Time: time.Now(), Data: data}
	message, err := ledger.Fact(events.MembershipSubject(org, m.Person), e)
	require.NoError(t, err)
	sequence, err := o.ledger.Publish(t.Context(), events.StreamMemberships, message)
	require.NoError(t, err)
	o.roster.Learn(m, sequence, removed)
}

// run starts the process's work, and gives what ends it.
func (o *office) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	stop = func() {
		cancel()
		if ended != nil {
			require.NoError(t, <-ended)
			ended = nil
		}
	}
	t.Cleanup(stop)
	return stop
}

func people(n int) string {
	var b strings.Builder
	b.WriteString("email,role\n")
	for i := range n {
		fmt.Fprintf(&b, "p%d@example.org,member\n", i)
	}
	return b.String()
}

func (o *office) take(t *testing.T, file string) imports.Job {
	t.Helper()
	job, err := o.Take(t.Context(), imports.Upload{Who: o.owner(), Organization: "acme", Name: "people.csv"}, strings.NewReader(file))
	require.NoError(t, err)
	return job
}

// until waits until the job is as wanted, going by what the engine says changed.
func (o *office) until(t *testing.T, id string, as func(imports.Job) bool) imports.Job {
	t.Helper()
	over := time.After(30 * time.Second)
	for {
		changed := o.Changed()
		job, err := o.Job(t.Context(), o.owner(), id)
		require.NoError(t, err)
		if as(job) {
			return job
		}
		select {
		case <-changed:
		case <-over:
			require.Fail(t, "the job does not get there", "%+v", job)
		}
	}
}

func ended(j imports.Job) bool { return j.State.Ended() }

// invited lists the addresses of the invitations that stand in the ledger, in its order.
func (o *office) invited(t *testing.T, org string) (emails []string) {
	t.Helper()
	for r, err := range o.ledger.Scan(t.Context(), events.StreamInvitations, events.InvitationSubject(org, "*", events.FactRequested), 1) {
		require.NoError(t, err)
		e, err := r.Event()
		require.NoError(t, err)
		emails = append(emails, e.Data.(*events.InvitationRequested).Email)
	}
	return emails
}

func (o *office) report(t *testing.T, job imports.Job) [][]string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, o.Report(t.Context(), job, &out))
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(out.String(), "\ufeff"))).ReadAll()
	require.NoError(t, err)
	return rows[1:]
}

func TestNobodyIsInvitedBeforeTheStartAndEverybodyOnceAfter(t *testing.T) {
	o := setup(t)
	o.run(t)
	job := o.take(t, people(333))
	require.Equal(t, imports.Ready, job.State)
	require.Equal(t, 333, job.Rows)
	require.Equal(t, 333, job.Ready)
	require.Empty(t, o.invited(t, "acme"))

	_, err := o.Start(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	handled := -1
	done := o.until(t, job.ID, func(j imports.Job) bool {
		require.GreaterOrEqual(t, j.Handled(), handled, "progress never goes back")
		handled = j.Handled()
		return ended(j)
	})
	require.Equal(t, imports.Done, done.State)
	require.Equal(t, 333, done.Invited)
	require.Len(t, o.invited(t, "acme"), 333)
	for i, row := range o.report(t, done) {
		require.Equal(t, []string{fmt.Sprint(i + 2), fmt.Sprintf("p%d@example.org", i), "", "member", "acme", "invited", "", ""}, row[:8])
		require.True(t, events.IsInvitationID(row[8]))
	}
}

func TestEachRowIsJudgedBeforehandAsAdmissionWould(t *testing.T) {
	o := setup(t)
	open, err := o.Admission.Admit(t.Context(), admission.Request{Source: "/test", InvitationRequested: events.InvitationRequested{
		Organization: "acme", Email: "open@example.org", Role: "member", Inviter: "owner@acme.example.org"}})
	require.NoError(t, err)
	job, err := o.Take(t.Context(), imports.Upload{Who: o.who("admin@acme.example.org"), Organization: "acme", Role: "viewer"}, strings.NewReader(strings.Join([]string{
		"email,role,locale,expires in,note,organization,shoe size",
		"new@example.org,MEMBER,de,7 days,,,44",
		"new2@example.org,,,,,acme,",
		"nobody,,,,,,",
		"New@Example.org,,,,,,",
		"open@example.org,,,,,,",
		"owner@acme.example.org,,,,,,",
		"boss@example.org,owner,,,,,",
		"x@example.org,emperor,,,,,",
		"y@example.org,,,,hello,,",
		"z@example.org,,,1 minute,,,",
		"other@example.org,,,,,other,",
		"w@example.org,,,,,nowhere,",
		`"q@example.org,,,,,,`,
		"new3@example.org,emperor,,,,,",
		"new3@example.org,member,,,,,",
	}, "\n")))
	require.NoError(t, err)
	require.Equal(t, []string{"shoe size"}, job.Ignored)
	require.Empty(t, job.Others, "what the uploader may not do elsewhere shows them nothing of it")
	page, err := o.Page(t.Context(), job, 0)
	require.NoError(t, err)
	var got []string
	for _, r := range page.Rows {
		got = append(got, fmt.Sprintf("%d %s %s", r.Line, r.Verdict, r.Code))
	}
	require.Equal(t, []string{
		"2 ready ", "3 ready ", "4 faulty invalid", "5 faulty duplicate", "6 faulty already-invited", "7 faulty already-member", "8 faulty role-too-high",
		"9 faulty invalid", "10 faulty invalid", "11 faulty invalid", "12 faulty no-authority", "13 faulty unknown-organization",
		"14 faulty malformed", "15 faulty invalid", "16 ready ",
	}, got)
	require.Equal(t, imports.Row{Line: 2, Verdict: imports.RowReady, Fields: imports.Fields{Email: "new@example.org", Role: "member", Locale: "de", ExpiresIn: "168h"}}, page.Rows[0])
	require.Equal(t, "viewer", page.Rows[1].Role)
	require.Equal(t, "The same address stands on line 2.", page.Rows[3].Detail)
	require.Equal(t, open.ID, page.Rows[4].Invitation)
	require.Equal(t, "role: must be one of owner, admin, member, viewer.", page.Rows[7].Detail)
	require.Equal(t, 15, job.Rows)
	require.Equal(t, 3, job.Ready)
	require.Equal(t, map[string]int{"invalid": 5, "duplicate": 1, "already-invited": 1, "already-member": 1, "role-too-high": 1, "no-authority": 1,
		"unknown-organization": 1, "malformed": 1}, job.Faults)
}

func TestAPausedJobInvitesNobodyUntilItIsResumed(t *testing.T) {
	o := setup(t)
	o.run(t)
	job := o.take(t, people(400))
	_, err := o.Start(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	o.until(t, job.ID, func(j imports.Job) bool { return j.Invited >= 100 })
	paused, err := o.Pause(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	require.Equal(t, imports.Paused, paused.State)
	require.Less(t, paused.Invited, 400)
	require.Len(t, o.invited(t, "acme"), paused.Invited, "what it says is what was done")

	other := o.take(t, "email,role\nlater@example.org,member") // the engine goes on, without the paused one
	_, err = o.Start(t.Context(), o.owner(), other.ID)
	require.NoError(t, err)
	o.until(t, other.ID, ended)
	require.Len(t, o.invited(t, "acme"), paused.Invited+1)

	resumed, err := o.Resume(t.Context(), o.who("admin@acme.example.org"), job.ID)
	require.NoError(t, err)
	require.Equal(t, "admin@acme.example.org", resumed.Inviter.Email)
	done := o.until(t, job.ID, ended)
	require.Equal(t, 400, done.Invited)
	require.Len(t, o.invited(t, "acme"), 401)
}

func TestACancelledJobReportsWhoWasInvitedAndWhoWasNot(t *testing.T) {
	o := setup(t)
	o.run(t)
	job := o.take(t, people(300))
	_, err := o.Start(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	o.until(t, job.ID, func(j imports.Job) bool { return j.Invited >= 100 })
	cancelled, err := o.Cancel(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	require.Equal(t, imports.Cancelled, cancelled.State)
	results := map[string]int{}
	for _, row := range o.report(t, cancelled) {
		results[row[5]]++
	}
	require.Equal(t, map[string]int{"invited": cancelled.Invited, "not sent": 300 - cancelled.Invited}, results)
	require.Len(t, o.invited(t, "acme"), cancelled.Invited)
	_, err = o.Resume(t.Context(), o.owner(), job.ID)
	require.True(t, problem.Is(err, problem.WrongState), "%v", err)
}

func TestTheRowsOfAJobThatNeverBeganAreDeletedWithIt(t *testing.T) {
	o := setup(t)
	job := o.take(t, people(250))
	_, err := o.Cancel(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	_, err = o.Page(t.Context(), job, 2)
	require.True(t, problem.Is(err, problem.NotFound), "%v", err)
	_, err = o.Start(t.Context(), o.owner(), job.ID)
	require.True(t, problem.Is(err, problem.WrongState), "%v", err)
}

func TestAJobStopsWhenItsInviterLosesTheRight(t *testing.T) {
	o := setup(t)
	stop := o.run(t)
	job := o.take(t, people(300))
	admin := o.who("admin@acme.example.org")
	_, err := o.Start(t.Context(), admin, job.ID)
	require.NoError(t, err)
	o.until(t, job.ID, func(j imports.Job) bool { return j.Invited >= 100 })
	o.member(t, "acme", admin.Email, "admin", true)
	stopped := o.until(t, job.ID, func(j imports.Job) bool { return j.State == imports.Stopped })
	require.Equal(t, "Who started it is not an owner or admin of the organization any more.", stopped.Reason)
	require.Less(t, stopped.Invited, 300)
	require.Zero(t, stopped.Refused, "nobody is refused for who the inviter is")
	require.Zero(t, stopped.Lease)
	_, err = o.Resume(t.Context(), admin, job.ID)
	require.True(t, problem.Is(err, problem.NotFound), "%v", err)
	stop()
	_, err = o.Resume(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	o.run(t)
	require.Equal(t, 300, o.until(t, job.ID, ended).Invited)
}

func TestAMachinesJobStopsWithItsKey(t *testing.T) {
	o := setup(t)
	_, key, err := o.keys.Create(t.Context(), "crm", "acme")
	require.NoError(t, err)
	machine := imports.Who{Key: key.ID}
	_, err = o.Take(t.Context(), imports.Upload{Who: machine, Organization: "other"}, strings.NewReader(people(1)))
	require.True(t, problem.Is(err, problem.Forbidden), "%v", err)
	job, err := o.Take(t.Context(), imports.Upload{Who: machine, Organization: "acme"}, strings.NewReader(people(150)+"foreign@example.org,member\n"))
	require.NoError(t, err)
	_, err = o.Start(t.Context(), machine, job.ID)
	require.NoError(t, err)
	require.NoError(t, o.keys.Revoke(t.Context(), key.ID))
	o.run(t)
	stopped := o.until(t, job.ID, func(j imports.Job) bool { return j.State == imports.Stopped })
	require.Equal(t, "The API key does not work any more.", stopped.Reason)
	require.Empty(t, o.invited(t, "acme"))
}

func TestOnlyWhoManagesEveryOrganizationOfAJobSeesIt(t *testing.T) {
	o := setup(t)
	o.join(t, "other", "owner@acme.example.org", "admin")
	job := o.take(t, "email,role,organization\na@example.org,member,acme\nb@example.org,member,other\n")
	require.Equal(t, []string{"other"}, job.Others)
	require.Equal(t, 2, job.Ready)
	for _, who := range []imports.Who{o.who("admin@acme.example.org"), o.who("owner@other.example.org"), o.who("stranger@example.org"), {}} {
		_, err := o.Job(t.Context(), who, job.ID)
		require.True(t, problem.Is(err, problem.NotFound), "%v", err)
		_, err = o.Start(t.Context(), who, job.ID)
		require.True(t, problem.Is(err, problem.NotFound), "%v", err)
	}
	require.Empty(t, o.List("acme", func(org string) bool { return org == "acme" }))
	require.Len(t, o.List("acme", func(string) bool { return true }), 1)
	o.run(t)
	_, err := o.Start(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	o.until(t, job.ID, ended)
	require.Equal(t, []string{"b@example.org"}, o.invited(t, "other"))
}

func TestManyProcessesInviteEverybodyOnce(t *testing.T) {
	b := brokertest.Run(t)
	ahead := &atomic.Int64{}
	first := another(t, b, ahead)
	_, _, err := first.roster.Put(t.Context(), roster.Organization{ID: "acme", Name: "Acme"})
	require.NoError(t, err)
	first.join(t, "acme", "owner@acme.example.org", "owner")
	second, third := another(t, b, ahead), another(t, b, ahead)
	job := first.take(t, people(400))
	_, err = second.Start(t.Context(), second.owner(), job.ID)
	require.NoError(t, err)
	for _, o := range []*office{first, second, third} {
		o.run(t)
	}
	require.Equal(t, 400, third.until(t, job.ID, ended).Invited)
	require.Len(t, first.invited(t, "acme"), 400)
}

// TestAPauseAndACancelAreAnsweredOnceNobodyMoreIsInvited holds a page that is being invited when they are asked for.
func TestAPauseAndACancelAreAnsweredOnceNobodyMoreIsInvited(t *testing.T) {
	o := setup(t)
	for name, act := range map[string]func(context.Context, imports.Who, string) (imports.Job, error){"pause": o.Pause, "cancel": o.Cancel} {
		job := o.take(t, strings.ReplaceAll(people(500), "p", name))
		entered, let := o.held()
		_, err := o.Start(t.Context(), o.owner(), job.ID)
		require.NoError(t, err)
		stop := o.run(t)
		<-entered
		type answer struct {
			imports.Job
			error
		}
		answered := make(chan answer, 1)
		go func() {
			after, err := act(context.Background(), o.owner(), job.ID)
			answered <- answer{after, err}
		}()
		o.until(t, job.ID, func(j imports.Job) bool { return j.State != imports.Running })
		select {
		case <-answered:
			require.Fail(t, "answered while a page was being invited", name)
		default:
		}
		let()
		after := <-answered
		require.NoError(t, after.error)
		require.Equal(t, 50, after.Invited, "the page that was under way counts")
		require.Zero(t, after.Lease)
		stop()
	}
}

// TestAProcessThatWasTakenForDeadCountsNothingTwice holds one process in the middle of a page until another has done the
// whole job.
func TestAProcessThatWasTakenForDeadCountsNothingTwice(t *testing.T) {
	b := brokertest.Run(t)
	ahead := &atomic.Int64{}
	slow := another(t, b, ahead)
	_, _, err := slow.roster.Put(t.Context(), roster.Organization{ID: "acme", Name: "Acme"})
	require.NoError(t, err)
	slow.join(t, "acme", "owner@acme.example.org", "owner")
	quick := another(t, b, ahead)
	job := slow.take(t, people(250))
	entered, let := slow.held()
	_, err = slow.Start(t.Context(), slow.owner(), job.ID)
	require.NoError(t, err)
	stop := slow.run(t)
	<-entered
	ahead.Store(int64(time.Minute))
	quick.run(t)
	require.Equal(t, 250, quick.until(t, job.ID, ended).Invited)
	let()
	stop()
	after, err := quick.Job(t.Context(), quick.owner(), job.ID)
	require.NoError(t, err)
	require.Equal(t, 250, after.Invited)
	require.Len(t, quick.invited(t, "acme"), 250)
}

func TestAnotherOrganizationsJobIsNotHeldUp(t *testing.T) {
	o := setup(t)
	big := o.take(t, people(400))
	more := o.take(t, strings.ReplaceAll(people(400), "p", "q"))
	small, err := o.Take(t.Context(), imports.Upload{Who: o.who("owner@other.example.org"), Organization: "other"}, strings.NewReader(people(150)))
	require.NoError(t, err)
	for _, job := range []imports.Job{big, more} {
		_, err := o.Start(t.Context(), o.owner(), job.ID)
		require.NoError(t, err)
	}
	_, err = o.Start(t.Context(), o.who("owner@other.example.org"), small.ID)
	require.NoError(t, err)
	o.run(t)
	var seen imports.Job
	o.until(t, big.ID, func(imports.Job) bool {
		seen, err = o.Job(t.Context(), o.who("owner@other.example.org"), small.ID)
		return err == nil && ended(seen)
	})
	a, _ := o.Job(t.Context(), o.owner(), big.ID)
	b, _ := o.Job(t.Context(), o.owner(), more.ID)
	require.LessOrEqual(t, a.Handled()+b.Handled(), 250, "three pages each, and what came meanwhile")
	_, err = o.Cancel(t.Context(), o.owner(), big.ID)
	require.NoError(t, err)
	_, err = o.Cancel(t.Context(), o.owner(), more.ID)
	require.NoError(t, err)
}

func TestAFileThatIsNoListLeavesNothingBehind(t *testing.T) {
	o := setup(t)
	for file, code := range map[string]problem.Code{
		"":                              problem.Malformed,
		"email,role\n":                  problem.Malformed,
		people(imports.MaxRows + 1):     problem.TooLarge,
		"PK\x03\x04":                    problem.Malformed,
		"name\nsomebody without e-mail": problem.Malformed,
	} {
		_, err := o.Take(t.Context(), imports.Upload{Who: o.owner(), Organization: "acme"}, strings.NewReader(file))
		require.True(t, problem.Is(err, code), "%.30q: %v", file, err)
	}
	_, err := o.Take(t.Context(), imports.Upload{Who: o.owner(), Organization: "acme"}, io.MultiReader(strings.NewReader(people(500)), broken{}))
	require.True(t, problem.Is(err, problem.Malformed), "%v", err)
	require.Empty(t, o.List("acme", func(string) bool { return true }))
	state, err := o.ledger.State(t.Context(), "KV_"+ledger.BucketImportPages)
	require.NoError(t, err)
	require.Zero(t, state.Messages)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// Seeds 656 and 795 of the fault runs: a process whose clock had jumped by a year took a file that was just arriving for one that
// was given up, and deleted its job.
func TestAWrongClockForgetsNoUpload(t *testing.T) {
	b, ahead := brokertest.Run(t), &atomic.Int64{}
	o := another(t, b, &atomic.Int64{})
	o.furnish(t)
	wrong := another(t, b, ahead, func(how *ledger.Options) { how.ClockIsMoved = false })
	file, rest := io.Pipe()
	taken := make(chan error, 1)
	var job imports.Job
	go func() {
		var err error
		job, err = o.Take(t.Context(), imports.Upload{Who: o.owner(), Organization: "acme"}, file)
		taken <- err
	}()
	_, err := io.WriteString(rest, people(600)) // more than a page: the job is there
	require.NoError(t, err)
	ahead.Store(int64(400 * 24 * time.Hour))
	require.True(t, problem.Is(wrong.Tidy(t.Context()), problem.NotNow))
	require.NoError(t, rest.Close())
	require.NoError(t, <-taken)
	found, err := o.Job(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	require.Equal(t, imports.Ready, found.State)
}

func TestAnUploadThatIsSentAgainIsTheSameJob(t *testing.T) {
	o := setup(t)
	again := func(file string) (imports.Job, error) {
		return o.Take(t.Context(), imports.Upload{Who: o.owner(), Organization: "acme", Repeatable: "key/4711"}, strings.NewReader(file))
	}
	first, err := again(people(120))
	require.NoError(t, err)
	second, err := again(people(120))
	require.NoError(t, err)
	require.Equal(t, first.ID, second.ID)
	_, err = again(people(121))
	require.True(t, problem.Is(err, problem.KeyReused), "%v", err)
	require.Len(t, o.List("acme", func(string) bool { return true }), 1)
}

func TestAnOldJudgementIsNotActedOn(t *testing.T) {
	o := setup(t)
	job := o.take(t, people(3))
	o.ahead.Store(int64(imports.StartWithin + time.Minute))
	_, err := o.Start(t.Context(), o.owner(), job.ID)
	require.True(t, problem.Is(err, problem.WrongState), "%v", err)
}

func TestAnOrganizationHasOnlySoManyOpenJobs(t *testing.T) {
	o := setup(t)
	var last imports.Job
	for range 20 {
		last = o.take(t, people(1))
	}
	u := imports.Upload{Who: o.owner(), Organization: "acme"}
	_, err := o.Take(t.Context(), u, strings.NewReader(people(1)))
	require.True(t, problem.Is(err, problem.WrongState), "%v", err)
	_, err = o.Cancel(t.Context(), o.owner(), last.ID)
	require.NoError(t, err)
	_, err = o.Take(t.Context(), u, strings.NewReader(people(1)))
	require.NoError(t, err)
}

// TestWhatADeadProcessHalfDidIsKnown is about a process that dies between inviting a page and writing that down.
func TestWhatADeadProcessHalfDidIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		state   imports.State
		invited int
	}{
		"running: the page is sent again, and invites nobody twice": {imports.Running, 250},
		"cancelled: the report says who was invited, and no more":   {imports.Cancelled, 40},
	} {
		t.Run(name, func(t *testing.T) {
			o := setup(t)
			job := o.take(t, people(250))
			require.NoError(t, o.Halfway(t.Context(), o.owner(), job, 40, c.state))
			o.ahead.Store(int64(time.Minute)) // the lease is over
			o.run(t)
			now := o.until(t, job.ID, func(j imports.Job) bool { return ended(j) && j.Lease == (imports.Lease{}) })
			require.Equal(t, c.invited, now.Invited)
			require.Len(t, o.invited(t, "acme"), c.invited)
			reported := 0
			for _, row := range o.report(t, now) {
				if row[5] == "invited" {
					reported++
				}
			}
			require.Equal(t, c.invited, reported)
		})
	}
}

// TestAnImportGoesNoFurtherThanMailsLeave is about the mails of single invitations, which would stand behind those of the
// whole file.
func TestAnImportGoesNoFurtherThanMailsLeave(t *testing.T) {
	o := setup(t)
	leave, following := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		following <- o.ledger.Follow(ctx, ledger.Following{
			Stream: events.StreamInvitations, Durable: ledger.ConsumerMailer, Filters: []string{events.InvitationSubject("*", "*", events.FactRequested)},
		}, func(context.Context, []ledger.Record) error { <-leave; return nil })
	}()
	let := sync.OnceFunc(func() { close(leave) })
	t.Cleanup(func() {
		let()
		cancel()
		require.NoError(t, <-following)
	})
	_, err := o.Admission.Admit(t.Context(), admission.Request{Source: "/test", InvitationRequested: events.InvitationRequested{
		Organization: "acme", Email: "single@example.org", Role: "member", Inviter: "owner@acme.example.org"}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, err := o.ledger.Backlog(t.Context(), events.StreamInvitations, ledger.ConsumerMailer)
		return err == nil && n == 1
	}, 10*time.Second, 5*time.Millisecond)

	o.run(t)
	job := o.take(t, people(400))
	_, err = o.Start(t.Context(), o.owner(), job.ID)
	require.NoError(t, err)
	o.until(t, job.ID, func(j imports.Job) bool { return j.Invited >= 50 })
	over := time.After(500 * time.Millisecond) // in which it would send many pages
	for waiting := true; waiting; {
		select {
		case <-o.Changed():
			now, err := o.Job(t.Context(), o.owner(), job.ID)
			require.NoError(t, err)
			require.LessOrEqual(t, now.Handled(), 100, "a page, and one more while as many may wait")
		case <-over:
			waiting = false
		}
	}
	let()
	require.Equal(t, 400, o.until(t, job.ID, ended).Invited)
}

// TestAJobThatCannotBeReadHoldsUpNobody has a page that nobody can read.
func TestAJobThatCannotBeReadHoldsUpNobody(t *testing.T) {
	o := setup(t)
	o.run(t)
	poison, good := o.take(t, people(10)), o.take(t, strings.ReplaceAll(people(10), "p", "q"))
	pages, err := o.ledger.Bucket(t.Context(), ledger.BucketImportPages)
	require.NoError(t, err)
	_, err = pages.Put(t.Context(), poison.ID+".0", []byte("{"))
	require.NoError(t, err)
	for _, job := range []imports.Job{poison, good} {
		_, err := o.Start(t.Context(), o.owner(), job.ID)
		require.NoError(t, err)
	}
	require.Equal(t, 10, o.until(t, good.ID, ended).Invited)
	stopped := o.until(t, poison.ID, func(j imports.Job) bool { return j.State == imports.Stopped })
	require.Equal(t, "A page of it cannot be read; upload the file again.", stopped.Reason)
}
