// Package pages shows invitees their invitation: server-rendered pages that work without script, on which nothing happens
// until a person takes a step that names what it is about.
package pages

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/pkg/roster"
)

// Redeemer opens links. Lookup changes nothing, and gives the preview along with its refusal where a link has ended.
// Errors are those of redeem.Redeemer.
type Redeemer interface {
	Lookup(ctx context.Context, token string) (redeem.Preview, error)
	Followed(ctx context.Context, p redeem.Preview)
	Accept(ctx context.Context, token string, by redeem.By) (redeem.Success, error)
	Decline(ctx context.Context, token, reason string) (redeem.Preview, error)
	Renew(ctx context.Context, token string) (redeem.Renewal, error)
}

// Mailbox is what the owner of a verified address may see and do without a link. Errors are those of redeem.Redeemer.
type Mailbox interface {
	Invites(p redeem.Preview, email string) bool
	OpenFor(ctx context.Context, email string) ([]redeem.Preview, error)
	Own(ctx context.Context, id, email string) (redeem.Preview, error)
	AcceptOwn(ctx context.Context, id string, by redeem.By) (redeem.Success, error)
	DeclineOwn(ctx context.Context, id, email string) (redeem.Preview, error)
}

// Members tells who is a member, so that the page knows when setting up has ended.
type Members interface {
	Member(organization, person string) (roster.Member, bool)
}

// Unsubscriber stops mails to the address that an unsubscribe link was mailed to. Both methods return problem.NotFound
// for a link that leads nowhere; CheckUnsubscribe changes nothing, and gives an empty preview where what the link belongs
// to cannot be read right now.
type Unsubscriber interface {
	CheckUnsubscribe(ctx context.Context, token string) (redeem.Preview, error)
	Unsubscribe(ctx context.Context, token string) error
}

// Options are what the pages work with.
type Options struct {
	Redeemer     Redeemer
	Mailbox      Mailbox
	Unsubscriber Unsubscriber
	// SignIn is nil where nobody can sign in. RequireSignIn asks invitees who have an account to sign in before they accept.
	SignIn        SignIn
	RequireSignIn bool
	// Members is asked after an acceptance; nil: the page goes by the invitation's own record.
	Members Members
	// PublicURL is the base of every link. Where it is https, the cookie is Secure and bound to its host.
	PublicURL string
	Logger    *slog.Logger
	Clock     clock.Clock
}

// Pages serves /i/{token}, /join, /invitations, /unsubscribe/{token} and /assets/accent/.
type Pages struct {
	Options
	mux    *http.ServeMux
	guard  *http.CrossOriginProtection
	cookie cookie
	base   string // the path of PublicURL, before every path of ours
}

// New prepares the pages.
func New(o Options) *Pages {
	public, err := url.Parse(o.PublicURL)
	if err != nil {
		public = &url.URL{} // settings refuse such a URL long before
	}
	p := &Pages{
		Options: o, mux: http.NewServeMux(), guard: http.NewCrossOriginProtection(),
		cookie: newCookie(public.Scheme == "https"), base: strings.TrimRight(public.EscapedPath(), "/"),
	}
	_ = p.guard.AddTrustedOrigin(public.Scheme + "://" + public.Host) // behind a proxy Host may be another; where it fails, nothing is trusted
	p.mux.HandleFunc("GET /i/{token}", p.enter)
	p.mux.HandleFunc("GET /join", p.join)
	p.mux.HandleFunc("POST /join", p.answer)
	p.mux.HandleFunc("GET /invitations", p.list)
	p.mux.HandleFunc("GET /invitations/{id}", p.showOwn)
	p.mux.HandleFunc("POST /invitations/{id}", p.answerOwn)
	p.mux.HandleFunc("GET /unsubscribe/{token}", p.askUnsubscribe)
	p.mux.HandleFunc("POST /unsubscribe/{token}", p.unsubscribe)
	p.mux.HandleFunc("GET /assets/accent/{file}", serveAccent)
	return p
}

// The policies allow what these pages load and nothing else: no script at all but on the page that looks again by itself, no
// frame around them, forms to this host only.
const (
	policyWithScript = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	policy           = policyWithScript + "; script-src 'none'"
)

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer") // the address may hold a token
	h.Set("Cache-Control", "no-store")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("X-Content-Type-Options", "nosniff")
	if lang := r.URL.Query().Get(paramLanguage); lang != "" && known(lang) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		p.chooseLanguage(w, r, lang)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// chooseLanguage keeps a choice in the browser, and shows the same page again without it in the address.
func (p *Pages) chooseLanguage(w http.ResponseWriter, r *http.Request, lang string) {
	p.keepLanguage(w, lang)
	w.Header().Set("Location", p.base+"/"+strings.TrimLeft(r.URL.EscapedPath(), "/\\")) // never another host's
	w.WriteHeader(http.StatusSeeOther)
}

func (p *Pages) keepLanguage(w http.ResponseWriter, lang string) {
	if !known(lang) {
		return
	}
	http.SetCookie(w, &http.Cookie{ // #nosec G124 -- Secure wherever the pages are
		Name: cookieLanguage, Value: lang, Path: "/", Secure: p.cookie.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// maxForm is how many bytes a form may have: several times what ours can fill.
const maxForm = 16 << 10

// readForm reads a posted form of either encoding. Where it cannot, it answers and reports false.
func (p *Pages) readForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	if err == nil {
		err = r.ParseMultipartForm(maxForm)
	}
	if err == nil || errors.Is(err, http.ErrNotMultipart) {
		return true
	}
	status := http.StatusBadRequest
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	p.render(w, r, status, "unreadable", view{})
	return false
}

// ends names the page of each refusal after which there is nothing left to do here.
var ends = map[problem.Code]string{
	problem.NotFound:            "unknown",
	problem.UnknownOrganization: "unknown",
	problem.Accepted:            "toolate", // to decline
	problem.Declined:            "declined",
	problem.Revoked:             "revoked",
	problem.Expired:             "expired",
	problem.Replaced:            "replaced",
	problem.AuthorityLost:       "authority",
	problem.RoleGone:            "authority",
	problem.TooMany:             "toomany",
	problem.NotNow:              "notnow",
}

// refuse shows the page that goes with a refusal. What has no page of its own was not foreseen: "not now", never "yes".
func (p *Pages) refuse(w http.ResponseWriter, r *http.Request, err error, v view) {
	e := problem.As(err)
	if _, ok := ends[e.Code]; !ok {
		e = problem.Unavailable("The page", err)
	}
	p.askLater(w, e)
	p.render(w, r, e.Status(), ends[e.Code], v)
}

// askLater says when to come back, and logs that a dependency is down.
func (p *Pages) askLater(w http.ResponseWriter, e *problem.Error) {
	switch e.Code {
	case problem.NotNow:
		p.Logger.Warn("a page answered not now", "error", e)
	case problem.TooMany:
	default:
		return
	}
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(e.RetryAfter.Seconds()))))
}
