package ledger

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/problem"
)

// moved is a clock that a test moves; nanoseconds ahead of the machine's.
type moved struct{ atomic.Int64 }

func (m *moved) now() time.Time { return clock.System().Add(time.Duration(m.Load())) }

func (m *moved) set(ahead time.Duration) { m.Store(int64(ahead)) }

func TestAClockThatIsFarOffIsRefusedAtStartAndTheSentenceSaysByHowMuch(t *testing.T) {
	b := brokertest.Run(t)
	for ahead, says := range map[time.Duration]string{
		time.Hour:         `this machine's clock is 1h0m0s ahead of the broker's, and may be 5s from it`,
		-26 * time.Hour:   `this machine's clock is 26h0m0s behind the broker's, and may be 5s from it`,
		10 * time.Second:  `s ahead of the broker's`,
		-10 * time.Second: `s behind the broker's`,
	} {
		var m moved
		m.set(ahead)
		_, err := Open(t.Context(), b.Conn(t), Options{Durable: Durability{Declared: true}, Clock: m.now})
		require.ErrorContains(t, err, says)
		require.False(t, problem.Is(err, problem.NotNow), "waiting does not mend a clock")
	}
}

func TestAClockThatIsALittleOffIsTaken(t *testing.T) {
	b := brokertest.Run(t)
	for _, ahead := range []time.Duration{4 * time.Second, -4 * time.Second} {
		var m moved
		m.set(ahead)
		l, err := Open(t.Context(), b.Conn(t), Options{Durable: Durability{Declared: true}, Clock: m.now})
		require.NoError(t, err, ahead)
		require.NoError(t, l.Healthy())
		l.Close()
	}
}

func TestAClockThatIsMovedOnPurposeIsHeldAgainstNothing(t *testing.T) {
	var m moved
	m.set(400 * 24 * time.Hour)
	l, err := Open(t.Context(), brokertest.Run(t).Conn(t), Options{Durable: Durability{Declared: true}, Clock: m.now, ClockIsMoved: true})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	m.set(-400 * 24 * time.Hour)
	require.Never(t, func() bool { return l.Healthy() != nil }, 3*glanceEvery, glanceEvery/4)
}

// T123: while the clock is wrong, nothing is read, published or ready; once it is right, all goes on by itself.
func TestAClockThatIsSetWhileRunningMeansNotNowUntilItIsRight(t *testing.T) {
	var m moved
	l, err := Open(t.Context(), brokertest.Run(t).Conn(t), Options{Durable: Durability{Declared: true}, Clock: m.now})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	id := events.NewInvitationID()
	outcome := fact(t, events.InvitationSubject("acme", id, events.FactDeclined), id).Expecting(events.OutcomeFilter("acme", id), 0)
	for _, jump := range []time.Duration{24 * time.Hour, -24 * time.Hour, time.Minute, -6 * time.Second} {
		m.set(jump)
		require.Eventually(t, func() bool { return l.Healthy() != nil }, 5*time.Second, 5*time.Millisecond, jump)
		require.True(t, problem.Is(l.Healthy(), problem.NotNow))
		require.Positive(t, problem.As(l.Healthy()).RetryAfter)
		require.ErrorContains(t, l.Ping(t.Context()), "this machine's clock is")
		_, err = l.Publish(t.Context(), events.StreamInvitations, outcome)
		require.True(t, problem.Is(err, problem.NotNow), err)
		_, err = l.Facts(t.Context(), "acme", id, "requested")
		require.True(t, problem.Is(err, problem.NotNow), err)

		m.set(0)
		require.Eventually(t, func() bool { return l.Healthy() == nil }, 5*time.Second, 5*time.Millisecond, jump)
		require.NoError(t, l.Ping(t.Context()))
	}
	_, err = l.Publish(t.Context(), events.StreamInvitations, outcome)
	require.NoError(t, err, "the refused ones stored nothing")
}

// imagined is a watch over clocks that exist in the test alone; time is the bubble's.
type imagined struct {
	watchedClock
	ours, theirs moved
	down         atomic.Bool
	slow         atomic.Int64 // how long the broker takes, each way
	changes      atomic.Int64
}

