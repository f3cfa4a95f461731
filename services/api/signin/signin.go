// Package signin tells the pages who is looking at them: people sign in with OpenID Connect, and a session in Redis
// remembers them. In development without an issuer they choose who to be; nobody can in production.
package signin

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/alexedwards/scs/v2"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/services/api/web"
)

// lifetime is how long a session lasts at most; the store ends it earlier when it is not used.
const lifetime = 12 * time.Hour

// Person is somebody who signed in.
type Person struct {
	// Email is verified by the issuer.
	Email string
	// Name and Locale (BCP 47) are what the issuer says, empty where it says nothing.
	Name, Locale string
}

// Demo is somebody to sign in as in development.
type Demo struct{ Email, Name, Role, Organization string }

// Store keeps sessions. Errors are problem.NotNow.
type Store interface {
	scs.CtxStore
	// Peek tells whether a session is there, without counting as its use.
	Peek(ctx context.Context, token string) (bool, error)
}

// Options are what signing in works with.
type Options struct {
	// Issuer, ClientID and ClientSecret are those of the OpenID Connect client; Issuer is empty where there is none.
	Issuer, ClientID, ClientSecret string
	// PublicURL is where browsers reach Usher. Over https, cookies are Secure and bound to its host.
	PublicURL string
	// Development allows to sign in as anybody where there is no issuer. Demo lists whom to offer.
	Development bool
	Demo        func(context.Context) ([]Demo, error)
	Store       Store
	Logger      *slog.Logger
	Clock       clock.Clock
}

// SignIn serves /signin, /signin/callback and /signout, and tells others who is signed in.
type SignIn struct {
	Options
	mux      *http.ServeMux
	guard    *http.CrossOriginProtection
	sessions *scs.SessionManager
	cookies  cookies
	issuer   *issuer
}

//go:embed templates/*.html
var files embed.FS

var templates = web.Parse(files, "templates", nil)

// New prepares signing in. The issuer is asked for what it can do when the first person signs in, so that Usher starts
// while it is down.
func New(o Options) *SignIn {
	s := &SignIn{Options: o, mux: http.NewServeMux(), guard: web.Guard(o.PublicURL), cookies: newCookies(strings.HasPrefix(o.PublicURL, "https://"))}
	s.sessions = scs.New()
	s.sessions.Store, s.sessions.Lifetime = o.Store, lifetime
	s.sessions.Cookie.Name, s.sessions.Cookie.Secure = s.cookies.session(), s.cookies.secure
	s.sessions.Cookie.Persist = false // a browser that is closed signs out
	switch {
	case o.Issuer != "":
		s.issuer = newIssuer(o)
		s.mux.HandleFunc("GET /signin", s.begin)
		s.mux.HandleFunc("GET /signin/callback", s.callback)
	case o.Development:
		s.mux.HandleFunc("GET /signin", s.choose)
		s.mux.HandleFunc("POST /signin", s.chosen)
	}
	if s.Enabled() {
		s.mux.HandleFunc("POST /signout", s.signOut)
	}
	return s
}

// Enabled reports whether anybody can sign in: there is an issuer, or this is development.
func (s *SignIn) Enabled() bool { return s.Issuer != "" || s.Development }

// Path is where to send somebody to sign in, who then comes back to returnTo, a local path.
func (s *SignIn) Path(returnTo string) string { return withReturn("/signin", returnTo) }

// SignOutPath is the action of a form that signs out by POST and then leads to returnTo, a local path. The next time, the
// issuer is asked to let the person choose an account.
func (s *SignIn) SignOutPath(returnTo string) string { return withReturn("/signout", returnTo) }

func withReturn(path, returnTo string) string {
	return path + "?" + url.Values{"return_to": {local(returnTo)}}.Encode()
}

// home is where those go who came from nowhere.
const home = "/console"

