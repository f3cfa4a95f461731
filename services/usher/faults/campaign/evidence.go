package campaign

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// Write puts the evidence of some parts on a page in Markdown: for each, what has to hold, how many units were run, what was
// counted and how figures are distributed. It is made of the record alone.
func Write(w io.Writer, record *Record, parts []Part) {
	_, _ = fmt.Fprintln(w, "| experiment | units held | of | seconds each, median | code |\n|---|---|---|---|---|")
	for _, p := range parts {
		results := record.Of(p.Name)
		_, _ = fmt.Fprintf(w, "| [%s](#%s) | %s | %s | %.0f | %s |\n", p.Name, p.Name, thousands(held(results)), thousands(int64(p.Units)),
			median(figure(results, func(r Result) (float64, bool) { return r.Took, true })), versions(results))
	}
	for _, p := range parts {
		write(w, p, record.Of(p.Name))
	}
}

func write(w io.Writer, p Part, results []Result) {
	_, _ = fmt.Fprintf(w, "\n### %s\n\n%s\n", p.Name, p.Claim)
	if p.Control {
		_, _ = fmt.Fprintln(w, "\nA control: a unit holds where the mistake that was put in is found.")
	}
	_, _ = fmt.Fprintf(w, "\n%s of %s units held%s. Again: `make faults ARGS='-part %s -seed N'`.\n",
		thousands(held(results)), thousands(int64(p.Units)), seeds(results), p.Name)
	for _, r := range results {
		if !r.OK {
			_, _ = fmt.Fprintf(w, "\nSeed %d did not (%s): %s\n", r.Seed, r.Version, strings.Join(r.Violations, "; "))
		}
	}
	if counts := added(results); len(counts) > 0 {
		_, _ = fmt.Fprintln(w, "\n| counted | |\n|---|---|")
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			_, _ = fmt.Fprintf(w, "| %s | %s |\n", name, thousands(counts[name]))
		}
	}
	if names := figureNames(results); len(names) > 0 {
		_, _ = fmt.Fprintln(w, "\n| measured | median | 99 of 100 | most |\n|---|---|---|---|")
		for _, name := range names {
			values := figure(results, func(r Result) (float64, bool) { v, ok := r.Figures[name]; return v, ok })
			_, _ = fmt.Fprintf(w, "| %s | %.3g | %.3g | %.3g |\n", name, median(values), quantile(values, .99), quantile(values, 1))
		}
	}
}

func held(results []Result) (n int64) {
	for _, r := range results {
		if r.OK {
			n++
		}
	}
	return n
}

// seeds names the seeds that were run.
func seeds(results []Result) string {
	if len(results) == 0 {
		return ""
	}
	return fmt.Sprintf(", seeds %d to %d", results[0].Seed, results[len(results)-1].Seed)
}

// versions names the code that was tested.
func versions(results []Result) string {
	seen := map[string]bool{}
	for _, r := range results {
		seen[r.Version] = true
	}
	all := slices.Sorted(maps.Keys(seen))
	if len(all) > 3 {
		return fmt.Sprintf("%d versions", len(all))
	}
	return strings.Join(all, ", ")
}

func added(results []Result) map[string]int64 {
	sum := map[string]int64{}
	for _, r := range results {
		for name, n := range r.Counts {
			sum[name] += n
		}
	}
	return sum
}

func figureNames(results []Result) []string {
	names := map[string]bool{}
	for _, r := range results {
		for name := range r.Figures {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// figure collects one figure, smallest first.
func figure(results []Result, of func(Result) (float64, bool)) []float64 {
	var values []float64
	for _, r := range results {
		if v, ok := of(r); ok {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return values
}

func median(sorted []float64) float64 { return quantile(sorted, .5) }

// quantile is the smallest value that so great a share of all does not exceed; 0 of none.
func quantile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
}

// thousands writes a number with commas.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
