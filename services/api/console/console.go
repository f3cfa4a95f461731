// Package console is User Management: the pages on which members of an organization see who is in it and who is invited,
// and on which its owners and admins invite. Every act is done as the signed-in member, with that member's authority alone.
package console

import (
	"context"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/preferences"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/proofs"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/views"
	"github.com/usherhq/usher/services/api/imports"
	"github.com/usherhq/usher/services/api/signin"
	"github.com/usherhq/usher/services/api/web"
)

// Desk does what members ask for. Contexts come from As; each act checks that member's authority again. Refusals are
// *problem.Error, and an invitation of another organization than the one named is problem.NotFound.
type Desk interface {
	// As makes the acts done with the context those of the member with that verified address, and gives their id.
	As(ctx context.Context, email string) (context.Context, string, error)
	// Person is the id of whoever has that address; false for what is no address.
	Person(email string) (string, bool)

	Invitations(ctx context.Context, org string, q views.Query) (views.Page, error)
	Invitation(ctx context.Context, org, id string) (invitation.Record, error)
	// Deliveries gives what the provider last said of mails that bounced or wait, by invitation.
	Deliveries(ctx context.Context, org string, ids []string) (map[string]events.Delivery, error)
	// History hands over everything that happened to an invitation, oldest first.
	History(ctx context.Context, record invitation.Record, add func(events.Event)) error

	// Check is admission's verdict on one request as things are now, with nothing done.
	Check(ctx context.Context, asked events.InvitationRequested) error
	// Invite gives one verdict a request, in order. The same form with the same requests invites once.
	Invite(ctx context.Context, form string, asked []events.InvitationRequested) []admission.Verdict
	Resend(ctx context.Context, org, id string, rotate, anyway bool) (invitation.Record, error)
	// Readdress makes a new invitation to another address in place of an open or expired one.
	Readdress(ctx context.Context, org, id, email string) (invitation.Record, error)
	Revoke(ctx context.Context, org, id string) error

	ChangeRole(ctx context.Context, org, person, role string) (events.Membership, error)
	Remove(ctx context.Context, org, person string) (events.Membership, error)

	// Organization reads an organization from the ledger itself, so that its revision is the newest.
	Organization(ctx context.Context, org string) (roster.Organization, error)
	// ChangeOrganization changes an organization whose revision is still the given one, by the rules of every door;
	// problem.Conflict where it is another by now.
	ChangeOrganization(ctx context.Context, org string, revision uint64, change func(*roster.Organization)) (roster.Organization, error)
	// CheckOrganization tidies what an organization would say of itself, and judges it with nothing stored.
	CheckOrganization(o *roster.Organization) error
	// SetLogo makes a file the logo of an organization whose revision is still the given one; nil leaves it without.
	SetLogo(ctx context.Context, org string, revision uint64, file []byte) (roster.Organization, error)
	// Proof is the mail that invitees of the organization, as it is given, would get; send has it sent to the caller.
	Proof(ctx context.Context, o roster.Organization, send bool) (proofs.Proof, error)

	// Letter is the newest mail of an invitation as it went out, its secret links masked.
	Letter(ctx context.Context, org, id string) (proofs.Proof, error)

	// Changes calls changed after anything happened in an organization, until ctx ends.
	Changes(ctx context.Context, org string, changed func()) error
}

// Options are what the console works with.
type Options struct {
	Desk   Desk
	SignIn *signin.SignIn
	Roster *roster.Roster
	Views  *views.Views
	// Preferences are what each person wants of the mails that go to members.
	Preferences *preferences.List
	// TTL is how long invitations stay open where the organization says nothing else.
	TTL time.Duration
	// Imports are the files of people to invite.
	Imports   *imports.Engine
	PublicURL string
	Logger    *slog.Logger
	Clock     clock.Clock
}

// Console serves /console and everything below it.
type Console struct {
	Options
	mux   *http.ServeMux
	guard *http.CrossOriginProtection
	hub   *hub

	stopping chan struct{}
	stop     sync.Once
}

//go:embed templates/*.html
var files embed.FS

var templates = web.Parse(files, "templates", template.FuncMap{
	"initials": initials, "lower": lower, "plural": plural,
})

