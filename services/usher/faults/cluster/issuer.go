package cluster

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// issuer is an OpenID Connect issuer at which everybody is whoever they say they are, as login_hint.
type issuer struct {
	url string
	key *rsa.PrivateKey

	mu    sync.Mutex
	codes map[string]url.Values // what was asked for, by code
}

// openIssuer opens the issuer where the cluster has one, and adds the settings with which services trust it.
func (c *Cluster) openIssuer() error {
	if !c.Shape.SignIn {
		return nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String()) // it is a listener's own
	i := &issuer{url: "http://localhost:" + port, key: key, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("GET /keys", i.keys)
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", i.token)
	c.issuer = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = c.issuer.Serve(l) }() // ends with Close
	c.settings = append(c.settings, "USHER_OIDC_ISSUER="+i.url, "USHER_OIDC_CLIENT_ID="+oidcClient, "USHER_OIDC_CLIENT_SECRET=secret-of-the-harness")
	return nil
}

const oidcClient = "usher"

func (i *issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	say(w, map[string]any{
		"issuer": i.url, "authorization_endpoint": i.url + "/authorize", "token_endpoint": i.url + "/token", "jwks_uri": i.url + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256"},
	})
}

func (i *issuer) keys(w http.ResponseWriter, _ *http.Request) {
	say(w, map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
		"n": base64.RawURLEncoding.EncodeToString(i.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(i.key.E)).Bytes()),
	}}})
}

// authorize sends the browser back at once.
func (i *issuer) authorize(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	code := rand.Text()
	i.mu.Lock()
	i.codes[code] = asked
	i.mu.Unlock()
	http.Redirect(w, r, asked.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {asked.Get("state")}}.Encode(), http.StatusSeeOther)
}

// token gives the ID token for a code.
func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	asked := i.codes[r.PostFormValue("code")]
	i.mu.Unlock()
	token, err := i.signed(map[string]any{
		"iss": i.url, "aud": oidcClient, "sub": asked.Get("login_hint"), "nonce": asked.Get("nonce"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "email": asked.Get("login_hint"), "email_verified": true,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	say(w, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "id_token": token})
}

func (i *issuer) signed(claims map[string]any) (string, error) {
	text, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("issuer: %w", err)
	}
	body := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + base64.RawURLEncoding.EncodeToString(text)
	sum := sha256.Sum256([]byte(body))
	signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("issuer: %w", err)
	}
	return body + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func say(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked may have gone
}
