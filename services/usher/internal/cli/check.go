package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/usherhq/usher/pkg/check"
	"github.com/usherhq/usher/pkg/platform"
)

// errDisagreements is why a check that found something ends as failed.
var errDisagreements = errors.New("the stores disagree")

func checkCommand(streams Streams) *cobra.Command {
	var do check.Do
	var settle time.Duration
	c := &cobra.Command{
		Use:   "check",
		Short: "Compare ledger, memberships, Redis, timers, mails and replicas, and name what disagrees",
		Long: "Reads everything that Usher keeps and names each disagreement by its invitation. With --repair it mends those that have\n" +
			"exactly one right answer; the others are only told. It may run at any time: what is just under way is looked at again\n" +
			"before it is told. While messages are missing, or the broker's copies differ, what might rest on that is not mended. The links in the mails are compared only where USHER_LINK_KEYS is set.\n\n" +
			"Exit codes: 0 nothing disagrees (any more), 1 something does, 2 wrong usage or settings, 4 not now.",
		Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return operate(c.Context(), streams, func(ctx context.Context, p *platform.Platform) error {
				o := check.Options{
					Ledger: p.Ledger, Redis: p.Redis, Roster: p.Roster, Suppressions: p.Suppressions, MaxAge: p.Settings.LedgerAge, Settle: settle,
					Said: func(what string) { streams.progress(c, "%s", what) },
				}
				if p.Settings.LinkKeys != "" {
					o.Links = p.Links
				}
				report, err := check.New(o).Run(ctx, do)
				if err != nil {
					return err
				}
				return streams.writeCheck(c, report)
			})
		},
	}
	c.Flags().BoolVar(&do.Repair, "repair", false, "mend what has exactly one right answer")
	c.Flags().BoolVar(&do.AcceptGaps, "accept-gaps", false, "note that the messages missing now are known to be lost; they are not told again")
	c.Flags().DurationVar(&settle, "settle", 5*time.Second, "how long something must disagree to be told, and a repair may take to show")
	return c
}

func (s Streams) writeCheck(c *cobra.Command, r check.Report) error {
	if wantsJSON(c) {
		if err := s.print(c, r, ""); err != nil {
			return err
		}
	} else if err := s.writeDisagreements(r); err != nil {
		return err
	}
	if !r.Clean {
		return errDisagreements
	}
	return nil
}

func (s Streams) writeDisagreements(r check.Report) error {
	w := tabwriter.NewWriter(s.Out, 0, 4, 2, ' ', 0)
	for _, d := range r.Disagreements {
		about, state := d.Invitation, "told"
		if about == "" {
			about = d.Organization
		}
		switch {
		case d.Repaired:
			state = "repaired"
		case d.Repairable:
			state = "repairable"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.Kind, about, state, d.Detail)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, what := range r.Unchecked {
		_, _ = fmt.Fprintf(s.Out, "not compared: %s\n", what)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Waiting)) {
		_, _ = fmt.Fprintf(s.Out, "%s has %d messages still to do\n", name, r.Waiting[name])
	}
	_, err := fmt.Fprintf(s.Out, "%d invitations, %d memberships, %d records, %d links: %d disagreements\n",
		r.Checked["invitations"], r.Checked["memberships"], r.Checked["views"], r.Checked["tokens"], len(r.Disagreements))
	return err
}
