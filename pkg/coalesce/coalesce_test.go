package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/usherhq/usher/pkg/coalesce"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a flush that waits to be let through, and tells the sizes of its batches.
type gate struct {
	open  chan struct{}
	sizes chan int
}

func newGate() gate { return gate{make(chan struct{}), make(chan int, 100)} }

func (g gate) flush(items []int) []coalesce.Result[int] {
	g.sizes <- len(items)
	<-g.open
	results := make([]coalesce.Result[int], len(items))
	for i, item := range items {
		results[i].Value = 2 * item
		if item%7 == 0 {
			results[i].Err = fmt.Errorf("refused %d", item)
		}
	}
	return results
}

func TestWhoComesWhileABatchIsUnderWaySharesTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		b := coalesce.New(coalesce.Options[int]{Limit: 100}, g.flush)
		defer b.Close()
		release := sync.OnceFunc(func() { close(g.open) })
		defer release() // before Close, which waits for the batch
		var callers sync.WaitGroup
		call := func(i int) {
			callers.Go(func() {
				v, err := b.Do(context.Background(), i)
				said := ""
				if i%7 == 0 {
					said = fmt.Sprintf("refused %d", i)
				}
				assert.Equal(t, fmt.Sprint(2*i, said), fmt.Sprint(v, text(err)))
			})
		}
		call(1)
		require.Equal(t, 1, <-g.sizes) // alone, and at once
		for i := 2; i <= 8; i++ {
			call(i)
		}
		synctest.Wait() // until they are all handed in
		g.open <- struct{}{}
		require.Equal(t, 7, <-g.sizes)
		release()
		for i := 10; i < 60; i++ {
			call(i)
		}
		callers.Wait()
	})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPatientItemsLetOthersGoFirstAndAreNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, batches := make(chan struct{}), make(chan []int, 100)
		b := coalesce.New(coalesce.Options[int]{Limit: 8, Patient: func(i int) bool { return i < 0 }}, func(items []int) []coalesce.Result[int] {
			batches <- items
			<-gate
			return make([]coalesce.Result[int], len(items))
		})
		defer b.Close()
		defer close(gate)
		hand := func(items ...int) {
			go b.DoAll(t.Context(), items)
			synctest.Wait() // until they are all handed in
		}
		hand(0)
		require.Equal(t, []int{0}, <-batches)
		hand(-1, -2, -3)
		hand(1, 2, 3, 4, 5, 6, 7, 8, 9)
		gate <- struct{}{}
		require.Equal(t, []int{1, 2, 3, 4, 5, 6, 7, -1}, <-batches)
		gate <- struct{}{}
		require.Equal(t, []int{8, 9, -2}, <-batches, "nobody who comes now waits for more than one of them")
		time.Sleep(time.Second)
		hand(-4, -5)
		gate <- struct{}{}
		require.Equal(t, []int{-3, -4, -5}, <-batches, "nobody came for a while")
	})
}

func TestABatchKeepsToItsWeight(t *testing.T) {
	g := newGate()
	b := coalesce.New(coalesce.Options[int]{Limit: 10, Weigh: func(i int) int { return i }}, g.flush)
	defer b.Close()
	results := make(chan []coalesce.Result[int])
	go func() { results <- b.DoAll(context.Background(), []int{1, 4, 4, 3, 9, 20, 1}) }()
	close(g.open)
	answered := <-results
	require.Equal(t, 40, answered[5].Value) // heavier than the limit: travels alone
	total := 0
	for total < 7 {
		total += <-g.sizes
	}
	require.Equal(t, 7, total)
}

func TestCloseFinishesWhatCameAndRefusesWhatComes(t *testing.T) {
	g := newGate()
	b := coalesce.New(coalesce.Options[int]{Limit: 1}, g.flush)
	done := make(chan error, 1)
	go func() {
		_, err := b.Do(context.Background(), 1)
		done <- err
	}()
	<-g.sizes
	closed := make(chan struct{})
	go func() { b.Close(); close(closed) }()
	close(g.open)
	<-closed
	require.NoError(t, <-done)
	_, err := b.Do(context.Background(), 2)
	require.ErrorIs(t, err, coalesce.ErrClosed)
}

func TestACallerWhoseTimeEndsIsLetGo(t *testing.T) {
	g := newGate()
	b := coalesce.New(coalesce.Options[int]{Limit: 1}, g.flush)
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := b.Do(ctx, 1)
		done <- err
	}()
	<-g.sizes
	why := errors.New("no time left")
	cancel(why)
	require.ErrorIs(t, <-done, why)
	close(g.open)
	b.Close()
}
