package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redistest"
	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// issued is an usher whose people sign in at a real issuer: "ida", the owner of an organization.
type issued struct {
	*harness.Usher
	issuer *harness.Issuer
	client string
	org    *harness.Organization
}

func signingIn(t *testing.T, settings ...string) *issued {
	t.Helper()
	client := harness.Unique("client-")
	issuer := harness.NewIssuer(t, nil)
	u := harness.Up(t, append(issuer.Settings(client), settings...)...)
	s := &issued{Usher: u, issuer: issuer, client: client, org: u.Organization(t)}
	issuer.Account("ida", s.org.Owner, true)
	return s
}

func (s *issued) start(t *testing.T) *issued {
	t.Helper()
	s.issuer.Start(t, s.client, s.URL)
	return s
}

// in signs somebody in who wanted to see a path, and gives what they see in the end.
func (s *issued) in(p *harness.Person, path, name string) harness.Seen {
	return p.Get(s.issuer.Login(p, p.Get(path), name))
}

func TestSigningInWithARealIssuerLeadsBackToThePage(t *testing.T) {
	t.Parallel()
	s := signingIn(t).start(t)
	p := s.Person(t)
	path := "/console/" + s.org.ID + "/members"

	begun := p.Once(http.MethodGet, path, nil)
	require.Equal(t, http.StatusSeeOther, begun.Status)
	require.Equal(t, "/signin?return_to="+url.QueryEscape(path), begun.Header.Get("Location"))
	sent := p.Once(http.MethodGet, begun.Header.Get("Location"), nil)
	asked, err := url.Parse(sent.Header.Get("Location"))
	require.NoError(t, err)
	q := asked.Query()
	require.Equal(t, []string{"S256", "code"}, []string{q.Get("code_challenge_method"), q.Get("response_type")})
	require.NotEmpty(t, q.Get("code_challenge"))
	require.Greater(t, len(q.Get("state")), 20)
	require.Greater(t, len(q.Get("nonce")), 20)

	seen := s.in(p, path, "ida")
	require.Equal(t, http.StatusOK, seen.Status, "%s", seen.Body)
	require.Equal(t, path, seen.URL.Path)
	require.Contains(t, seen.Text(), s.org.Name)
	session := p.Cookie("usher-session")
	require.True(t, session.HttpOnly)
	require.Equal(t, http.SameSiteLaxMode, session.SameSite)
	require.Zero(t, session.MaxAge, "the session must end with the browser")
}

// V023, V029, T221: an address that nobody verified proves nothing.
func TestAnUnverifiedAddressSignsNobodyIn_V029(t *testing.T) {
	t.Parallel()
	s := signingIn(t).start(t)
	s.issuer.Account("squatter", s.org.Owner, false)
	p := s.Person(t)
	seen := s.in(p, "/console", "squatter")
	require.Equal(t, http.StatusForbidden, seen.Status)
	require.Contains(t, seen.Text(), "not verified")
	require.Nil(t, p.Cookie("usher-session"))
}

// V006, V018: what comes back from the issuer is good once, in the browser that began.
func TestACallbackIsGoodOnceAndInItsOwnBrowser_V006(t *testing.T) {
	t.Parallel()
	s := signingIn(t).start(t)
	victim, attacker := s.Person(t), s.Person(t)
	back := s.issuer.Login(attacker, attacker.Get("/console"), "ida")

	stolen := victim.Get(back)
	require.Equal(t, http.StatusBadRequest, stolen.Status)
	require.Contains(t, stolen.Text(), "Please sign in again")
	require.Nil(t, victim.Cookie("usher-session"))

	require.Equal(t, http.StatusOK, attacker.Get(back).Status)
	again := s.Person(t)
	again.Cookies = attacker.Cookies
	require.Equal(t, http.StatusBadRequest, again.Get(back).Status, "a callback was taken twice")
}

