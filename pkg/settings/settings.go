// Package settings reads what operators set, from the environment alone, and says everything that is wrong with it at once.
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/roster"
)

// Environments.
const (
	Production  = "production"
	Development = "development"
)

// Service is a part of Usher that can run by itself.
type Service string

// The services. All of them run under "usher up".
const (
	API        Service = "api"
	Mailer     Service = "mailer"
	Acceptance Service = "acceptance"
	All        Service = "usher"
	// Operator is the command line, which needs to reach the broker and Redis and nothing else.
	Operator Service = "operator"
	// LedgerOperator is the command line where it needs to reach the broker alone.
	LedgerOperator Service = "ledger-operator"
)

// Settings are all settings. A field's "env" is the variable, "secret" marks what is never shown and may come from a
// file (its name with _FILE appended names the file), and "about" is its line in the documentation.
type Settings struct {
	Env       string        `env:"USHER_ENV" envDefault:"production" about:"production; \"usher up\" alone uses development, says so, and listens on loopback only"`
	HTTPAddr  string        `env:"USHER_HTTP_ADDR" envDefault:"127.0.0.1:8080" about:"where HTTP is served; in development on this machine alone"`
	PublicURL string        `env:"USHER_PUBLIC_URL" about:"base of every link, like https://invite.example.com; required in production, with https unless the host is localhost; never taken from a request"`
	DataDir   string        `env:"USHER_DATA_DIR" envDefault:"./usher-data" about:"the embedded broker's files"`
	Grace     time.Duration `env:"USHER_SHUTDOWN_GRACE" envDefault:"15s" about:"how long a stop waits for running requests and handlers"`
	LogLevel  slog.Level    `env:"USHER_LOG_LEVEL" envDefault:"INFO" about:"DEBUG, INFO, WARN or ERROR"`

	ProfileAddr string `env:"USHER_PPROF_ADDR" about:"where Go's profiles are served, on this machine only, like 127.0.0.1:6060; unset: nowhere"`

	NATSURL        string `env:"USHER_NATS_URL" secret:"true" about:"the broker; unset: embedded (only in \"usher up\"), and for the command line the context of the nats command line"`
	NATSCreds      string `env:"USHER_NATS_CREDS" about:"path of the broker's credentials file"`
	NATSMonitoring string `env:"USHER_NATS_MONITORING_URL" about:"the broker's monitoring address, asked at start whether every write is synced; of a cluster all of them, with commas between"`
	NATSSync       string `env:"USHER_NATS_SYNC" about:"\"always\": your word that the broker syncs every write, where it cannot be asked"`
	NATSListen     string `env:"USHER_NATS_LISTEN" envDefault:"127.0.0.1:4222" about:"where the embedded broker listens for upstream apps and the nats command line; off: nowhere"`
	RedisURL       string `env:"USHER_REDIS_URL" secret:"true" about:"Redis or Valkey: redis, rediss, cluster and sentinel forms; unset: in-process (only in \"usher up\")"`

	LinkKeys     string `env:"USHER_LINK_KEYS" secret:"true" about:"id:base64,…: the first signs links, all verify; required in production, made and kept in the data dir in development"`
	BootstrapKey string `env:"USHER_BOOTSTRAP_API_KEY" secret:"true" about:"first API key, for automation; development prints one"`

	OIDCIssuer       string `env:"USHER_OIDC_ISSUER" about:"the OpenID Connect issuer people sign in with, like https://accounts.example.com; unset: no console in production, a choice of demo people in development"`
	OIDCClientID     string `env:"USHER_OIDC_CLIENT_ID" about:"Usher's client id there; its redirect address is <USHER_PUBLIC_URL>/signin/callback"`
	OIDCClientSecret string `env:"USHER_OIDC_CLIENT_SECRET" secret:"true" about:"Usher's client secret there"`

	Roles     []string      `env:"USHER_ROLES" envDefault:"owner,admin,member,viewer" about:"the roles, highest first; the first two invite"`
	TTL       time.Duration `env:"USHER_INVITATION_TTL" envDefault:"168h" about:"how long invitations stay open, 5m to 8760h"`
	Authority string        `env:"USHER_INVITER_LOST_AUTHORITY" envDefault:"block" about:"an acceptance whose inviter may no longer grant the role: block, or lower to the inviter's own"`
	Replicas  int           `env:"USHER_REPLICAS" envDefault:"1" about:"replicas of every stream: 1, 3 or 5"`
	LedgerAge time.Duration `env:"USHER_LEDGER_MAX_AGE" envDefault:"9600h" about:"how long the ledger remembers; longer than any invitation lives"`

	MailFrom          string `env:"USHER_MAIL_FROM" about:"sender of all mails; required with Mailgun"`
	MailRate          int    `env:"USHER_MAIL_RATE" envDefault:"0" about:"most mails in a second; 0: no limit"`
	MailgunDomain     string `env:"MAILGUN_DOMAIN" about:"Mailgun's sending domain; with none of these set, development keeps mails in an outbox at /outbox"`
	MailgunKey        string `env:"MAILGUN_API_KEY" secret:"true" about:"Mailgun's API key"`
	MailgunBase       string `env:"MAILGUN_API_BASE" envDefault:"https://api.mailgun.net" about:"Mailgun's address; https://api.eu.mailgun.net in Europe"`
	MailgunAllowHTTP  bool   `env:"MAILGUN_ALLOW_HTTP" envDefault:"false" about:"true: MAILGUN_API_BASE may be plain http on another host; for a fake Mailgun in a private network, as mails and key travel in the open"`
	MailgunWebhookKey string `env:"MAILGUN_WEBHOOK_SIGNING_KEY" secret:"true" about:"verifies Mailgun's webhooks; required in production, because without it they are refused and nobody hears of bounces and complaints"`
}

