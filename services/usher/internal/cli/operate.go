package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/settings"
	"github.com/usherhq/usher/services/mailer/fakemailgun"
)

// broker connects to NATS alone, for commands that only watch.
func (s Streams) broker(ctx context.Context) (*nats.Conn, error) {
	url, creds := "", ""
	for _, pair := range s.Environ {
		switch name, value, _ := strings.Cut(pair, "="); {
		case name == "USHER_NATS_URL" && value != "":
			url = value
		case name == "USHER_NATS_CREDS":
			creds = value
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return bus.Connect(ctx, bus.Options{URL: url, CredsFile: creds, Name: "usher-cli"})
}

// seen is one event as watch writes it.
type seen struct {
	Subject string      `json:"subject"`
	ID      string      `json:"id,omitempty"`
	Type    events.Type `json:"type,omitempty"`
	Time    time.Time   `json:"time,omitzero"`
	Data    any         `json:"data,omitempty"`
	Error   string      `json:"error,omitempty"`
}

func watchCommand(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "watch [SUBJECT ...]",
		Short: "Watch events as they happen",
		Long: "Shows events live, by default all of them. Subjects are those of NATS, with wildcards, like 'invitations.acme.>'.\n" +
			"Addresses and names are left out, except under --json, which shows events as they are.",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{events.RootRequests + ".>", events.RootInvitations + ".>", events.RootMemberships + ".>", events.RootDeadLetters + ".>"}
			}
			nc, err := streams.broker(c.Context())
			if err != nil {
				return err
			}
			defer nc.Close()
			arrived := make(chan *nats.Msg, 1024)
			for _, subject := range args {
				if _, err := nc.ChanSubscribe(subject, arrived); err != nil {
					return usageError{fmt.Errorf("%s: %w", subject, err)}
				}
			}
			streams.progress(c, "watching %s", strings.Join(args, " "))
			for {
				select {
				case <-c.Context().Done():
					return nil
				case m := <-arrived:
					if err := streams.writeSeen(c, m); err != nil {
						return err
					}
				}
			}
		},
	}
}

func (s Streams) writeSeen(c *cobra.Command, m *nats.Msg) error {
	if _, act, _, ok := events.SplitDeadAct(m.Subject); ok {
		return s.writeAct(c, m, act)
	}
	e, err := events.Decode(m.Header, m.Data, m.Subject)
	one := seen{Subject: m.Subject, ID: e.ID, Type: e.Type, Time: e.Time, Data: e.Data}
	if err != nil {
		one.Error = err.Error()
	}
	if wantsJSON(c) {
		return json.NewEncoder(s.Out).Encode(one)
	}
	said := one.Error
	if err == nil {
		said = remark(fieldsOf(e.Data))
	}
	if _, _, _, isLetter := events.SplitDeadLetter(m.Subject); isLetter {
		said = strings.TrimSuffix(m.Header.Get(bus.DeadReason)+": "+m.Header.Get(bus.DeadDetail), ": ")
	}
	_, err = fmt.Fprintf(s.Out, "%s  %-90s %s\n", time.Now().Format("15:04:05.000"), m.Subject, said)
	return err
}

// writeAct writes what was done about a dead letter. It is no event: who and why are in its headers.
func (s Streams) writeAct(c *cobra.Command, m *nats.Msg, act events.DeadAct) error {
	by, note := m.Header.Get(bus.ActBy), m.Header.Get(bus.ActNote)
	if wantsJSON(c) {
		at, _ := time.Parse(time.RFC3339Nano, m.Header.Get(bus.ActAt)) // left out where there is none
		return json.NewEncoder(s.Out).Encode(seen{Subject: m.Subject, Time: at, Data: map[string]string{"act": string(act), "by": by, "note": note}})
	}
	_, err := fmt.Fprintf(s.Out, "%s  %-90s %s\n", time.Now().Format("15:04:05.000"), m.Subject, strings.TrimSuffix("by "+by+": "+note, ": "))
	return err
}

// fieldsOf reads an event's body as remark wants it.
func fieldsOf(data events.Data) map[string]any {
	encoded, err := json.Marshal(data)
	if err != nil {
		return nil
	}
	var fields map[string]any
	_ = json.Unmarshal(encoded, &fields) // it was just made
	return fields
}

func settingsCommand(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "settings",
		Short: "Show the settings in force, secrets masked",
		Args:  exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			s, problems := settings.Load(settings.All, streams.Environ)
			if wantsJSON(c) {
				if err := streams.print(c, s.Values(), ""); err != nil {
					return err
				}
			} else {
				w := tabwriter.NewWriter(streams.Out, 0, 4, 2, ' ', 0)
				for _, v := range s.Values() {
					_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", v.Name, v.Value, v.About)
				}
				if err := w.Flush(); err != nil {
					return err
				}
			}
			if problems != nil {
				return usageError{fmt.Errorf("the settings are not right:\n%w", problems)}
			}
			return nil
		},
	}
}

