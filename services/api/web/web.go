// Package web is what Usher's pages share: the frame around each, the stylesheet, scripts and icons, how these files are
// served, and the policy that keeps a page to what comes from this host.
//
// Vendored as published: Pico CSS 2.1.1, htmx 4.0.1 with its SSE extension, and a few Lucide icons 1.62.0; see licenses/.
package web

import (
	"net/http"
	"net/url"
)

// policy lets a page load what this host serves and nothing else. Pico draws the arrows and ticks of its form controls
// with pictures inside the stylesheet, hence data:.
const policy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Secure sets the headers of a page that shows what only its reader may see: the policy, no copies in caches, no address
// for other hosts, no place in search engines.
func Secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// Guard refuses what another site's page makes a browser send, unless it only reads. publicURL is trusted, because behind a
// proxy the Host that arrives may be another.
func Guard(publicURL string) *http.CrossOriginProtection {
	guard := http.NewCrossOriginProtection()
	if public, err := url.Parse(publicURL); err == nil {
		_ = guard.AddTrustedOrigin(public.Scheme + "://" + public.Host) // where it fails, only the Host itself is trusted
	}
	return guard
}