// V001, T252: a session that somebody planted before is not the one that is signed in.
func TestSigningInBeginsANewSession(t *testing.T) {
	t.Parallel()
	s := signingIn(t).start(t)
	p := s.Person(t)
	p.Plant("usher-session", "planted-by-an-attacker")
	require.Equal(t, http.StatusOK, s.in(p, "/console/"+s.org.ID+"/members", "ida").Status)
	require.NotEqual(t, "planted-by-an-attacker", p.Cookie("usher-session").Value)

	before := p.Cookie("usher-session").Value
	require.Equal(t, http.StatusOK, s.in(p, "/signin?return_to=/console", "ida").Status)
	require.NotEqual(t, before, p.Cookie("usher-session").Value)
	thief := s.Person(t)
	for _, old := range []string{before, "planted-by-an-attacker"} {
		thief.Plant("usher-session", old)
		require.Equal(t, http.StatusSeeOther, thief.Once(http.MethodGet, "/console", nil).Status, "a session from before still works")
	}
}

// V069, V070, V071, V072, T244: whoever signs in or out ends on this host, also by way of the issuer.
func TestSigningInLeadsNowhereElse_V070(t *testing.T) {
	t.Parallel()
	s := signingIn(t).start(t)
	for _, evil := range []string{
		"https://evil.example/", "//evil.example/", `/\evil.example/`, `\\evil.example`, "/%09/evil.example", "javascript:alert(1)", "evil.example",
		"https:evil.example", "///evil.example", "/\t/evil.example", "http://user@evil.example", "/%5cevil.example", "//%2fevil.example", "/signin/callback?code=x",
	} {
		p := s.Person(t)
		back := s.issuer.Login(p, p.Get("/signin?return_to="+url.QueryEscape(evil)), "ida")
		ended := p.Once(http.MethodGet, back, nil)
		require.Equal(t, "/console", ended.Header.Get("Location"), "%q", evil)
		out := p.Once(http.MethodPost, "/signout?return_to="+url.QueryEscape(evil), url.Values{})
		require.Equal(t, "/console", out.Header.Get("Location"), "%q", evil)
	}
}

func TestAnIssuerThatIsDownIsNotNow(t *testing.T) {
	t.Parallel()
	s := signingIn(t)
	p := s.Person(t)
	down := p.Get("/signin?return_to=/console")
	require.Equal(t, http.StatusServiceUnavailable, down.Status)
	require.Contains(t, down.Text(), "Not now")
	require.NotEmpty(t, down.Header.Get("Retry-After"))

	s.start(t)
	page := p.Get("/signin?return_to=/console")
	back := s.issuer.Login(p, page, "ida")
	s.issuer.Stop()
	require.Equal(t, http.StatusServiceUnavailable, p.Get(back).Status)
	require.Nil(t, p.Cookie("usher-session"))
}

// T064, T066: sessions live in Redis. Losing it asks people to sign in again, in the middle of that too; Redis that does not
// answer is "not now" and signs nobody out.
func TestLosingRedisAsksToSignInAgain(t *testing.T) {
	t.Parallel()
	redis := redistest.Run(t, "--appendonly", "yes", "--appendfsync", "always", "--dir", t.TempDir()) // a kill loses no session
	s := signingIn(t, "USHER_REDIS_URL="+redis.URL()).start(t)
	path := "/console/" + s.org.ID + "/members"
	p := s.Person(t)
	back := s.issuer.Login(p, p.Get(path), "ida")
	redis.Flush(t)
	require.Equal(t, http.StatusOK, p.Get(back).Status, "the loss of Redis broke a sign-in under way")

	redis.Flush(t)
	require.Equal(t, http.StatusSeeOther, p.Once(http.MethodGet, path, nil).Status)
	require.Equal(t, http.StatusOK, s.in(p, path, "ida").Status)

	redis.Kill9()
	harness.Eventually(t, "Redis to be missed", func() bool {
		down := p.Once(http.MethodGet, path, nil)
		return down.Status == http.StatusServiceUnavailable && strings.Contains(down.Text(), "Not now")
	})
	redis.Start(t)
	harness.Eventually(t, "the session to work again", func() bool { return p.Once(http.MethodGet, path, nil).Status == http.StatusOK })
}

