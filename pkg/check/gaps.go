package check

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
)

// longestRun is more messages than timers can have stood side by side: beyond it a gap is told as one, and nothing explains it.
const longestRun = 4096

// gaps tells the sequences at which INVITATIONS has nothing, and which of them were timers that have gone. A request or a
// resend tells exactly which timer came with it. Of a timer that fired, only what it said is left: it explains one missing
// sequence between the invitation's request and that.
type gaps struct {
	last    uint64
	missing map[uint64]struct{}
	long    []span
	fired   []firing
}

// span is a run of sequences, both ends included.
type span struct{ from, to uint64 }

// firing is the word of a timer that fired.
type firing struct {
	about    *account
	sequence uint64
	reminder bool
}

func newGaps() gaps { return gaps{missing: map[uint64]struct{}{}} }

// next takes in the stream's next message.
func (g *gaps) next(stored ledger.Record) {
	from := g.last + 1
	if g.last == 0 {
		from = stored.Sequence // what stood before the first message was forgotten by age
	}
	g.last = stored.Sequence
	if stored.Sequence-from > longestRun {
		g.long = append(g.long, span{from, stored.Sequence - 1})
		from = stored.Sequence
	}
	for ; from < stored.Sequence; from++ {
		g.missing[from] = struct{}{}
	}
	if _, _, fact, ok := events.SplitInvitation(stored.Subject); ok && (fact == events.FactRequested || fact == events.FactResend) {
		own, before := stored.Timers()
		delete(g.missing, own)
		delete(g.missing, before)
		return
	}
	if _, isTimer := stored.DueAt(); isTimer {
		delete(g.missing, stored.Replaces())
	}
}

func (g *gaps) reminded(a *account, sequence uint64) {
	g.fired = append(g.fired, firing{about: a, sequence: sequence, reminder: true})
}

func (g *gaps) expired(a *account, sequence uint64) {
	g.fired = append(g.fired, firing{about: a, sequence: sequence})
}

// unexplained gives the runs of sequences that no timer explains. known are timers that a check set or stopped itself.
func (g *gaps) unexplained(known map[uint64]bool) []span {
	for sequence := range known {
		delete(g.missing, sequence)
	}
	left := make([]uint64, 0, len(g.missing))
	for sequence := range g.missing {
		left = append(left, sequence)
	}
	slices.Sort(left)
	runs := slices.Clone(g.long)
	for _, sequence := range match(left, g.windows()) {
		if n := len(runs); n > 0 && runs[n-1].to+1 == sequence {
			runs[n-1].to = sequence
		} else {
			runs = append(runs, span{sequence, sequence})
		}
	}
	return runs
}

// windows are the places where a timer stood that fired: after the request that it belongs to, where that is known, and
// before its word. The expiry timer of a request that is there is known exactly already.
func (g *gaps) windows() []span {
	var windows []span
	for _, f := range g.fired {
		if f.reminder || f.about.request == 0 {
			windows = append(windows, span{f.about.request + 1, f.sequence - 1})
		}
	}
	slices.SortFunc(windows, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	return windows
}

// match gives each window one of the sequences within it, as many as can be, and returns the sequences left over. Both are
// sorted; of the windows that are open at a sequence, the one that ends first takes it.
func match(sequences []uint64, windows []span) (left []uint64) {
	var open ends
	for _, sequence := range sequences {
		for len(windows) > 0 && windows[0].from <= sequence {
			heap.Push(&open, windows[0].to)
			windows = windows[1:]
		}
		for len(open) > 0 && open[0] < sequence {
			heap.Pop(&open)
		}
		if len(open) > 0 {
			heap.Pop(&open)
			continue
		}
		left = append(left, sequence)
	}
	return left
}

// ends is a heap of the windows' ends.
type ends []uint64

// Len implements heap.Interface.
func (e ends) Len() int { return len(e) }

// Less implements heap.Interface.
func (e ends) Less(i, j int) bool { return e[i] < e[j] }

// Swap implements heap.Interface.
func (e ends) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push implements heap.Interface.
func (e *ends) Push(x any) { *e = append(*e, x.(uint64)) }

// Pop implements heap.Interface.
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
