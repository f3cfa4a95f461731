package harness

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/redistest"
)

// System is a running Usher as the world outside sees it: its doors, and nothing behind them.
type System struct {
	// URL is where HTTP answers, PublicURL what links begin with.
	URL, PublicURL string
	// NATSURL is where apps reach the broker.
	NATSURL string
	// Key is an API key for every organization.
	Key string
	// Mails is where mails end up.
	Mails Mailbox
	// Operator are the settings with which the command line reaches all of it.
	Operator []string
}

// API calls the HTTP API with the system's own key.
func (s *System) API() Client { return Client{URL: s.URL, Key: s.Key} }

// Usher is "usher up" in a process of its own.
type Usher struct {
	System
	*Process
	// Data is its data folder.
	Data string
}

// Up starts "usher up" with a data folder of its own, and ends it with the test. Settings are added to what it needs.
func Up(t testing.TB, settings ...string) *Usher {
	t.Helper()
	u, err := NewUp(t.TempDir(), settings...)
	require.NoError(t, err)
	t.Cleanup(func() {
		u.Kill9()
		u.report(t)
	})
	require.NoError(t, u.Start())
	return u
}

func (p *Process) report(t testing.TB) {
	if t.Failed() {
		t.Logf("%s said:\n%s", p.name, tail(p.Said()))
	}
	require.NotContains(t, p.Said(), "panic", "%s panicked", p.name)
	require.NotContains(t, p.Said(), "DATA RACE", "%s has a data race", p.name)
}

// NewUp prepares "usher up" over a data folder, without starting it.
func NewUp(folder string, settings ...string) (*Usher, error) {
	http, err := freeAddr()
	if err != nil {
		return nil, err
	}
	nats, err := freeAddr()
	if err != nil {
		return nil, err
	}
	u := &Usher{Data: filepath.Join(folder, "data")}
	u.System = System{
		URL: "http://" + http, PublicURL: "http://" + http, NATSURL: "nats://" + nats,
		Mails: Outbox("http://" + http),
	}
	own := []string{"USHER_HTTP_ADDR=" + http, "USHER_NATS_LISTEN=" + nats, "USHER_DATA_DIR=" + u.Data}
	u.Process, err = newProcess("usher", []string{"up"}, append(own, settings...))
	if err != nil {
		return nil, err
	}
	u.dir = folder
	u.Operator = append([]string{"USHER_ENV=development", "USHER_NATS_URL=" + u.NATSURL, "USHER_URL=" + u.URL, "USHER_DATA_DIR=" + u.Data}, settings...)
	return u, nil
}

// Start starts the process and returns once it is ready.
func (u *Usher) Start() error {
	if err := u.start(); err != nil {
		return err
	}
	if err := u.ready(u.URL); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(u.Data, "api-key"))
	u.Key = strings.TrimSpace(string(key))
	return err
}

// ready waits until a process answers that it can work.
func (p *Process) ready(url string) error {
	ready, err := until(p.name+" to be ready", func() (bool, bool) {
		yes := answers(url + "/readyz")
		return yes, yes || !p.Alive()
	})
	if err == nil && !ready {
		err = errors.New(p.name + " ended by itself")
	}
	if err != nil {
		return fmt.Errorf("%w; it said:\n%s", err, tail(p.Said()))
	}
	return nil
}

// Deployment is Usher as it runs in production: three services, and broker, Redis and Mailgun beside them, each in a
// process of its own.
type Deployment struct {
	System
	Front, Mailer, Acceptance *Process

	Broker  *brokertest.BrokerProcess
	Redis   *redistest.Server
	Mailgun *Mailgun
	// Store is where broker and Redis keep their files.
	Store  string
	urls   map[*Process]string
	shared []string
}

