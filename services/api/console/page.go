package console

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/services/api/web"
)

// frame is what all pages of the console show around their own.
type frame struct {
	web.Frame
	Me place
	// Org is the organization the page is about, empty for none; Others are those to switch to.
	Org       place
	Others    []place
	Role      string
	MayInvite bool
	SignOut   string
	// Ask names whom to ask, for those who may not invite themselves.
	Ask     []string
	Contact string
	// Done is what was just done, as a sentence.
	Done string
}

// place is somebody or something with a name and where to find it.
type place struct{ ID, Name, Email, Path string }

// page is a page with nothing of its own.
type page struct {
	frame
	Problem *trouble
}

func (c *Console) frame(r *http.Request, v visit, title string) frame {
	f := frame{
		Frame: web.Frame{Title: title + " · Usher", Script: true}, Me: place{Name: v.name, Email: v.email}, Role: v.role,
		SignOut: c.SignIn.SignOutPath("/console"), Done: done(r.URL.Query().Get("done")),
	}
	if v.org.ID != "" {
		f.Title = title + " · " + v.org.Name
		f.Org = place{ID: v.org.ID, Name: v.org.Name, Path: "/console/" + v.org.ID}
		f.MayInvite, f.Contact = c.mayInvite(v), v.org.Contact
		if !f.MayInvite {
			f.Ask = c.Roster.Inviters(v.org.ID, 3)
		}
	}
	for _, id := range c.Roster.Organizations(v.person) {
		if org, err := c.Roster.Organization(r.Context(), id); err == nil && id != v.org.ID {
			f.Others = append(f.Others, place{ID: id, Name: org.Name, Path: "/console/" + id + "/members"})
		}
	}
	return f
}

// done are the sentences that a page may be asked to show after an act. Whoever makes up a link can show no other.
func done(code string) string {
	return map[string]string{
		"role": "The role was changed.", "removed": "The member was removed. What they see here ends at once.",
		"resent": "The invitation is on its way again.", "rotated": "A new link is on its way; the one before no longer works.",
		"revoked": "The invitation was revoked. Its link no longer works.", "readdressed": "A new invitation is on its way to the right address.",
		"settings": "The settings were saved. Mails and pages follow them from now on.", "preferences": "Your preferences were saved.",
	}[code]
}

func (c *Console) render(w http.ResponseWriter, status int, name string, data any) error {
	return templates.Render(w, status, name, data)
}

// trouble is a refusal in words: what happened, what was kept, what to do.
type trouble struct {
	Heading, What, Kept, Do string
	Back                    string
	Fields                  []string
}

// refuse answers with a page that says what happened. What was not foreseen is "not now", never "yes".
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, v visit, err error) {
	e := problem.As(err)
	if e.Code == problem.NotNow {
		c.Logger.Warn("a page answered not now", "error", err)
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(e.RetryAfter.Seconds()))))
	}
	if isLive(r) && e.Code != problem.NotNow {
		endLive(w)
		return
	}
	t := explain(e)
	t.Back = back(r, v)
	p := &page{frame: c.frame(r, v, t.Heading), Problem: t}
	if v.person == "" {
		p.Me, p.SignOut = place{}, ""
	}
	if err := c.render(w, e.Status(), "trouble", p); err != nil {
		c.Logger.Error("a page could not be rendered", "error", err)
		http.Error(w, "Not now. Nothing was changed; please try again shortly.", http.StatusServiceUnavailable)
	}
}

// back is where to go on after a refusal.
func back(r *http.Request, v visit) string {
	switch {
	case v.org.ID == "":
		return "/console"
	case strings.HasPrefix(r.URL.Path, "/console/"+v.org.ID+"/imports"):
		return "/console/" + v.org.ID + "/imports"
	case r.PathValue("id") != "":
		return "/console/" + v.org.ID + "/invitations"
	}
	return "/console/" + v.org.ID + "/members"
}

// headings are the refusals as headings; their details tell the rest.
var headings = map[problem.Code]string{
	problem.NotFound: "Not found", problem.UnknownOrganization: "Not found", problem.NotNow: "Not now",
	problem.Forbidden: "Not allowed", problem.NoAuthority: "Not for your role", problem.RoleTooHigh: "Above your own role",
	problem.Ended: "This invitation has ended", problem.LastOwner: "An organization needs an owner",
	problem.AlreadyInvited: "Invited already", problem.AlreadyMember: "A member already", problem.Suppressed: "This address is not written to",
	problem.Conflict: "Changed meanwhile", problem.WrongState: "Not as it stands now", problem.Invalid: "Please look again", problem.TooMany: "Too often",
}

// advice is what to do next.
var advice = map[problem.Code]string{
	problem.NotFound:       "The address may be mistyped, or it belongs to an organization of which you are not a member. With another account you may see it.",
	problem.NotNow:         "Please try again in a moment.",
	problem.NoAuthority:    "Ask an owner or admin of the organization.",
	problem.RoleTooHigh:    "Ask somebody with that role.",
	problem.LastOwner:      "Make somebody else an owner, then do this again.",
	problem.Conflict:       "Look at how it stands now, and do it again if it is still needed.",
	problem.Ended:          "To invite the same person, make a new invitation.",
	problem.AlreadyInvited: "Resend the open invitation instead of making another.",
	problem.Suppressed:     "Ask the person for another address.",
}

func explain(e *problem.Error) *trouble {
	t := &trouble{Heading: headings[e.Code], What: e.Detail, Do: advice[e.Code], Kept: "Nothing was changed."}
	if t.Heading == "" {
		t.Heading = "That did not work"
	}
	if e.Code == problem.NotNow {
		t.What = "Something Usher needs is not available right now."
	}
	for _, f := range e.Fields {
		t.Fields = append(t.Fields, complaint(f))
	}
	return t
}

// lost is the page for somebody whose session ended while they were doing something.
type lost struct {
	web.Frame
	SignIn, Action string
	Fields         []field
}

type field struct{ Name, Value string }

// signInFirst sends readers to sign in. What somebody was sending is kept on the page, to be sent again after signing in.
func (c *Console) signInFirst(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || isUpload(r) { // a file is chosen again
		target := c.SignIn.Path(r.URL.RequestURI())
		if isLive(r) {
			endLive(w)
			return
		}
		if r.Header.Get("HX-Request") != "" {
			w.Header().Set("HX-Refresh", "true") // the whole page goes to sign in, not the part that asked
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		see(w, target)
		return
	}
	l := &lost{Frame: web.Frame{Title: "Please sign in again · Usher"}, SignIn: c.SignIn.Path("/console"), Action: r.URL.Path}
	if err := readForm(r); err == nil {
		for name, values := range r.PostForm {
			for _, value := range values {
				l.Fields = append(l.Fields, field{name, value})
			}
		}
	}
	if err := c.render(w, http.StatusUnauthorized, "lost", l); err != nil {
		c.refuse(w, r, visit{}, err)
	}
}

// readForm reads a posted form of either encoding.
func readForm(r *http.Request) error {
	err := r.ParseMultipartForm(maxUpload)
	if errors.Is(err, http.ErrNotMultipart) {
		err = nil
	}
	if err != nil {
		return problem.New(problem.TooLarge, "The form is larger than this page takes, or did not arrive whole.")
	}
	return nil
}

// withQuery is a path with the given pairs set, and those with an empty value taken away.
func withQuery(path string, query url.Values, pairs ...string) string {
	q := url.Values{}
	for name, values := range query {
		q[name] = values
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if q.Del(pairs[i]); pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
