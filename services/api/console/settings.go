package console

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/usherhq/usher/pkg/colour"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/proofs"
	"github.com/usherhq/usher/pkg/roster"
)

type settingsPage struct {
	frame
	Tabs tabs
	Form settingsForm
	// Locales, TTLs and Lost are what to choose from.
	Locales, TTLs, Lost []choice
	Accent              accentView
	LogoPath            string
	// Faults says what is wrong, by place; Problem what went wrong as a whole.
	Faults  faults
	Problem *trouble
	// Differs tells of settings that somebody else changed since the form was opened.
	Differs []difference
	// Typed is true where the form shows what is not saved.
	Typed bool
	// Note is what was done while other things in the form still wait to be saved.
	Note string
}

// owns reports whether the visitor is an owner here.
func (c *Console) owns(v visit) bool { return v.role == c.Roster.Roles().Owner() }

// owners names some of the organization's owners.
func (c *Console) owners(org string) []string {
	var names []string
	for _, p := range c.Roster.People(org) {
		if p.Role == c.Roster.Roles().Owner() && p.Name != "" && len(names) < 3 {
			names = append(names, p.Name)
		}
	}
	return names
}

// settings shows the organization's settings to its owners, and to others whom to ask.
func (c *Console) settings(w http.ResponseWriter, r *http.Request, v visit) error {
	if !c.owns(v) {
		return c.notForOwners(w, r, v)
	}
	now, err := c.Desk.Organization(r.Context(), v.org.ID) // what was just saved may not be in memory everywhere
	if err != nil {
		return err
	}
	v.org = now
	return c.showSettings(w, r, v, http.StatusOK, &settingsPage{Form: formOf(now)})
}

func (c *Console) notForOwners(w http.ResponseWriter, r *http.Request, v visit) error {
	counts, err := c.tabs(r, v, "settings")
	if err != nil {
		return err
	}
	p := &settingsPage{frame: c.frame(r, v, "Settings"), Tabs: counts}
	p.Ask = c.owners(v.org.ID)
	return c.render(w, http.StatusForbidden, "notyours", p)
}

func (c *Console) showSettings(w http.ResponseWriter, r *http.Request, v visit, status int, p *settingsPage) error {
	var err error
	if p.Tabs, err = c.tabs(r, v, "settings"); err != nil {
		return err
	}
	p.frame = c.frame(r, v, "Settings")
	p.Locales, p.TTLs, p.Lost = tongues("The invitee's own", p.Form.Locale), lifetimes(c.TTL, p.Form.TTL), lostAuthority(p.Form.LostAuthority)
	p.Accent = accentOf(p.Form.Accent)
	if p.Form.Logo != "" {
		p.LogoPath = "/logos/" + url.PathEscape(v.org.ID) + "/" + url.PathEscape(p.Form.Logo)
	}
	return c.render(w, status, "settings", p)
}

// saveSettings does what a button of the form says: upload or remove the logo, send a test, or save everything. Whatever it
// is, nothing that was typed is lost.
func (c *Console) saveSettings(w http.ResponseWriter, r *http.Request, v visit) error {
	if !c.owns(v) {
		return c.notForOwners(w, r, v)
	}
	if err := readForm(r); err != nil {
		return err
	}
	p := &settingsPage{Form: typedSettings(r, v), Typed: true}
	var err error
	switch r.PostFormValue("do") {
	case "upload":
		err = c.takeLogo(r, v, p, true)
	case "remove":
		err = c.removeLogo(r, v, p)
	case "test":
		err = c.test(r, v, p)
	default:
		if err = c.takeLogo(r, v, p, false); err == nil {
			_, err = c.Desk.ChangeOrganization(r.Context(), v.org.ID, p.Form.Revision, p.Form.apply)
		}
		if err == nil {
			see(w, "/console/"+v.org.ID+"/settings?done=settings")
			return nil
		}
	}
	return c.answerSettings(w, r, v, p, err)
}

// answerSettings shows the form again, with what was typed and what is wrong with it.
func (c *Console) answerSettings(w http.ResponseWriter, r *http.Request, v visit, p *settingsPage, err error) error {
	if err == nil {
		return c.showSettings(w, r, v, http.StatusOK, p)
	}
	e := problem.As(err)
	switch e.Code {
	case problem.Forbidden, problem.NotFound, problem.UnknownOrganization:
		return err
	case problem.Invalid:
		p.Faults = faultsOf(e)
		p.Problem = &trouble{Heading: headings[e.Code], What: "Some of it cannot be saved like this; each place says why.", Kept: "Nothing was saved, and what you typed is still here."}
	case problem.Conflict:
		if err := c.overtaken(r, v, p); err != nil {
			return err
		}
	default:
		if e.Code == problem.NotNow {
			c.Logger.Warn("the settings page answered not now", "error", err)
		}
		p.Problem = explain(e)
		p.Problem.What, p.Problem.Kept = e.Detail, "What you typed is still here."
	}
	return c.showSettings(w, r, v, e.Status(), p)
}

// overtaken tells what somebody else saved meanwhile. Saving again puts what was typed in its place, now knowingly.
func (c *Console) overtaken(r *http.Request, v visit, p *settingsPage) error {
	now, err := c.Desk.Organization(r.Context(), v.org.ID)
	if err != nil {
		return err
	}
	current := formOf(now)
	p.Differs = differences(current, p.Form)
	p.Form.Revision, p.Form.Logo = current.Revision, current.Logo
	p.Problem = &trouble{
		Heading: "Changed meanwhile", What: "Somebody else saved these settings after you opened this page.",
		Kept: "Nothing of yours was saved, and what you typed is still here.", Do: "Save again to put it in the place of theirs.",
	}
	return nil
}

