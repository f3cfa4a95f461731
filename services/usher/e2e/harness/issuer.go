package harness

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"golang.org/x/text/language"
)

// Issuer is a real OpenID Connect provider: Zitadel's own server package over its example storage.
type Issuer struct {
	URL    string
	server *httptest.Server
	users  accounts
}

// accounts are the issuer's users by name. Each has the name as id, and the same password.
type accounts map[string]*storage.User

const password = "verysecure"

// GetUserByID implements storage.UserStore.
func (a accounts) GetUserByID(id string) *storage.User { return a[id] }

// GetUserByUsername implements storage.UserStore.
func (a accounts) GetUserByUsername(name string) *storage.User { return a[name] }

// ExampleClientID implements storage.UserStore.
func (a accounts) ExampleClientID() string { return storage.ServiceUserID }

// NewIssuer prepares a provider on an address of its own, with accounts by name and verified address; it answers after Start.
func NewIssuer(t testing.TB, verified map[string]string) *Issuer {
	t.Helper()
	addr, err := freeAddr()
	require.NoError(t, err)
	i := &Issuer{URL: "http://" + addr + "/", users: accounts{}}
	for name, email := range verified {
		i.Account(name, email, true)
	}
	return i
}

// Account adds an account.
func (i *Issuer) Account(name, email string, verified bool) {
	i.users[name] = &storage.User{
		ID: name, Username: name, Password: password, FirstName: "Ida", LastName: "Issued", Email: email, EmailVerified: verified,
		PreferredLanguage: language.German,
	}
}

// Settings are Usher's for this issuer.
func (i *Issuer) Settings(client string) []string {
	return []string{"USHER_OIDC_ISSUER=" + i.URL, "USHER_OIDC_CLIENT_ID=" + client, "USHER_OIDC_CLIENT_SECRET=secret"}
}

// Start lets the issuer answer, with a client whose people come back to Usher at site.
func (i *Issuer) Start(t testing.TB, client, site string) {
	t.Helper()
	storage.RegisterClients(storage.WebClient(client, "secret", site+"/signin/callback"))
	handler := exampleop.SetupServer(i.URL, storage.NewStorage(i.users), slog.New(slog.DiscardHandler), false)
	at, err := url.Parse(i.URL)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", at.Host)
	require.NoError(t, err)
	i.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	i.server.Start()
	t.Cleanup(i.server.Close)
}

// Stop takes the issuer away.
func (i *Issuer) Stop() { i.server.Close() }

var requestID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// Login signs in at the issuer's own page, and gives the address to which it sends the browser back.
func (i *Issuer) Login(p *Person, page Seen, name string) string {
	p.t.Helper()
	id := requestID.FindStringSubmatch(page.Text())
	require.Len(p.t, id, 2, "the issuer shows no login page: %s", page.Text())
	s := p.Once(http.MethodPost, i.URL+"login/username", url.Values{"id": {id[1]}, "username": {name}, "password": {password}})
	for range 5 {
		to, err := s.URL.Parse(s.Header.Get("Location"))
		require.NoError(p.t, err)
		require.NotEmpty(p.t, s.Header.Get("Location"), "the issuer answered %d: %s", s.Status, s.Body)
		if "http://"+to.Host != i.URL[:len(i.URL)-1] {
			return to.String()
		}
		s = p.Once(http.MethodGet, to.String(), nil)
	}
	require.Fail(p.t, "the issuer does not send the browser back")
	return ""
}
