package settings_test

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/refusal"
	"github.com/usherhq/usher/pkg/refusal/refusaltest"
	"github.com/usherhq/usher/pkg/settings"
)

// production is an environment in which every service starts.
func production() map[string]string {
	return map[string]string{
		"USHER_PUBLIC_URL": "https://invite.example.com", "USHER_NATS_URL": "nats://nats:4222", "USHER_NATS_SYNC": "always",
		"USHER_REDIS_URL": "redis://redis:6379", "USHER_LINK_KEYS": links.NewKey(), "USHER_MAIL_FROM": "Usher <invitations@example.com>",
		"MAILGUN_DOMAIN": "mg.example.com", "MAILGUN_API_KEY": "key-secret", "MAILGUN_WEBHOOK_SIGNING_KEY": "signing-secret",
		"USHER_FAILPOINTS": "only a binary that was built for fault runs needs to be told",
	}
}

func environ(vars map[string]string) []string {
	var list []string
	for name, value := range vars {
		list = append(list, name+"="+value)
	}
	return list
}

func TestACompleteProductionEnvironmentIsTaken(t *testing.T) {
	for _, service := range []settings.Service{settings.API, settings.Mailer, settings.Acceptance, settings.All, settings.Operator} {
		vars := production()
		vars["USHER_ENV"] = "production"
		s, err := settings.Load(service, environ(vars))
		require.NoError(t, err, service)
		require.False(t, s.Development())
		require.Equal(t, 168*time.Hour, s.TTL)
	}
}

func TestLinksToThisMachineNeedNoHTTPS(t *testing.T) {
	for _, url := range []string{"http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]"} {
		vars := production()
		vars["USHER_PUBLIC_URL"] = url
		_, err := settings.Load(settings.API, environ(vars))
		require.NoError(t, err, url)
	}
}

func TestAcceptanceNeedsNoLinkKeys(t *testing.T) {
	vars := production()
	delete(vars, "USHER_LINK_KEYS")
	_, err := settings.Load(settings.Acceptance, environ(vars))
	require.NoError(t, err)
}

func TestUnsetMeansProduction(t *testing.T) {
	s, err := settings.Load(settings.API, environ(production()))
	require.NoError(t, err)
	require.Equal(t, settings.Production, s.Env)
}

func TestUpAloneNeedsNothing(t *testing.T) {
	s, err := settings.Load(settings.All, nil)
	require.NoError(t, err)
	require.True(t, s.Development())
	require.Equal(t, "http://127.0.0.1:8080", s.PublicURL)
}

// unsafe is a production environment with one thing wrong.
type unsafe struct {
	service settings.Service
	says    string
	wrong   []string // NAME=value; NAME alone is unset
}

