package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/platform"
)

func deadCommand(streams Streams) *cobra.Command {
	c := &cobra.Command{Use: "dead", Short: "List, show and redrive what could not be handled"}
	list := &cobra.Command{
		Use: "list", Short: "List dead letters, oldest first", Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return operate(c.Context(), streams, func(ctx context.Context, p *platform.Platform) error {
				letters := []deadLetter{}
				for r, err := range p.Ledger.Scan(ctx, events.StreamDeadLetters, events.DeadLetterSubject("*"), 1) {
					if err != nil {
						return err
					}
					letters = append(letters, readDead(r, false))
				}
				if wantsJSON(c) {
					return streams.print(c, map[string]any{"items": letters}, "")
				}
				w := tabwriter.NewWriter(streams.Out, 0, 4, 2, ' ', 0)
				_, _ = fmt.Fprintln(w, "SEQUENCE\tTIME\tWORKER\tREASON\tSUBJECT\tDELIVERIES")
				for _, d := range letters {
					_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", d.Sequence, local(d.Time), d.Worker, d.Reason, d.Subject, d.Deliveries)
				}
				return w.Flush()
			})
		},
	}
	show := &cobra.Command{
		Use: "show SEQUENCE", Short: "Show a dead letter whole", Args: exactly(1, "the sequence of a dead letter"),
		RunE: func(c *cobra.Command, args []string) error {
			return operate(c.Context(), streams, func(ctx context.Context, p *platform.Platform) error {
				r, err := findDead(ctx, p, args[0])
				if err != nil {
					return err
				}
				d := readDead(r, true)
				if wantsJSON(c) {
					return streams.print(c, d, "")
				}
				_, err = fmt.Fprintf(streams.Out, "%s\n\nreason   %s\nsubject  %s\n\n%s\n\n%s\n", local(d.Time), d.Reason, d.Subject, headers(d.Header), d.Body)
				return err
			})
		},
	}
	redrive := &cobra.Command{
		Use: "redrive SEQUENCE", Short: "Hand a dead letter to its worker again, after the cause was mended", Args: exactly(1, "the sequence of a dead letter"),
		RunE: func(c *cobra.Command, args []string) error {
			return operate(c.Context(), streams, func(ctx context.Context, p *platform.Platform) error {
				r, err := findDead(ctx, p, args[0])
				if err != nil {
					return err
				}
				worker, err := redriveDead(ctx, p, r)
				if err != nil {
					return err
				}
				return streams.print(c, map[string]any{"sequence": r.Sequence, "worker": worker}, "%d is handed to %s again.", r.Sequence, worker)
			})
		},
	}
	c.AddCommand(list, show, redrive)
	return c
}

func findDead(ctx context.Context, p *platform.Platform, arg string) (ledger.Record, error) {
	sequence, err := strconv.ParseUint(arg, 10, 64)
	if err != nil {
		return ledger.Record{}, usageError{fmt.Errorf("%q is no sequence", arg)}
	}
	for r, err := range p.Ledger.Scan(ctx, events.StreamDeadLetters, events.DeadLetterSubject("*"), sequence) {
		if err != nil {
			return ledger.Record{}, err
		}
		if r.Sequence == sequence {
			return r, nil
		}
		break
	}
	return ledger.Record{}, fmt.Errorf("there is no dead letter %d", sequence)
}

// redriveDead hands the message to its worker again, as what it was: the worker sees its original subject and sequence,
// and so recognises what it had done already.
func redriveDead(ctx context.Context, p *platform.Platform, r ledger.Record) (string, error) {
	worker := strings.TrimPrefix(r.Subject, events.RootDeadLetters+".")
	m := ledger.Message{Subject: events.RedriveSubject(worker), Header: map[string][]string{}, Data: r.Data}
	for name, values := range r.Header {
		if !strings.HasPrefix(name, "Nats-") {
			m.Header[name] = values
		}
	}
	m.Header["Nats-Msg-Id"] = []string{"again-" + strconv.FormatUint(r.Sequence, 10)}
	failpoint.Here(failpoint.RedriveFound)
	_, err := p.Ledger.Publish(ctx, events.StreamDeadLetters, m)
	failpoint.Here(failpoint.RedrivePublished)
	if errors.Is(err, ledger.ErrDuplicate) {
		err = nil // asked for twice in a row
	}
	return worker, err
}

func headers(h map[string][]string) string {
	var b strings.Builder
	for name, values := range h {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	return b.String()
}
