package console

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/problem"
)

// source is an organization in which things happen when the test says so.
type source struct {
	mu      sync.Mutex
	changed map[string]func()
	opened  map[string]int
	err     error
}

func (s *source) follow(ctx context.Context, org string, changed func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.changed[org] = changed
	s.opened[org]++
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.changed, org)
	})
	return nil
}

func (s *source) happen(org string, times int) {
	s.mu.Lock()
	changed := s.changed[org]
	s.mu.Unlock()
	for range times {
		changed()
	}
}

func (s *source) following(org string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, yes := s.changed[org]
	return yes
}

func newSource() (*source, *hub) {
	s := &source{changed: map[string]func(){}, opened: map[string]int{}}
	return s, newHub(s.follow)
}

func told(l *listener) bool {
	select {
	case <-l.told:
		return true
	default:
		return false
	}
}

func TestMuchThatHappensIsToldAFewTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := newSource()
		l, err := h.join("acme", "ida")
		require.NoError(t, err)
		defer h.leave("acme", l)
		tellings := 0
		for range 100 { // ten seconds of 200 events a second
			s.happen("acme", 20)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if told(l) {
				tellings++
			}
		}
		require.InDelta(t, 20, tellings, 3, "two a second, however much happens")
	})
}

func TestTheLastTellingComesAfterAllHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := newSource()
		l, err := h.join("acme", "ida")
		require.NoError(t, err)
		defer h.leave("acme", l)
		s.happen("acme", 1)
		synctest.Wait()
		require.False(t, told(l), "told before the views can have it")
		time.Sleep(settle + time.Millisecond)
		synctest.Wait()
		require.True(t, told(l))
		time.Sleep(again + time.Millisecond)
		synctest.Wait()
		require.True(t, told(l), "the views may have been late")
		time.Sleep(onceMore + time.Millisecond)
		synctest.Wait()
		require.True(t, told(l), "the views may have been far behind")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.False(t, told(l), "told although nothing happened")
	})
}

// T155: a page that never reads costs one telling, and holds up nobody.
func TestAReaderWhoNeverReadsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := newSource()
		var asleep []*listener
		for range 1000 {
			l, err := h.join("acme", "person-"+time.Duration(len(asleep)).String())
			require.NoError(t, err)
			asleep = append(asleep, l)
		}
		awake, err := h.join("acme", "ida")
		require.NoError(t, err)
		for range 5 {
			s.happen("acme", 1000)
			time.Sleep(time.Second)
			synctest.Wait()
			require.True(t, told(awake))
		}
		for _, l := range append(asleep, awake) {
			require.LessOrEqual(t, len(l.told), 1)
			h.leave("acme", l)
		}
	})
}

func TestAnOrganizationIsFollowedOnceAndWhileSomebodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := newSource()
		a, _ := h.join("acme", "a")
		b, _ := h.join("acme", "b")
		other, _ := h.join("other", "a")
		require.Equal(t, map[string]int{"acme": 1, "other": 1}, s.opened)
		s.happen("other", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		require.False(t, told(a), "told of another organization")
		require.True(t, told(other))
		h.leave("acme", a)
		h.leave("acme", a)
		require.True(t, s.following("acme"))
		h.leave("acme", b)
		h.leave("other", other)
		synctest.Wait()
		require.False(t, s.following("acme"))
		require.Zero(t, h.total)
		require.Empty(t, h.own)
	})
}

func TestOnePersonOpensNoEndOfPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := newSource()
		var open []*listener
		for range mostOwn {
			l, err := h.join("acme", "ida")
			require.NoError(t, err)
			open = append(open, l)
		}
		_, err := h.join("acme", "ida")
		require.True(t, problem.Is(err, problem.NotNow))
		_, err = h.join("acme", "bob")
		require.NoError(t, err)
		h.end("acme", "ida")
		for _, l := range open {
			<-l.ended
			h.leave("acme", l)
		}
		s.err = errors.New("down")
		_, err = h.join("elsewhere", "ida")
		require.Error(t, err)
		require.Zero(t, h.own["ida"], "a failed opening counts")
		h.orgs["acme"].stop()
	})
}
