package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// figure is one thing that was measured.
type figure struct {
	Scenario string  `json:"scenario"`
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	// AtLeast or AtMost is what it should come to, 0 for no such aim.
	AtLeast float64 `json:"at_least,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
}

// report is what a run measured.
type report struct {
	Figures  []figure `json:"figures"`
	scenario string
}

func (r *report) add(name string, value float64, unit string) *figure {
	r.Figures = append(r.Figures, figure{Scenario: r.scenario, Name: name, Value: value, Unit: unit})
	return &r.Figures[len(r.Figures)-1]
}

func (r *report) perSecond(name string, n int, took time.Duration) *figure {
	return r.add(name, float64(n)/took.Seconds(), "/s")
}

func (r *report) millis(name string, d time.Duration) *figure {
	return r.add(name, float64(d)/float64(time.Millisecond), "ms")
}

func (f *figure) atLeast(v float64) { f.AtLeast = v }
func (f *figure) atMost(v float64)  { f.AtMost = v }

func (f figure) verdict() string {
	word := func(met bool) string {
		if met {
			return "met"
		}
		return "missed"
	}
	switch {
	case f.AtLeast != 0:
		return fmt.Sprintf("at least %s\t%s", number(f.AtLeast), word(f.Value >= f.AtLeast))
	case f.AtMost != 0:
		return fmt.Sprintf("at most %s\t%s", number(f.AtMost), word(f.Value <= f.AtMost))
	}
	return "\t"
}

func (r *report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	last := ""
	for _, f := range r.Figures {
		shown := f.Scenario
		if shown == last {
			shown = ""
		}
		last = f.Scenario
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s %s\t%s\n", shown, f.Name, number(f.Value), f.Unit, f.verdict())
	}
	_ = w.Flush()
}

// number writes as many digits as mean something.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// quantile is the value below which the share q of all lie. It sorts them.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}
