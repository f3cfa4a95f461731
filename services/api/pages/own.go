package pages

import (
	"cmp"
	"net/http"

	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
)

// The pages of somebody who is signed in: their verified address is the right, and no link is needed.

// owner is who is signed in. Where nobody is, it has led to the sign-in and reports false; where nobody can be, there is no
// such page.
func (p *Pages) owner(w http.ResponseWriter, r *http.Request) (Person, bool) {
	// These addresses hold no secret, and the guard below needs an origin to look at.
	w.Header().Set("Referrer-Policy", "same-origin")
	if p.SignIn == nil || !p.SignIn.Enabled() {
		p.render(w, r, http.StatusNotFound, "closed", view{})
		return Person{}, false
	}
	who, ok := p.SignIn.Person(r)
	if !ok {
		w.Header().Set("Location", p.base+p.SignIn.Path("/invitations"))
		w.WriteHeader(http.StatusSeeOther)
	}
	return who, ok
}

// list shows all open invitations.
func (p *Pages) list(w http.ResponseWriter, r *http.Request) {
	if who, ok := p.owner(w, r); ok {
		p.tellOpen(w, r, who, attempt{status: http.StatusOK})
	}
}

// tellOpen shows the list, and again what an attempt held.
func (p *Pages) tellOpen(w http.ResponseWriter, r *http.Request, who Person, a attempt) {
	open, err := p.Mailbox.OpenFor(r.Context(), who.Email)
	v := p.ownView(r, who, redeem.Preview{})
	v.Attempt = a
	if err != nil {
		p.refuse(w, r, err, v)
		return
	}
	for _, preview := range open {
		o := offer{ID: preview.Record.ID, view: p.view(r, preview, v.Lang())} // one page, one language
		o.Name = cmp.Or(a.Name, who.Name, o.Name)
		v.Open = append(v.Open, o)
	}
	p.render(w, r, a.status, "open", v)
}

func (p *Pages) ownView(r *http.Request, who Person, preview redeem.Preview) view {
	v := p.view(r, preview, who.Locale) // what they said themselves, before what others said of them
	v.Here = p.base + "/invitations"
	if preview.Record.ID != "" {
		v.Here += "/" + preview.Record.ID
	}
	v.Account, v.SignOut = line(who.Email), p.base+p.SignIn.SignOutPath(p.SignIn.Path("/invitations"))
	return v
}

// showOwn shows what became of one of them.
func (p *Pages) showOwn(w http.ResponseWriter, r *http.Request) {
	if who, ok := p.owner(w, r); ok {
		p.tellOwn(w, r, who, nil)
	}
}

// tellOwn shows an invitation as it stands, or why an answer to it was refused.
func (p *Pages) tellOwn(w http.ResponseWriter, r *http.Request, who Person, refusal error) {
	preview, err := p.Mailbox.Own(r.Context(), r.PathValue("id"), who.Email)
	if err == nil && refusal == nil { // still open: it stands in the list
		p.lead(w, "/invitations")
		return
	}
	v := p.ownView(r, who, preview)
	if refusal != nil && !problem.Is(refusal, problem.Expired) {
		p.refuse(w, r, refusal, v)
		return
	}
	p.ended(w, r, preview, err, v)
}

// answerOwn takes a yes or no. The session is the right, so nothing but a form of ours may send it.
func (p *Pages) answerOwn(w http.ResponseWriter, r *http.Request) {
	if p.guard.Check(r) != nil {
		p.render(w, r, http.StatusForbidden, "elsewhere", view{})
		return
	}
	if !p.readForm(w, r) {
		return
	}
	who, ok := p.owner(w, r)
	if !ok {
		return
	}
	var err error
	switch id := r.PathValue("id"); r.PostFormValue(fieldAction) {
	case actionAccept:
		name := cmp.Or(r.PostFormValue(fieldName), who.Name)
		_, err = p.Mailbox.AcceptOwn(r.Context(), id, redeem.By{Name: name, Locale: who.Locale, Email: who.Email})
	case actionDecline:
		_, err = p.Mailbox.DeclineOwn(r.Context(), id, who.Email)
	default:
		p.lead(w, "/invitations")
		return
	}
	switch e := problem.As(err); {
	case err == nil:
		p.lead(w, "/invitations/"+r.PathValue("id"))
	case e.Code == problem.Invalid:
		p.tellOpen(w, r, who, attempt{status: e.Status(), Fault: nameFault(e), Name: r.PostFormValue(fieldName)})
	default:
		p.tellOwn(w, r, who, err)
	}
}
