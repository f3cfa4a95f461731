package pages

import (
	"net/http"
	"time"

	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
)

// The fields of the forms on /join. The step is the box that a person ticks: a scanner that submits forms as it finds
// them leaves it out.
const (
	fieldAction = "action"
	fieldForm   = "form"
	fieldStep   = "confirm"
	fieldName   = "name"

	actionAccept  = "accept"
	actionDecline = "decline"
	stepTaken     = "yes"
)

// enter takes the token out of the address bar. A link that leads nowhere is told at once; all else the page tells.
func (p *Pages) enter(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	if _, err := p.Redeemer.Lookup(r.Context(), token); problem.Is(err, problem.NotFound) {
		p.refuse(w, err, view{})
		return
	}
	p.cookie.put(w, token, openFor)
	p.toJoin(w)
}

// toJoin sends the browser to the clean page, to be fetched with GET.
func (p *Pages) toJoin(w http.ResponseWriter) {
	w.Header().Set("Location", p.base+"/join")
	w.WriteHeader(http.StatusSeeOther)
}

// join shows the invitation, or how it ended.
func (p *Pages) join(w http.ResponseWriter, r *http.Request) {
	token := p.cookie.token(r)
	if token == "" {
		p.render(w, http.StatusNotFound, "closed", view{})
		return
	}
	p.show(w, r, token, attempt{status: http.StatusOK})
}

// attempt is a form that decided nothing: why, and what stood in it.
type attempt struct {
	status int
	Fault  fault
	// Detail ends the sentence that begins with "Your name", for faultName.
	Detail string
	Action string
	Name   string
	Step   bool
}

// fault says what to correct, or why to try again.
type fault string

const (
	faultStep  fault = "step"  // no button was pressed, or the box beside it was not ticked
	faultName  fault = "name"  // a name is missing, or is none
	faultForm  fault = "form"  // the form belongs to another invitation
	faultLater fault = "later" // a dependency is down
)

// show answers with the invitation as it stands now. While that is open, the page shows again what the attempt held.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, token string, a attempt) {
	preview, err := p.Redeemer.Lookup(r.Context(), token)
	v := p.view(preview)
	switch {
	case err == nil:
		v.Form, v.Attempt = formToken(token), a
		p.render(w, a.status, "invitation", v)
	case problem.Is(err, problem.Accepted):
		p.accepted(w, preview, v)
	default:
		p.refuse(w, err, v)
	}
}

// settingUpFor is how long after an acceptance its membership may be on the way. It takes less than a second where all is
// well, and a minute after a fault; a page that promised it for ever would lie to those who left again.
const settingUpFor = 10 * time.Minute

// accepted shows what became of a yes.
func (p *Pages) accepted(w http.ResponseWriter, preview redeem.Preview, v view) {
	record := preview.Record
	if p.Members != nil {
		if member, ok := p.Members.Member(record.Organization, record.Request.Person); ok {
			v.Role = plain(member.Role) // it may be another than was offered
			p.render(w, http.StatusOK, "joined", v)
			return
		}
	}
	switch state := record.MembershipState(); {
	case state == invitation.MembershipActive:
		p.render(w, http.StatusOK, "joined", v)
	case state == invitation.MembershipRefused || p.Clock().Sub(record.EndedAt) > settingUpFor:
		p.render(w, http.StatusConflict, "notmember", v)
	default:
		w.Header().Set("Refresh", "2") // without script, the page comes back by itself
		p.render(w, http.StatusOK, "settingup", v)
	}
}

// answer takes the invitee's yes or no. It counts only with the box ticked, on the form of the invitation that is open in
// this browser, sent from our own page.
func (p *Pages) answer(w http.ResponseWriter, r *http.Request) {
	if p.fromElsewhere(r) {
		p.render(w, http.StatusForbidden, "elsewhere", view{})
		return
	}
	if !p.readForm(w, r) {
		return
	}
	token := p.cookie.token(r)
	a := attempt{Action: r.PostFormValue(fieldAction), Name: r.PostFormValue(fieldName), Step: r.PostFormValue(fieldStep) == stepTaken}
	switch {
	case token == "":
		p.render(w, http.StatusNotFound, "closed", view{})
	case !sameForm(token, r.PostFormValue(fieldForm)):
		p.show(w, r, token, attempt{status: http.StatusConflict, Fault: faultForm})
	case a.Step && a.Action == actionAccept:
		_, err := p.Redeemer.Accept(r.Context(), token, a.Name)
		p.answered(w, r, token, a, err)
	case a.Step && a.Action == actionDecline:
		_, err := p.Redeemer.Decline(r.Context(), token, "")
		p.answered(w, r, token, a, err)
	default:
		a.status, a.Fault = http.StatusUnprocessableEntity, faultStep
		p.show(w, r, token, a)
	}
}

// fromElsewhere reports whether another site's page sent the form. Our own pages send no referrer, and so, where plain
// http makes the browser leave out Sec-Fetch-Site, an origin of "null": there the form's token decides alone.
func (p *Pages) fromElsewhere(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "null" {
		return false
	}
	return p.guard.Check(r) != nil
}

// answered leads on after an answer: to the clean page where it counted, back to the form where it can be mended, to the
// page that says how the invitation ended otherwise.
func (p *Pages) answered(w http.ResponseWriter, r *http.Request, token string, a attempt, err error) {
	e := problem.As(err)
	switch {
	case err == nil:
		p.cookie.put(w, token, answeredFor)
		p.toJoin(w)
	case e.Code == problem.Invalid:
		a.status, a.Fault = e.Status(), faultName
		for _, f := range e.Fields {
			a.Detail = f.Message
		}
		p.show(w, r, token, a)
	case e.Code == problem.NotNow:
		p.askLater(w, e)
		a.status, a.Fault = e.Status(), faultLater
		p.show(w, r, token, a)
	default:
		preview, _ := p.Redeemer.Lookup(r.Context(), token) // only for the names on the page
		p.refuse(w, e, p.view(preview))
	}
}
