// Package settings reads what operators set, from the environment alone, and says everything that is wrong with it at once.
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/links"
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
	HTTPAddr  string        `env:"USHER_HTTP_ADDR" envDefault:"127.0.0.1:8080" about:"where HTTP is served"`
	PublicURL string        `env:"USHER_PUBLIC_URL" about:"base of every link, like https://invite.example.com; required in production, with https unless the host is localhost; never taken from a request"`
	DataDir   string        `env:"USHER_DATA_DIR" envDefault:"./usher-data" about:"the embedded broker's files"`
	Grace     time.Duration `env:"USHER_SHUTDOWN_GRACE" envDefault:"15s" about:"how long a stop waits for running requests and handlers"`
	LogLevel  slog.Level    `env:"USHER_LOG_LEVEL" envDefault:"INFO" about:"DEBUG, INFO, WARN or ERROR"`

	ProfileAddr string `env:"USHER_PPROF_ADDR" about:"where Go's profiles are served, on this machine only, like 127.0.0.1:6060; unset: nowhere"`

	NATSURL        string `env:"USHER_NATS_URL" secret:"true" about:"the broker; unset: embedded (only in \"usher up\"), and for the command line the context of the nats command line"`
	NATSCreds      string `env:"USHER_NATS_CREDS" about:"path of the broker's credentials file"`
	NATSMonitoring string `env:"USHER_NATS_MONITORING_URL" about:"the broker's monitoring address, asked at start whether every write is synced"`
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
	MailgunWebhookKey string `env:"MAILGUN_WEBHOOK_SIGNING_KEY" secret:"true" about:"verifies Mailgun's webhooks; without it they are refused"`
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
	problems = append(problems, s.problems(service)...)
	return s, errors.Join(problems...)
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

// role is what a role may be called: it travels in events and pages.
var role = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

func (s Settings) problems(service Service) []error {
	var found []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			found = append(found, fmt.Errorf(format, args...))
		}
	}
	production := !s.Development()
	wrong(s.Env != Production && s.Env != Development, "USHER_ENV must be production or development")
	operates := service == Operator || service == LedgerOperator
	wrong(s.Development() && service != All && !operates, "USHER_ENV=development works in \"usher up\" alone")
	wrong(service != All && !operates && s.NATSURL == "", "USHER_NATS_URL is needed: only \"usher up\" has a broker of its own")
	wrong(service != All && service != LedgerOperator && s.RedisURL == "", "USHER_REDIS_URL is needed: only \"usher up\" has a Redis of its own")
	wrong(production && service == All && (s.NATSURL == "" || s.RedisURL == ""), "USHER_NATS_URL and USHER_REDIS_URL are needed in production: the embedded ones are for development")
	wrong((s.NATSURL != "" || operates) && production && s.NATSMonitoring == "" && s.NATSSync == "",
		"USHER_NATS_MONITORING_URL is needed, or USHER_NATS_SYNC=always: it must be known that the broker syncs every write")
	wrong(s.NATSSync != "" && s.NATSSync != "always", "USHER_NATS_SYNC can only be \"always\"")
	wrong(!slices.Contains([]int{1, 3, 5}, s.Replicas), "USHER_REPLICAS must be 1, 3 or 5")
	wrong(s.LedgerAge <= invitation.MaxTTL, "USHER_LEDGER_MAX_AGE must be longer than an invitation may live (%s)", invitation.MaxTTL)
	wrong(s.ProfileAddr != "" && !loopback(s.ProfileAddr), "USHER_PPROF_ADDR must be a port of this machine alone, like 127.0.0.1:6060: profiles show what is in memory")
	if operates {
		return found
	}
	found = append(found, s.publicURLProblems(production)...)
	if s.LinkKeys != "" {
		_, err := links.ParseRing(s.LinkKeys)
		wrong(err != nil, "USHER_LINK_KEYS: %v", err)
	}
	wrong(production && s.LinkKeys == "" && service != Acceptance, "USHER_LINK_KEYS is needed in production; make one with \"usher keys link\"")
	wrong(s.BootstrapKey != "" && !apikeys.WellFormed(s.BootstrapKey), "USHER_BOOTSTRAP_API_KEY is no key; make one with \"usher keys generate\"")
	wrong(len(s.Roles) < 2, "USHER_ROLES needs two roles at least")
	for i, r := range s.Roles {
		wrong(!role.MatchString(r), "USHER_ROLES: role %d must be a lower-case word", i+1)
		wrong(slices.Index(s.Roles, r) != i, "USHER_ROLES: role %d is there twice", i+1)
	}
	wrong(s.TTL < invitation.MinTTL || s.TTL > invitation.MaxTTL, "USHER_INVITATION_TTL must be from 5m to 8760h")
	wrong(s.Authority != roster.AuthorityBlock && s.Authority != roster.AuthorityLower, "USHER_INVITER_LOST_AUTHORITY must be block or lower")
	wrong(s.MailRate < 0, "USHER_MAIL_RATE must not be negative")
	wrong(s.Grace < time.Second || s.Grace > 5*time.Minute, "USHER_SHUTDOWN_GRACE must be from 1s to 5m")
	if service == Mailer || service == All {
		found = append(found, s.mailProblems(production)...)
	}
	if service == API || service == All {
		found = append(found, s.signInProblems(production)...)
	}
	return found
}

