package deadletters

import (
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
)

var ann = Order{By: "ann@desk", Note: "the role is known now"}

func TestLettersAreFoundByWhatTheyAre(t *testing.T) {
	t.Parallel()
	o := setup(t)
	o.ask("crm", "acme")
	o.ask("shop", "acme")
	o.ask("shop", "globex")
	_, err := o.ledger.Publish(t.Context(), events.StreamRequests, ledger.Message{Subject: "requests.shop", Data: []byte("{"), Header: map[string][]string{}})
	require.NoError(t, err)
	all := o.wait(4, Filter{})
	for about, c := range map[string]struct {
		filter Filter
		want   int
	}{
		"worker":            {Filter{Worker: "admission"}, 4},
		"other worker":      {Filter{Worker: "mailer"}, 0},
		"reason":            {Filter{Reason: "malformed"}, 1},
		"organization":      {Filter{Organization: "acme"}, 2},
		"subject":           {Filter{Subject: "requests.shop"}, 3},
		"wildcard":          {Filter{Subject: "requests.*"}, 4},
		"rest":              {Filter{Subject: "requests.>"}, 4},
		"too long":          {Filter{Subject: "requests.shop.>"}, 0},
		"since":             {Filter{Since: time.Now().Add(time.Minute)}, 0},
		"since before":      {Filter{Since: time.Now().Add(-time.Minute)}, 4},
		"until":             {Filter{Until: time.Now().Add(-time.Minute)}, 0},
		"state":             {Filter{States: []State{Open}}, 4},
		"other state":       {Filter{States: []State{Done, Failed}}, 0},
		"several at a time": {Filter{Organization: "acme", Subject: "requests.crm", Reason: "broken"}, 1},
	} {
		require.Len(t, o.list(c.filter), c.want, about)
	}
	counts := Count(all)
	require.Len(t, counts, 2)
	require.Equal(t, Tally{Worker: "admission", Reason: "broken", Letters: 3, Oldest: oldest(all, "broken")}, counts[0])
	require.Equal(t, 1, counts[1].Letters)
	one := o.list(Filter{Subject: "requests.crm"})[0]
	require.Equal(t, 1, one.Deliveries)
	require.WithinDuration(t, time.Now(), one.Time, time.Minute)
	require.WithinDuration(t, time.Now(), one.Stored, time.Minute)
	require.Empty(t, one.Body, "a list holds no bodies")
	require.Contains(t, o.find(one.Sequence).Body, "new.person@example.org")
}

func oldest(letters []*Letter, reason string) (at time.Time) {
	for _, l := range letters {
		if l.Reason == reason && (at.IsZero() || l.Time.Before(at)) {
			at = l.Time
		}
	}
	return at
}

func TestARedriveAfterTheCauseWasMendedIsDoneAndTellsItsStory(t *testing.T) {
	t.Parallel()
	o := setup(t)
	original := o.ask("crm", "acme")
	letter := o.wait(1, Filter{})[0]
	require.Equal(t, Open, letter.State)
	o.mended.Store(true)
	require.Equal(t, 1, func() int { r := o.redrive(ann, letter); return r.acted() }())
	o.wait(1, Filter{States: []State{Done}})

	told := o.find(letter.Sequence)
	require.Equal(t, Done, told.State)
	require.Equal(t, original, told.Original)
	require.Len(t, told.Acts, 2)
	require.Equal(t, events.DeadAgain, told.Acts[0].Kind)
	require.Equal(t, "ann@desk", told.Acts[0].By)
	require.Equal(t, "the role is known now", told.Acts[0].Note)
	require.WithinDuration(t, time.Now(), told.Acts[0].Time, time.Minute)
	require.Equal(t, events.DeadDone, told.Acts[1].Kind)
	require.Equal(t, "admission", told.Acts[1].By)
	require.Equal(t, 1, o.handled.of(original))
}

