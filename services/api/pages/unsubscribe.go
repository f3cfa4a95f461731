package pages

import (
	"net/http"

	"github.com/usherhq/usher/pkg/redeem"
)

// What a mail program posts by itself when its reader presses "unsubscribe" (RFC 8058, section 3.1).
const (
	fieldOneClick = "List-Unsubscribe"
	oneClick      = "One-Click"
)

// unsubscribeView has the language of the mail that the link was in.
func (p *Pages) unsubscribeView(r *http.Request, preview redeem.Preview) view {
	v := p.view(r, preview)
	return view{Localizer: v.Localizer, Email: v.Email} // it is about the address, whoever invited it
}

// askUnsubscribe shows the form, and changes nothing.
func (p *Pages) askUnsubscribe(w http.ResponseWriter, r *http.Request) {
	preview, err := p.Unsubscriber.CheckUnsubscribe(r.Context(), r.PathValue("token"))
	if err != nil {
		p.refuse(w, r, err, view{})
		return
	}
	p.render(w, r, http.StatusOK, "unsubscribe", p.unsubscribeView(r, preview))
}

// unsubscribe takes the form, or the post of a mail program: that one has no cookie and comes from another site, so the
// token alone is the right, and it is answered without a redirect.
func (p *Pages) unsubscribe(w http.ResponseWriter, r *http.Request) {
	if !p.readForm(w, r) {
		return
	}
	token := r.PathValue("token")
	preview, err := p.Unsubscriber.CheckUnsubscribe(r.Context(), token)
	if err != nil {
		p.refuse(w, r, err, view{})
		return
	}
	v := p.unsubscribeView(r, preview)
	if r.PostFormValue(fieldOneClick) != oneClick && r.PostFormValue(fieldStep) != stepTaken {
		v.Attempt = attempt{Fault: faultStep}
		p.render(w, r, http.StatusUnprocessableEntity, "unsubscribe", v)
		return
	}
	if err := p.Unsubscriber.Unsubscribe(r.Context(), token); err != nil {
		p.refuse(w, r, err, v)
		return
	}
	p.render(w, r, http.StatusOK, "unsubscribed", v)
}
