package settings

import (
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/refusal"
	"github.com/usherhq/usher/pkg/roster"
)

// given are the settings of one service.
type given struct {
	Settings
	service Service
}

// operates is true for the command line where it works on the broker.
func (g given) operates() bool { return g.service == Operator || g.service == LedgerOperator }

func (g given) production() bool { return !g.Development() }

// group are rules that hold for some services.
type group struct {
	title    string
	services []Service
	rules    []refusal.Rule[given]
}

// groups are all rules, in the order in which they are reported.
var groups = []group{
	{"Every process, the command line too", []Service{API, Mailer, Acceptance, All, Operator, LedgerOperator}, everywhere},
	{"Every service", []Service{API, Mailer, Acceptance, All}, services},
	{"The mailer, and \"usher up\"", []Service{Mailer, All}, mailing},
	{"The API, and \"usher up\"", []Service{API, All}, front},
}

// broken gives the sentence of every rule that the settings of a service break.
func broken(s Settings, service Service) []string {
	var all []string
	for _, g := range groups {
		if slices.Contains(g.services, service) {
			all = append(all, refusal.Check(g.rules, given{s, service})...)
		}
	}
	return all
}

// Group are the rules of some services, as the documentation has them.
type Group struct {
	Title string
	Lines []refusal.Line
}

// Rules are the promises of the settings.
func Rules() []Group {
	all := make([]Group, len(groups))
	for i, g := range groups {
		all[i] = Group{g.title, refusal.Lines(g.rules)}
	}
	return all
}

// rule is one whose sentence tells no values.
func rule(setting, when, says string, broken func(given) bool) refusal.Rule[given] {
	return refusal.Of(setting, when, says, func(g given) refusal.Values { return refusal.If(broken(g)) })
}

var everywhere = []refusal.Rule[given]{
	rule("USHER_ENV", "another word than these two", "USHER_ENV must be production or development", func(g given) bool {
		return g.Env != Production && g.Env != Development
	}),
	rule("USHER_ENV", "development, of a service by itself", "USHER_ENV=development works in \"usher up\" alone", func(g given) bool {
		return g.Development() && g.service != All && !g.operates()
	}),
	rule("USHER_NATS_URL", "unset, of a service by itself", "USHER_NATS_URL is needed: only \"usher up\" has a broker of its own", func(g given) bool {
		return g.service != All && !g.operates() && g.NATSURL == ""
	}),
	rule("USHER_REDIS_URL", "unset, but for \"usher up\"", "USHER_REDIS_URL is needed: only \"usher up\" has a Redis of its own", func(g given) bool {
		return g.service != All && g.service != LedgerOperator && g.RedisURL == ""
	}),
	rule("USHER_NATS_URL, USHER_REDIS_URL", "unset in production: the embedded broker and the in-process Redis",
		"USHER_NATS_URL and USHER_REDIS_URL are needed in production: the embedded ones are for development", func(g given) bool {
			return g.production() && g.service == All && (g.NATSURL == "" || g.RedisURL == "")
		}),
	rule("USHER_NATS_MONITORING_URL", "unset in production, without USHER_NATS_SYNC",
		"USHER_NATS_MONITORING_URL is needed, or USHER_NATS_SYNC=always: it must be known that the broker syncs every write", func(g given) bool {
			return g.production() && (g.NATSURL != "" || g.operates()) && g.NATSMonitoring == "" && g.NATSSync == ""
		}),
	rule("USHER_NATS_SYNC", "another word than always", "USHER_NATS_SYNC can only be \"always\"", func(g given) bool {
		return g.NATSSync != "" && g.NATSSync != "always"
	}),
	rule("USHER_REPLICAS", "a number without a majority that survives one server less, or more than there may be", "USHER_REPLICAS must be 1, 3 or 5", func(g given) bool {
		return !slices.Contains([]int{1, 3, 5}, g.Replicas)
	}),
	refusal.Of("USHER_LEDGER_MAX_AGE", "so short that an open invitation would be forgotten", "USHER_LEDGER_MAX_AGE must be longer than an invitation may live (%s)", func(g given) refusal.Values {
		return refusal.If(g.LedgerAge <= invitation.MaxTTL, invitation.MaxTTL)
	}),
	rule("USHER_PPROF_ADDR", "an address that other machines reach",
		"USHER_PPROF_ADDR must be a port of this machine alone, like 127.0.0.1:6060: profiles show what is in memory", func(g given) bool {
			return g.ProfileAddr != "" && !loopback(g.ProfileAddr)
		}),
}

