package signin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/services/api/web"
)

// patience is how long the issuer may take for one answer.
const patience = 10 * time.Second

// issuer is the OpenID Connect provider, discovered once it is needed.
type issuer struct {
	o      Options
	client *http.Client

	mu       sync.Mutex
	provider *oidc.Provider
}

func newIssuer(o Options) *issuer {
	return &issuer{o: o, client: &http.Client{
		Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { // the client secret goes to the issuer and nowhere else
			return http.ErrUseLastResponse
		},
	}}
}

// discover asks the issuer what it can do, until it has answered once.
func (i *issuer) discover() (*oidc.Provider, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.provider == nil {
		// The provider fetches keys with this context for as long as it lives; the client bounds each answer.
		provider, err := oidc.NewProvider(oidc.ClientContext(context.Background(), i.client), i.o.Issuer)
		if err != nil {
			return nil, problem.Unavailable("Signing in", err)
		}
		i.provider = provider
	}
	return i.provider, nil
}

func (i *issuer) config(p *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: i.o.ClientID, ClientSecret: i.o.ClientSecret, Endpoint: p.Endpoint(),
		RedirectURL: i.o.PublicURL + "/signin/callback", Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}
}

// flow is one attempt to sign in. It lives in a cookie of the browser that began it, so that it survives the loss of
// Redis, and a callback in another browser finds nothing.
type flow struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Return   string `json:"return"`
}

func (f flow) encode() string {
	text, _ := json.Marshal(f) // four strings
	return base64.RawURLEncoding.EncodeToString(text)
}

func decodeFlow(text string) (f flow, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	return f, err == nil && f.State != "" && f.Nonce != "" && f.Verifier != ""
}

// begin sends somebody to the issuer.
func (s *SignIn) begin(w http.ResponseWriter, r *http.Request) {
	provider, err := s.issuer.discover()
	if err != nil {
		s.notNow(w, err)
		return
	}
	f := flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: local(r.URL.Query().Get("return_to"))}
	options := []oauth2.AuthCodeOption{oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)}
	s.cookies.put(w, s.cookies.flow(f.State), f.encode(), flowLife)
	if _, err := r.Cookie(s.cookies.switching()); err == nil {
		s.cookies.put(w, s.cookies.switching(), "", 0)
		options = append(options, oauth2.SetAuthURLParam("prompt", "select_account"))
		s.onward(w, s.issuer.config(provider).AuthCodeURL(f.State, options...))
		return
	}
	see(w, s.issuer.config(provider).AuthCodeURL(f.State, options...))
}

// onward leads to the issuer by way of a page: a redirect would be part of posting the form that signed out, and browsers
// follow those no further than the policy lets forms go, which is this host.
func (s *SignIn) onward(w http.ResponseWriter, target string) {
	w.Header().Set("Refresh", "0; url="+target)
	s.render(w, http.StatusOK, "onward", view{Frame: web.Frame{Title: "Sign in · Usher"}, SignIn: target})
}

// callback takes somebody back from the issuer.
func (s *SignIn) callback(w http.ResponseWriter, r *http.Request) {
	f, ok := s.flowOf(r)
	if !ok {
		s.again(w, http.StatusBadRequest, "stale", home)
		return
	}
	s.cookies.put(w, s.cookies.flow(f.State), "", 0)
	query := r.URL.Query()
	if iss := query.Get("iss"); iss != "" && iss != s.Issuer {
		s.again(w, http.StatusBadRequest, "stale", f.Return)
		return
	}
	if query.Get("error") != "" || query.Get("code") == "" {
		s.Logger.Info("the issuer did not sign somebody in", "refused", query.Get("error") != "")
		s.again(w, http.StatusForbidden, "refused", f.Return)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	person, err := s.issuer.person(ctx, f, query.Get("code"))
	if err == nil {
		err = s.admit(w, r, person)
	}
	switch {
	case err == nil:
		see(w, local(f.Return))
	case problem.Is(err, problem.NotNow):
		s.notNow(w, err)
	case errors.Is(err, errNotVerified):
		s.again(w, http.StatusForbidden, "unverified", f.Return)
	default:
		s.Logger.Warn("somebody could not be signed in", "error", err)
		s.again(w, http.StatusForbidden, "stale", f.Return)
	}
}

// flowOf finds the attempt that a callback belongs to.
func (s *SignIn) flowOf(r *http.Request) (flow, bool) {
	state := r.URL.Query().Get("state")
	kept, err := r.Cookie(s.cookies.flow(state))
	if err != nil || state == "" {
		return flow{}, false
	}
	f, ok := decodeFlow(kept.Value)
	return f, ok && subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) == 1
}

