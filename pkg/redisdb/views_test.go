package redisdb_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

func any1(string) bool { return true }

func apply(t require.TestingT, db *redisdb.DB, ctx contextual, org string, changes ...redisdb.Change) []int {
	conflicts, err := db.Apply(ctx.Context(), org, changes)
	require.NoError(t, err)
	return conflicts
}

func added(id string, score uint64, combo, person string) redisdb.Change {
	return redisdb.Change{ID: id, New: []byte(`{"id":"` + id + `"}`), NewCombo: combo, Score: score, Person: person}
}

func page(t require.TestingT, db *redisdb.DB, ctx contextual, org string, matches func(string) bool, before uint64, limit int) []redisdb.Entry {
	entries, err := db.Page(ctx.Context(), org, matches, before, limit)
	require.NoError(t, err)
	return entries
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		c := added("one", 7, "pending:queued:member", "p1")
		c.New = []byte("any \x00\xff\r\n bytes")
		require.Empty(t, apply(t, db, t, "acme", c))
		records, err := db.Records(t.Context(), "acme", []string{"none", "one"})
		require.NoError(t, err)
		require.Equal(t, [][]byte{nil, c.New}, records)
		records, err = db.Records(t.Context(), "other", []string{"one"})
		require.NoError(t, err)
		require.Equal(t, [][]byte{nil}, records, "organizations share nothing")
		records, err = db.Records(t.Context(), "acme", nil)
		require.NoError(t, err)
		require.Empty(t, records)
	})
}

func TestAChangeOfWhatWasNotReadIsAConflictWithoutEffect(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		first := added("one", 1, "pending:queued:member", "p1")
		require.Empty(t, apply(t, db, t, "acme", first))
		stale := redisdb.Change{ID: "one", Old: []byte("something else"), New: []byte("new"), OldCombo: "pending:queued:member", NewCombo: "accepted:sent:member", Score: 1}
		good := added("two", 2, "pending:queued:member", "p2")
		require.Equal(t, []int{0, 2}, apply(t, db, t, "acme", first, good, stale)[:2])
		counts, err := db.Counts(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, map[string]int{"pending:queued:member": 2}, counts)
		require.Equal(t, []redisdb.Entry{{"two", 2}, {"one", 1}}, page(t, db, t, "acme", any1, 0, 10))
	})
}

func TestConflictsKeepTheirPlaceInALargeCall(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		var changes []redisdb.Change
		for i := range 600 {
			changes = append(changes, added(fmt.Sprintf("inv%d", i), uint64(i+1), "c", "p"))
		}
		for _, stale := range []int{0, 255, 256, 300, 599} {
			changes[stale].Old = []byte("what nobody wrote")
		}
		require.Equal(t, []int{0, 255, 256, 300, 599}, apply(t, db, t, "acme", changes...))
		counts, err := db.Counts(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, map[string]int{"c": 595}, counts)
	})
}

func TestAPageStopsAtItsLimitAndGoesOnFromItsLast(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		const total = 1000
		var changes []redisdb.Change
		for i := range total {
			score := uint64(i)*37 + 1 // several buckets, with gaps
			changes = append(changes, added(fmt.Sprintf("inv%d", i), score, fmt.Sprintf("pending:queued:role%d", i%3), "p"))
		}
		require.Empty(t, apply(t, db, t, "acme", changes...))
		var seen []redisdb.Entry
		for before := uint64(0); ; {
			entries := page(t, db, t, "acme", any1, before, 33)
			if len(entries) == 0 {
				break
			}
			require.LessOrEqual(t, len(entries), 33)
			seen, before = append(seen, entries...), entries[len(entries)-1].Score
		}
		require.Len(t, seen, total)
		require.True(t, slices.IsSortedFunc(seen, func(a, b redisdb.Entry) int { return int(b.Score) - int(a.Score) }))
	})
}

func TestARareComboIsFoundFarBack(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		changes := []redisdb.Change{added("rare", 5, "pending:bounced:member", "p")}
		for i := range 300 {
			changes = append(changes, added(fmt.Sprintf("inv%d", i), uint64(i+1)*redisdb.BucketSize, "pending:sent:member", "p"))
		}
		require.Empty(t, apply(t, db, t, "acme", changes...))
		bounced := func(combo string) bool { return strings.Contains(combo, "bounced") }
		require.Equal(t, []redisdb.Entry{{"rare", 5}}, page(t, db, t, "acme", bounced, 0, 10))
		require.Empty(t, page(t, db, t, "acme", bounced, 5, 10))
		require.Empty(t, page(t, db, t, "acme", func(string) bool { return false }, 0, 10))
		require.Empty(t, page(t, db, t, "other", any1, 0, 10))
	})
}

func TestAPersonsInvitationsAreListedOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		none, err := db.PersonInvitations(t.Context(), "acme", "p1")
		require.NoError(t, err)
		require.Empty(t, none)

		early := redisdb.Change{ID: "late", New: []byte("sent, but not yet requested")}
		require.Empty(t, apply(t, db, t, "acme", early, added("one", 1, "c", "p1"), added("two", 2, "c", "p1"), added("three", 3, "c", "p2")))
		require.Empty(t, apply(t, db, t, "acme",
			redisdb.Change{ID: "late", Old: early.New, New: []byte("{}"), NewCombo: "c", Score: 4, Person: "p1"},
			redisdb.Change{ID: "one", Old: added("one", 0, "", "").New, New: []byte("{}"), OldCombo: "c", NewCombo: "d", Score: 1, Person: "p1"},
		))
		ids, err := db.PersonInvitations(t.Context(), "acme", "p1")
		require.NoError(t, err)
		require.Equal(t, []string{"one", "two", "late"}, ids)
		ids, err = db.PersonInvitations(t.Context(), "other", "p1")
		require.NoError(t, err)
		require.Empty(t, ids)
	})
}

// T081, T066: scripts and data may vanish at any moment; the next change goes through and the next page is right.
func TestViewsOutliveForgottenScriptsAndFlushes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		apply(t, db, t, "acme", added("one", 1, "c", "p"))
		forget(t, db)
		require.Len(t, page(t, db, t, "acme", any1, 0, 10), 1)
		forget(t, db)
		require.Empty(t, apply(t, db, t, "acme", added("two", 2, "c", "p")))
		require.NoError(t, db.Client().FlushAll(t.Context()).Err())
		require.Empty(t, page(t, db, t, "acme", any1, 0, 10))
		require.Empty(t, apply(t, db, t, "acme", added("one", 1, "c", "p")))
		require.Len(t, page(t, db, t, "acme", any1, 0, 10), 1)
	})
}

func TestManyWritersLoseNoChange(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		const writers, steps = 8, 25
		ids := []string{"one", "two", "three"}
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for step := range steps {
					if err := appendTick(t, db, ids[step%len(ids)]); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		records, err := db.Records(t.Context(), "acme", ids)
		require.NoError(t, err)
		ticks := 0
		for _, r := range records {
			ticks += len(r)
		}
		require.Equal(t, writers*steps, ticks)
		counts, err := db.Counts(t.Context(), "acme")
		require.NoError(t, err)
		total := 0
		for _, n := range counts {
			total += n
		}
		require.Equal(t, len(ids), total, "each in exactly one index")
		require.Len(t, page(t, db, t, "acme", any1, 0, 100), len(ids))
	})
}

// appendTick adds one byte to a record, which moves it to the index of its new length.
func appendTick(t *testing.T, db *redisdb.DB, id string) error {
	for {
		records, err := db.Records(t.Context(), "acme", []string{id})
		if err != nil {
			return err
		}
		c := redisdb.Change{ID: id, Old: records[0], New: append(slices.Clone(records[0]), '.'), Score: uint64(len(id)), Person: "p"}
		if c.NewCombo = fmt.Sprint(len(c.New)); len(c.Old) > 0 {
			c.OldCombo = fmt.Sprint(len(c.Old))
		}
		conflicts, err := db.Apply(t.Context(), "acme", []redisdb.Change{c})
		if err != nil || len(conflicts) == 0 {
			return err
		}
	}
}

// contextual is what gives a context: a test, or rapid's.
type contextual interface{ Context() context.Context }

// shelf is the model: what Redis should hold.
type shelf struct {
	records map[string]string
	combos  map[string]string
	scores  map[string]uint64
	people  map[string][]string
}

func (s *shelf) page(matches func(string) bool, before uint64, limit int) []redisdb.Entry {
	entries := []redisdb.Entry{}
	for id, combo := range s.combos {
		if combo != "" && matches(combo) && (before == 0 || s.scores[id] < before) {
			entries = append(entries, redisdb.Entry{ID: id, Score: s.scores[id]})
		}
	}
	slices.SortFunc(entries, func(a, b redisdb.Entry) int { return int(int64(b.Score) - int64(a.Score)) })
	return entries[:min(limit, len(entries))]
}