func TestWhatFailsAgainIsALetterOfItsOwnThatNamesTheOld(t *testing.T) {
	t.Parallel()
	o := setup(t)
	o.ask("crm", "acme")
	first := o.wait(1, Filter{})[0]
	o.redrive(ann, first)
	second := o.wait(1, Filter{States: []State{Open}})[0]
	require.Equal(t, first.Sequence, second.AgainOf)
	require.Equal(t, first.Subject, second.Subject)
	require.Equal(t, first.Original, second.Original)
	for _, told := range []*Letter{o.find(first.Sequence), o.list(Filter{States: []State{Failed}})[0]} {
		require.Equal(t, Failed, told.State)
		require.Equal(t, second.Sequence, told.Acts[0].Became)
	}
	o.mended.Store(true)
	o.redrive(ann, second)
	o.wait(1, Filter{States: []State{Done}})
	require.Equal(t, 1, o.handled.of(first.Original))
}

func TestALetterIsHandedOutAgainOnceUnlessThatIsAskedFor(t *testing.T) {
	t.Parallel()
	o := setup(t)
	original := o.ask("crm", "acme")
	letter := o.wait(1, Filter{})[0]
	o.mended.Store(true)
	o.redrive(ann, letter)
	again := o.redrive(ann, letter)[0] // with what was known before
	require.False(t, again.Acted)
	require.True(t, again.Already)
	o.wait(1, Filter{States: []State{Done}})
	again = o.redrive(ann, o.find(letter.Sequence))[0]
	require.False(t, again.Acted)
	require.Equal(t, "it is done already", again.Refused)
	require.Equal(t, 1, o.handled.of(original))

	purposely := ann
	purposely.Again = true
	require.True(t, o.redrive(purposely, o.find(letter.Sequence))[0].Acted)
	require.Eventually(t, func() bool { return len(o.find(letter.Sequence).Acts) == 4 }, soon, 10*time.Millisecond)
	require.Equal(t, 2, o.handled.of(original))
}

func TestADryRunDoesNothing(t *testing.T) {
	t.Parallel()
	o := setup(t)
	o.ask("crm", "acme")
	letter := o.wait(1, Filter{})[0]
	dry := Order{By: "ann", DryRun: true}
	require.True(t, o.redrive(dry, letter)[0].Acted)
	var got results
	require.NoError(t, o.box.Dismiss(t.Context(), []*Letter{letter}, dry, got.add))
	require.Empty(t, o.find(letter.Sequence).Acts)
	require.NoError(t, o.box.Dismiss(t.Context(), []*Letter{letter}, ann, got.add))
	require.NoError(t, o.box.Prune(t.Context(), o.list(Filter{}), dry, got.add))
	require.Equal(t, 3, got.acted())
	require.Equal(t, Dismissed, o.find(letter.Sequence).State)
}

func TestOfManyOperatorsOneActs(t *testing.T) {
	t.Parallel()
	o := setup(t)
	for range 20 {
		o.ask("crm", "acme")
	}
	letters := o.wait(20, Filter{})
	o.mended.Store(true)
	var all [6]results
	var acting sync.WaitGroup
	for i := range all {
		acting.Go(func() {
			do := o.box.Redrive
			if i%2 == 0 {
				do = o.box.Dismiss
			}
			require.NoError(t, do(t.Context(), letters, ann, all[i].add))
		})
	}
	acting.Wait()
	acted := map[uint64]int{}
	for _, got := range all {
		for _, r := range got {
			if r.Acted {
				acted[r.Letter.Sequence]++
			}
		}
	}
	for _, l := range letters {
		require.Equal(t, 1, acted[l.Sequence])
	}
	o.wait(20, Filter{States: []State{Done, Dismissed}})
}

func TestALetterThatNobodyListensForIsNotHandedOut(t *testing.T) {
	t.Parallel()
	o := setup(t)
	subject := events.DeadLetterSubject("stranger", events.StreamRequests, 7)
	_, err := o.ledger.Publish(t.Context(), events.StreamDeadLetters, ledger.Message{Subject: subject, Header: map[string][]string{}})
	require.NoError(t, err)
	result := o.redrive(ann, o.wait(1, Filter{})...)[0]
	require.Equal(t, "nobody listens for dead letters of stranger", result.Refused)
	require.False(t, result.Already)
}