func keysCommand(streams Streams) *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "Make, list and revoke API keys"}
	var name, org string
	create := &cobra.Command{
		Use: "create", Short: "Make a key; it is shown once", Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return operate(c.Context(), streams, func(ctx context.Context, p *platform.Platform) error {
				secret, key, err := p.Keys.Create(ctx, name, org)
				if err != nil {
					return err
				}
				return streams.print(c, map[string]any{"id": key.ID, "secret": secret, "organization": org}, "%s\n%s", key.ID, secret)
			})
		},
	}
	create.Flags().StringVar(&name, "name", "", "what the key is for")
	create.Flags().StringVar(&org, "org", "", "the only organization it works for (default: all)")
	list := &cobra.Command{
		Use: "list", Short: "List keys", Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return operate(c.Context(), streams, func(_ context.Context, p *platform.Platform) error {
				if wantsJSON(c) {
					return streams.print(c, map[string]any{"items": p.Keys.List()}, "")
				}
				w := tabwriter.NewWriter(streams.Out, 0, 4, 2, ' ', 0)
				_, _ = fmt.Fprintln(w, "ID\tNAME\tORGANIZATION\tCREATED")
				for _, k := range p.Keys.List() {
					_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Organization, local(k.CreatedAt))
				}
				return w.Flush()
			})
		},
	}
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "End a key at once", Args: exactly(1, "the id of a key"),
		RunE: func(c *cobra.Command, args []string) error {
			return operate(c.Context(), streams, func(ctx context.Context, p *platform.Platform) error {
				if err := p.Keys.Revoke(ctx, args[0]); err != nil {
					return err
				}
				return streams.print(c, map[string]any{"revoked": args[0]}, "%s is revoked.", args[0])
			})
		},
	}
	generate := &cobra.Command{
		Use: "generate", Short: "Make a value for USHER_BOOTSTRAP_API_KEY", Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			secret := apikeys.Generate()
			return streams.print(c, map[string]any{"secret": secret}, "%s", secret)
		},
	}
	link := &cobra.Command{
		Use: "link", Short: "Make a value for USHER_LINK_KEYS", Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			keys := links.NewKey()
			return streams.print(c, map[string]any{"keys": keys}, "%s", keys)
		},
	}
	c.AddCommand(create, list, revoke, generate, link, keysInitCommand(streams))
	return c
}

func fakeMailgunCommand(streams Streams) *cobra.Command {
	var addr, signingKeyFile string
	var o fakemailgun.Options
	c := &cobra.Command{
		Use:   "fake-mailgun",
		Short: "Run a fake Mailgun, to try the real transport without sending anything",
		Long: "Takes mails as Mailgun does and shows them on a page. Point Usher at it:\n\n" +
			"  MAILGUN_API_BASE=http://127.0.0.1:8090 MAILGUN_DOMAIN=mg.example.org MAILGUN_API_KEY=key-fake \\\n" +
			"  USHER_MAIL_FROM='Usher <invitations@mg.example.org>' go run ./services/usher up",
		Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if signingKeyFile != "" {
				key, err := os.ReadFile(signingKeyFile)
				if err != nil {
					return usageError{fmt.Errorf("signing key: %w", err)}
				}
				o.SigningKey = strings.TrimSpace(string(key))
			}
			fake := fakemailgun.New(o)
			defer fake.Close()
			server := &http.Server{Addr: addr, Handler: fake, ReadHeaderTimeout: 5 * time.Second}
			context.AfterFunc(c.Context(), func() { _ = server.Close() })
			streams.progress(c, "fake Mailgun at http://%s", addr)
			if err := server.ListenAndServe(); c.Context().Err() == nil {
				return err
			}
			return nil
		},
	}
	c.Flags().StringVar(&addr, "addr", "127.0.0.1:8090", "where to listen")
	c.Flags().StringVar(&o.Domain, "domain", "", "the one sending domain it knows (default: any)")
	c.Flags().StringVar(&o.APIKey, "api-key", "", "the one key it takes (default: any)")
	c.Flags().StringVar(&o.WebhookURL, "webhook-url", "", "where reports are posted, like http://127.0.0.1:8080/webhooks/mailgun")
	c.Flags().StringVar(&o.SigningKey, "signing-key", "", "what reports are signed with (MAILGUN_WEBHOOK_SIGNING_KEY)")
	c.Flags().StringVar(&signingKeyFile, "signing-key-file", "", "a file that holds the signing key")
	c.Flags().BoolVar(&o.Deliver, "deliver", false, "report mails as delivered; bounce…@, defer…@, complain…@ and unsubscribe…@ as that")
	c.Flags().IntVar(&o.Keep, "keep", 0, "how many mails are remembered (default 20000)")
	c.Flags().IntVar(&o.KeepBodies, "keep-bodies", 0, "how many mails are kept with their texts (default 1000)")
	return c
}