var services = slices.Concat([]refusal.Rule[given]{
	rule("USHER_HTTP_ADDR", "in development, an address that other machines reach",
		"USHER_HTTP_ADDR must be a port of this machine alone in development, like 127.0.0.1:8080: whoever reaches it may be anybody there", func(g given) bool {
			return g.Development() && !loopback(g.HTTPAddr)
		}),
	rule("USHER_NATS_LISTEN", "an address that other machines reach",
		"USHER_NATS_LISTEN must be a port of this machine alone, like 127.0.0.1:4222, or off: the embedded broker asks nobody who they are", func(g given) bool {
			return g.service == All && g.NATSURL == "" && g.NATSListen != "off" && !loopback(g.NATSListen)
		}),
	rule("USHER_PUBLIC_URL", "unset in production", "USHER_PUBLIC_URL is needed: every link begins with it", func(g given) bool {
		return g.PublicURL == ""
	}),
	rule("USHER_PUBLIC_URL", "with a path, a query, a user, or of another scheme", "USHER_PUBLIC_URL must be scheme and host alone, like https://invite.example.com", func(g given) bool {
		u, ok := address(g.PublicURL)
		return g.PublicURL != "" && (!ok || u.Path != "")
	}),
	rule("USHER_PUBLIC_URL", "plain http in production: links and session cookies would travel in the open",
		"USHER_PUBLIC_URL must be https in production, unless its host is localhost: links carry a secret", func(g given) bool {
			u, ok := address(g.PublicURL)
			return g.production() && ok && open(u) // a link to this machine crosses no network
		}),
	rule("USHER_LINK_KEYS", "unset in production, but for acceptance", "USHER_LINK_KEYS is needed in production; make one with \"usher keys link\"", func(g given) bool {
		return g.production() && g.LinkKeys == "" && g.service != Acceptance
	}),
}, linkKeyRules(), []refusal.Rule[given]{
	rule("USHER_BOOTSTRAP_API_KEY", "typed by hand", "USHER_BOOTSTRAP_API_KEY is no key; make one with \"usher keys generate\"", func(g given) bool {
		return g.BootstrapKey != "" && !apikeys.WellFormed(g.BootstrapKey)
	}),
	rule("USHER_ROLES", "fewer than two", "USHER_ROLES needs two roles at least", func(g given) bool { return len(g.Roles) < 2 }),
	refusal.Of("USHER_ROLES", "other than lower-case words", "USHER_ROLES: role %d must be a lower-case word", func(g given) refusal.Values {
		at := slices.IndexFunc(g.Roles, func(r string) bool { return !role.MatchString(r) })
		return refusal.If(at >= 0, at+1)
	}),
	refusal.Of("USHER_ROLES", "one twice", "USHER_ROLES: role %d is there twice", func(g given) refusal.Values {
		for i, r := range g.Roles {
			if slices.Index(g.Roles, r) != i {
				return refusal.If(true, i+1)
			}
		}
		return nil
	}),
	rule("USHER_INVITATION_TTL", "shorter or longer", "USHER_INVITATION_TTL must be from 5m to 8760h", func(g given) bool {
		return g.TTL < invitation.MinTTL || g.TTL > invitation.MaxTTL
	}),
	rule("USHER_INVITER_LOST_AUTHORITY", "another word than these two", "USHER_INVITER_LOST_AUTHORITY must be block or lower", func(g given) bool {
		return g.Authority != roster.AuthorityBlock && g.Authority != roster.AuthorityLower
	}),
	rule("USHER_MAIL_RATE", "less than 0", "USHER_MAIL_RATE must not be negative", func(g given) bool { return g.MailRate < 0 }),
	rule("USHER_SHUTDOWN_GRACE", "shorter or longer", "USHER_SHUTDOWN_GRACE must be from 1s to 5m", func(g given) bool {
		return g.Grace < time.Second || g.Grace > 5*time.Minute
	}),
})

// linkKeyRules are one for each fault that a list of link keys can have.
func linkKeyRules() []refusal.Rule[given] {
	var rules []refusal.Rule[given]
	for _, f := range []struct {
		when string
		err  error
	}{
		{"without an id, or a colon", links.ErrForm},
		{"an id that is none", links.ErrID},
		{"not base64", links.ErrBase64},
		{"short", links.ErrShort},
		{"a phrase, counted or equal bytes, a repeated pattern, a sample of some manual", links.ErrGuessable},
		{"one id for two keys", links.ErrSameID},
		{"one key under two ids", links.ErrSameKey},
	} {
		rules = append(rules, refusal.Of("USHER_LINK_KEYS", f.when, "USHER_LINK_KEYS: key %d of the list "+f.err.Error(), func(g given) refusal.Values {
			return keyFault(g.LinkKeys, f.err)
		}))
	}
	return rules
}

func keyFault(list string, err error) refusal.Values {
	if list == "" {
		return nil
	}
	for _, f := range links.Faults(list) {
		if f.Err == err { //nolint:errorlint // these are the very values
			return refusal.If(true, f.Place)
		}
	}
	return nil
}

