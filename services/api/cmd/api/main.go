// Command api runs the API service by itself.
package main

import (
	"context"
	"os"

	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/services/api"
)

func main() {
	os.Exit(platform.Main(settings.API, func(ctx context.Context, p *platform.Platform) error {
		service, err := api.New(p, nil)
		if err != nil {
			return err
		}
		return service.Run(ctx)
	}))
}