// New prepares the console.
func New(o Options) *Console {
	c := &Console{Options: o, mux: http.NewServeMux(), guard: web.Guard(o.PublicURL), hub: newHub(o.Desk.Changes), stopping: make(chan struct{})}
	c.mux.Handle("GET /console", c.signedIn(c.home))
	for pattern, handle := range map[string]handler{
		"GET /console/{org}":                           c.toMembers,
		"GET /console/{org}/members":                   c.members,
		"GET /console/{org}/members/{person}":          c.member,
		"POST /console/{org}/members/{person}/role":    c.changeRole,
		"GET /console/{org}/members/{person}/remove":   c.askRemove,
		"POST /console/{org}/members/{person}/remove":  c.remove,
		"GET /console/{org}/invitations":               c.invitations,
		"POST /console/{org}/invitations":              c.several,
		"GET /console/{org}/invitations/{id}":          c.invitation,
		"GET /console/{org}/invitations/{id}/mail":     c.mail,
		"POST /console/{org}/invitations/{id}/resend":  c.resend,
		"GET /console/{org}/invitations/{id}/revoke":   c.askRevoke,
		"POST /console/{org}/invitations/{id}/revoke":  c.revoke,
		"POST /console/{org}/invitations/{id}/address": c.readdress,
		"GET /console/{org}/invite":                    c.invite,
		"POST /console/{org}/invite":                   c.submit,
		"POST /console/{org}/invite/check":             c.check,
		"GET /console/{org}/imports":                   c.imports,
		"POST /console/{org}/imports":                  c.upload,
		"GET /console/{org}/imports/{id}":              c.job,
		"GET /console/{org}/imports/{id}/report.csv":   c.report,
		"POST /console/{org}/imports/{id}/{act}":       c.steer,
		"GET /console/{org}/live":                      c.live,
		"GET /console/{org}/settings":                  c.settings,
		"POST /console/{org}/settings":                 c.saveSettings,
		"GET /console/{org}/settings/preview":          c.preview,
		"POST /console/{org}/settings/preview":         c.preview,
		"POST /console/{org}/settings/accent":          c.accent,
	} {
		c.mux.Handle(pattern, c.inside(handle))
	}
	c.mux.Handle("GET /console/preferences", c.signedIn(c.preferences))
	c.mux.Handle("POST /console/preferences", c.signedIn(c.savePreferences))
	c.mux.Handle("/console/", c.signedIn(func(_ http.ResponseWriter, _ *http.Request, _ visit) error {
		return problem.New(problem.NotFound, "There is no such page.")
	}))
	return c
}

// Stop ends the live views, so that a server can close; pages open them again elsewhere.
func (c *Console) Stop() { c.stop.Do(func() { close(c.stopping) }) }

// maxForm is how many bytes a form may have, maxUpload one with a file.
const (
	maxForm   = 256 << 10
	maxUpload = 4 << 20
)

// ServeHTTP implements http.Handler. It needs the sessions of SignIn around it.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	web.Secure(w.Header())
	if err := c.guard.Check(r); err != nil {
		c.refuse(w, r, visit{}, problem.New(problem.Forbidden, "Another site made your browser send this."))
		return
	}
	most := int64(maxForm)
	switch {
	case isUpload(r):
		most = imports.MaxBytes + maxForm
	case strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/"):
		most = maxUpload
	}
	r.Body = http.MaxBytesReader(w, r.Body, most)
	c.mux.ServeHTTP(w, r)
}

// visit is who looks at which organization.
type visit struct {
	person, email, name string
	org                 roster.Organization
	role                string
}

// mayInvite reports whether the visitor invites and manages here.
func (c *Console) mayInvite(v visit) bool { return c.Roster.Roles().MayInvite(v.role) }

type handler func(w http.ResponseWriter, r *http.Request, v visit) error

// signedIn lets those through who are signed in, sends readers to sign in, and keeps what others had typed.
func (c *Console) signedIn(next handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok := c.SignIn.Person(r)
		if !ok {
			c.signInFirst(w, r)
			return
		}
		ctx, person, err := c.Desk.As(r.Context(), who.Email)
		v := visit{person: person, email: who.Email, name: who.Name}
		if err == nil {
			err = next(w, r.WithContext(ctx), v)
		}
		if err != nil {
			c.refuse(w, r, v, err)
		}
	})
}

// inside lets members of the organization in the path through. To others it is not there.
func (c *Console) inside(next handler) http.Handler {
	return c.signedIn(func(w http.ResponseWriter, r *http.Request, v visit) error {
		missing := problem.New(problem.NotFound, "There is no such organization, or you are not one of its members.")
		org := r.PathValue("org")
		if !events.ValidOrganization(org) {
			return missing
		}
		m, ok, err := c.Roster.Authority(r.Context(), org, v.person)
		if err != nil {
			return err
		}
		if !ok {
			return missing
		}
		if v.org, err = c.Roster.Organization(r.Context(), org); err != nil {
			if problem.Is(err, problem.UnknownOrganization) {
				return missing
			}
			return err
		}
		v.role = m.Role
		if m.Name != "" {
			v.name = m.Name // how the organization knows them
		}
		return next(w, r, v)
	})
}

// managing lets those through who may invite and manage.
func (c *Console) managing(v visit) error {
	if !c.mayInvite(v) {
		return problem.New(problem.NoAuthority, "Only owners and admins may do this.")
	}
	return nil
}

// home leads to the first organization of whoever comes.
func (c *Console) home(w http.ResponseWriter, r *http.Request, v visit) error {
	for _, org := range c.Roster.Organizations(v.person) {
		if _, err := c.Roster.Organization(r.Context(), org); err == nil {
			see(w, "/console/"+org+"/members")
			return nil
		}
	}
	return c.render(w, http.StatusOK, "nowhere", &page{frame: c.frame(r, v, "User Management")})
}

func (c *Console) toMembers(w http.ResponseWriter, _ *http.Request, v visit) error {
	see(w, "/console/"+v.org.ID+"/members")
	return nil
}

func see(w http.ResponseWriter, target string) {
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}
