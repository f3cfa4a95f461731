package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/usherhq/usher/pkg/deadletters"
	"github.com/usherhq/usher/pkg/platform"
)

func deadCommand(streams Streams) *cobra.Command {
	c := &cobra.Command{
		Use: "dead", Short: "Work on what could not be handled",
		Long: "Messages that a worker could not handle, or that the broker will not hand out again, are kept as dead letters with the\n" +
			"reason. List and count them, mend the cause, then redrive them: their workers handle them as what they were. Whatever is\n" +
			"done about a letter is kept beside it, and shown by \"dead show\".",
	}
	c.AddCommand(deadListCommand(streams), deadCountCommand(streams), deadShowCommand(streams),
		deadRedriveCommand(streams), deadDismissCommand(streams), deadPruneCommand(streams))
	return c
}

// openBox runs work on the dead letters. Redis is not needed for it.
func openBox(ctx context.Context, streams Streams, work func(context.Context, *deadletters.Box) error) error {
	return operateOn(ctx, streams, platform.Options{LedgerAlone: true}, func(ctx context.Context, p *platform.Platform) error {
		return work(ctx, deadletters.New(p.Ledger))
	})
}

// deadFilter is a filter as flags say it.
type deadFilter struct {
	filter              deadletters.Filter
	state, since, until string
	limit               int
}

func (f *deadFilter) flags(c *cobra.Command, state string) {
	c.Flags().StringVar(&f.filter.Worker, "worker", "", "only of this worker")
	c.Flags().StringVar(&f.filter.Reason, "reason", "", "only with this reason")
	c.Flags().StringVar(&f.filter.Organization, "org", "", "only of this organization")
	c.Flags().StringVar(&f.filter.Subject, "subject", "", "only published on this subject, wildcards allowed")
	c.Flags().StringVar(&f.since, "since", "", "only given up since then: an instant like 2026-01-31T08:00:00Z, or how long ago, like 36h")
	c.Flags().StringVar(&f.until, "until", "", "only given up before then")
	c.Flags().IntVar(&f.limit, "limit", 0, "the oldest so many (default: all)")
	if state != "" {
		c.Flags().StringVar(&f.state, "state", state, "open, handed, done, failed, dismissed or any; several with commas between")
	}
}

func (f *deadFilter) read() (err error) {
	if f.filter.Since, err = moment(f.since); err != nil {
		return err
	}
	if f.filter.Until, err = moment(f.until); err != nil {
		return err
	}
	if f.state == "any" || f.state == "" {
		return nil
	}
	for _, word := range strings.Split(f.state, ",") {
		state := deadletters.State(word)
		if !slices.Contains(deadletters.States, state) {
			return usageError{fmt.Errorf("%q is no state of a dead letter", word)}
		}
		f.filter.States = append(f.filter.States, state)
	}
	return nil
}

// empty tells that no flag narrows the choice.
func (f *deadFilter) empty() bool {
	n := f.filter
	return n.Worker+n.Reason+n.Organization+n.Subject+f.since+f.until == "" && f.limit == 0
}

// moment reads an instant, or how long ago it was.
func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return time.Now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, usageError{fmt.Errorf("%q is neither an instant like 2026-01-31T08:00:00Z nor how long ago, like 36h", s)}
	}
	return at, nil
}

func (f *deadFilter) list(ctx context.Context, box *deadletters.Box) ([]*deadletters.Letter, error) {
	letters, err := box.List(ctx, f.filter)
	if f.limit > 0 && len(letters) > f.limit {
		letters = letters[:f.limit]
	}
	return letters, err
}

func deadListCommand(streams Streams) *cobra.Command {
	var f deadFilter
	c := &cobra.Command{
		Use: "list", Short: "List dead letters, oldest first", Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.read(); err != nil {
				return err
			}
			return openBox(c.Context(), streams, func(ctx context.Context, box *deadletters.Box) error {
				letters, err := f.list(ctx, box)
				if err != nil {
					return err
				}
				if wantsJSON(c) {
					return streams.print(c, map[string]any{"items": letters}, "")
				}
				return deadTable(streams.Out, letters)
			})
		},
	}
	f.flags(c, "open")
	return c
}

