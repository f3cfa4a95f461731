package signin

import (
	"net/http"
	"time"
)

// flowLife is how long somebody may take at the issuer.
const flowLife = 10 * time.Minute

// cookies names the cookies. Over https the names' prefix binds them to this host and to Secure, so that no neighbouring
// host can plant one.
type cookies struct {
	prefix string
	secure bool
}

func newCookies(secure bool) cookies {
	if secure {
		return cookies{"__Host-usher-", true}
	}
	return cookies{"usher-", false}
}

func (c cookies) session() string { return c.prefix + "session" }

// flow names the cookie of one attempt to sign in: two tabs are two attempts.
func (c cookies) flow(state string) string { return c.prefix + "signin-" + state[:min(8, len(state))] }

// switching names the cookie that says: another account, please.
func (c cookies) switching() string { return c.prefix + "switching" }

// token is that of the session the browser brought, or "".
func (c cookies) token(r *http.Request) string {
	found, err := r.Cookie(c.session())
	if err != nil {
		return ""
	}
	return found.Value
}

// put stores a value for a while; for 0 takes it away. SameSite is Lax, not Strict: the issuer sends people back.
func (c cookies) put(w http.ResponseWriter, name, value string, keep time.Duration) {
	age := int(keep.Seconds())
	if keep == 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age, Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