// V124, T254: signing out ends the session everywhere it is kept, not only in the browser.
func TestSigningOutEndsTheSessionItself_V124(t *testing.T) {
	t.Parallel()
	s := signingIn(t).start(t)
	p, thief := s.Person(t), s.Person(t)
	require.Equal(t, http.StatusOK, s.in(p, "/console", "ida").Status)
	thief.Plant("usher-session", p.Cookie("usher-session").Value)
	require.Equal(t, http.StatusMethodNotAllowed, p.Once(http.MethodGet, "/signout", nil).Status)
	require.NotNil(t, p.Cookie("usher-session"))

	out := p.Once(http.MethodPost, "/signout?return_to="+url.QueryEscape("/signin?return_to=/join"), url.Values{})
	require.Equal(t, http.StatusSeeOther, out.Status)
	require.Nil(t, p.Cookie("usher-session"))
	require.Equal(t, http.StatusSeeOther, thief.Once(http.MethodGet, "/console", nil).Status, "a copy of the session still works")

	switching := p.Once(http.MethodGet, out.Header.Get("Location"), nil)
	require.Contains(t, switching.Header.Get("Refresh"), "prompt=select_account", "the issuer must offer another account")
	require.Empty(t, switching.Header.Get("Location"), "browsers follow a form by redirects no further than this host")
}

// I9, T174, V126: without an issuer nobody signs in to production, and nothing of development is there.
func TestProductionWithoutAnIssuerHasNoConsole(t *testing.T) {
	t.Parallel()
	d := harness.Deploy(t)
	p := d.Person(t)
	for _, path := range []string{"/console", "/console/acme/members", "/signin", "/signin/callback?code=x&state=y", "/invitations"} {
		require.Equal(t, http.StatusNotFound, p.Once(http.MethodGet, path, nil).Status, path)
	}
	for _, path := range []string{"/signin", "/signin?return_to=/console", "/signout", "/console/acme/invite"} {
		a := p.Once(http.MethodPost, path, url.Values{"email": {"owner@example.org"}})
		require.Equal(t, http.StatusNotFound, a.Status, path)
		require.Empty(t, a.Header.Values("Set-Cookie"), path)
	}
}

// An issuer in production takes development's open door away, and binds the cookies to the host.
func TestProductionWithAnIssuerAsksIt(t *testing.T) {
	t.Parallel()
	client := harness.Unique("client-")
	issuer := harness.NewIssuer(t, nil)
	d := harness.Deploy(t, issuer.Settings(client)...)
	issuer.Start(t, client, d.PublicURL)
	org := d.Organization(t)
	issuer.Account("ida", org.Owner, true)

	p := d.Person(t)
	forged := p.Once(http.MethodPost, "/signin", url.Values{"email": {org.Owner}})
	require.Equal(t, http.StatusMethodNotAllowed, forged.Status)
	require.Empty(t, forged.Header.Values("Set-Cookie"))

	back := issuer.Login(p, p.Get("/console"), "ida")
	require.True(t, strings.HasPrefix(back, d.PublicURL+"/signin/callback?"), "the issuer was told another address than the public one: %s", back)
	p.Get(d.URL + strings.TrimPrefix(back, d.PublicURL))
	session := p.Cookie("__Host-usher-session")
	require.NotNil(t, session)
	require.True(t, session.Secure && session.HttpOnly && session.Path == "/" && session.Domain == "")
	require.Contains(t, p.Get("/console").Text(), org.Name)
}

// V127's kin, T243: development's choice of people is for this machine alone, under its own names.
func TestChoosingWhoToBeIsForThisMachineAlone(t *testing.T) {
	t.Parallel()
	u := common(t)
	for _, host := range []string{"usher.example", "evil.example:80", "10.0.0.1", "127.0.0.1.nip.io"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.URL+"/signin", strings.NewReader("email=owner@example.org"))
		require.NoError(t, err)
		r.Host = host
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		a, err := harness.Doer.Do(r)
		require.NoError(t, err)
		require.NoError(t, a.Body.Close())
		require.Equal(t, http.StatusForbidden, a.StatusCode, host)
		require.Empty(t, a.Cookies(), host)
	}
}

// I9, T174: settings for signing in that are there by half are refused.
func TestHalfAnIssuerIsRefused(t *testing.T) {
	t.Parallel()
	for _, one := range []string{"USHER_OIDC_ISSUER=https://accounts.example.com", "USHER_OIDC_CLIENT_ID=a", "USHER_OIDC_CLIENT_SECRET=b"} {
		o := harness.Command(t, []string{one}, "up")
		require.NotZero(t, o.Code)
		require.Contains(t, o.Err, "is needed beside the other USHER_OIDC settings")
		require.NotContains(t, o.Err, "accounts.example.com")
	}
}
