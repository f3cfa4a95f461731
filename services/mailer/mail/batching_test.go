package mail_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/mailer/mail"
)

// provider is a Sender that answers what it is told, after it was let.
type provider struct {
	mu    sync.Mutex
	calls [][]mail.Mail
	at    []time.Time
	gate  chan struct{} // one send lets one call end; nil lets all
	err   error
}

func (p *provider) Send(_ context.Context, mails []mail.Mail) []mail.Result {
	p.mu.Lock()
	p.calls, p.at = append(p.calls, mails), append(p.at, time.Now())
	err := p.err
	p.mu.Unlock()
	if p.gate != nil {
		<-p.gate
	}
	results := make([]mail.Result, len(mails))
	for i := range mails {
		results[i] = mail.Result{ID: "id-" + mails[i].To, Err: err}
	}
	return results
}

func (p *provider) answer(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// sizes are the sizes of the calls so far.
func (p *provider) sizes() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sizes []int
	for _, c := range p.calls {
		sizes = append(sizes, len(c))
	}
	return sizes
}

func to(t testing.TB, r *mail.Renderer, org, address string) mail.Mail {
	t.Helper()
	m, err := r.Mail(mail.Context{Purpose: mail.PurposeInvitation, Organization: org, Role: "member"}, mail.Recipient{To: address, Link: "https://l", Deadline: deadline})
	require.NoError(t, err)
	return m
}

// crowd sends mails at once and gives their results when all are there.
func crowd(b *mail.Batching, mails ...mail.Mail) func() []mail.Result {
	results := make([]mail.Result, len(mails))
	var wg sync.WaitGroup
	for i := range mails {
		wg.Go(func() {
			results[i].ID, results[i].Err = b.Send(context.Background(), mails[i])
		})
		synctest.Wait() // in order
	}
	return func() []mail.Result { wg.Wait(); return results }
}

func some(t testing.TB, r *mail.Renderer, org string, n int) []mail.Mail {
	t.Helper()
	mails := make([]mail.Mail, n)
	for i := range mails {
		mails[i] = to(t, r, org, fmt.Sprintf("%s%d@example.org", org, i))
	}
	return mails
}

func TestALoneMailLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{}
		b := mail.NewBatching(p, mail.BatchingOptions{})
		defer b.Close()
		start := time.Now()
		id, err := b.Send(t.Context(), to(t, renderer(t), "acme", "ann@example.org"))
		require.NoError(t, err)
		require.Equal(t, "id-ann@example.org", id)
		require.Zero(t, time.Since(start))
	})
}

func TestMailsThatWaitForTheSameLetterLeaveTogetherAndEachGetsItsOwnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{gate: make(chan struct{})}
		b := mail.NewBatching(p, mail.BatchingOptions{PerLetter: 1})
		mails := some(t, renderer(t), "acme", 50)
		done := crowd(b, mails...)
		require.Equal(t, []int{1}, p.sizes())
		close(p.gate)
		for i, r := range done() {
			require.NoError(t, r.Err)
			require.Equal(t, "id-"+mails[i].To, r.ID)
		}
		require.Equal(t, []int{1, 49}, p.sizes())
		b.Close()
	})
}

func TestABatchHoldsAThousandMailsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{gate: make(chan struct{})}
		b := mail.NewBatching(p, mail.BatchingOptions{PerLetter: 1})
		done := crowd(b, some(t, renderer(t), "acme", 1502)...)
		close(p.gate)
		done()
		require.Equal(t, []int{1, 1000, 501}, p.sizes())
		b.Close()
	})
}

func TestT084LettersTakeTurnsSoThatNoOrganizationHoldsUpAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{gate: make(chan struct{})}
		b := mail.NewBatching(p, mail.BatchingOptions{Parallel: 1, Rate: 10})
		r := renderer(t)
		done := crowd(b, append(some(t, r, "big", 100), to(t, r, "small", "ann@example.org"))...)
		close(p.gate)
		done()
		require.Equal(t, "ann@example.org", p.calls[2][0].To, "after the call that was under way and one more")
		b.Close()
	})
}

