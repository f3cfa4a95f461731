package composetest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/settings"
)

const composeFile, mailgunFile = "../../docker-compose.yml", "../compose.mailgun.yml"

// mailgun is what compose.mailgun.yml asks for.
var mailgun = []string{
	"USHER_PUBLIC_URL=https://invite.example.com", "USHER_MAIL_FROM=Example <invitations@example.com>",
	"MAILGUN_DOMAIN=mg.example.com", "MAILGUN_API_KEY=key-example", "MAILGUN_WEBHOOK_SIGNING_KEY=signing-example",
}

func load(env []string, files ...string) (*types.Project, error) {
	options, err := cli.NewProjectOptions(files, cli.WithEnv(env), cli.WithName("usher"), cli.WithProfiles([]string{"cli"}))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

func loaded(t *testing.T, env []string, files ...string) *types.Project {
	t.Helper()
	project, err := load(env, files...)
	require.NoError(t, err)
	return project
}

func TestEveryContainerIsHardened(t *testing.T) {
	for name, s := range loaded(t, nil, composeFile).Services {
		require.True(t, s.ReadOnly, "%s may write outside its volumes", name)
		require.Equal(t, []string{"ALL"}, s.CapDrop, name)
		require.Contains(t, s.SecurityOpt, "no-new-privileges:true", name)
		require.False(t, s.Privileged, name)
		for _, p := range s.Ports {
			require.Equal(t, "127.0.0.1", p.HostIP, "%s publishes %s to the network", name, p.Published)
		}
	}
}

func TestWhatRunsIsWatchedAndRestarted(t *testing.T) {
	oneShot := []string{"keys", "usher"}
	for name, s := range loaded(t, nil, composeFile).Services {
		if slices.Contains(oneShot, name) {
			require.Equal(t, "no", s.Restart, name)
			continue
		}
		require.Equal(t, "unless-stopped", s.Restart, name)
		inImage := s.Build != nil
		require.True(t, inImage || s.HealthCheck != nil, "%s has no health check", name)
	}
}

// The services' own reading of their settings is the judge, in production, with secrets as "keys" makes them.
func TestTheServicesTakeTheirSettings(t *testing.T) {
	secrets := t.TempDir()
	for name, secret := range map[string]string{"link-keys": links.NewKey(), "api-key": apikeys.Generate(), "webhook-signing-key": "signing"} {
		require.NoError(t, os.WriteFile(filepath.Join(secrets, name), []byte(secret+"\n"), 0o600))
	}
	for _, project := range []*types.Project{loaded(t, nil, composeFile), loaded(t, mailgun, composeFile, mailgunFile)} {
		for name, service := range map[string]settings.Service{
			"api": settings.API, "mailer": settings.Mailer, "acceptance": settings.Acceptance, "usher": settings.Operator,
		} {
			var environ []string
			for key, value := range project.Services[name].Environment {
				environ = append(environ, key+"="+strings.Replace(*value, "/var/lib/usher", secrets, 1))
			}
			s, err := settings.Load(service, environ)
			require.NoError(t, err, name)
			require.False(t, s.Development(), name)
		}
	}
}

// A misspelt name would be silently nothing.
func TestEverySettingInTheFilesExists(t *testing.T) {
	known := []string{"USHER_URL"} // the command line's own
	for _, f := range settings.Fields() {
		known = append(known, f.Env)
		if f.Secret {
			known = append(known, f.Env+"_FILE")
		}
	}
	for name, s := range loaded(t, mailgun, composeFile, mailgunFile).Services {
		for key := range s.Environment {
			require.True(t, slices.Contains(known, key) || strings.HasPrefix(key, "OTEL_"), "%s: %s is no setting", name, key)
		}
	}
}

func TestNoSecretHasADefault(t *testing.T) {
	for name, s := range loaded(t, nil, composeFile).Services {
		for _, f := range settings.Fields() {
			value := s.Environment[f.Env]
			if !f.Secret || value == nil || *value == "" {
				continue
			}
			switch f.Env {
			case "USHER_NATS_URL", "USHER_REDIS_URL":
				require.NotContains(t, *value, "@", "%s: %s holds a password", name, f.Env)
			case "MAILGUN_API_KEY":
				require.Equal(t, "http://fake-mailgun:8090", *s.Environment["MAILGUN_API_BASE"], "a default key for Mailgun itself")
			default:
				require.Fail(t, "a secret with a default", "%s: %s", name, f.Env)
			}
		}
	}
}

func TestMailgunItselfIsAskedForWhatItNeeds(t *testing.T) {
	for _, missing := range mailgun {
		name, _, _ := strings.Cut(missing, "=")
		_, err := load(slices.DeleteFunc(slices.Clone(mailgun), func(s string) bool { return s == missing }), composeFile, mailgunFile)
		require.ErrorContains(t, err, name)
	}
	project := loaded(t, mailgun, composeFile, mailgunFile)
	require.NotContains(t, project.Services, "fake-mailgun")
	require.Equal(t, "https://api.mailgun.net", *project.Services["mailer"].Environment["MAILGUN_API_BASE"])
	require.Equal(t, "false", *project.Services["mailer"].Environment["MAILGUN_ALLOW_HTTP"])
}
