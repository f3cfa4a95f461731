package pages

import (
	"cmp"
	"net/http"
	"time"

	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/services/api/web"
)

// The fields of the forms on /join. The step is the box that a person ticks: a scanner that submits forms as it finds
// them leaves it out.
const (
	fieldAction = "action"
	fieldForm   = "form"
	fieldStep   = "confirm"
	fieldName   = "name"
	fieldLocale = "locale"

	actionAccept  = "accept"
	actionDecline = "decline"
	actionRenew   = "renew"
	stepTaken     = "yes"
)

// enter takes the token out of the address bar. A link that leads nowhere is told at once; all else the page tells.
func (p *Pages) enter(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	if _, err := p.Redeemer.Lookup(r.Context(), token); problem.Is(err, problem.NotFound) {
		p.refuse(w, r, err, view{})
		return
	}
	failpoint.Here(failpoint.PagesEntered)
	p.cookie.put(w, token, openFor)
	p.lead(w, "/join")
}

// lead sends the browser to one of our pages, to be fetched with GET.
func (p *Pages) lead(w http.ResponseWriter, path string) {
	w.Header().Set("Location", p.base+path)
	w.WriteHeader(http.StatusSeeOther)
}

// join shows the invitation, or how it ended.
func (p *Pages) join(w http.ResponseWriter, r *http.Request) {
	token := p.cookie.token(r)
	if token == "" {
		p.render(w, r, http.StatusNotFound, "closed", view{})
		return
	}
	p.show(w, r, token, attempt{status: http.StatusOK})
	failpoint.Here(failpoint.PagesShown)
}

// attempt is a form that decided nothing: why, and what stood in it.
type attempt struct {
	status int
	Fault  fault
	Action string
	Name   string
	Locale string
	Step   bool
}

// fault says what to correct, or why to try again. It is the last part of the message's id.
type fault string

const (
	faultStep   fault = "step"   // no button was pressed, or the box beside it was not ticked
	faultNeeded fault = "needed" // the name is missing
	faultPlain  fault = "plain"  // the name is no line of text
	faultLong   fault = "long"   // the name is too long
	faultForm   fault = "form"   // the form belongs to another invitation
	faultLater  fault = "later"  // a dependency is down
)

// Named reports whether the name is what to correct.
func (f fault) Named() bool { return f == faultNeeded || f == faultPlain || f == faultLong }

var nameFaults = map[string]fault{
	redeem.NameNeeded: faultNeeded, redeem.NamePlain: faultPlain, redeem.NameTooLong: faultLong,
}

// nameFault is what is wrong with a name.
func nameFault(e *problem.Error) fault {
	if len(e.Fields) == 0 {
		return faultPlain
	}
	return cmp.Or(nameFaults[e.Fields[0].Message], faultPlain)
}

// show answers with the invitation as it stands now. While that is open, the page shows again what the attempt held.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, token string, a attempt) {
	preview, err := p.Redeemer.Lookup(r.Context(), token)
	v := p.view(r, preview)
	v.Form, v.Attempt = formToken(token), a
	who, signedIn := p.claimant(r)
	open, accepted := err == nil, problem.Is(err, problem.Accepted)
	if open && followed(r) {
		p.Redeemer.Followed(r.Context(), preview)
	}
	switch {
	case signedIn && (open || accepted) && !p.Mailbox.Invites(preview, who.Email):
		p.wrongAccount(w, r, token, v)
	case open && p.mustSignIn(r, preview):
		p.askSignIn(w, token, &v)
		p.render(w, r, a.status, "invitation", v)
	case open:
		v.Account, v.Name = line(who.Email), cmp.Or(v.Name, who.Name)
		p.render(w, r, a.status, "invitation", v)
	default:
		p.ended(w, r, preview, err, v)
	}
}

// followed reports whether a person's click led here: browsers say so, and what fetches links by itself does not.
func followed(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-User") == "?1" && r.Header.Get("Sec-Purpose") == ""
}

// ended shows how an invitation ended.
func (p *Pages) ended(w http.ResponseWriter, r *http.Request, preview redeem.Preview, err error, v view) {
	switch {
	case problem.Is(err, problem.Accepted):
		p.accepted(w, r, preview, v)
	case problem.Is(err, problem.Expired):
		p.expired(w, r, preview, err, v)
	default:
		p.refuse(w, r, err, v)
	}
}

// expired offers a new link, or tells what became of the wish for one.
func (p *Pages) expired(w http.ResponseWriter, r *http.Request, preview redeem.Preview, err error, v view) {
	record := preview.Record
	switch {
	case p.isMember(record, &v): // by another invitation
		p.render(w, r, http.StatusOK, "joined", v)
	case redeem.Asked(record, p.Clock()) && record.Renewed:
		p.render(w, r, http.StatusOK, "renewed", v)
	case redeem.Asked(record, p.Clock()):
		p.render(w, r, http.StatusOK, "asked", v)
	default:
		p.refuse(w, r, err, v)
	}
}

