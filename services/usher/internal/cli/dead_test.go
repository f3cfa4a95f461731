package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/coalesce"
	"github.com/usherhq/usher/pkg/deadletters"
	"github.com/usherhq/usher/pkg/ledger"
)

// asCommand makes the test binary the usher command, so that tests have one to kill.
const asCommand = "USHER_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
		defer stop()
		os.Exit(Execute(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}))
	}
	os.Exit(m.Run())
}

// desk is a broker with dead letters, and what an operator's environment says of it.
type desk struct {
	*testing.T
	broker *brokertest.Broker
	ledger *ledger.Ledger
	env    []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	broker := brokertest.Run(t, brokertest.Lazy())
	l, err := ledger.Open(t.Context(), broker.Conn(t), ledger.Options{Durable: ledger.Durability{Declared: true}})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return &desk{T: t, broker: broker, ledger: l, env: []string{
		"USHER_NATS_URL=" + broker.URL, "USHER_NATS_SYNC=always", // Redis is not needed
	}}
}

// bury puts so many dead letters of the worker "admission" there.
func (d *desk) bury(n int) {
	d.Helper()
	units := make([][]ledger.Message, n)
	for i := range units {
		sequence := uint64(i + 1)
		m, err := ledger.Fact(events.RequestSubject("crm"), events.Event{
			ID: events.NewEventID(), Source: "/crm", Time: time.Now(),
			Data: &events.InvitationRequested{Organization: "acme", Email: "p" + strconv.Itoa(i) + "@example.org", Role: "member", Inviter: "o@example.org"},
		})
		require.NoError(d, err)
		given := bus.GivenUp{
			Reason: "role-too-high", Subject: m.Subject, Stream: events.StreamRequests, Sequence: sequence, Stored: time.Now(), Deliveries: 1, At: time.Now(),
		}
		units[i] = []ledger.Message{{
			Subject: events.DeadLetterSubject("admission", events.StreamRequests, sequence), Header: given.Letter(m.Header), Data: m.Data,
		}}
	}
	for _, r := range d.ledger.PublishAll(d.Context(), events.StreamDeadLetters, units) {
		require.Equal(d, coalesce.Result[uint64]{Value: r.Value}, r)
	}
}