// local is a path on this host that no browser could read as another host; home where it is none.
func local(path string) string {
	u, err := url.Parse(path)
	switch {
	case err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "":
	case !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.Contains(path, `\`):
	case strings.ContainsFunc(path, func(r rune) bool { return r < 0x21 || r > 0x7e }):
	case strings.Contains(u.Path, "//"), strings.Contains(u.Path, `\`), strings.HasPrefix(u.Path, "/signin/"):
	case strings.ContainsFunc(u.Path, unicode.IsControl): // written with %
	default:
		return path
	}
	return home
}

// The fields of a session.
const (
	keyEmail  = "email"
	keyName   = "name"
	keyLocale = "locale"
)

// Sessions makes the session of each request known to the pages behind it. While Redis is down, whoever has a session is
// told "not now"; others are not signed in anyway.
func (s *SignIn) Sessions(next http.Handler) http.Handler {
	if !s.Enabled() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Cookie")
		ctx, err := s.sessions.Load(r.Context(), s.cookies.token(r))
		if problem.Is(err, problem.NotNow) {
			s.notNow(w, err)
			return
		}
		if err != nil { // what Redis holds under this token is no session
			s.Logger.Warn("a session cannot be read and is left aside", "error", err)
			if ctx, err = s.sessions.Load(r.Context(), ""); err != nil {
				s.notNow(w, err)
				return
			}
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Person is who is signed in, as far as Sessions knows the request.
func (s *SignIn) Person(r *http.Request) (Person, bool) {
	if !s.Enabled() {
		return Person{}, false
	}
	ctx := r.Context()
	p := Person{Email: s.sessions.GetString(ctx, keyEmail), Name: s.sessions.GetString(ctx, keyName), Locale: s.sessions.GetString(ctx, keyLocale)}
	return p, p.Email != ""
}

// Lasts reports whether the session of a request is still there, for answers that go on for long. It returns
// problem.NotNow while Redis is down.
func (s *SignIn) Lasts(r *http.Request) (bool, error) {
	token := s.cookies.token(r)
	if token == "" {
		return false, nil
	}
	return s.Store.Peek(r.Context(), token)
}

// ServeHTTP implements http.Handler. It needs Sessions around it.
func (s *SignIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	web.Secure(w.Header())
	if err := s.guard.Check(r); err != nil {
		s.render(w, http.StatusForbidden, "again", view{Frame: web.Frame{Title: "This came from another site"}, Reason: "elsewhere", SignIn: s.Path(home)})
		return
	}
	s.mux.ServeHTTP(w, r)
}

// admit begins the session of a person, under a new token: one that somebody else knew before is worth nothing.
func (s *SignIn) admit(w http.ResponseWriter, r *http.Request, p Person) error {
	ctx := r.Context()
	if err := s.sessions.Clear(ctx); err != nil {
		return err
	}
	if err := s.sessions.RenewToken(ctx); err != nil {
		return err
	}
	s.sessions.Put(ctx, keyEmail, p.Email)
	s.sessions.Put(ctx, keyName, p.Name)
	s.sessions.Put(ctx, keyLocale, p.Locale)
	token, expiry, err := s.sessions.Commit(ctx)
	if err == nil {
		s.sessions.WriteSessionCookie(ctx, w, token, expiry)
	}
	return err
}

// signOut ends the session, here and in the store.
func (s *SignIn) signOut(w http.ResponseWriter, r *http.Request) {
	ctx, target := r.Context(), local(r.URL.Query().Get("return_to"))
	if err := s.sessions.Destroy(ctx); err != nil {
		s.notNow(w, err)
		return
	}
	s.sessions.WriteSessionCookie(ctx, w, "", time.Time{})
	s.cookies.put(w, s.cookies.switching(), "1", flowLife) // who signed out is not signed in again unasked
	see(w, target)
}

func see(w http.ResponseWriter, target string) {
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// view is what the pages of this package show.
type view struct {
	web.Frame
	// Reason says why to sign in again.
	Reason string
	// SignIn is where to do so, SignOut the form that takes another account.
	SignIn, SignOut string
	Action, Email   string
	People          []Demo
}

func (s *SignIn) render(w http.ResponseWriter, status int, page string, v view) {
	if err := templates.Render(w, status, page, v); err != nil {
		s.Logger.Error("a page could not be rendered", "page", page, "error", err)
		http.Error(w, "Not now. Nothing was lost; please try again shortly.", http.StatusServiceUnavailable)
	}
}

// notNow says that a dependency is down.
func (s *SignIn) notNow(w http.ResponseWriter, err error) {
	web.Secure(w.Header())
	e := problem.As(err)
	s.Logger.Warn("a page answered not now", "error", err)
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(e.RetryAfter.Seconds()))))
	s.render(w, http.StatusServiceUnavailable, "notnow", view{Frame: web.Frame{Title: "Not now"}})
}

// choose offers the demo people.
func (s *SignIn) choose(w http.ResponseWriter, r *http.Request) {
	if !s.onThisMachine(w, r) {
		return
	}
	people, err := s.Demo(r.Context())
	if err != nil {
		s.notNow(w, err)
		return
	}
	back := local(r.URL.Query().Get("return_to"))
	s.render(w, http.StatusOK, "choose", view{Frame: web.Frame{Title: "Choose who to be · Usher"}, Action: s.Path(back), People: people})
}

// chosen signs in as whoever was chosen.
func (s *SignIn) chosen(w http.ResponseWriter, r *http.Request) {
	if !s.onThisMachine(w, r) {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	p, err := demoPerson(r.PostFormValue("email"), r.PostFormValue("name"))
	if err != nil {
		see(w, s.Path(local(r.URL.Query().Get("return_to"))))
		return
	}
	if err := s.admit(w, r, p); err != nil {
		s.notNow(w, err)
		return
	}
	see(w, local(r.URL.Query().Get("return_to")))
}

// onThisMachine refuses whom development's open door is not for: other machines, and names of other sites that lead here.
func (s *SignIn) onThisMachine(w http.ResponseWriter, r *http.Request) bool {
	if loopback(r.RemoteAddr) && loopback(r.Host) {
		return true
	}
	s.render(w, http.StatusForbidden, "again", view{Frame: web.Frame{Title: "Only on this machine"}, Reason: "machine"})
	return false
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

var errNotVerified = errors.New("the issuer has not verified the address")