func (s *shelf) counts() map[string]int {
	counts := map[string]int{}
	for _, combo := range s.combos {
		if combo != "" {
			counts[combo]++
		}
	}
	return counts
}

// Any sequence of changes leaves what a plain map would hold, however the indexes are cut.
func TestViewsAgreeWithAModel(t *testing.T) {
	redistest.Each(t, func(t *testing.T, db *redisdb.DB) {
		rapid.Check(t, func(t *rapid.T) {
			require.NoError(t, db.Client().FlushAll(t.Context()).Err())
			model := &shelf{records: map[string]string{}, combos: map[string]string{}, scores: map[string]uint64{}, people: map[string][]string{}}
			scores := map[uint64]bool{}
			for range rapid.IntRange(1, 12).Draw(t, "calls") {
				model.step(t, db, "acme", scores)
				model.compare(t, db, "acme")
			}
		})
	})
}

func (s *shelf) step(t *rapid.T, db *redisdb.DB, org string, scores map[uint64]bool) {
	combos := []string{"", "pending:queued:member", "pending:sent:member", "accepted:sent:admin", "pending:bounced:viewer"}
	ids := rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 1, 30, rapid.ID).Draw(t, "ids")
	var changes []redisdb.Change
	var stale []int
	for _, n := range ids {
		id := fmt.Sprintf("inv%02d", n)
		c := redisdb.Change{
			ID: id, New: []byte(rapid.StringN(1, 20, -1).Draw(t, "record")), OldCombo: s.combos[id], NewCombo: rapid.SampledFrom(combos).Draw(t, "combo"),
			Score: s.scores[id], OldScore: s.scores[id], Person: "person" + fmt.Sprint(n%5),
		}
		if old, ok := s.records[id]; ok {
			c.Old = []byte(old)
		}
		if c.Score == 0 || rapid.IntRange(0, 4).Draw(t, "moved") == 0 {
			for c.Score = rapid.Uint64Range(1, 3*redisdb.BucketSize).Draw(t, "score"); scores[c.Score]; { // sequences are never used twice
				c.Score++
			}
		}
		if rapid.IntRange(0, 9).Draw(t, "stale") == 0 {
			c.Old = []byte("what nobody wrote")
			stale = append(stale, len(changes))
		} else {
			s.take(c)
		}
		scores[c.Score] = true
		changes = append(changes, c)
	}
	conflicts := apply(t, db, t, org, changes...)
	require.Equal(t, stale, conflicts)
}

func (s *shelf) take(c redisdb.Change) {
	s.records[c.ID], s.scores[c.ID] = string(c.New), c.Score
	if c.OldCombo == "" && c.NewCombo != "" && !slices.Contains(s.people[c.Person], c.ID) {
		s.people[c.Person] = append(s.people[c.Person], c.ID)
	}
	s.combos[c.ID] = c.NewCombo
}

func (s *shelf) compare(t *rapid.T, db *redisdb.DB, org string) {
	counts, err := db.Counts(t.Context(), org)
	require.NoError(t, err)
	require.Equal(t, s.counts(), counts)
	for person, ids := range s.people {
		listed, err := db.PersonInvitations(t.Context(), org, person)
		require.NoError(t, err)
		require.ElementsMatch(t, ids, listed)
	}
	ids := slices.Collect(maps.Keys(s.records))
	records, err := db.Records(t.Context(), org, ids)
	require.NoError(t, err)
	for i, id := range ids {
		require.Equal(t, s.records[id], string(records[i]))
	}
	buckets, err := db.Client().ZRange(t.Context(), "usher:{"+org+"}:buckets", 0, -1).Result()
	require.NoError(t, err)
	indexes, err := db.Client().Keys(t.Context(), "usher:{"+org+"}:index:*").Result()
	require.NoError(t, err)
	for i := range buckets {
		buckets[i] = "usher:{" + org + "}:index:" + buckets[i]
	}
	require.ElementsMatch(t, indexes, buckets, "every index is known, and no other")

	matches := func(combo string) bool { return strings.HasPrefix(combo, "pending") }
	before, limit := rapid.Uint64Range(0, 3*redisdb.BucketSize).Draw(t, "before"), rapid.IntRange(1, 20).Draw(t, "limit")
	require.Equal(t, s.page(matches, before, limit), append([]redisdb.Entry{}, page(t, db, t, org, matches, before, limit)...))
	require.Equal(t, s.page(any1, 0, 100), append([]redisdb.Entry{}, page(t, db, t, org, any1, 0, 100)...))
}