// again says why somebody is not signed in, and offers to try again.
func (s *SignIn) again(w http.ResponseWriter, status int, reason, back string) {
	s.render(w, status, "again", view{
		Frame: web.Frame{Title: "Please sign in again · Usher"}, Reason: reason, SignIn: s.Path(back), SignOut: s.SignOutPath(s.Path(back)),
	})
}

// claims are what the issuer says of a person. Some issuers write booleans as words.
type claims struct {
	Email    string `json:"email"`
	Verified any    `json:"email_verified"`
	Name     string `json:"name"`
	Locale   string `json:"locale"`
}

func (c claims) verified() bool { return c.Verified == true || c.Verified == "true" }

// person redeems a code. It returns problem.NotNow while the issuer is down, errNotVerified for an address nobody verified,
// and other errors for what is no proof of anything.
func (i *issuer) person(ctx context.Context, f flow, code string) (Person, error) {
	provider, err := i.discover()
	if err != nil {
		return Person{}, err
	}
	ctx = oidc.ClientContext(ctx, i.client)
	token, err := i.config(provider).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return Person{}, exchangeError(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: i.o.ClientID, Now: i.o.Clock}).Verify(ctx, raw)
	switch {
	case err != nil:
		return Person{}, fmt.Errorf("signin: ID token: %w", err)
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(f.Nonce)) != 1:
		return Person{}, errors.New("signin: ID token: it was not made for this attempt")
	case id.IssuedAt.IsZero() || id.IssuedAt.Unix() == 0:
		return Person{}, errors.New("signin: ID token: it does not say when it was issued")
	}
	var c claims
	if err := id.Claims(&c); err != nil {
		return Person{}, fmt.Errorf("signin: claims: %w", err)
	}
	if c.Email == "" { // some issuers tell it only when asked
		if c, err = i.ask(ctx, provider, token, id.Subject); err != nil {
			return Person{}, err
		}
	}
	return c.person()
}

// ask reads the claims from the issuer's userinfo endpoint.
func (i *issuer) ask(ctx context.Context, provider *oidc.Provider, token *oauth2.Token, subject string) (c claims, err error) {
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return c, problem.Unavailable("Signing in", err)
	}
	if info.Subject != subject {
		return c, errors.New("signin: userinfo: it is about somebody else")
	}
	if err := info.Claims(&c); err != nil {
		return c, fmt.Errorf("signin: claims: %w", err)
	}
	return c, nil
}

func (c claims) person() (Person, error) {
	who, err := address.Parse(c.Email)
	if err != nil || !c.verified() {
		return Person{}, errNotVerified
	}
	return Person{Email: who.Stored, Name: line(c.Name, 200), Locale: line(c.Locale, 35)}, nil
}

// line is a text without control characters, of at most limit characters.
func line(text string, limit int) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }), " ")
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit])
	}
	return text
}

func demoPerson(email, name string) (Person, error) {
	return claims{Email: email, Verified: true, Name: name}.person()
}

// exchangeError tells an issuer that refuses a code from one that does not work.
func exchangeError(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < 500 && refused.Response.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("signin: the issuer refused the code: %s", refused.ErrorCode) // the rest of its answer may quote the code
	}
	return problem.Unavailable("Signing in", err)
}