// Deploy starts a production deployment that ends with the test. Settings are added to what all services need.
func Deploy(t testing.TB, settings ...string) *Deployment {
	t.Helper()
	addrs := make([]string, 3)
	for i := range addrs {
		var err error
		addrs[i], err = freeAddr()
		require.NoError(t, err)
	}
	d := &Deployment{Store: t.TempDir(), urls: map[*Process]string{}}
	d.Broker = brokertest.Process(t, brokertest.Store(filepath.Join(d.Store, "nats")))
	d.Redis = redistest.Run(t, "--appendonly", "yes", "--dir", d.Store)
	d.Mailgun = RunMailgun(t, "http://"+addrs[0]+"/webhooks/mailgun")
	d.System = System{
		URL: "http://" + addrs[0], PublicURL: "https://invite.example.com", NATSURL: d.Broker.URL, Mails: d.Mailgun.Mailbox,
		Key: Secret(t, "keys", "generate"),
	}
	shared := append(append(d.Mailgun.Settings(), settings...),
		"USHER_PUBLIC_URL="+d.PublicURL, "USHER_NATS_URL="+d.NATSURL, "USHER_NATS_MONITORING_URL="+d.Broker.MonitoringURL,
		"USHER_REDIS_URL="+d.Redis.URL(), "USHER_LINK_KEYS="+Secret(t, "keys", "link"), "USHER_BOOTSTRAP_API_KEY="+d.Key,
	)
	d.shared = shared
	d.Operator = append([]string{"USHER_URL=" + d.URL, "USHER_API_KEY=" + d.Key}, shared...)
	for i, p := range []**Process{&d.Front, &d.Mailer, &d.Acceptance} {
		*p = d.service(t, []string{"api", "mailer", "acceptance"}[i], addrs[i], shared)
	}
	for p, url := range d.urls {
		require.NoError(t, p.ready(url))
	}
	return d
}

func (d *Deployment) service(t testing.TB, name, addr string, settings []string) *Process {
	t.Helper()
	p, err := newProcess(name, nil, append([]string{"USHER_HTTP_ADDR=" + addr}, settings...))
	require.NoError(t, err)
	require.NoError(t, p.start())
	t.Cleanup(func() {
		p.Kill9()
		p.report(t)
	})
	d.urls[p] = "http://" + addr
	return p
}

// Start starts a service again that was ended, and returns once it is ready.
func (d *Deployment) Start(t testing.TB, p *Process) {
	t.Helper()
	require.NoError(t, p.start())
	require.NoError(t, p.ready(d.urls[p]))
}

// Another starts a second process of the API beside the first, and gives its address.
func (d *Deployment) Another(t testing.TB) string {
	t.Helper()
	addr, err := freeAddr()
	require.NoError(t, err)
	p := d.service(t, "api", addr, d.shared)
	require.NoError(t, p.ready(d.urls[p]))
	return d.urls[p]
}

// Services are the three services' processes.
func (d *Deployment) Services() []*Process { return []*Process{d.Front, d.Mailer, d.Acceptance} }

// Probe is where a service's probes are.
func (d *Deployment) Probe(p *Process) string { return d.urls[p] }

// Secret is the one line that a command which makes secrets writes.
func Secret(t testing.TB, words ...string) string {
	t.Helper()
	return strings.TrimSpace(Command(t, nil, words...).Must(t))
}

// Outcome is how a run of the command line ended.
type Outcome struct {
	Code     int
	Out, Err string
}

// Must requires success and gives what was written.
func (o Outcome) Must(t testing.TB) string {
	t.Helper()
	require.Zero(t, o.Code, "%s%s", o.Out, o.Err)
	return o.Out
}

// Command runs the command line to its end, in an empty folder.
func Command(t testing.TB, settings []string, words ...string) Outcome {
	t.Helper()
	path, err := Binary("usher")
	require.NoError(t, err)
	var out, errs bytes.Buffer
	c := exec.Command(path, words...)
	c.Env, c.Dir, c.Stdout, c.Stderr = environment(settings...), t.TempDir(), &out, &errs
	if err := c.Run(); err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return Outcome{Code: c.ProcessState.ExitCode(), Out: out.String(), Err: errs.String()}
}

