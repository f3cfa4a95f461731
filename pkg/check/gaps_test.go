package check

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEachTimerThatFiredExplainsOneMissingSequence(t *testing.T) {
	for name, c := range map[string]struct {
		missing, left []uint64
		windows       []span
	}{
		"no timer":              {missing: []uint64{5}, left: []uint64{5}},
		"one within":            {missing: []uint64{5}, windows: []span{{2, 9}}},
		"one for two":           {missing: []uint64{5, 6}, windows: []span{{2, 9}}, left: []uint64{6}},
		"too early":             {missing: []uint64{1}, windows: []span{{2, 9}}, left: []uint64{1}},
		"too late":              {missing: []uint64{10}, windows: []span{{2, 9}}, left: []uint64{10}},
		"the narrow one first":  {missing: []uint64{3, 8}, windows: []span{{1, 9}, {2, 4}}},
		"none takes anothers's": {missing: []uint64{3, 4, 20}, windows: []span{{1, 4}, {2, 4}}, left: []uint64{20}},
	} {
		require.Equal(t, c.left, match(c.missing, c.windows), name)
	}
}

// TestNoOtherAssignmentExplainsMore compares with all assignments there are.
func TestNoOtherAssignmentExplainsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		missing := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 12), 0, 6, rapid.ID).Draw(t, "missing")
		slices.Sort(missing)
		var windows []span
		for range rapid.IntRange(0, 5).Draw(t, "windows") {
			from := rapid.Uint64Range(1, 12).Draw(t, "from")
			windows = append(windows, span{from, from + rapid.Uint64Range(0, 6).Draw(t, "length")})
		}
		slices.SortFunc(windows, func(a, b span) int { return int(a.from) - int(b.from) })
		left := match(missing, slices.Clone(windows))
		require.Equal(t, most(missing, windows), len(missing)-len(left))
	})
}

// most is how many sequences can be explained, by trying everything.
func most(missing []uint64, windows []span) int {
	if len(missing) == 0 {
		return 0
	}
	best := most(missing[1:], windows)
	for i, w := range windows {
		if w.from <= missing[0] && missing[0] <= w.to {
			best = max(best, 1+most(missing[1:], slices.Delete(slices.Clone(windows), i, i+1)))
		}
	}
	return best
}