var mailing = []refusal.Rule[given]{
	rule("MAILGUN_DOMAIN, MAILGUN_API_KEY", "unset in production", "MAILGUN_DOMAIN and MAILGUN_API_KEY are needed in production", func(g given) bool {
		return g.production() && !g.Mailgun()
	}),
	rule("MAILGUN_DOMAIN", "unset beside the key", "MAILGUN_DOMAIN is needed beside MAILGUN_API_KEY", func(g given) bool {
		return g.Mailgun() && g.MailgunDomain == ""
	}),
	rule("MAILGUN_API_KEY", "unset beside the domain", "MAILGUN_API_KEY is needed beside MAILGUN_DOMAIN", func(g given) bool {
		return g.Mailgun() && g.MailgunKey == ""
	}),
	rule("MAILGUN_API_KEY", "the sample of the documentation, in production, but for a fake Mailgun (MAILGUN_ALLOW_HTTP)",
		"MAILGUN_API_KEY is the sample of the documentation; Mailgun shows yours under API security", func(g given) bool {
			return g.production() && !g.MailgunAllowHTTP && slices.Contains(Samples, g.MailgunKey)
		}),
	rule("USHER_MAIL_FROM", "unset with Mailgun", "USHER_MAIL_FROM is needed to send mails", func(g given) bool {
		return g.Mailgun() && g.MailFrom == ""
	}),
	rule("USHER_MAIL_FROM", "no address", "USHER_MAIL_FROM must be an address, like \"Example <invitations@example.com>\"", func(g given) bool {
		_, err := mail.ParseAddress(g.MailFrom)
		return g.MailFrom != "" && err != nil
	}),
	rule("MAILGUN_API_BASE", "no address", "MAILGUN_API_BASE must be an address like https://api.mailgun.net", func(g given) bool {
		_, ok := address(g.MailgunBase)
		return !ok
	}),
	rule("MAILGUN_API_BASE", "plain http in production, without MAILGUN_ALLOW_HTTP",
		"MAILGUN_API_BASE must be https in production, unless its host is localhost or MAILGUN_ALLOW_HTTP is true: mails and key would travel in the open", func(g given) bool {
			u, ok := address(g.MailgunBase)
			return g.production() && ok && open(u) && !g.MailgunAllowHTTP
		}),
}

// front refuses, beside the rest, settings for signing in that are there by half: nobody shall believe the console to be behind
// an issuer when it is not.
var front = []refusal.Rule[given]{
	rule("MAILGUN_WEBHOOK_SIGNING_KEY", "unset in production",
		"MAILGUN_WEBHOOK_SIGNING_KEY is needed in production: without it nobody hears of bounces and complaints, and mails go on to who complained", func(g given) bool {
			return g.production() && g.MailgunWebhookKey == ""
		}),
	rule("MAILGUN_WEBHOOK_SIGNING_KEY", "the sample of the documentation, in production",
		"MAILGUN_WEBHOOK_SIGNING_KEY is the sample of the documentation; Mailgun shows yours under Sending, Webhooks", func(g given) bool {
			return g.production() && slices.Contains(Samples, g.MailgunWebhookKey)
		}),
	rule("USHER_OIDC_ISSUER", "unset beside the client's id or secret", "USHER_OIDC_ISSUER is needed beside the other USHER_OIDC settings", func(g given) bool {
		return g.signIn() && g.OIDCIssuer == ""
	}),
	rule("USHER_OIDC_CLIENT_ID", "unset beside issuer or secret", "USHER_OIDC_CLIENT_ID is needed beside the other USHER_OIDC settings", func(g given) bool {
		return g.signIn() && g.OIDCClientID == ""
	}),
	rule("USHER_OIDC_CLIENT_SECRET", "unset beside issuer or id", "USHER_OIDC_CLIENT_SECRET is needed beside the other USHER_OIDC settings", func(g given) bool {
		return g.signIn() && g.OIDCClientSecret == ""
	}),
	rule("USHER_OIDC_ISSUER", "no address", "USHER_OIDC_ISSUER must be an address like https://accounts.example.com", func(g given) bool {
		_, ok := address(g.OIDCIssuer)
		return g.OIDCIssuer != "" && !ok
	}),
	rule("USHER_OIDC_ISSUER", "plain http in production", "USHER_OIDC_ISSUER must be https in production, unless its host is localhost", func(g given) bool {
		u, ok := address(g.OIDCIssuer)
		return g.production() && ok && open(u)
	}),
}

// Samples are the secrets that documentation and compose file show. They are no secrets.
var Samples = []string{"key-fake", "try-me"}

// role is what a role may be called: it travels in events and pages.
var role = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// signIn reports whether anything of signing in is set.
func (s Settings) signIn() bool {
	return s.OIDCIssuer != "" || s.OIDCClientID != "" || s.OIDCClientSecret != ""
}

// address reads an http or https address; ok is false for what is none, and for one with a user, a query or a fragment.
func address(s string) (u *url.URL, ok bool) {
	u, err := url.Parse(s)
	return u, err == nil && u.Hostname() != "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// open reports whether what is sent to an address can be read on its way.
func open(u *url.URL) bool { return u.Scheme == "http" && !loopbackHost(u.Hostname()) }

// loopback reports whether an address with a port can be reached from this machine alone.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopbackHost(host)
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
