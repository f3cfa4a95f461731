package pages

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"
)

// How long the browser keeps a link's token: long enough to read and answer, and after the answer only for reloading the
// page that says how it went.
const (
	openFor     = 30 * time.Minute
	answeredFor = 10 * time.Minute
)

// cookie is where the token lives once it has left the address bar.
type cookie struct {
	name   string
	secure bool
}

// newCookie names the cookie. Over https the name's prefix binds it to this host and to Secure, so that no neighbouring
// host can plant a token of its own choosing.
func newCookie(secure bool) cookie {
	if secure {
		return cookie{"__Host-usher-invitation", true}
	}
	return cookie{"usher-invitation", false}
}

// put stores a token for a while; for 0 takes it away. SameSite is Lax, not Strict: the visit starts in somebody's mail.
func (c cookie) put(w http.ResponseWriter, token string, keep time.Duration) {
	age := int(keep.Seconds())
	if keep == 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: c.name, Value: token, Path: "/", MaxAge: age, Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// token is what the browser brought, or "".
func (c cookie) token(r *http.Request) string {
	found, err := r.Cookie(c.name)
	if err != nil {
		return ""
	}
	return found.Value
}

// formToken ties a form to the link whose page it stood on, so that another invitation's form decides nothing. It is
// derived one way: the page does not hold the token.
func formToken(token string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("form"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

func sameForm(token, form string) bool { return hmac.Equal([]byte(formToken(token)), []byte(form)) }