func TestT088ACallThatHangsHoldsUpOnlyItsOwnLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{gate: make(chan struct{})}
		b := mail.NewBatching(p, mail.BatchingOptions{Parallel: 4, PerLetter: 1})
		r := renderer(t)
		done := crowd(b, append(some(t, r, "big", 100), some(t, r, "small", 1)...)...)
		require.Equal(t, []int{1, 1}, p.sizes())
		close(p.gate)
		done()
		b.Close()
	})
}

func TestTwoMailsToOneAddressNeverTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{gate: make(chan struct{})}
		b := mail.NewBatching(p, mail.BatchingOptions{PerLetter: 1})
		r := renderer(t)
		first := to(t, r, "acme", "first@example.org")
		again := to(t, r, "acme", "ann@example.org")
		done := crowd(b, first, again, again, to(t, r, "acme", "bob@example.org"))
		close(p.gate)
		done()
		require.Equal(t, []int{1, 2, 1}, p.sizes())
		b.Close()
	})
}

func TestT103AMailWithAPercentSignTravelsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{gate: make(chan struct{})}
		b := mail.NewBatching(p, mail.BatchingOptions{PerLetter: 1})
		done := crowd(b, some(t, renderer(t), "%recipient.link%", 5)...)
		close(p.gate)
		done()
		require.Equal(t, []int{1, 1, 1, 1, 1}, p.sizes())
		b.Close()
	})
}

func TestWhoStopsWaitingIsToldThatTheOutcomeIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{gate: make(chan struct{})}
		b := mail.NewBatching(p, mail.BatchingOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Send(ctx, to(t, renderer(t), "acme", "ann@example.org"))
		require.IsType(t, &mail.Unknown{}, err)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(p.gate)
		b.Close()
		require.Equal(t, []int{1}, p.sizes())
	})
}

func TestCloseLetsFinishWhatWasHandedInAndRefusesMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{gate: make(chan struct{})}
		b := mail.NewBatching(p, mail.BatchingOptions{PerLetter: 1})
		r := renderer(t)
		done := crowd(b, some(t, r, "acme", 10)...)
		closed := make(chan struct{})
		go func() { b.Close(); close(closed) }()
		synctest.Wait()
		_, err := b.Send(t.Context(), to(t, r, "acme", "late@example.org"))
		require.ErrorIs(t, err, mail.ErrClosed)
		select {
		case <-closed:
			t.Fatal("closed while a call was under way")
		default:
		}
		close(p.gate)
		<-closed
		for _, r := range done() {
			require.NoError(t, r.Err)
		}
	})
}

func TestT084TheRateIsNeverAboveTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{}
		b := mail.NewBatching(p, mail.BatchingOptions{Rate: 100})
		start := time.Now()
		crowd(b, some(t, renderer(t), "acme", 500)...)()
		require.InDelta(t, 4, time.Since(start).Seconds(), 0.1) // a hundred at once, four hundred at a hundred a second
		b.Close()
	})
}

func TestT090AfterARefusedKeyNobodyIsTriedUntilOneMailGoesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{}
		p.answer(&mail.Paused{Code: 401, Reason: "key"})
		b := mail.NewBatching(p, mail.BatchingOptions{})
		m := to(t, renderer(t), "acme", "ann@example.org")
		for range 100 {
			_, err := b.Send(t.Context(), m)
			require.IsType(t, &mail.Paused{}, err)
		}
		require.Len(t, p.sizes(), 1)
		until, reason := b.Held()
		require.Equal(t, 30*time.Second, time.Until(until))
		require.IsType(t, &mail.Paused{}, reason)

		time.Sleep(31 * time.Second) // still refused: one more is tried
		_, err := b.Send(t.Context(), m)
		require.IsType(t, &mail.Paused{}, err)
		_, err = b.Send(t.Context(), m)
		require.GreaterOrEqual(t, err.(*mail.Paused).After, 30*time.Second)
		require.Len(t, p.sizes(), 2)

		p.answer(nil)
		time.Sleep(31 * time.Second)
		_, err = b.Send(t.Context(), m)
		require.NoError(t, err)
		until, reason = b.Held()
		require.Zero(t, until)
		require.NoError(t, reason)
		b.Close()
	})
}

func TestT084RetryAfterIsObeyedForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{}
		p.answer(&mail.Later{After: time.Minute, Cause: errors.New("429")})
		b := mail.NewBatching(p, mail.BatchingOptions{})
		m := to(t, renderer(t), "acme", "ann@example.org")
		start := time.Now()
		for time.Since(start) < 59*time.Second {
			_, err := b.Send(t.Context(), m)
			require.IsType(t, &mail.Later{}, err)
			time.Sleep(time.Second)
		}
		require.Len(t, p.sizes(), 1)
		p.answer(nil)
		time.Sleep(2 * time.Second)
		_, err := b.Send(t.Context(), m)
		require.NoError(t, err)
		b.Close()
	})
}

func TestT085AFailingProviderIsAskedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{}
		p.answer(&mail.Unknown{Cause: errors.New("500")})
		b := mail.NewBatching(p, mail.BatchingOptions{})
		m := to(t, renderer(t), "acme", "ann@example.org")
		for range 30 * 60 * 10 {
			_, err := b.Send(t.Context(), m)
			require.Error(t, err)
			time.Sleep(100 * time.Millisecond)
		}
		calls := len(p.sizes())
		require.Less(t, calls, 70, "half an hour: growing to a call a minute, with some spread")
		require.Greater(t, calls, 30)
		last := p.at[calls-1].Sub(p.at[calls-2])
		require.Greater(t, last, 29*time.Second)
		require.LessOrEqual(t, last, 61*time.Second)
		p.answer(nil)
		time.Sleep(time.Minute)
		_, err := b.Send(t.Context(), m)
		require.NoError(t, err)
		_, err = b.Send(t.Context(), m)
		require.NoError(t, err)
		b.Close()
	})
}

func TestOneFailureAmongSuccessesHoldsNobodyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{}
		b := mail.NewBatching(p, mail.BatchingOptions{})
		m := to(t, renderer(t), "acme", "ann@example.org")
		for _, err := range []error{errors.New("x"), nil, errors.New("x"), errors.New("x"), nil, &mail.Permanent{}, &mail.Permanent{}, &mail.Permanent{}, &mail.Permanent{}} {
			p.answer(err)
			_, got := b.Send(t.Context(), m)
			require.Equal(t, err, got)
		}
		until, _ := b.Held()
		require.Zero(t, until)
		b.Close()
	})
}

func TestCallsThatBeganBeforeAPauseDoNotLengthenIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{gate: make(chan struct{})}
		p.answer(&mail.Paused{Code: 402})
		b := mail.NewBatching(p, mail.BatchingOptions{Parallel: 100})
		r := renderer(t)
		var mails []mail.Mail
		for i := range 50 {
			mails = append(mails, to(t, r, fmt.Sprint("org", i), "ann@example.org"))
		}
		done := crowd(b, mails...)
		p.gate <- struct{}{}
		synctest.Wait()
		until, _ := b.Held()
		time.Sleep(20 * time.Second)
		close(p.gate)
		done()
		after, _ := b.Held()
		require.Equal(t, until, after)
		b.Close()
	})
}

func TestOneCallGoesAheadWhenAPauseIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{}
		p.answer(&mail.Paused{Code: 402})
		b := mail.NewBatching(p, mail.BatchingOptions{})
		r := renderer(t)
		_, err := b.Send(t.Context(), to(t, r, "first", "ann@example.org"))
		require.Error(t, err)
		time.Sleep(31 * time.Second)
		p.gate = make(chan struct{})
		var mails []mail.Mail
		for i := range 20 {
			mails = append(mails, to(t, r, fmt.Sprint("org", i), "ann@example.org"))
		}
		done := crowd(b, mails...)
		require.Len(t, p.sizes(), 2)
		close(p.gate)
		done()
		b.Close()
	})
}