// work runs the worker, and counts by original how often it handled a letter. The count is whole once the test has waited.
func (d *desk) work() (handled func(original uint64) int) {
	d.Helper()
	conn := d.broker.Conn(d)
	letters, err := bus.NewPublisher(conn)
	require.NoError(d, err)
	router, err := bus.NewRouter(bus.RouterOptions{
		Conn: conn, DeadLetters: letters, Redrives: true, CloseGrace: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(d, err)
	var mu sync.Mutex
	times := map[uint64]int{}
	router.Handle("admission", bus.Subscription{Stream: events.StreamRequests, Durable: "admission"}, func(_ context.Context, m *bus.Received) error {
		mu.Lock()
		defer mu.Unlock()
		times[m.Sequence]++
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { require.NoError(d, router.Run(ctx)) })
	d.Cleanup(func() { cancel(); running.Wait() })
	<-router.Running()
	return func(original uint64) int {
		mu.Lock()
		defer mu.Unlock()
		return times[original]
	}
}

// usher runs the command in this process.
func (d *desk) usher(in string, args ...string) (code int, out, said string) {
	d.Helper()
	var o, e bytes.Buffer
	code = Execute(d.Context(), args, Streams{In: strings.NewReader(in), Out: &o, Err: &e, Environ: d.env})
	return code, o.String(), e.String()
}

// must is the output of a command that has to work.
func (d *desk) must(args ...string) string {
	d.Helper()
	code, out, said := d.usher("", args...)
	require.Equal(d, exitOK, code, said)
	return out
}

func (d *desk) list(f deadletters.Filter) []*deadletters.Letter {
	d.Helper()
	letters, err := deadletters.New(d.ledger).List(d.Context(), f)
	require.NoError(d, err)
	return letters
}

func TestARedriveThatIsKilledTwelveTimesHandsEveryLetterOutOnce(t *testing.T) {
	t.Parallel()
	const letters, kills = 5000, 12
	d := newDesk(t)
	d.bury(letters)
	handled := d.work()
	var handedOut atomic.Int64
	seen := make(chan struct{}, 1)
	conn := d.broker.Conn(t)
	_, err := conn.Subscribe(events.RedriveFilter("admission"), func(*nats.Msg) {
		handedOut.Add(1)
		select {
		case seen <- struct{}{}:
		default:
		}
	})
	require.NoError(t, err)
	require.NoError(t, conn.Flush())

	for kill := range kills {
		c := exec.Command(os.Args[0], "dead", "redrive", "--reason", "role-too-high", "--yes")
		c.Env = append(append(os.Environ(), asCommand+"=1"), d.env...)
		var said bytes.Buffer
		c.Stderr = &said
		require.NoError(t, c.Start())
		goal := handedOut.Load() + 150 + int64(kill)*29 // somewhere else within a batch each time
		for handedOut.Load() < goal {
			<-seen
		}
		require.NoError(t, c.Process.Kill())
		require.ErrorContains(t, c.Wait(), "signal: killed", "the command was over before it was killed: %s", &said)
	}
	d.must("dead", "redrive", "--reason", "role-too-high", "--yes")
	require.Eventually(t, func() bool {
		return len(d.list(deadletters.Filter{States: []deadletters.State{deadletters.Done}})) == letters
	}, time.Minute, 50*time.Millisecond)
	for _, l := range d.list(deadletters.Filter{}) {
		require.Equal(t, deadletters.Done, l.State)
		require.Len(t, l.Acts, 2, "it was handed out again once, and done")
		require.Equal(t, 1, handled(l.Original))
	}
	require.Contains(t, d.must("dead", "redrive", "--reason", "role-too-high", "--yes"), "redrive: 0 of 0 dead letters.")
}

func TestTheOperatorsWayThroughTheDeadLetters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.bury(3)
	d.work()
	var list struct{ Items []deadletters.Letter }
	require.NoError(t, json.Unmarshal([]byte(d.must("dead", "list", "--json")), &list))
	require.Len(t, list.Items, 3)
	require.Regexp(t, `3 +admission +role-too-high`, d.must("dead", "count"))
	require.Contains(t, d.must("dead", "list", "--org", "acme"), "requests.crm")
	require.NotContains(t, d.must("dead", "list", "--since", "2030-01-01T00:00:00Z"), "requests.crm")
	first := strconv.FormatUint(list.Items[0].Sequence, 10)

	require.Contains(t, d.must("dead", "redrive", "--all", "--dry-run"), "redrive: would be: 3 of 3 dead letters.")
	require.Len(t, d.list(deadletters.Filter{States: []deadletters.State{deadletters.Open}}), 3, "a dry run did something")
	code, _, said := d.usher("no\n", "dead", "redrive", "--all")
	require.Equal(t, exitFailed, code)
	require.Contains(t, said, "Hand 3 dead letters to their workers again? [y/N]")

	require.Contains(t, d.must("dead", "redrive", first, "--by", "ann", "--note", "mended"), first+" is handed to admission again.")
	d.must("dead", "redrive", first) // it is so already
	require.Eventually(t, func() bool { return strings.Contains(d.must("dead", "show", first), "done, by admission") }, time.Minute, 20*time.Millisecond)
	require.Contains(t, d.must("dead", "show", first), "again, by ann: mended")
	require.NotContains(t, d.must("dead", "list"), "\n"+first+" ")
	require.Contains(t, d.must("dead", "list", "--state", "any"), "\n"+first+" ")

	require.JSONEq(t, `{"items":[]}`, d.must("dead", "list", "--worker", "nobody", "--json"))
	require.JSONEq(t, `{"dry_run":false,"done":0,"already":0,"items":[]}`, d.must("dead", "redrive", "--worker", "nobody", "--json"))
	d.must("dead", "dismiss", "--all", "--limit", "1", "--note", "a test")
	require.Contains(t, d.must("dead", "list", "--state", "dismissed"), "dismissed at")
	code, _, said = d.usher("yes\n", "dead", "prune", "--all")
	require.Equal(t, exitOK, code, said)
	code, _, said = d.usher("", "dead", "show", first)
	require.Equal(t, exitMissing, code)
	require.Contains(t, said, "was pruned by "+whoever())
}

func TestWatchTellsWhatIsDoneAboutADeadLetter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		subject string
		header  nats.Header
		want    string
	}{
		{"deadletters.admission.letter.REQUESTS.7", nats.Header{bus.DeadReason: {"malformed"}, bus.DeadDetail: {"the body is empty"}}, " malformed: the body is empty\n"},
		{"deadletters.admission.again.9", nats.Header{bus.ActBy: {"ann"}, bus.ActNote: {"mended"}}, " by ann: mended\n"},
		{"deadletters.admission.done.9", nats.Header{bus.ActBy: {"admission"}}, " by admission\n"},
	} {
		var out bytes.Buffer
		require.NoError(t, Streams{Out: &out}.writeSeen(&cobra.Command{}, &nats.Msg{Subject: c.subject, Header: c.header}))
		require.Contains(t, out.String(), c.subject)
		require.True(t, strings.HasSuffix(out.String(), c.want), out.String())
	}
}

func TestTheExitCodeTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.bury(2)
	for line, want := range map[string]int{
		"dead show 99":                             exitMissing,
		"dead show x":                              exitUsage,
		"dead redrive":                             exitUsage,
		"dead redrive 99":                          exitMissing,
		"dead redrive 1 --all":                     exitUsage,
		"dead redrive --all --again":               exitUsage,
		"dead redrive --all --since yesterday":     exitUsage,
		"dead list --state lost":                   exitUsage,
		"dead dismiss 1":                           exitUsage,
		"dead redrive 1":                           exitFailed, // nobody listens
		"dead redrive --all --yes --json":          exitFailed,
		"dead redrive --all --reason other --json": exitOK, // there are none
	} {
		code, _, said := d.usher("", strings.Fields(line)...)
		require.Equal(t, want, code, "%s: %s", line, said)
	}
	d.broker.Stop()
	code, _, said := d.usher("", "dead", "list")
	require.Equal(t, exitNotNow, code, said)
}