func deadTable(out io.Writer, letters []*deadletters.Letter) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SEQUENCE\tTIME\tAGE\tWORKER\tREASON\tORGANIZATION\tSUBJECT\tDELIVERIES\tSTATE")
	for _, l := range letters {
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n",
			l.Sequence, local(l.Time), age(l.Time), l.Worker, l.Reason, orDash(l.Organization), orDash(l.Subject), l.Deliveries, stateOf(l))
	}
	return w.Flush()
}

// stateOf is how a letter stands, and since when.
func stateOf(l *deadletters.Letter) string {
	if len(l.Acts) == 0 {
		return string(l.State)
	}
	last := l.Acts[len(l.Acts)-1]
	switch l.State {
	case deadletters.Handed:
		return "handed again at " + local(last.Time)
	case deadletters.Failed:
		return fmt.Sprintf("failed again: %d", last.Became)
	}
	return fmt.Sprintf("%s at %s", l.State, local(last.Time))
}

func age(t time.Time) string {
	switch d := time.Since(t); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return d.Round(time.Second).String()
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func deadCountCommand(streams Streams) *cobra.Command {
	var f deadFilter
	c := &cobra.Command{
		Use: "count", Short: "Count dead letters by worker and reason", Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.read(); err != nil {
				return err
			}
			return openBox(c.Context(), streams, func(ctx context.Context, box *deadletters.Box) error {
				letters, err := f.list(ctx, box)
				if err != nil {
					return err
				}
				counts := deadletters.Count(letters)
				if wantsJSON(c) {
					return streams.print(c, map[string]any{"letters": len(letters), "items": counts}, "")
				}
				w := tabwriter.NewWriter(streams.Out, 0, 4, 2, ' ', 0)
				_, _ = fmt.Fprintln(w, "LETTERS\tWORKER\tREASON\tOLDEST")
				for _, t := range counts {
					_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", t.Letters, t.Worker, t.Reason, age(t.Oldest))
				}
				_, _ = fmt.Fprintf(w, "%d\tin all\n", len(letters))
				return w.Flush()
			})
		},
	}
	f.flags(c, "open")
	return c
}

func deadShowCommand(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use: "show SEQUENCE", Short: "Show a dead letter whole, and what was done about it", Args: exactly(1, "the sequence of a dead letter"),
		RunE: func(c *cobra.Command, args []string) error {
			sequences, err := sequencesOf(args)
			if err != nil {
				return err
			}
			return openBox(c.Context(), streams, func(ctx context.Context, box *deadletters.Box) error {
				l, err := box.Find(ctx, sequences[0])
				if err != nil {
					return err
				}
				if wantsJSON(c) {
					return streams.print(c, l, "")
				}
				return tellLetter(streams.Out, l)
			})
		},
	}
}

func sequencesOf(args []string) ([]uint64, error) {
	sequences := make([]uint64, len(args))
	for i, arg := range args {
		var err error
		if sequences[i], err = strconv.ParseUint(arg, 10, 64); err != nil {
			return nil, usageError{fmt.Errorf("%q is no sequence", arg)}
		}
	}
	slices.Sort(sequences)
	return slices.Compact(sequences), nil
}

func tellLetter(out io.Writer, l *deadletters.Letter) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	row("state", stateOf(l))
	row("worker", l.Worker)
	row("reason", strings.TrimSuffix(l.Reason+": "+l.Detail, ": "))
	row("organization", l.Organization)
	row("published", strings.TrimSpace(fmt.Sprintf("on %s at %s (%s %d)", orDash(l.Subject), local(l.Stored), l.Stream, l.Original)))
	row("given up", fmt.Sprintf("%s, after %d deliveries", local(l.Time), l.Deliveries))
	if l.AgainOf != 0 {
		row("before", fmt.Sprintf("dead letter %d, handed again", l.AgainOf))
	}
	for _, a := range l.Acts {
		became := ""
		if a.Became != 0 {
			became = fmt.Sprintf("; given up again as dead letter %d", a.Became)
		}
		row(local(a.Time), strings.TrimSuffix(fmt.Sprintf("%s, by %s%s: %s", a.Kind, orDash(a.By), became, a.Note), ": "))
	}
	_ = w.Flush()
	_, err := fmt.Fprintf(out, "\n%s\n%s\n", headers(l.Header), l.Body)
	return err
}