func TestARedriveKeepsToItsRate(t *testing.T) {
	t.Parallel()
	o := setup(t)
	for range 12 {
		o.ask("crm", "acme")
	}
	letters := o.wait(12, Filter{})
	o.mended.Store(true)
	began := time.Now()
	o.redrive(Order{By: "ann", Rate: 10}, letters...)
	require.GreaterOrEqual(t, time.Since(began), time.Second, "two at once, then ten a second")
	o.wait(12, Filter{States: []State{Done}})
}

func TestADismissedLetterSaysWhoAndWhyAndIsPrunedToOneLine(t *testing.T) {
	t.Parallel()
	o := setup(t)
	o.ask("crm", "acme")
	o.ask("crm", "acme")
	letters := o.wait(2, Filter{})
	var got results
	require.NoError(t, o.box.Dismiss(t.Context(), letters[:1], Order{By: "ann", Note: "a test"}, got.add))
	told := o.find(letters[0].Sequence)
	require.Equal(t, Dismissed, told.State)
	require.Equal(t, "ann", told.Acts[0].By)
	require.Equal(t, "a test", told.Acts[0].Note)

	require.NoError(t, o.box.Prune(t.Context(), o.list(Filter{}), Order{By: "bob"}, got.add))
	require.Equal(t, 2, got.acted())
	for _, r := range got[1:] {
		require.Equal(t, r.Letter.Sequence == letters[1].Sequence, r.Refused == "it is not over: it is open", r.Refused)
	}
	_, err := o.box.Find(t.Context(), letters[0].Sequence)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "was pruned by bob")
	require.Len(t, o.list(Filter{}), 1)
	line, err := o.ledger.Last(t.Context(), events.StreamDeadLetters, events.DeadActsFilter("admission", letters[0].Sequence))
	require.NoError(t, err)
	require.Contains(t, line.Header[headerStory][1], "ann dismissed: a test")
	_, err = o.box.Find(t.Context(), 4711)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestAPruneThatWasEndedHalfWayIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	o := setup(t)
	o.ask("crm", "acme")
	var got results
	require.NoError(t, o.box.Dismiss(t.Context(), o.wait(1, Filter{}), ann, got.add))
	dismissed := o.list(Filter{})[0]
	m := o.box.message(dismissed, events.DeadPruned, ann) // and nothing was removed
	_, err := o.ledger.Publish(t.Context(), events.StreamDeadLetters, m)
	require.NoError(t, err)
	half := o.list(Filter{States: []State{Pruned}})
	require.Len(t, half, 1)
	require.NoError(t, o.box.Prune(t.Context(), half, ann, got.add))
	require.Empty(t, o.list(Filter{}))
	state, err := o.ledger.State(t.Context(), events.StreamDeadLetters)
	require.NoError(t, err)
	require.EqualValues(t, 1, state.Messages, "the line that stays")
}

func TestOpenLettersAreCountedWithTheAgeOfTheOldest(t *testing.T) {
	t.Parallel()
	o := setup(t)
	o.ask("crm", "acme")
	o.ask("crm", "acme")
	letters := o.wait(2, Filter{})
	count := func(want float64) {
		t.Helper()
		require.Eventually(t, func() bool { return o.gauge("usher_dead_letters_open") == want }, soon, 10*time.Millisecond)
	}
	count(2)
	require.Less(t, o.gauge("usher_dead_letters_oldest_seconds"), 60.0)
	require.Equal(t, 2, testutil.CollectAndCount(o.metrics))
	o.redrive(ann, letters[0]) // it fails again, and is open again as another
	o.wait(1, Filter{States: []State{Failed}})
	count(2)
	o.mended.Store(true)
	o.redrive(ann, o.list(Filter{States: []State{Open}})...)
	count(0)
}

// gauge is a metric's value, 0 where there is none.
func (o *office) gauge(name string) float64 {
	o.Helper()
	families, err := o.metrics.Gather()
	require.NoError(o, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return 0
}
