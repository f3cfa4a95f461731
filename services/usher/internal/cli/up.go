package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/pkg/telemetry"
	"github.com/usherhq/usher/services/acceptance"
	"github.com/usherhq/usher/services/api"
	"github.com/usherhq/usher/services/mailer"
	"github.com/usherhq/usher/services/mailer/outbox"
	"github.com/usherhq/usher/services/usher/internal/embedded"
)

func upCommand(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Run the whole pipeline in this process",
		Long: "Runs API, mailer and acceptance in one process. Without settings it uses an embedded broker, on disk in ./usher-data,\n" +
			"and an in-process Redis that is refilled from it; mails are kept in an outbox. Settings: usher settings.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := settings.Load(settings.All, streams.Environ)
			if err != nil {
				return fmt.Errorf("the settings are not right:\n%w", err)
			}
			return up(c.Context(), s, streams)
		},
	}
}

// up opens everything from the bottom to the top, runs the services until ctx ends, and closes from the top to the bottom.
func up(ctx context.Context, s settings.Settings, streams Streams) (err error) {
	log := telemetry.Logger(streams.Err, s.LogLevel)
	options := platform.Options{Name: "usher", Logs: streams.Err}
	closing := func(c io.Closer) { err = errors.Join(err, c.Close()) }

	if s.NATSURL == "" {
		broker, err := embedded.Start(s.DataDir, s.NATSListen, log)
		if err != nil {
			return err
		}
		defer closing(broker)
		options.Broker = broker
	}
	if s.RedisURL == "" {
		redis, err := redisdb.InProcess()
		if err != nil {
			return err
		}
		defer redis.Close()
		options.Redis = redis
	}
	if s.LinkKeys == "" {
		if s.LinkKeys, err = kept(linkKeysFile(s.DataDir), links.NewKey); err != nil {
			return err
		}
	}
	if s.BootstrapKey == "" && s.Development() {
		if s.BootstrapKey, err = kept(apiKeyFile(s.DataDir), apikeys.Generate); err != nil {
			return err
		}
	}
	p, err := platform.Open(ctx, s, options)
	if err != nil {
		return err
	}
	defer closing(p)
	if options.Redis != nil {
		if err := refill(ctx, p, log); err != nil {
			return err
		}
	}
	return serve(ctx, p, options, streams)
}

// refill brings the in-process Redis, which begins empty, to what the ledger says.
func refill(ctx context.Context, p *platform.Platform, log *slog.Logger) error {
	began := time.Now()
	records, err := rebuild(ctx, p, func(rebuildProgress) {})
	if err != nil {
		return fmt.Errorf("refill from the ledger: %w", err)
	}
	log.Info("refilled from the ledger", "invitations", records, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

func serve(ctx context.Context, p *platform.Platform, options platform.Options, streams Streams) error {
	var provider mailer.Provider
	var box http.Handler
	var mails *mailer.Service
	var err error
	if p.Settings.Mailgun() {
		mails, err = mailer.NewWithMailgun(ctx, p)
	} else {
		kept := outbox.New(1000, p.Clock)
		provider, box = kept, kept.Handler()
		mails, err = mailer.New(p, provider)
	}
	if err != nil {
		return err
	}
	joining, err := acceptance.New(p)
	if err != nil {
		return err
	}
	front, err := api.New(p, box)
	if err != nil {
		return err
	}
	if p.Settings.Development() {
		if err := seedDemo(ctx, p); err != nil {
			return err
		}
	}
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return front.Run(running) })
	group.Go(func() error { return mails.Run(running) })
	group.Go(func() error { return joining.Run(running) })
	group.Go(func() error {
		for _, ready := range []<-chan struct{}{front.Running(), mails.Running(), joining.Running()} {
			select {
			case <-ready:
			case <-running.Done():
				return nil
			}
		}
		greet(streams.Out, p, options, front.URL())
		return nil
	})
	return group.Wait()
}

func greet(out io.Writer, p *platform.Platform, options platform.Options, url string) {
	s := p.Settings
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	say("")
	say("Usher is ready.")
	say("")
	if s.Development() || s.OIDCIssuer != "" {
		say("  Console     %s/console", url)
	}
	say("  API         %s          docs: %s/docs/", url, url)
	if !s.Mailgun() {
		say("  Outbox      %s/outbox   (no mail leaves this machine: MAILGUN_* are not set)", url)
	}
	if options.Broker != nil && s.NATSListen != "off" {
		say("  NATS        nats://%s         e.g.  nats sub 'invitations.>'", s.NATSListen)
	}
	if options.Broker != nil {
		say("  Data        %s", s.DataDir)
	}
	if !s.Development() {
		return
	}
	say("")
	say("  This is development: the organization \"%s\" is there for trying, the API key is kept in %s.", demo.ID, apiKeyFile(s.DataDir))
	say("  Invite somebody:")
	say("")
	say("    curl -sX POST %s/v1/organizations/%s/invitations \\", url, demo.ID)
	say("      -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' \\", s.BootstrapKey)
	say("      -d '{\"email\":\"new.person@example.org\",\"role\":\"member\",\"inviter\":\"%s\"}'", demoPeople[0].email)
	say("")
	say("  or:  go run ./services/usher invite new.person@example.org")
	say("  or:  %s/console, as one of the demo people", url)
	say("")
}