func imagine(t *testing.T) *imagined {
	t.Helper()
	i, began := &imagined{}, time.Now()
	i.clock, i.steady = i.ours.now, func() time.Duration { return time.Since(began) }
	i.broker = func(context.Context) (time.Time, error) {
		time.Sleep(time.Duration(i.slow.Load()))
		if i.down.Load() {
			return time.Time{}, errors.New("is down")
		}
		at := i.theirs.now()
		time.Sleep(time.Duration(i.slow.Load()))
		return at, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	now, done := i.glance(), make(chan struct{})
	t.Cleanup(func() {
		stop()
		<-done
	})
	go func() {
		defer close(done)
		i.watch(ctx, now, func() { i.changes.Add(1) })
	}()
	return i
}

// pass lets time pass, and then whatever was begun come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestABrokerThatIsSlowToAnswerMakesNoRightClockWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := imagine(t)
		i.slow.Store(int64(20 * time.Second))
		pass(10 * time.Minute)
		require.NoError(t, i.healthy())
		require.Zero(t, i.changes.Load())
	})
}

func TestAClockThatCreepsAwayIsFoundAndOneThatCreepsBackIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := imagine(t)
		creep := func(each time.Duration) { // slower than what counts as a jump
			for range 100 {
				i.ours.Add(int64(each))
				pass(glanceEvery)
			}
		}
		creep(200 * time.Millisecond)
		pass(compareEvery)
		require.ErrorContains(t, i.healthy(), "20s ahead of")
		creep(-200 * time.Millisecond)
		pass(compareSoon)
		require.NoError(t, i.healthy())
		require.EqualValues(t, 2, i.changes.Load())
	})
}

func TestAClockAtTheLimitIsNotWrongAndRightInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := imagine(t)
		for n := range 100 {
			i.ours.set(MaxClockOff + time.Duration(1-2*(n%2))*400*time.Millisecond)
			pass(compareEvery)
		}
		require.Error(t, i.healthy())
		require.EqualValues(t, 1, i.changes.Load())
	})
}

// The clocks of all machines were set: ours moved, and so did the broker's.
func TestAJumpThatTheBrokerMadeTooIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := imagine(t)
		i.ours.set(time.Hour)
		i.theirs.set(time.Hour)
		pass(2 * glanceEvery)
		require.NoError(t, i.healthy())
		require.Zero(t, i.changes.Load())
	})
}

func TestAJumpIsBelievedBeforeTheBrokerAnswersAndItsMendOnlyAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := imagine(t)
		i.down.Store(true)
		i.ours.set(-time.Hour)
		pass(2 * glanceEvery)
		require.ErrorContains(t, i.healthy(), "1h0m0s behind")
		i.ours.set(0)
		pass(time.Minute)
		require.Error(t, i.healthy(), "nobody said that it is right")
		i.down.Store(false)
		pass(2 * compareSoon)
		require.NoError(t, i.healthy())
	})
}

func TestASilentBrokerLeavesARightClockRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := imagine(t)
		i.down.Store(true)
		pass(time.Hour)
		require.NoError(t, i.healthy())
	})
}

func TestAClockSetWhileTheBrokerIsAskedIsAskedAboutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := imagine(t)
		i.slow.Store(int64(2 * time.Second))
		pass(compareEvery + time.Second) // the broker has the question
		i.ours.set(time.Hour)
		pass(2 * time.Second)
		i.slow.Store(0)
		pass(2 * compareSoon)
		require.ErrorContains(t, i.healthy(), "1h0m0s ahead of")
	})
}

func BenchmarkHealthy(b *testing.B) {
	l, err := Open(b.Context(), brokertest.Run(b).Conn(b), Options{Durable: Durability{Declared: true}})
	require.NoError(b, err)
	defer l.Close()
	for b.Loop() {
		if l.Healthy() != nil {
			b.Fatal("not healthy")
		}
	}
}