// Command runs the command line against the system.
func (s *System) Command(t testing.TB, words ...string) Outcome {
	t.Helper()
	return Command(t, s.Operator, words...)
}

// Background starts a command that runs until the test ends.
func (s *System) Background(t testing.TB, words ...string) *Process {
	t.Helper()
	p, err := newProcess("usher", words, s.Operator)
	require.NoError(t, err)
	require.NoError(t, p.start())
	t.Cleanup(p.Kill9)
	return p
}

// Organization is an organization of the test's own, so that tests may share a system.
type Organization struct {
	*System
	ID, Name string
	// Owner is the address of its first member.
	Owner string
}

// Organization makes one. Its policy is the default unless one is given.
func (s *System) Organization(t testing.TB, policy ...map[string]any) *Organization {
	t.Helper()
	o := &Organization{System: s, ID: Unique("org-"), Owner: Address("owner")}
	o.Name = "Name of " + o.ID
	body := map[string]any{"name": o.Name, "owner": map[string]any{"email": o.Owner, "name": "Olivia Owner"}}
	if len(policy) > 0 {
		body["policy"] = policy[0]
	}
	a := s.API().Do(t, http.MethodPut, "/v1/organizations/"+o.ID, body)
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Body)
	return o
}

// Path is below the organization's routes.
func (o *Organization) Path(rest string) string { return "/v1/organizations/" + o.ID + rest }

// Invite invites as the owner. Fields beyond address and role come in pairs.
func (o *Organization) Invite(t testing.TB, email, role string, more ...any) Invitation {
	t.Helper()
	body := map[string]any{"email": email, "role": role, "inviter": o.Owner}
	for i := 0; i+1 < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	return Read[Invitation](t, o.API().Post(t, o.Path("/invitations"), body), http.StatusAccepted)
}

// Invited invites somebody new and waits for the mail.
func (o *Organization) Invited(t testing.TB, role string, more ...any) (Invitation, Mail) {
	t.Helper()
	invitation := o.Invite(t, Address("invitee"), role, more...)
	return invitation, o.Mails.Next(t, invitation.Email, 0)
}

// Join makes somebody new a member, the way everybody becomes one, and gives their address.
func (o *Organization) Join(t testing.TB, role string) Member {
	t.Helper()
	invitation, mail := o.Invited(t, role)
	return o.Accept(t, invitation, mail)
}

// Accept accepts over the API and waits for the membership.
func (o *Organization) Accept(t testing.TB, invitation Invitation, mail Mail) Member {
	t.Helper()
	a := Client{URL: o.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "Nell New"})
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	return Until(t, "the membership", func() (Member, bool) { return o.Member(t, invitation.Email) })
}

// Members lists all members.
func (o *Organization) Members(t testing.TB) []Member {
	t.Helper()
	return All[Member](t, o.API(), o.Path("/members?limit=200"))
}

// Member finds a member by address.
func (o *Organization) Member(t testing.TB, email string) (Member, bool) {
	t.Helper()
	for _, m := range o.Members(t) {
		if strings.EqualFold(m.Email, email) {
			return m, true
		}
	}
	return Member{}, false
}

// Show reads an invitation.
func (s *System) Show(t testing.TB, id string) Invitation {
	t.Helper()
	return Read[Invitation](t, s.API().Get(t, "/v1/invitations/"+id), http.StatusOK)
}

// Await waits until an invitation is as wanted.
func (s *System) Await(t testing.TB, id, what string, as func(Invitation) bool) Invitation {
	t.Helper()
	return Until(t, id+" to be "+what, func() (Invitation, bool) {
		i := s.Show(t, id)
		return i, as(i)
	})
}

// All reads a list to its end, page by page.
func All[T any](t testing.TB, c Client, path string) []T {
	t.Helper()
	var all []T
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for cursor := ""; ; {
		page := Read[List[T]](t, c.Get(t, path+sep+"cursor="+cursor), http.StatusOK)
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}