// takeLogo makes the chosen file the logo. Without one, nothing happens unless one is needed.
func (c *Console) takeLogo(r *http.Request, v visit, p *settingsPage, needed bool) error {
	file, err := uploaded(r)
	if err != nil {
		return err
	}
	if len(file) == 0 {
		if needed {
			p.Faults = faults{"logo": "Choose a picture first."}
		}
		return nil
	}
	stored, err := c.Desk.SetLogo(r.Context(), v.org.ID, p.Form.Revision, file)
	c.logoChanged(p, stored, err, "The logo was uploaded.")
	return err
}

func (c *Console) removeLogo(r *http.Request, v visit, p *settingsPage) error {
	stored, err := c.Desk.SetLogo(r.Context(), v.org.ID, p.Form.Revision, nil)
	c.logoChanged(p, stored, err, "The logo was removed.")
	return err
}

// logoChanged lets the rest of the form go on from the version that has the new logo.
func (c *Console) logoChanged(p *settingsPage, stored roster.Organization, err error, done string) {
	if err == nil {
		p.Form.Revision, p.Form.Logo = stored.Revision(), stored.Branding.Logo
		p.Note = done + " The rest of the form is as you left it."
	}
}

// uploaded reads the chosen file; empty for none.
func uploaded(r *http.Request) ([]byte, error) {
	if r.MultipartForm == nil || len(r.MultipartForm.File["logo"]) == 0 {
		return nil, nil
	}
	return content(r.MultipartForm.File["logo"][0])
}

func content(header *multipart.FileHeader) (data []byte, err error) {
	file, err := header.Open()
	if err != nil {
		return nil, problem.New(problem.TooLarge, "The file did not arrive whole.")
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return io.ReadAll(file)
}

// test has the mail sent to the owner, as the form would make it.
func (c *Console) test(r *http.Request, v visit, p *settingsPage) error {
	proof, err := c.proof(r, v, p.Form, true)
	if err == nil {
		p.Note = "A test is on its way to " + proof.To + ". Nothing was saved."
	}
	return err
}

// proof is the mail that the form would make.
func (c *Console) proof(r *http.Request, v visit, f settingsForm, send bool) (proofs.Proof, error) {
	o := v.org
	f.apply(&o)
	if err := c.Desk.CheckOrganization(&o); err != nil {
		return proofs.Proof{}, err
	}
	return c.Desk.Proof(r.Context(), o, send)
}

type previewPage struct {
	proofs.Proof
	Fault  string
	Faults []string
}

// previewPolicy is that of a mail that is shown: it may run nothing and go nowhere, has styles of its own, and shows
// pictures of this host and of the one that mails name.
const previewPolicy = "default-src 'none'; frame-src 'self' about:; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox; img-src 'self' "

// preview shows the mail as the form would make it. It is a page of its own, for a frame: htmx would put it into the
// console's page, whose policy forbids the styles that mails need.
func (c *Console) preview(w http.ResponseWriter, r *http.Request, v visit) error {
	public, err := url.Parse(c.PublicURL)
	if err != nil {
		public = &url.URL{}
	}
	w.Header().Set("Content-Security-Policy", previewPolicy+public.Scheme+"://"+public.Host)
	if !c.owns(v) {
		return problem.New(problem.Forbidden, "Only an owner sees how mails look.")
	}
	f := formOf(v.org)
	if r.Method == http.MethodPost {
		if err := readForm(r); err != nil {
			return err
		}
		f = typedSettings(r, v)
	}
	p := &previewPage{}
	status := http.StatusOK
	if p.Proof, err = c.proof(r, v, f, false); err != nil {
		e := problem.As(err)
		status, p.Fault = e.Status(), e.Detail
		for place, fault := range faultsOf(e) {
			p.Faults = append(p.Faults, places[place]+": "+fault)
		}
		slices.Sort(p.Faults)
	}
	return templates.Fragment(w, status, "settings", "preview", p)
}

// accentView tells how well a colour can be seen.
type accentView struct {
	// Colour is the colour, Text what stands on it; Name says what that is.
	Colour, Text, Name string
	// OnButton and OnPage are the contrasts of the text on the button, and of the button on a white page.
	OnButton, OnPage float64
	Good             bool
	// Fault says why it is no colour.
	Fault string
}

// usualAccent is the colour of buttons where the organization has none.
const usualAccent = "#1d4ed8"

func accentOf(typed string) accentView {
	typed = strings.TrimSpace(typed)
	if typed == "" {
		typed = usualAccent
	}
	c, ok := colour.Parse(typed)
	if !ok {
		return accentView{Fault: "This must be a colour like #1a5fb4."}
	}
	text := c.Text()
	view := accentView{Colour: c.String(), Text: text.String(), Name: "white", OnButton: colour.Contrast(c, text), OnPage: colour.Contrast(c, colour.White)}
	if text == colour.Black {
		view.Name = "black"
	}
	view.Good = view.OnPage >= colour.Visible && view.OnButton >= colour.Readable
	return view
}

// accent judges a colour while it is being chosen.
func (c *Console) accent(w http.ResponseWriter, r *http.Request, v visit) error {
	if !c.owns(v) {
		return problem.New(problem.Forbidden, "Only an owner may change the organization.")
	}
	if err := readForm(r); err != nil {
		return err
	}
	return templates.Fragment(w, http.StatusOK, "settings", "accent", accentOf(r.PostFormValue("accent")))
}
