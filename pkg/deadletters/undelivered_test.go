package deadletters

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/ledger"
)

// limit is what an operator does with the nats command line: "nats consumer edit STREAM DURABLE --max-deliver N".
func (o *office) limit(stream, durable string, deliveries int) {
	o.Helper()
	js := o.ledger.JetStream()
	c, err := js.Consumer(o.Context(), stream, durable)
	require.NoError(o, err)
	config := c.CachedInfo().Config
	config.MaxDeliver = deliveries
	_, err = js.UpdateConsumer(o.Context(), stream, config)
	require.NoError(o, err)
}

func TestAMessageOverAnOperatorsLimitOfDeliveriesIsADeadLetter(t *testing.T) {
	t.Parallel()
	o := setup(t)
	o.silent.Store(true)
	o.limit(events.StreamRequests, "admission", 3)
	original := o.ask("crm", "acme")
	letter := o.find(o.wait(1, Filter{})[0].Sequence)
	require.Equal(t, ReasonExceeded, letter.Reason)
	require.Equal(t, "admission", letter.Worker)
	require.Equal(t, "requests.crm", letter.Subject)
	require.Equal(t, events.StreamRequests, letter.Stream)
	require.Equal(t, original, letter.Original)
	require.Equal(t, 3, letter.Deliveries)
	require.Equal(t, "acme", letter.Organization)
	require.Contains(t, letter.Body, "new.person@example.org")
	require.Equal(t, []string{"/crm"}, letter.Header["ce-source"])
	require.NotEmpty(t, letter.Header[bus.DeadMessageID])

	o.silent.Store(false)
	o.mended.Store(true)
	o.redrive(ann, letter)
	o.wait(1, Filter{States: []State{Done}})
	require.Equal(t, 1, o.handled.of(original), "its worker handles it as what it was")
}

func TestAMessageThatSomebodyTerminatedIsADeadLetter(t *testing.T) {
	t.Parallel()
	o := setup(t)
	js := o.ledger.JetStream()
	c, err := js.Consumer(t.Context(), events.StreamRequests, "admission")
	require.NoError(t, err)
	config := c.CachedInfo().Config
	config.Durable, config.Name = "reports", "reports" // somebody else's, on the same stream
	_, err = js.CreateConsumer(t.Context(), events.StreamRequests, config)
	require.NoError(t, err)
	o.mended.Store(true)
	o.ask("crm", "acme")
	reports, err := js.Consumer(t.Context(), events.StreamRequests, "reports")
	require.NoError(t, err)
	m, err := reports.Next()
	require.NoError(t, err)
	require.NoError(t, m.TermWithReason("no report for ann@example.org"))

	letter := o.find(o.wait(1, Filter{})[0].Sequence)
	require.Equal(t, ReasonTerminated, letter.Reason)
	require.Equal(t, "no report for (address)", letter.Detail)
	require.Equal(t, "reports", letter.Worker)
	require.Equal(t, "requests.crm", letter.Subject)
	require.Contains(t, letter.Body, "new.person@example.org")
	require.Equal(t, "nobody listens for dead letters of reports", o.redrive(ann, letter)[0].Refused)
}

func TestARedrivenLetterOverALimitNamesTheOld(t *testing.T) {
	t.Parallel()
	o := setup(t)
	o.ask("crm", "acme")
	first := o.wait(1, Filter{})[0]
	o.silent.Store(true)
	o.limit(events.StreamDeadLetters, "admission-again", 2)
	o.redrive(ann, first)
	second := o.wait(1, Filter{States: []State{Open}})[0]
	require.Equal(t, ReasonExceeded, second.Reason)
	require.Equal(t, first.Sequence, second.AgainOf)
	require.Equal(t, first.Original, second.Original)
	require.Equal(t, "requests.crm", second.Subject)
	require.Equal(t, Failed, o.find(first.Sequence).State)
}

func TestWhatTheBrokerSaysTwiceIsOneLetterAndWhatCannotBeReadIsNone(t *testing.T) {
	t.Parallel()
	o := setup(t)
	o.mended.Store(true)
	sequence := o.ask("crm", "acme")
	conn := o.broker.Conn(t)
	subject := "$JS.EVENT.ADVISORY.CONSUMER." + events.AdvisoryExceeded + "." + events.StreamRequests + ".lost"
	for _, said := range []string{
		"", "{", `{"stream":"REQUESTS"}`, "null",
		`{"stream":"REQUESTS","consumer":"lost","stream_seq":1,"deliveries":5}`,
		`{"stream":"REQUESTS","consumer":"lost","stream_seq":1,"deliveries":5}`,
		`{"stream":"REQUESTS","consumer":"lost","stream_seq":77,"deliveries":5}`,
		`{"stream":"DEADLETTERS","consumer":"lost","stream_seq":1,"deliveries":5}`, // a letter about a letter
	} {
		require.NoError(t, conn.Publish(subject, []byte(said)))
	}
	require.NoError(t, conn.Flush())
	letters := o.wait(2, Filter{Worker: "lost"})
	require.Eventually(t, func() bool {
		left, err := o.ledger.Backlog(t.Context(), events.StreamUndelivered, "undelivered")
		return err == nil && left == 0
	}, soon, soon/1000)
	require.Len(t, o.list(Filter{}), 2)
	slices.SortFunc(letters, func(a, b *Letter) int { return int(a.Original) - int(b.Original) })
	require.Equal(t, sequence, letters[0].Original)
	require.Equal(t, uint64(77), letters[1].Original)
	require.Equal(t, "The message itself is gone from its stream.", letters[1].Detail)
	require.Equal(t, "nobody listens for dead letters of lost", o.redrive(ann, letters[1])[0].Refused)
	_, err := o.ledger.Last(t.Context(), events.StreamDeadLetters, events.DeadLetterSubject("lost", events.StreamDeadLetters, 1))
	require.ErrorIs(t, err, ledger.ErrNotFound)
}
