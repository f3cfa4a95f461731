// Package cli is the usher command line.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/deadletters"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/pkg/telemetry"
	"github.com/usherhq/usher/services/usher/internal/client"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1 // it was tried and failed, or was refused
	exitUsage   = 2 // the command's words or the settings are wrong
	exitMissing = 3 // what was asked for is not there
	exitNotNow  = 4 // a dependency is down; try again
)

// Streams are what the command line reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string
}

// usageError is an error of the command's words.
type usageError struct{ error }

// Execute runs one command and gives its exit code.
func Execute(ctx context.Context, args []string, streams Streams) int {
	root := &cobra.Command{
		Use:   "usher",
		Short: "Invite people to organizations, over an event pipeline that loses nothing",
		Long: "Usher invites people to organizations. \"usher up\" runs the whole pipeline; the other commands work on one that runs.\n\n" +
			"Exit codes: 0 done, 1 failed or refused, 2 wrong usage or settings, 3 not there, 4 not now.",
		SilenceUsage: true, SilenceErrors: true, Version: telemetry.Version(),
	}
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.PersistentFlags().Bool("json", false, "write JSON")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "invite", Title: "Invite (over the API):"}, &cobra.Group{ID: "operate", Title: "Operate (on the broker and Redis):"})
	add(root, "run", upCommand(streams), healthCommand(streams), fakeMailgunCommand(streams), settingsCommand(streams))
	add(root, "invite", inviteCommand(streams), importCommand(streams), listCommand(streams), showCommand(streams), revokeCommand(streams), resendCommand(streams), orgCommand(streams))
	add(root, "operate", watchCommand(streams), rebuildCommand(streams), checkCommand(streams), deadCommand(streams), keysCommand(streams))
	if err := root.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintf(streams.Err, "usher: %v\n", err)
		return exitCode(err)
	}
	return exitOK
}

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

func exitCode(err error) int {
	var answer *client.Problem
	var usage usageError
	switch {
	case errors.As(err, &answer) && answer.Status == 404, errors.Is(err, deadletters.ErrNotFound):
		return exitMissing
	case errors.As(err, &answer) && answer.Status >= 500, errors.Is(err, client.ErrUnreachable),
		errors.Is(err, bus.ErrUnreachable), problem.Is(err, problem.NotNow):
		return exitNotNow
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitFailed
}

// print writes a result: JSON where it was asked for, the sentence otherwise.
func (s Streams) print(c *cobra.Command, value any, format string, args ...any) error {
	if wantsJSON(c) {
		return json.NewEncoder(s.Out).Encode(value)
	}
	_, err := fmt.Fprintf(s.Out, format+"\n", args...)
	return err
}

// progress writes a passing line to the error stream, and nothing under --json.
func (s Streams) progress(c *cobra.Command, format string, args ...any) {
	if !wantsJSON(c) {
		_, _ = fmt.Fprintf(s.Err, format+"\n", args...)
	}
}

func wantsJSON(c *cobra.Command) bool {
	yes, err := c.Flags().GetBool("json")
	return err == nil && yes
}

// operate opens the platform for a command that works on broker and Redis directly.
func operate(ctx context.Context, streams Streams, work func(context.Context, *platform.Platform) error) error {
	return operateOn(ctx, streams, platform.Options{}, work)
}

// openTime is how long a command waits for the broker, and for Redis where it needs that.
const openTime = 10 * time.Second

func operateOn(ctx context.Context, streams Streams, o platform.Options, work func(context.Context, *platform.Platform) error) (err error) {
	service := settings.Operator
	if o.LedgerAlone {
		service = settings.LedgerOperator
	}
	s, err := settings.Load(service, streams.Environ)
	if err != nil {
		return usageError{fmt.Errorf("the settings are not right:\n%w", err)}
	}
	o.Name, o.Logs = "operator", streams.Err
	opening, opened := context.WithTimeout(ctx, openTime)
	defer opened()
	p, err := platform.Open(opening, s, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if p.Links == nil {
		p.Links = &links.Ring{} // it derives nothing, and says so
	}
	return work(ctx, p)
}
