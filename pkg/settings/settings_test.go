package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/settings"
)

// production is an environment in which every service starts.
func production() map[string]string {
	return map[string]string{
		"USHER_PUBLIC_URL": "https://invite.example.com", "USHER_NATS_URL": "nats://nats:4222", "USHER_NATS_SYNC": "always",
		"USHER_REDIS_URL": "redis://redis:6379", "USHER_LINK_KEYS": links.NewKey(), "USHER_MAIL_FROM": "Usher <invitations@example.com>",
		"MAILGUN_DOMAIN": "mg.example.com", "MAILGUN_API_KEY": "key-secret",
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

func TestEachUnsafeSettingIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		service settings.Service
		set     map[string]string
		unset   string
		says    string
	}{
		"no public URL":           {settings.API, nil, "USHER_PUBLIC_URL", "USHER_PUBLIC_URL is needed"},
		"plain public URL":        {settings.API, map[string]string{"USHER_PUBLIC_URL": "http://invite.example.com"}, "", "USHER_PUBLIC_URL must be https"},
		"plain look-alike URL":    {settings.API, map[string]string{"USHER_PUBLIC_URL": "http://localhost.example.com"}, "", "USHER_PUBLIC_URL must be https"},
		"public URL with a path":  {settings.API, map[string]string{"USHER_PUBLIC_URL": "https://example.com/a"}, "", "USHER_PUBLIC_URL must be scheme and host alone"},
		"public URL with a query": {settings.API, map[string]string{"USHER_PUBLIC_URL": "https://example.com?a"}, "", "USHER_PUBLIC_URL must be scheme and host alone"},
		"no link keys":            {settings.API, nil, "USHER_LINK_KEYS", "USHER_LINK_KEYS is needed"},
		"short link key":          {settings.API, map[string]string{"USHER_LINK_KEYS": "1:c2VjcmV0"}, "", "USHER_LINK_KEYS:"},
		"issuer alone":            {settings.API, map[string]string{"USHER_OIDC_ISSUER": "https://accounts.example.com"}, "", "USHER_OIDC_CLIENT_ID is needed beside"},
		"issuer without secret":   {settings.API, map[string]string{"USHER_OIDC_ISSUER": "https://accounts.example.com", "USHER_OIDC_CLIENT_ID": "usher"}, "", "USHER_OIDC_CLIENT_SECRET is needed beside"},
		"client without issuer":   {settings.API, map[string]string{"USHER_OIDC_CLIENT_ID": "usher", "USHER_OIDC_CLIENT_SECRET": "s"}, "", "USHER_OIDC_ISSUER is needed beside"},
		"plain issuer":            {settings.API, map[string]string{"USHER_OIDC_ISSUER": "http://accounts.example.com", "USHER_OIDC_CLIENT_ID": "usher", "USHER_OIDC_CLIENT_SECRET": "s"}, "", "USHER_OIDC_ISSUER must be https"},
		"issuer that is none":     {settings.API, map[string]string{"USHER_OIDC_ISSUER": "accounts", "USHER_OIDC_CLIENT_ID": "usher", "USHER_OIDC_CLIENT_SECRET": "s"}, "", "USHER_OIDC_ISSUER must be an address"},
		"no broker":               {settings.API, nil, "USHER_NATS_URL", "USHER_NATS_URL is needed"},
		"no Redis":                {settings.Mailer, nil, "USHER_REDIS_URL", "USHER_REDIS_URL is needed"},
		"sync unknown":            {settings.Acceptance, nil, "USHER_NATS_SYNC", "it must be known that the broker syncs every write"},
		"sync lazily":             {settings.Acceptance, map[string]string{"USHER_NATS_SYNC": "2m"}, "", "USHER_NATS_SYNC can only be"},
		"no Mailgun":              {settings.Mailer, map[string]string{"MAILGUN_DOMAIN": ""}, "MAILGUN_API_KEY", "MAILGUN_DOMAIN and MAILGUN_API_KEY are needed"},
		"half of Mailgun":         {settings.Mailer, nil, "MAILGUN_API_KEY", "MAILGUN_API_KEY is needed"},
		"no sender":               {settings.Mailer, nil, "USHER_MAIL_FROM", "USHER_MAIL_FROM is needed"},
		"bad sender":              {settings.Mailer, map[string]string{"USHER_MAIL_FROM": "nobody"}, "", "USHER_MAIL_FROM must be an address"},
		"unknown environment":     {settings.API, map[string]string{"USHER_ENV": "staging"}, "", "USHER_ENV must be"},
		"development elsewhere":   {settings.API, map[string]string{"USHER_ENV": "development"}, "", "works in \"usher up\" alone"},
		"embedded in production":  {settings.All, map[string]string{"USHER_ENV": "production"}, "USHER_NATS_URL", "needed in production"},
		"two replicas":            {settings.API, map[string]string{"USHER_REPLICAS": "2"}, "", "USHER_REPLICAS must be"},
		"short ledger":            {settings.API, map[string]string{"USHER_LEDGER_MAX_AGE": "24h"}, "", "USHER_LEDGER_MAX_AGE must be longer"},
		"short-lived invitations": {settings.API, map[string]string{"USHER_INVITATION_TTL": "1m"}, "", "USHER_INVITATION_TTL must be"},
		"a duration that is none": {settings.API, map[string]string{"USHER_INVITATION_TTL": "tomorrow"}, "", "USHER_INVITATION_TTL cannot be read as a duration"},
		"a number that is none":   {settings.API, map[string]string{"USHER_REPLICAS": "three"}, "", "USHER_REPLICAS cannot be read as a number"},
		"a word that is none":     {settings.API, map[string]string{"MAILGUN_ALLOW_HTTP": "maybe"}, "", "MAILGUN_ALLOW_HTTP cannot be read as true or false"},
		"one role":                {settings.API, map[string]string{"USHER_ROLES": "owner"}, "", "USHER_ROLES needs two"},
		"a role twice":            {settings.API, map[string]string{"USHER_ROLES": "owner,admin,owner"}, "", "USHER_ROLES: role 3 is there twice"},
		"a typed API key":         {settings.API, map[string]string{"USHER_BOOTSTRAP_API_KEY": "secret"}, "", "USHER_BOOTSTRAP_API_KEY is no key"},
		"policy":                  {settings.API, map[string]string{"USHER_INVITER_LOST_AUTHORITY": "ignore"}, "", "USHER_INVITER_LOST_AUTHORITY must be"},
	} {
		t.Run(name, func(t *testing.T) {
			vars := production()
			for k, v := range c.set {
				vars[k] = v
			}
			delete(vars, c.unset)
			_, err := settings.Load(c.service, environ(vars))
			require.ErrorContains(t, err, c.says)
		})
	}
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
