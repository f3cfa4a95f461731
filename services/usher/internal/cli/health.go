package cli

import (
	"github.com/spf13/cobra"

	"github.com/usherhq/usher/pkg/platform"
)

func healthCommand(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "health [URL]",
		Short: "Ask a running Usher whether it is ready",
		Long:  "Exits 0 where the address answers 200, by default /readyz of the API; images use it as their health check.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			url := apiURL(streams.vars()) + "/readyz"
			if len(args) == 1 {
				url = args[0]
			}
			if err := platform.Health(c.Context(), url); err != nil {
				return err
			}
			return streams.print(c, map[string]any{"ready": true}, "ready")
		},
	}
}
