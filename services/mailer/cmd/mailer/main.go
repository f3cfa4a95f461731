// Command mailer runs the mailer by itself, with its probes at USHER_HTTP_ADDR.
package main

import (
	"context"
	"os"

	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/services/mailer"
)

func main() {
	os.Exit(platform.Main(settings.Mailer, func(ctx context.Context, p *platform.Platform) error {
		service, err := mailer.NewWithMailgun(ctx, p)
		if err != nil {
			return err
		}
		return p.RunWithProbes(ctx, service.Healthy, service.Run)
	}))
}
