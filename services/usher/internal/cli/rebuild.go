package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/views"
)

type rebuildProgress = views.Progress

// rebuild fills Redis from the ledger: views, and the tokens of open invitations. It gives the number of records written.
func rebuild(ctx context.Context, p *platform.Platform, report func(rebuildProgress)) (records uint64, err error) {
	err = p.Views.Rebuild(ctx, func(ctx context.Context, open []invitation.Record) error {
		tokens := make([]redisdb.Token, 0, len(open))
		for _, r := range open {
			token, err := p.Links.Derive(links.PurposeInvite, r.ID, r.Generation)
			if err != nil {
				return err
			}
			tokens = append(tokens, redisdb.Token{Hash: token.Hash(), Organization: r.Organization, Invitation: r.ID, ExpiresAt: r.Deadline})
		}
		return p.Redis.PutTokens(ctx, tokens)
	}, func(progress views.Progress) {
		records = progress.Invitations
		report(progress)
	})
	return records, err
}

func rebuildCommand(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild",
		Short: "Fill Redis from the ledger, while the system runs if need be",
		Long: "Reads the whole ledger and writes every view and every open invitation's link to Redis. Nothing is removed and nothing\n" +
			"is decided anew, so it may run at any time. The in-process Redis of \"usher up\" is refilled at each start.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return operate(c.Context(), streams, func(ctx context.Context, p *platform.Platform) error {
				records, err := rebuild(ctx, p, func(progress rebuildProgress) {
					streams.progress(c, "read %d of about %d events, wrote %d records", progress.Events, progress.Of, progress.Invitations)
				})
				if err != nil {
					return err
				}
				return streams.print(c, map[string]any{"records": records}, "Redis has %d records again.", records)
			})
		},
	}
}