func headers(h map[string][]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	return b.String()
}

// deadOrder is what is to be done about letters, as flags say it.
type deadOrder struct {
	deadFilter
	order    deadletters.Order
	all, yes bool
	verb     string   // "redrive"
	question string   // what is asked before it is done to more than one, with a verb for their number
	done     string   // what is said of one letter: sequence, worker
	states   []string // of the letters that a filter chooses among
}

func (o *deadOrder) flagsOf(c *cobra.Command) {
	o.flags(c, "")
	c.Flags().BoolVar(&o.all, "all", false, "all that are "+strings.Join(o.states, " or "))
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&o.order.DryRun, "dry-run", false, "only tell what would be done")
	c.Flags().StringVar(&o.order.By, "by", "", "who does it (default: this machine's user)")
	c.Flags().Float64Var(&o.order.Rate, "rate", 0, "the most letters a second (default: as fast as can be)")
}

type deed func(*deadletters.Box, context.Context, []*deadletters.Letter, deadletters.Order, func(deadletters.Result)) error

// carryOut does the order to the letters that the arguments or the filter name.
func (o *deadOrder) carryOut(c *cobra.Command, streams Streams, args []string, do deed) error {
	sequences, err := sequencesOf(args)
	if err != nil {
		return err
	}
	if err := o.read(); err != nil {
		return err
	}
	switch {
	case len(args) == 0 && o.empty() && !o.all:
		return usageError{errors.New("needs sequences of dead letters, a filter, or --all")}
	case len(args) > 0 && (!o.empty() || o.all):
		return usageError{errors.New("takes either sequences of dead letters or a filter")}
	case len(args) == 0 && o.order.Again:
		return usageError{errors.New("--again needs the sequences of the dead letters")}
	}
	if o.order.By == "" {
		o.order.By = whoever()
	}
	for _, state := range o.states {
		o.filter.States = append(o.filter.States, deadletters.State(state))
	}
	return openBox(c.Context(), streams, func(ctx context.Context, box *deadletters.Box) error {
		letters, err := o.choose(ctx, box, sequences)
		if err != nil {
			return err
		}
		if len(letters) > 1 && !o.yes && !o.order.DryRun {
			if err := streams.confirm(fmt.Sprintf(o.question, len(letters))); err != nil {
				return err
			}
		}
		r := report{order: o, outcomes: []outcome{}}
		err = do(box, ctx, letters, o.order, func(result deadletters.Result) { r.add(c, streams, result) })
		return errors.Join(r.print(c, streams), err, r.refusal())
	})
}

func (o *deadOrder) choose(ctx context.Context, box *deadletters.Box, sequences []uint64) ([]*deadletters.Letter, error) {
	if len(sequences) == 0 {
		return o.list(ctx, box)
	}
	letters := make([]*deadletters.Letter, len(sequences))
	for i, sequence := range sequences {
		var err error
		if letters[i], err = box.Find(ctx, sequence); err != nil {
			return nil, err
		}
	}
	return letters, nil
}

// confirm asks, and returns an error unless the answer is yes.
func (s Streams) confirm(question string) error {
	_, _ = fmt.Fprintf(s.Err, "%s [y/N] ", question)
	answer := ""
	if s.In != nil {
		answer, _ = bufio.NewReader(s.In).ReadString('\n') // what cannot be read is no yes
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("not confirmed, so nothing was done; --yes does not ask")
	}
	return nil
}

// whoever is the user of this machine who runs the command.
func whoever() string {
	name, host := strconv.Itoa(os.Getuid()), ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = "@" + h
	}
	return name + host
}

// outcome is what became of one letter, as JSON says it.
type outcome struct {
	Sequence uint64 `json:"sequence"`
	Worker   string `json:"worker"`
	Done     bool   `json:"done"`
	Refused  string `json:"refused,omitempty"`
}

// report adds up what became of an order.
type report struct {
	order    *deadOrder
	outcomes []outcome
	acted    int
	already  int
}

