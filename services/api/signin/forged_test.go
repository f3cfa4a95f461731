package signin_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redistest"
	"github.com/usherhq/usher/services/api/signin"
)

// liar is an issuer that signs whatever claims it is told to, as no real one would: what a real one does is tested with a
// real one, end to end.
type liar struct {
	*httptest.Server
	key, other *rsa.PrivateKey
	nonce      string
	// claims changes the claims of a good token; sign makes the token of them.
	claims func(map[string]any)
	sign   func(l *liar, claims map[string]any) string
	token  int
}

// keys are an issuer's key and somebody else's.
var keys = sync.OnceValues(func() (own, other *rsa.PrivateKey) {
	own, _ = rsa.GenerateKey(rand.Reader, 2048)
	other, _ = rsa.GenerateKey(rand.Reader, 2048)
	return own, other
})

func newLiar(t *testing.T) *liar {
	l := &liar{claims: func(map[string]any) {}, sign: (*liar).rs256, token: http.StatusOK}
	l.key, l.other = keys()
	mux := http.NewServeMux()
	say := func(path string, answer func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer())
		})
	}
	say("/.well-known/openid-configuration", func() any {
		return map[string]any{
			"issuer": l.URL, "authorization_endpoint": l.URL + "/auth", "token_endpoint": l.URL + "/token", "jwks_uri": l.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		}
	})
	say("/keys", func() any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: l.key.Public(), KeyID: "1", Algorithm: "RS256", Use: "sig"}}}
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(l.token)
		now := time.Now()
		claims := map[string]any{
			"iss": l.URL, "aud": "usher", "sub": "1", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nonce": l.nonce,
			"email": "ida@example.org", "email_verified": true, "name": "Ida",
		}
		l.claims(claims)
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": l.sign(l, claims)})
	})
	l.Server = httptest.NewServer(mux)
	t.Cleanup(l.Close)
	return l
}

func (l *liar) rs256(claims map[string]any) string {
	return signed(jose.SigningKey{Algorithm: jose.RS256, Key: l.key}, claims)
}

func signed(with jose.SigningKey, claims map[string]any) string {
	signer, err := jose.NewSigner(with, (&jose.SignerOptions{}).WithHeader("kid", "1"))
	if err != nil {
		panic(err)
	}
	body, _ := json.Marshal(claims)
	token, err := signer.Sign(body)
	if err != nil {
		panic(err)
	}
	text, _ := token.CompactSerialize()
	return text
}

// visitor is a browser that knows Usher and goes no further than where it is sent.
type visitor struct {
	*http.Client
	usher *httptest.Server
}

func usher(t *testing.T, l *liar) visitor {
	server := httptest.NewUnstartedServer(nil)
	server.Start()
	t.Cleanup(server.Close)
	s := signin.New(signin.Options{
		Issuer: l.URL, ClientID: "usher", ClientSecret: "secret", PublicURL: server.URL, Store: redistest.Embedded(t).Sessions(),
		Logger: slog.New(slog.DiscardHandler), Clock: time.Now,
	})
	server.Config.Handler = s.Sessions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/who" {
			s.ServeHTTP(w, r)
			return
		}
		who, _ := s.Person(r)
		_, _ = io.WriteString(w, who.Email)
	}))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return visitor{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, server}
}

func (v visitor) get(t *testing.T, path string) (status int, body string, location *url.URL) {
	a, err := v.Get(v.usher.URL + path)
	require.NoError(t, err)
	defer a.Body.Close()
	read, err := io.ReadAll(a.Body)
	require.NoError(t, err)
	location, _ = a.Location()
	return a.StatusCode, string(read), location
}

// signIn goes to the issuer and comes back with a code; more is added to the address.
func (v visitor) signIn(t *testing.T, l *liar, more string) (status int, body string) {
	_, _, to := v.get(t, "/signin?return_to=/console")
	require.NotNil(t, to)
	l.nonce = to.Query().Get("nonce")
	status, body, _ = v.get(t, "/signin/callback?code=c&state="+url.QueryEscape(to.Query().Get("state"))+more)
	return status, body
}

func (v visitor) who(t *testing.T) string {
	_, body, _ := v.get(t, "/who")
	return body
}

func TestAGoodTokenSignsIn(t *testing.T) {
	l := newLiar(t)
	v := usher(t, l)
	status, _ := v.signIn(t, l, "")
	require.Equal(t, http.StatusSeeOther, status)
	require.Equal(t, "ida@example.org", v.who(t))
}

