// Command acceptance runs the acceptance worker by itself, with its probes at USHER_HTTP_ADDR.
package main

import (
	"context"
	"os"

	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/services/acceptance"
)

func main() {
	os.Exit(platform.Main(settings.Acceptance, func(ctx context.Context, p *platform.Platform) error {
		service, err := acceptance.New(p)
		if err != nil {
			return err
		}
		return p.RunWithProbes(ctx, service.Healthy, service.Run)
	}))
}