func (r *report) add(c *cobra.Command, streams Streams, result deadletters.Result) {
	l := result.Letter
	r.outcomes = append(r.outcomes, outcome{Sequence: l.Sequence, Worker: l.Worker, Done: result.Acted, Refused: result.Refused})
	switch {
	case result.Acted:
		if r.acted++; r.acted%1000 == 0 {
			streams.progress(c, "%d so far", r.acted)
		}
	case result.Already:
		r.already++
	}
}

// refusal is the error where something was asked that was not done, and is not so already.
func (r *report) refusal() error {
	if n := len(r.outcomes) - r.acted - r.already; n > 0 {
		return fmt.Errorf("%d of %d dead letters were refused", n, len(r.outcomes))
	}
	return nil
}

func (r *report) print(c *cobra.Command, streams Streams) error {
	dry := r.order.order.DryRun
	if wantsJSON(c) {
		return streams.print(c, map[string]any{"dry_run": dry, "done": r.acted, "already": r.already, "items": r.outcomes}, "")
	}
	would := ""
	if dry {
		would = "would be: "
	}
	for _, o := range r.outcomes {
		switch {
		case o.Refused != "":
			_, _ = fmt.Fprintf(streams.Out, "%d of %s is left: %s.\n", o.Sequence, o.Worker, o.Refused)
		case dry || len(r.outcomes) == 1:
			_, _ = fmt.Fprintf(streams.Out, would+r.order.done+"\n", o.Sequence, o.Worker)
		}
	}
	if len(r.outcomes) == 1 {
		return nil
	}
	_, err := fmt.Fprintf(streams.Out, "%s: %s%d of %d dead letters.\n", r.order.verb, would, r.acted, len(r.outcomes))
	return err
}

func deadRedriveCommand(streams Streams) *cobra.Command {
	o := deadOrder{
		verb: "redrive", question: "Hand %d dead letters to their workers again?", done: "%d is handed to %s again.",
		states: []string{string(deadletters.Open)},
	}
	c := &cobra.Command{
		Use: "redrive [SEQUENCE...]", Short: "Hand dead letters to their workers again, after the cause was mended",
		Long: "Hands dead letters to their workers again: those named, or the open ones that a filter chooses. A command that was ended\n" +
			"half-way is simply run again: what was handed out is not open any more. What its worker gives up again becomes a letter of\n" +
			"its own, which names the old one.",
		RunE: func(c *cobra.Command, args []string) error {
			return o.carryOut(c, streams, args, (*deadletters.Box).Redrive)
		},
	}
	o.flagsOf(c)
	c.Flags().StringVar(&o.order.Note, "note", "", "why; it is kept with the letters")
	c.Flags().BoolVar(&o.order.Again, "again", false, "also those that were handed out, done, failed or dismissed already")
	return c
}

func deadDismissCommand(streams Streams) *cobra.Command {
	o := deadOrder{
		verb: "dismiss", question: "Dismiss %d dead letters?", done: "%d of %s is dismissed.", states: []string{string(deadletters.Open)},
	}
	c := &cobra.Command{
		Use: "dismiss [SEQUENCE...] --note WHY", Short: "Decide that nothing needs to be done about dead letters",
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(o.order.Note) == "" {
				return usageError{errors.New("needs --note, which says why")}
			}
			return o.carryOut(c, streams, args, (*deadletters.Box).Dismiss)
		},
	}
	o.flagsOf(c)
	c.Flags().StringVar(&o.order.Note, "note", "", "why; it is kept with the letters")
	return c
}

func deadPruneCommand(streams Streams) *cobra.Command {
	o := deadOrder{
		verb: "prune", question: "Remove %d dead letters for good?", done: "%d of %s is removed.",
		states: []string{string(deadletters.Done), string(deadletters.Failed), string(deadletters.Dismissed), string(deadletters.Pruned)},
	}
	c := &cobra.Command{
		Use: "prune [SEQUENCE...]", Short: "Remove dead letters that are done, failed again or dismissed",
		Long: "Removes dead letters about which nothing is left to do, to make room. One line stays of each, which tells what it was and\n" +
			"what was done about it. Without this, letters go by themselves 90 days after they came.",
		RunE: func(c *cobra.Command, args []string) error {
			return o.carryOut(c, streams, args, (*deadletters.Box).Prune)
		},
	}
	o.flagsOf(c)
	c.Flags().StringVar(&o.order.Note, "note", "", "why; it is kept")
	return c
}
