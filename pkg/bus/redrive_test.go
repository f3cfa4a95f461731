package bus

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
)

func TestARedrivenDeadLetterIsToItsHandlerWhatItWas(t *testing.T) {
	t.Parallel()
	h := setup(t)
	var mended atomic.Bool
	seen := make(chan Received, 10)
	h.run(plan(), func(_ context.Context, m *Received) error {
		if !mended.Load() {
			return Never("broken", errors.New("not yet"))
		}
		seen <- *m
		return nil
	}, func(o *RouterOptions) { o.Redrives = true })
	h.publish("evt-1")
	letter := h.deadLetter(1)
	stored, err := time.Parse(time.RFC3339Nano, letter.Header.Get(DeadStored))
	require.NoError(t, err)

	mended.Store(true)
	h.redrive(1)
	m := next(t, seen)
	require.Equal(t, testSubject, m.Subject)
	require.EqualValues(t, 1, m.Sequence)
	require.Equal(t, "evt-1", m.Event.ID)
	require.True(t, stored.Equal(m.Time))
	require.Equal(t, 1, m.Delivered)
}

func TestWhatIsDoneWithARedrivenDeadLetterIsPutDownBesideIt(t *testing.T) {
	t.Parallel()
	h := setup(t)
	var mended atomic.Bool
	h.run(plan(), func(context.Context, *Received) error {
		if !mended.Load() {
			return Never("broken", errors.New("not yet"))
		}
		return nil
	}, func(o *RouterOptions) { o.Redrives = true })
	h.publish("evt-1")
	h.deadLetter(1)

	h.redrive(1) // is message 2
	second := h.deadLetter(3)
	require.Equal(t, events.DeadLetterSubject("worker", events.StreamDeadLetters, 2), second.Subject)
	require.Equal(t, "1", second.Header.Get(DeadAgainOf), "it names the letter that it was")
	require.Equal(t, testSubject, second.Header.Get(DeadSubject))
	require.Equal(t, "1", second.Header.Get(DeadSequence))
	require.Empty(t, second.Header.Get(ActBy), "who handed it out again is told by the act")

	mended.Store(true)
	h.redrive(3) // is message 4
	done := h.deadLetter(5)
	require.Equal(t, events.DeadActSubject("worker", events.DeadDone, 3), done.Subject)
	require.Equal(t, "worker", done.Header.Get(ActBy))
	require.NotEmpty(t, done.Header.Get(ActAt))
}

func TestWhatIsHandedToAHandlerOnceMoreNeedNotHaveBeenADeadLetter(t *testing.T) {
	t.Parallel()
	h := setup(t)
	seen := make(chan Received, 10)
	h.run(plan(), func(_ context.Context, m *Received) error {
		seen <- *m
		return nil
	}, func(o *RouterOptions) { o.Redrives = true })
	h.publish("evt-1")
	first := next(t, seen)
	given := GivenUp{Reason: "check", Subject: first.Subject, Stream: testStream, Sequence: first.Sequence, Stored: first.Time}
	h.publishRaw(&nats.Msg{Subject: events.RedriveSubject("worker"), Header: given.Letter(first.Header), Data: first.Body})
	again := next(t, seen)
	require.Equal(t, first.Subject, again.Subject)
	require.Equal(t, first.Sequence, again.Sequence)
	require.Equal(t, first.Event.ID, again.Event.ID)
	require.EqualValues(t, 1, h.deadLetters(), "nothing is put down about a letter that there is not")
}

func TestMessagesWaitWhereTheDeadLettersAreTooMany(t *testing.T) {
	t.Parallel()
	h := setup(t)
	var moved atomic.Int64
	h.run(plan(), func(_ context.Context, m *Received) error {
		if m.Event.ID == "evt-0" {
			return nil
		}
		return Never("no", nil)
	}, func(o *RouterOptions) {
		o.MostLetters = 1
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(moved.Load())) }
	})
	h.publish("evt-1")
	h.deadLetter(1)
	moved.Add(int64(lookEvery)) // the letters are looked at again
	h.publish("evt-2", "evt-0")
	require.Eventually(t, func() bool { return h.unsettled("worker") == 1 }, soon, 5*time.Millisecond, "good messages go on")
	require.Eventually(t, func() bool { return strings.Contains(h.log.String(), "make room") }, soon, 5*time.Millisecond)
	require.EqualValues(t, 1, h.deadLetters())

	dead, err := h.js.Stream(h.context(), events.StreamDeadLetters)
	require.NoError(t, err)
	require.NoError(t, dead.Purge(h.context()))
	moved.Add(int64(lookEvery))
	h.settled("worker")
	require.EqualValues(t, 1, h.deadLetters(), "room was made, and what waited is a letter")
}

// redrive hands a dead letter to its handler again, as the command line does.
func (h *harness) redrive(sequence uint64) {
	h.t.Helper()
	letter := h.deadLetter(sequence)
	m := &nats.Msg{Subject: events.DeadActSubject("worker", events.DeadAgain, sequence), Header: Handed(letter.Header), Data: letter.Data}
	m.Header.Set(ActBy, "ann")
	h.publishRaw(m)
}