// isMember reports whether the invitee is a member, and shows the role they have: it may be another than was offered.
func (p *Pages) isMember(record invitation.Record, v *view) bool {
	if p.Members == nil || record.Request == nil {
		return false
	}
	member, ok := p.Members.Member(record.Organization, record.Request.Person)
	if ok {
		v.Role = v.role(member.Role)
	}
	return ok
}

// settingUpFor is how long after an acceptance its membership may be on the way. It takes less than a second where all is
// well, and a minute after a fault; a page that promised it for ever would lie to those who left again.
const settingUpFor = 10 * time.Minute

// accepted shows what became of a yes.
func (p *Pages) accepted(w http.ResponseWriter, r *http.Request, preview redeem.Preview, v view) {
	record := preview.Record
	switch state := record.MembershipState(); {
	case p.isMember(record, &v) || state == invitation.MembershipActive:
		p.render(w, r, http.StatusOK, "joined", v)
	case state == invitation.MembershipRefused || p.Clock().Sub(record.EndedAt) > settingUpFor:
		p.render(w, r, http.StatusConflict, "notmember", v)
	default:
		v.Script = web.Asset("htmx.min.js") // without script, the page is loaded again as a whole
		w.Header().Set("Content-Security-Policy", policyWithScript)
		p.render(w, r, http.StatusOK, "settingup", v)
	}
}

// answer takes the invitee's yes or no, or their wish for a new link. It counts only on the form of the invitation that is
// open in this browser, sent from our own page; yes and no only with the box ticked.
func (p *Pages) answer(w http.ResponseWriter, r *http.Request) {
	if p.fromElsewhere(r) {
		p.render(w, r, http.StatusForbidden, "elsewhere", view{})
		return
	}
	if !p.readForm(w, r) {
		return
	}
	failpoint.Here(failpoint.PagesPosted)
	token := p.cookie.token(r)
	a := attempt{
		Action: r.PostFormValue(fieldAction), Name: r.PostFormValue(fieldName), Locale: r.PostFormValue(fieldLocale),
		Step: r.PostFormValue(fieldStep) == stepTaken,
	}
	switch {
	case token == "":
		p.render(w, r, http.StatusNotFound, "closed", view{})
	case !sameForm(token, r.PostFormValue(fieldForm)):
		p.show(w, r, token, attempt{status: http.StatusConflict, Fault: faultForm})
	case a.Action == actionRenew:
		_, err := p.Redeemer.Renew(r.Context(), token)
		p.asked(w, r, token, err)
	case a.Step && a.Action == actionAccept:
		p.accept(w, r, token, a)
	case a.Step && a.Action == actionDecline:
		_, err := p.Redeemer.Decline(r.Context(), token, "")
		p.answered(w, r, token, a, err)
	default:
		a.status, a.Fault = http.StatusUnprocessableEntity, faultStep
		p.show(w, r, token, a)
	}
}

// accept says yes for whoever may.
func (p *Pages) accept(w http.ResponseWriter, r *http.Request, token string, a attempt) {
	who, signedIn := p.claimant(r)
	if p.RequireSignIn && !signedIn {
		if preview, err := p.Redeemer.Lookup(r.Context(), token); err != nil || p.mustSignIn(r, preview) {
			a.status = http.StatusForbidden
			p.show(w, r, token, a)
			return
		}
	}
	_, err := p.Redeemer.Accept(r.Context(), token, redeem.By{Name: a.Name, Locale: a.Locale, Email: who.Email})
	if err == nil {
		failpoint.Here(failpoint.PagesAnswered)
		p.keepLanguage(w, a.Locale)
	}
	p.answered(w, r, token, a, err)
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
		p.lead(w, "/join")
	case e.Code == problem.Invalid:
		a.status, a.Fault = e.Status(), nameFault(e)
		p.show(w, r, token, a)
	case e.Code == problem.NotNow:
		p.askLater(w, e)
		a.status, a.Fault = e.Status(), faultLater
		p.show(w, r, token, a)
	default:
		p.turnedAway(w, r, token, e)
	}
}

// asked leads on after the wish for a new link: the page tells what came of it.
func (p *Pages) asked(w http.ResponseWriter, r *http.Request, token string, err error) {
	if err == nil || problem.Is(err, problem.NotExpired) || problem.Is(err, problem.AlreadyMember) {
		p.lead(w, "/join")
		return
	}
	p.turnedAway(w, r, token, err)
}

func (p *Pages) turnedAway(w http.ResponseWriter, r *http.Request, token string, err error) {
	preview, _ := p.Redeemer.Lookup(r.Context(), token) // only for what stands on the page
	v := p.view(r, preview)
	v.Form = formToken(token)
	if problem.Is(err, problem.WrongAccount) {
		p.wrongAccount(w, r, token, v)
		return
	}
	if problem.Is(err, problem.Accepted) { // and then declined: that is too late, and no success
		p.refuse(w, r, err, v)
		return
	}
	p.ended(w, r, preview, err, v)
}
