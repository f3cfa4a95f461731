package pages

import "net/http"

// What a mail program posts by itself when its reader presses "unsubscribe" (RFC 8058, section 3.1).
const (
	fieldOneClick = "List-Unsubscribe"
	oneClick      = "One-Click"
)

// askUnsubscribe shows the form, and changes nothing.
func (p *Pages) askUnsubscribe(w http.ResponseWriter, r *http.Request) {
	if err := p.Unsubscriber.CheckUnsubscribe(r.PathValue("token")); err != nil {
		p.refuse(w, err, view{})
		return
	}
	p.render(w, http.StatusOK, "unsubscribe", view{})
}

// unsubscribe takes the form, or the post of a mail program: that one has no cookie and comes from another site, so the
// token alone is the right, and it is answered without a redirect.
func (p *Pages) unsubscribe(w http.ResponseWriter, r *http.Request) {
	if !p.readForm(w, r) {
		return
	}
	if r.PostFormValue(fieldOneClick) != oneClick && r.PostFormValue(fieldStep) != stepTaken {
		if err := p.Unsubscriber.CheckUnsubscribe(r.PathValue("token")); err != nil {
			p.refuse(w, err, view{})
			return
		}
		a := attempt{Fault: faultStep}
		p.render(w, http.StatusUnprocessableEntity, "unsubscribe", view{Attempt: a})
		return
	}
	if err := p.Unsubscriber.Unsubscribe(r.Context(), r.PathValue("token")); err != nil {
		p.refuse(w, err, view{})
		return
	}
	p.render(w, http.StatusOK, "unsubscribed", view{})
}
