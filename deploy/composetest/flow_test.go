//go:build engine

package composetest

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// stack is the compose file, up in an engine, under a project name of its own. Its ports are those of the file.
type stack struct {
	harness.System
	compose []string // the command: "docker compose", or "docker-compose" where Docker has no such plugin
}

func up(t *testing.T) *stack {
	t.Helper()
	s := &stack{compose: []string{"docker", "compose"}}
	if exec.Command("docker", "compose", "version").Run() != nil {
		s.compose = []string{"docker-compose"}
	}
	s.compose = append(s.compose, "--project-name", "usher-composetest", "--file", composeFile)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.try("logs", "--no-color", "--tail=100"))
		}
		s.run(t, "down", "--volumes", "--timeout", "30")
	})
	s.run(t, "build")
	s.start(t)
	s.System = harness.System{
		URL: "http://localhost:8080", PublicURL: "http://localhost:8080", NATSURL: "nats://localhost:4222",
		Mails: harness.FakeMailgun("http://localhost:8090"), Key: s.secret(t, "api-key"),
	}
	return s
}

// try runs a compose command and gives what it said, with its error.
func (s *stack) try(words ...string) (string, error) {
	command := exec.Command(s.compose[0], append(s.compose[1:], words...)...)
	said, err := command.CombinedOutput()
	return string(said), err
}

func (s *stack) run(t *testing.T, words ...string) string {
	t.Helper()
	said, err := s.try(words...)
	require.NoError(t, err, "%s: %s", strings.Join(words, " "), said)
	return said
}

// start brings up what is down, and waits until everything is healthy.
func (s *stack) start(t *testing.T) {
	t.Helper()
	s.run(t, "up", "--detach")
	for _, service := range []string{"nats", "redis", "api", "mailer", "acceptance", "fake-mailgun"} {
		harness.Eventually(t, service+" to be healthy", func() bool { return s.inspect(t, service).State.Health.Status == "healthy" })
	}
}

// container is what the engine tells of one.
type container struct {
	State struct {
		Health struct{ Status string }
	}
	Config struct {
		User string
	}
}

func (s *stack) inspect(t *testing.T, service string) container {
	t.Helper()
	id := strings.TrimSpace(s.run(t, "ps", "--quiet", service))
	answer, err := exec.Command("docker", "inspect", id).Output()
	require.NoError(t, err, service)
	var found []container
	require.NoError(t, json.Unmarshal(answer, &found))
	require.Len(t, found, 1, service)
	return found[0]
}

// secret reads one of the secrets that were made at the first start.
func (s *stack) secret(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	api := strings.TrimSpace(s.run(t, "ps", "--quiet", "api"))
	said, err := exec.Command("docker", "cp", api+":/var/lib/usher/"+name, path).CombinedOutput()
	require.NoError(t, err, "%s", said)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.TrimSpace(string(content))
}

// usher runs the command line beside the services.
func (s *stack) usher(t *testing.T, words ...string) string {
	t.Helper()
	return s.run(t, append([]string{"run", "--rm", "usher"}, words...)...)
}

func TestAnInvitationTravelsThroughTheContainersAndSurvivesThem(t *testing.T) {
	s := up(t)
	o := s.Organization(t)

	// Over HTTP, and accepted in a browser on this machine.
	invitation, mail := o.Invited(t, "member")
	page := s.Invitee(t).Open(mail.Link(t)).Accept("Nell New")
	require.Equal(t, http.StatusOK, page.Page.Status, page.Text())
	member := harness.Until(t, "the membership", func() (harness.Member, bool) { return o.Member(t, invitation.Email) })
	require.Equal(t, "Nell New", member.Name)
	s.Await(t, invitation.ID, "delivered, as the fake Mailgun's webhook says", func(i harness.Invitation) bool { return i.Delivery == "delivered" })

	// Over the bus, from an app on this machine.
	email := harness.Address("bus")
	s.Bus(t).Request(t, "requests.crm", []byte(`{"organization":"`+o.ID+`","email":"`+email+`","role":"member","inviter":"`+o.Owner+`"}`))
	s.Mails.Next(t, email, 0)

	// With the command line.
	email = harness.Address("cli")
	s.usher(t, "invite", email, "--org", o.ID, "--inviter", o.Owner)
	open := s.Mails.Next(t, email, 0)
	require.Contains(t, s.usher(t, "list", "--org", o.ID), email)

	t.Run("killed", func(t *testing.T) {
		for _, service := range []string{"mailer", "acceptance", "api", "redis", "nats"} {
			s.run(t, "kill", "--signal", "SIGKILL", service)
		}
		s.start(t)
		later, second := o.Invited(t, "member")
		o.Accept(t, later, second)
	})
	t.Run("taken down and up", func(t *testing.T) {
		s.run(t, "down", "--timeout", "30")
		s.start(t)
		kept, ok := o.Member(t, invitation.Email)
		require.True(t, ok, "the member is gone")
		require.Equal(t, member.Person, kept.Person)
	})
	t.Run("links from before work", func(t *testing.T) {
		page := s.Invitee(t).Open(open.Link(t)).Accept("Nick New")
		require.Equal(t, http.StatusOK, page.Page.Status, page.Text())
		harness.Until(t, "the membership", func() (harness.Member, bool) { return o.Member(t, email) })
	})
	t.Run("no root and no shell", func(t *testing.T) {
		for _, service := range []string{"api", "mailer", "acceptance", "fake-mailgun"} {
			require.Equal(t, "65532:65532", s.inspect(t, service).Config.User, service)
		}
		for _, image := range []string{"api", "mailer", "acceptance", "usher"} {
			said, err := exec.Command("docker", "run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", "usherhq/"+image+":devel", "-c", "true").CombinedOutput()
			require.Error(t, err, image)
			require.Contains(t, string(said), "no such file", image)
		}
	})
}

// A service's image can be built where nothing but its own code is: events, pkg and the service.
func TestEachServiceBuildsFromItsOwnCodeAlone(t *testing.T) {
	for _, service := range []string{"api", "mailer", "acceptance"} {
		t.Run(service, func(t *testing.T) {
			folder := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(folder, "services"), 0o700))
			for _, part := range []string{"events", "pkg", "services/" + service} {
				require.NoError(t, os.CopyFS(filepath.Join(folder, part), os.DirFS(filepath.Join("../..", part))))
			}
			said, err := exec.Command("docker", "build", "--file", "../Dockerfile", "--target", service, folder).CombinedOutput()
			require.NoError(t, err, "%s", said)
		})
	}
}