func TestEachUnsafeSettingIsRefusedByName(t *testing.T) {
	key := func(fill string) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32/len(fill))))
	}
	good, again := links.NewKey(), links.NewKey()
	cases := map[string]refusaltest.Case{}
	for name, c := range map[string]unsafe{
		"unknown environment":         {settings.API, "USHER_ENV must be production or development", []string{"USHER_ENV=staging"}},
		"development elsewhere":       {settings.API, `USHER_ENV=development works in "usher up" alone`, []string{"USHER_ENV=development"}},
		"no broker":                   {settings.API, `USHER_NATS_URL is needed: only "usher up" has a broker of its own`, []string{"USHER_NATS_URL"}},
		"no Redis":                    {settings.Mailer, `USHER_REDIS_URL is needed: only "usher up" has a Redis of its own`, []string{"USHER_REDIS_URL"}},
		"no Redis for an operator":    {settings.Operator, `USHER_REDIS_URL is needed: only "usher up" has a Redis of its own`, []string{"USHER_REDIS_URL"}},
		"embedded broker":             {settings.All, "USHER_NATS_URL and USHER_REDIS_URL are needed in production: the embedded ones are for development", []string{"USHER_ENV=production", "USHER_NATS_URL"}},
		"in-process Redis":            {settings.All, "USHER_NATS_URL and USHER_REDIS_URL are needed in production: the embedded ones are for development", []string{"USHER_ENV=production", "USHER_REDIS_URL"}},
		"sync unknown":                {settings.Acceptance, "USHER_NATS_MONITORING_URL is needed, or USHER_NATS_SYNC=always: it must be known that the broker syncs every write", []string{"USHER_NATS_SYNC"}},
		"sync unknown to an operator": {settings.Operator, "USHER_NATS_MONITORING_URL is needed, or USHER_NATS_SYNC=always: it must be known that the broker syncs every write", []string{"USHER_NATS_SYNC", "USHER_NATS_URL"}},
		"sync declared lazy":          {settings.Acceptance, `USHER_NATS_SYNC can only be "always"`, []string{"USHER_NATS_SYNC=2m"}},
		"two replicas":                {settings.API, "USHER_REPLICAS must be 1, 3 or 5", []string{"USHER_REPLICAS=2"}},
		"no replicas":                 {settings.API, "USHER_REPLICAS must be 1, 3 or 5", []string{"USHER_REPLICAS=0"}},
		"short ledger":                {settings.API, "USHER_LEDGER_MAX_AGE must be longer than an invitation may live (8760h0m0s)", []string{"USHER_LEDGER_MAX_AGE=8760h"}},
		"profiles for everybody":      {settings.API, "USHER_PPROF_ADDR must be a port of this machine alone, like 127.0.0.1:6060: profiles show what is in memory", []string{"USHER_PPROF_ADDR=0.0.0.0:6060"}},
		"profiles without a host":     {settings.Acceptance, "USHER_PPROF_ADDR must be a port of this machine alone, like 127.0.0.1:6060: profiles show what is in memory", []string{"USHER_PPROF_ADDR=:6060"}},

		"development for everybody": {settings.All, "USHER_HTTP_ADDR must be a port of this machine alone in development, like 127.0.0.1:8080: whoever reaches it may be anybody there", []string{"USHER_ENV=development", "USHER_HTTP_ADDR=0.0.0.0:8080"}},
		"development without host":  {settings.All, "USHER_HTTP_ADDR must be a port of this machine alone in development, like 127.0.0.1:8080: whoever reaches it may be anybody there", []string{"USHER_ENV", "USHER_HTTP_ADDR=:8080"}},
		"a broker for everybody":    {settings.All, "USHER_NATS_LISTEN must be a port of this machine alone, like 127.0.0.1:4222, or off: the embedded broker asks nobody who they are", []string{"USHER_ENV=development", "USHER_NATS_URL", "USHER_NATS_LISTEN=0.0.0.0:4222"}},
		"no public URL":             {settings.API, "USHER_PUBLIC_URL is needed: every link begins with it", []string{"USHER_PUBLIC_URL"}},
		"public URL with a path":    {settings.API, "USHER_PUBLIC_URL must be scheme and host alone, like https://invite.example.com", []string{"USHER_PUBLIC_URL=https://example.com/a"}},
		"public URL with a query":   {settings.API, "USHER_PUBLIC_URL must be scheme and host alone, like https://invite.example.com", []string{"USHER_PUBLIC_URL=https://example.com?a"}},
		"public URL with a user":    {settings.API, "USHER_PUBLIC_URL must be scheme and host alone, like https://invite.example.com", []string{"USHER_PUBLIC_URL=https://user@example.com"}},
		"public URL of no web":      {settings.API, "USHER_PUBLIC_URL must be scheme and host alone, like https://invite.example.com", []string{"USHER_PUBLIC_URL=ftp://example.com"}},
		"plain public URL":          {settings.API, "USHER_PUBLIC_URL must be https in production, unless its host is localhost: links carry a secret", []string{"USHER_PUBLIC_URL=http://invite.example.com"}},
		"plain look-alike URL":      {settings.API, "USHER_PUBLIC_URL must be https in production, unless its host is localhost: links carry a secret", []string{"USHER_PUBLIC_URL=http://localhost.example.com"}},

		"no link keys":             {settings.API, `USHER_LINK_KEYS is needed in production; make one with "usher keys link"`, []string{"USHER_LINK_KEYS"}},
		"no link keys for mails":   {settings.Mailer, `USHER_LINK_KEYS is needed in production; make one with "usher keys link"`, []string{"USHER_LINK_KEYS"}},
		"link key without id":      {settings.API, "USHER_LINK_KEYS: key 1 of the list is not of the form id:base64", []string{"USHER_LINK_KEYS=" + strings.TrimPrefix(good, "1:")}},
		"link key with a wrong id": {settings.API, "USHER_LINK_KEYS: key 1 of the list has an id that is not a number from 0 to 255", []string{"USHER_LINK_KEYS=9" + "99" + good}},
		"link key not in base64":   {settings.API, "USHER_LINK_KEYS: key 2 of the list is not base64", []string{"USHER_LINK_KEYS=" + good + ",2:*hunter2*"}},
		"short link key":           {settings.API, "USHER_LINK_KEYS: key 1 of the list has fewer than 32 bytes", []string{"USHER_LINK_KEYS=1:" + key("a")[:40]}},
		"link key of equal bytes":  {settings.API, "USHER_LINK_KEYS: key 1 of the list is text or a pattern, not random bytes; make one with: usher keys link", []string{"USHER_LINK_KEYS=1:" + key("\x00")}},
		"link key from a manual":   {settings.Acceptance, "USHER_LINK_KEYS: key 1 of the list is text or a pattern, not random bytes; make one with: usher keys link", []string{"USHER_LINK_KEYS=1:" + base64.StdEncoding.EncodeToString([]byte("correct horse battery staple 1234"))}},
		"link key that repeats":    {settings.API, "USHER_LINK_KEYS: key 1 of the list is text or a pattern, not random bytes; make one with: usher keys link", []string{"USHER_LINK_KEYS=1:" + key("\x01\xfe\x80\x7fabcd")}},
		"one id for two link keys": {settings.API, "USHER_LINK_KEYS: key 2 of the list has an id that was given before", []string{"USHER_LINK_KEYS=" + good + "," + again}},
		"one link key under two":   {settings.API, "USHER_LINK_KEYS: key 2 of the list was given before under another id", []string{"USHER_LINK_KEYS=" + good + ",2" + strings.TrimPrefix(good, "1")}},
		"a typed API key":          {settings.API, `USHER_BOOTSTRAP_API_KEY is no key; make one with "usher keys generate"`, []string{"USHER_BOOTSTRAP_API_KEY=hunter2"}},
		"a short API key":          {settings.API, `USHER_BOOTSTRAP_API_KEY is no key; make one with "usher keys generate"`, []string{fmt.Sprintf("USHER_BOOTSTRAP_API_KEY=usher_a%08x", crc32.ChecksumIEEE([]byte("a")))}},
		"one role":                 {settings.API, "USHER_ROLES needs two roles at least", []string{"USHER_ROLES=owner"}},
		"a role that is no word":   {settings.API, "USHER_ROLES: role 2 must be a lower-case word", []string{"USHER_ROLES=owner,Admin"}},
		"a role twice":             {settings.API, "USHER_ROLES: role 3 is there twice", []string{"USHER_ROLES=owner,admin,owner"}},
		"short-lived invitations":  {settings.API, "USHER_INVITATION_TTL must be from 5m to 8760h", []string{"USHER_INVITATION_TTL=1m"}},
		"everlasting invitations":  {settings.API, "USHER_INVITATION_TTL must be from 5m to 8760h", []string{"USHER_INVITATION_TTL=9000h"}},
		"policy":                   {settings.API, "USHER_INVITER_LOST_AUTHORITY must be block or lower", []string{"USHER_INVITER_LOST_AUTHORITY=ignore"}},
		"a rate below nothing":     {settings.Mailer, "USHER_MAIL_RATE must not be negative", []string{"USHER_MAIL_RATE=-1"}},
		"no time to finish":        {settings.API, "USHER_SHUTDOWN_GRACE must be from 1s to 5m", []string{"USHER_SHUTDOWN_GRACE=0s"}},

		"no Mailgun":                {settings.Mailer, "MAILGUN_DOMAIN and MAILGUN_API_KEY are needed in production", []string{"MAILGUN_DOMAIN", "MAILGUN_API_KEY"}},
		"Mailgun without a key":     {settings.Mailer, "MAILGUN_API_KEY is needed beside MAILGUN_DOMAIN", []string{"MAILGUN_API_KEY"}},
		"Mailgun without a domain":  {settings.Mailer, "MAILGUN_DOMAIN is needed beside MAILGUN_API_KEY", []string{"MAILGUN_DOMAIN"}},
		"Mailgun's sample key":      {settings.Mailer, "MAILGUN_API_KEY is the sample of the documentation; Mailgun shows yours under API security", []string{"MAILGUN_API_KEY=key-fake"}},
		"no sender":                 {settings.Mailer, "USHER_MAIL_FROM is needed to send mails", []string{"USHER_MAIL_FROM"}},
		"bad sender":                {settings.Mailer, `USHER_MAIL_FROM must be an address, like "Example <invitations@example.com>"`, []string{"USHER_MAIL_FROM=nobody"}},
		"Mailgun nowhere":           {settings.Mailer, "MAILGUN_API_BASE must be an address like https://api.mailgun.net", []string{"MAILGUN_API_BASE=api.mailgun.net"}},
		"Mailgun in the open":       {settings.Mailer, "MAILGUN_API_BASE must be https in production, unless its host is localhost or MAILGUN_ALLOW_HTTP is true: mails and key would travel in the open", []string{"MAILGUN_API_BASE=http://api.mailgun.net"}},
		"webhooks unheard":          {settings.API, "MAILGUN_WEBHOOK_SIGNING_KEY is needed in production: without it nobody hears of bounces and complaints, and mails go on to who complained", []string{"MAILGUN_WEBHOOK_SIGNING_KEY"}},
		"webhooks anybody may sign": {settings.All, "MAILGUN_WEBHOOK_SIGNING_KEY is the sample of the documentation; Mailgun shows yours under Sending, Webhooks", []string{"USHER_ENV=production", "MAILGUN_WEBHOOK_SIGNING_KEY=try-me"}},

		"issuer alone":          {settings.API, "USHER_OIDC_CLIENT_ID is needed beside the other USHER_OIDC settings", []string{"USHER_OIDC_ISSUER=https://accounts.example.com"}},
		"issuer without secret": {settings.API, "USHER_OIDC_CLIENT_SECRET is needed beside the other USHER_OIDC settings", []string{"USHER_OIDC_ISSUER=https://accounts.example.com", "USHER_OIDC_CLIENT_ID=usher"}},
		"client without issuer": {settings.API, "USHER_OIDC_ISSUER is needed beside the other USHER_OIDC settings", []string{"USHER_OIDC_CLIENT_ID=usher", "USHER_OIDC_CLIENT_SECRET=s"}},
		"plain issuer":          {settings.API, "USHER_OIDC_ISSUER must be https in production, unless its host is localhost", []string{"USHER_OIDC_ISSUER=http://accounts.example.com", "USHER_OIDC_CLIENT_ID=usher", "USHER_OIDC_CLIENT_SECRET=s"}},
		"issuer that is none":   {settings.API, "USHER_OIDC_ISSUER must be an address like https://accounts.example.com", []string{"USHER_OIDC_ISSUER=accounts", "USHER_OIDC_CLIENT_ID=usher", "USHER_OIDC_CLIENT_SECRET=s"}},

		"a duration that is none": {settings.API, "USHER_INVITATION_TTL cannot be read as a duration", []string{"USHER_INVITATION_TTL=tomorrow"}},
		"a number that is none":   {settings.API, "USHER_REPLICAS cannot be read as a number", []string{"USHER_REPLICAS=three"}},
		"a word that is none":     {settings.API, "MAILGUN_ALLOW_HTTP cannot be read as true or false", []string{"MAILGUN_ALLOW_HTTP=maybe"}},
	} {
		cases[name] = refusaltest.Case{
			Says: c.says, Secrets: []string{strings.TrimPrefix(good, "1:"), strings.TrimPrefix(again, "1:"), "hunter2", "key-secret", "signing-secret"},
			Start: func(*testing.T) error {
				vars := production()
				for _, w := range c.wrong {
					name, value, _ := strings.Cut(w, "=")
					vars[name] = value
				}
				_, err := settings.Load(c.service, environ(vars))
				return err
			},
		}
	}
	var rules []refusal.Line
	for _, g := range settings.Rules() {
		rules = append(rules, g.Lines...)
	}
	refusaltest.Walk(t, rules, cases)
}