// signInProblems refuses settings for signing in that are there by half: nobody shall believe the console to be behind an
// issuer when it is not.
func (s Settings) signInProblems(production bool) []error {
	var found []error
	set := 0
	for name, value := range map[string]string{
		"USHER_OIDC_ISSUER": s.OIDCIssuer, "USHER_OIDC_CLIENT_ID": s.OIDCClientID, "USHER_OIDC_CLIENT_SECRET": s.OIDCClientSecret,
	} {
		if value != "" {
			set++
		} else {
			found = append(found, fmt.Errorf("%s is needed beside the other USHER_OIDC settings", name))
		}
	}
	if set == 0 {
		return nil
	}
	u, err := url.Parse(s.OIDCIssuer)
	switch {
	case s.OIDCIssuer == "":
	case err != nil, u.Host == "", u.RawQuery != "", u.Fragment != "", u.User != nil, u.Scheme != "http" && u.Scheme != "https":
		found = append(found, errors.New("USHER_OIDC_ISSUER must be an address like https://accounts.example.com"))
	case production && u.Scheme != "https" && !loopbackHost(u.Hostname()):
		found = append(found, errors.New("USHER_OIDC_ISSUER must be https in production, unless its host is localhost"))
	}
	return found
}

// loopback reports whether an address with a port can be reached from this machine alone.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopbackHost(host)
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s Settings) publicURLProblems(production bool) []error {
	if s.PublicURL == "" {
		return []error{errors.New("USHER_PUBLIC_URL is needed: every link begins with it")}
	}
	u, err := url.Parse(s.PublicURL)
	switch {
	case err != nil, u.Host == "", u.Path != "", u.RawQuery != "", u.Fragment != "", u.User != nil, u.Scheme != "http" && u.Scheme != "https":
		return []error{errors.New("USHER_PUBLIC_URL must be scheme and host alone, like https://invite.example.com")}
	case production && u.Scheme != "https" && !loopbackHost(u.Hostname()): // a link to this machine crosses no network
		return []error{errors.New("USHER_PUBLIC_URL must be https in production, unless its host is localhost: links carry a secret")}
	}
	return nil
}

func (s Settings) mailProblems(production bool) []error {
	var found []error
	wrong := func(bad bool, text string) {
		if bad {
			found = append(found, errors.New(text))
		}
	}
	wrong(production && !s.Mailgun(), "MAILGUN_DOMAIN and MAILGUN_API_KEY are needed in production")
	wrong(s.Mailgun() && s.MailgunDomain == "", "MAILGUN_DOMAIN is needed beside MAILGUN_API_KEY")
	wrong(s.Mailgun() && s.MailgunKey == "", "MAILGUN_API_KEY is needed beside MAILGUN_DOMAIN")
	wrong(s.Mailgun() && s.MailFrom == "", "USHER_MAIL_FROM is needed to send mails")
	if s.MailFrom != "" {
		_, err := mail.ParseAddress(s.MailFrom)
		wrong(err != nil, "USHER_MAIL_FROM must be an address, like \"Example <invitations@example.com>\"")
	}
	u, err := url.Parse(s.MailgunBase)
	wrong(err != nil || u.Host == "", "MAILGUN_API_BASE must be an address like https://api.mailgun.net")
	return found
}

// RoleOrder is the roles in their order.
func (s Settings) RoleOrder() roster.Roles { return roster.Roles(s.Roles) }