// Load reads the environment for one service. It returns every problem at once, each naming its variable and never its
// value.
func Load(service Service, environ []string) (Settings, error) {
	vars, problems := withFiles(environ)
	s := Settings{}
	if service == All && vars["USHER_ENV"] == "" {
		vars["USHER_ENV"] = Development
	}
	if err := env.ParseWithOptions(&s, env.Options{Environment: vars}); err != nil {
		problems = append(problems, parseProblems(err)...)
	}
	s.PublicURL = strings.TrimSuffix(s.PublicURL, "/")
	if s.Development() && s.PublicURL == "" {
		s.PublicURL = "http://" + s.HTTPAddr
	}
	if s.Development() && s.MailFrom == "" {
		s.MailFrom = "Usher <invitations@usher.localhost>"
	}
	for _, sentence := range broken(s, service) {
		problems = append(problems, errors.New(sentence))
	}
	problems = append(problems, faultRunProblem(s, vars))
	return s, errors.Join(problems...)
}

// faultRunProblem keeps a binary that can be told to kill itself from being shipped by accident.
func faultRunProblem(s Settings, vars map[string]string) error {
	if !failpoint.Compiled || s.Development() || vars[failpoint.EnvArm] != "" || vars[failpoint.EnvAddr] != "" {
		return nil
	}
	return fmt.Errorf("this binary was built with failpoints, for fault runs: build it without that tag, or set %s or %s",
		failpoint.EnvAddr, failpoint.EnvArm)
}

// Development reports whether this is a developer's machine.
func (s Settings) Development() bool { return s.Env == Development }

// Mailgun reports whether mails leave through Mailgun.
func (s Settings) Mailgun() bool { return s.MailgunDomain != "" || s.MailgunKey != "" }

// withFiles gives the environment with the contents of every NAME_FILE of a secret in place of NAME.
func withFiles(environ []string) (map[string]string, []error) {
	vars := env.ToMap(environ)
	var problems []error
	for _, f := range Fields() {
		path := vars[f.Env+"_FILE"]
		if !f.Secret || path == "" {
			continue
		}
		if vars[f.Env] != "" {
			problems = append(problems, fmt.Errorf("%s and %s_FILE are both set; one is enough", f.Env, f.Env))
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s_FILE names a file that cannot be read", f.Env))
			continue
		}
		vars[f.Env] = strings.TrimSpace(string(content))
	}
	return vars, problems
}

// parseProblems names the variables that could not be read. The library's own sentences quote values.
func parseProblems(err error) []error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []error{errors.New("the environment cannot be read")}
	}
	var problems []error
	for _, one := range all.Errors {
		var parse env.ParseError
		if !errors.As(one, &parse) {
			problems = append(problems, errors.New("a setting cannot be read"))
			continue
		}
		for _, f := range Fields() {
			if f.Name == parse.Name {
				problems = append(problems, fmt.Errorf("%s cannot be read as %s", f.Env, kindOf(parse.Type)))
			}
		}
	}
	return problems
}

func kindOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration like 15s or 168h"
	case reflect.TypeFor[slog.Level]():
		return "DEBUG, INFO, WARN or ERROR"
	case reflect.TypeFor[bool]():
		return "true or false"
	}
	return "a number"
}

// RoleOrder is the roles in their order.
func (s Settings) RoleOrder() roster.Roles { return roster.Roles(s.Roles) }