// What stands in documentation and compose files is no secret, so whoever copies it must be told.
func TestEverySecretThatTheDocumentationShowsIsRefused(t *testing.T) {
	set := map[string]*regexp.Regexp{
		".md":  regexp.MustCompile(`(?m)\b([A-Z]+_[A-Z_]+)=["']?([^\s"'$<{;]+)`),
		".yml": regexp.MustCompile(`(?m)\b([A-Z]+_[A-Z_]+): +["']?([^\s"'$<{;]+)`),
	}
	secret := map[string]bool{}
	for _, f := range settings.Fields() {
		secret[f.Env] = f.Secret && !strings.HasSuffix(f.Env, "_URL") // those hold one at most in part
	}
	files, err := filepath.Glob("../../*.md")
	require.NoError(t, err)
	for _, pattern := range []string{"../../*.yml", "../../docs/*.md", "../../deploy/*.yml", "../../deploy/*/*.yml"} {
		more, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, more...)
	}
	require.Greater(t, len(files), 3)
	var seen int
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range set[filepath.Ext(file)].FindAllStringSubmatch(string(text), -1) {
			if secret[m[1]] {
				seen++
				require.Contains(t, settings.Samples, m[2], "%s shows %s", file, m[1])
			}
		}
	}
	require.Positive(t, seen)
}

