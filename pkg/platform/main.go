package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/usherhq/usher/pkg/settings"
)

// Main is the life of a service's own binary: settings, platform, run until SIGINT or SIGTERM, exit code. run gets a
// context that ends with the signal, and returns once everything it began has finished; a second signal ends the process
// at once. Called with the word "health", the binary asks the one that runs at the same settings whether it is ready:
// images have no shell to ask with.
func Main(service settings.Service, run func(context.Context, *Platform) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	s, err := settings.Load(service, os.Environ())
	switch {
	case slices.Equal(os.Args[1:], []string{"health"}):
		return healthCode(Health(ctx, "http://"+s.HTTPAddr+"/readyz"))
	case len(os.Args) > 1:
		fmt.Fprintf(os.Stderr, "%s takes no arguments but \"health\"; its settings come from the environment\n", service)
		return 2
	case err != nil:
		fmt.Fprintf(os.Stderr, "The settings are not right:\n%v\n", err)
		return 2
	}
	p, err := Open(ctx, s, Options{Name: string(service), Logs: os.Stderr})
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s does not start: %v\n", service, err)
		return 1
	}
	p.Logger.Info("started")
	err = errors.Join(run(ctx, p), p.Close())
	if err != nil {
		p.Logger.Error("stopped", "error", err)
		return 1
	}
	p.Logger.Info("stopped")
	return 0
}