// V025, V125, T128, T181: a token that lacks what makes it one, or was signed by nobody Usher knows, signs nobody in.
func TestForgedTokensSignNobodyIn_V025_V125(t *testing.T) {
	without := func(name string) func(*liar) {
		return func(l *liar) { l.claims = func(c map[string]any) { delete(c, name) } }
	}
	with := func(name string, value any) func(*liar) {
		return func(l *liar) { l.claims = func(c map[string]any) { c[name] = value } }
	}
	for name, lie := range map[string]func(*liar){
		"no exp": without("exp"), "no iat": without("iat"), "no nonce": without("nonce"), "no aud": without("aud"), "no iss": without("iss"),
		"no verdict on the address": without("email_verified"),
		"exp long ago":              with("exp", time.Now().Add(-time.Hour).Unix()),
		"nbf far ahead":             with("nbf", time.Now().Add(time.Hour).Unix()),
		"another nonce":             with("nonce", "another"),
		"another audience":          with("aud", "somebody"),
		"another issuer":            with("iss", "https://evil.example"),
		"not verified":              with("email_verified", false),
		"verified: a word":          with("email_verified", "yes"),
		"two addresses":             with("email", "ida@example.org,eve@example.org"),
		"a name before the address": with("email", "Ida <ida@example.org>"),
		"a line break":              with("email", "ida@example.org\r\nBcc: eve@example.org"),
		"another key": func(l *liar) {
			l.sign = func(l *liar, c map[string]any) string {
				return signed(jose.SigningKey{Algorithm: jose.RS256, Key: l.other}, c)
			}
		},
		"the public key as a secret": func(l *liar) {
			l.sign = func(_ *liar, c map[string]any) string {
				return signed(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("usher", 10))}, c)
			}
		},
		"no signature": func(l *liar) {
			l.sign = func(l *liar, c map[string]any) string {
				parts := strings.Split(l.rs256(c), ".")
				return "eyJhbGciOiJub25lIn0." + parts[1] + "."
			}
		},
		"no token": func(l *liar) { l.sign = func(*liar, map[string]any) string { return "" } },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLiar(t)
			lie(l)
			v := usher(t, l)
			status, body := v.signIn(t, l, "")
			require.Contains(t, []int{http.StatusForbidden, http.StatusServiceUnavailable}, status, body)
			require.Empty(t, v.who(t))
		})
	}
}

func TestAnotherIssuersAnswerIsNotTaken(t *testing.T) { // RFC 9207
	l := newLiar(t)
	v := usher(t, l)
	status, _ := v.signIn(t, l, "&iss="+url.QueryEscape("https://evil.example"))
	require.Equal(t, http.StatusBadRequest, status)
	require.Empty(t, v.who(t))
}

func TestARefusedCodeAsksToSignInAgainAndAFailingIssuerIsNotNow(t *testing.T) {
	for answer, status := range map[int]int{
		http.StatusBadRequest: http.StatusForbidden, http.StatusUnauthorized: http.StatusForbidden,
		http.StatusInternalServerError: http.StatusServiceUnavailable, http.StatusTooManyRequests: http.StatusServiceUnavailable,
	} {
		l := newLiar(t)
		l.token = answer
		v := usher(t, l)
		got, _ := v.signIn(t, l, "")
		require.Equal(t, status, got, "the issuer answered %d", answer)
		require.Empty(t, v.who(t))
	}
}

// What Redis holds under a token but nobody's session says is no 503 for ever: the visitor is simply not signed in.
func TestAnUnreadableSessionIsNobodys(t *testing.T) {
	l := newLiar(t)
	v := usher(t, l)
	db := redistest.Embedded(t)
	require.NoError(t, db.Sessions().CommitCtx(context.Background(), "x", []byte("garbage"), time.Now().Add(time.Hour)))
	s := signin.New(signin.Options{Issuer: l.URL, PublicURL: "http://localhost", Store: db.Sessions(), Logger: slog.New(slog.DiscardHandler), Clock: time.Now})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/who", nil)
	r.AddCookie(&http.Cookie{Name: "usher-session", Value: "x"})
	w := httptest.NewRecorder()
	s.Sessions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, in := s.Person(r); !in {
			w.WriteHeader(http.StatusTeapot)
		}
	})).ServeHTTP(w, r)
	require.Equal(t, http.StatusTeapot, w.Code)
	require.Empty(t, v.who(t))
}