func TestAFakeMailgunTakesTheSampleKeyWhereHTTPIsAllowed(t *testing.T) {
	vars := production()
	vars["MAILGUN_API_KEY"], vars["MAILGUN_API_BASE"], vars["MAILGUN_ALLOW_HTTP"] = "key-fake", "http://fake-mailgun:8090", "true"
	_, err := settings.Load(settings.Mailer, environ(vars))
	require.NoError(t, err)
}

func TestDevelopmentWithNothingToHideMayListenNowhere(t *testing.T) {
	_, err := settings.Load(settings.All, []string{"USHER_NATS_LISTEN=off", "USHER_HTTP_ADDR=[::1]:8080"})
	require.NoError(t, err)
}

func TestEverythingWrongIsSaidAtOnceAndNoValueIsShown(t *testing.T) {
	secret := "hunter2-hunter2"
	_, err := settings.Load(settings.API, []string{
		"USHER_LINK_KEYS=" + secret, "USHER_BOOTSTRAP_API_KEY=" + secret, "USHER_REPLICAS=" + secret, "USHER_PUBLIC_URL=" + secret, "USHER_INVITATION_TTL=" + secret,
	})
	require.Error(t, err)
	for _, name := range []string{"USHER_LINK_KEYS", "USHER_BOOTSTRAP_API_KEY", "USHER_REPLICAS", "USHER_PUBLIC_URL", "USHER_INVITATION_TTL", "USHER_NATS_URL", "USHER_REDIS_URL"} {
		require.ErrorContains(t, err, name)
	}
	require.NotContains(t, err.Error(), "hunter2")
}

func TestSecretsMayComeFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	key := apikeys.Generate()
	require.NoError(t, os.WriteFile(file, []byte(key+"\n"), 0o600))
	vars := production()
	vars["USHER_BOOTSTRAP_API_KEY_FILE"] = file
	s, err := settings.Load(settings.API, environ(vars))
	require.NoError(t, err)
	require.Equal(t, key, s.BootstrapKey)

	vars["USHER_BOOTSTRAP_API_KEY"] = key
	_, err = settings.Load(settings.API, environ(vars))
	require.ErrorContains(t, err, "USHER_BOOTSTRAP_API_KEY and USHER_BOOTSTRAP_API_KEY_FILE are both set")

	delete(vars, "USHER_BOOTSTRAP_API_KEY")
	vars["USHER_BOOTSTRAP_API_KEY_FILE"] = file + ".missing"
	_, err = settings.Load(settings.API, environ(vars))
	require.ErrorContains(t, err, "USHER_BOOTSTRAP_API_KEY_FILE names a file that cannot be read")
}

func TestTheDumpMasksSecrets(t *testing.T) {
	vars := production()
	s, err := settings.Load(settings.API, environ(vars))
	require.NoError(t, err)
	for _, v := range s.Values() {
		require.NotContains(t, v.Value, vars["USHER_LINK_KEYS"])
		require.NotContains(t, v.Value, "key-secret")
		require.NotEmpty(t, v.About, v.Name)
	}
	require.True(t, strings.HasPrefix(settings.Markdown(), "| name | meaning (default) |"))
}
