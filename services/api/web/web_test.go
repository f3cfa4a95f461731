package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/api/web"
)

func get(t *testing.T, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	web.Handler().ServeHTTP(w, r)
	return w
}

func TestFilesAreKeptForGoodUnderTheNameOfTheirContent(t *testing.T) {
	for name, kind := range map[string]string{"pico.min.css": "text/css", "usher.css": "text/css", "htmx.min.js": "javascript", "hx-sse.min.js": "javascript", "usher.js": "javascript", "icon.svg": "image/svg+xml"} {
		path := web.Asset(name)
		require.Regexp(t, `^/static/[a-z.-]+\.[0-9a-f]{16}\.[a-z]+$`, path)
		plain, packed := get(t, http.MethodGet, path), get(t, http.MethodGet, path, "Accept-Encoding", "br, gzip")
		require.Equal(t, http.StatusOK, plain.Code)
		require.Contains(t, plain.Header().Get("Content-Type"), kind)
		require.Equal(t, "public, max-age=31536000, immutable", plain.Header().Get("Cache-Control"))
		require.Equal(t, "nosniff", plain.Header().Get("X-Content-Type-Options"))
		want, err := io.ReadAll(plain.Body)
		require.NoError(t, err)
		require.NotEmpty(t, want)
		unpacked, err := gzip.NewReader(packed.Body)
		require.NoError(t, err)
		got, err := io.ReadAll(unpacked)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
		require.Equal(t, http.StatusOK, get(t, http.MethodHead, path).Code)
		require.Equal(t, http.StatusMethodNotAllowed, get(t, http.MethodPost, path).Code)
	}
	for _, path := range []string{"/static/", "/static/usher.css", "/static/../web.go", "/static/usher.0000000000000000.css"} {
		require.Equal(t, http.StatusNotFound, get(t, http.MethodGet, path).Code, path)
	}
}

// V116: what a page is told is text, also in the frame around it.
func TestTheFrameTreatsTextAsText_V116(t *testing.T) {
	pages := web.Parse(fstest.MapFS{"p/page.html": {Data: []byte(`{{define "body"}}<p>{{.Title}}</p>{{icon "mail"}}{{end}}`)}}, "p", nil)
	w := httptest.NewRecorder()
	require.NoError(t, pages.Render(w, http.StatusTeapot, "page", web.Frame{Title: `</title><script>alert(1)</script>`, Lang: `"><x`, Dir: "rtl", Script: true}))
	page := w.Body.String()
	require.Equal(t, http.StatusTeapot, w.Code)
	require.NotContains(t, page, "<script>")
	require.NotContains(t, page, `"><x`)
	require.Contains(t, page, `dir="rtl"`)
	require.Equal(t, 3, strings.Count(page, "<script defer src=\"/static/"))
	require.NotContains(t, page, "style=")

	require.Error(t, pages.Render(httptest.NewRecorder(), http.StatusOK, "nothing", web.Frame{}))
	require.Panics(t, func() { web.Asset("nothing") })
	require.Panics(t, func() { web.Icon("nothing") })
}

func TestThePolicyAllowsThisHostAlone(t *testing.T) {
	h := http.Header{}
	web.Secure(h)
	require.NotContains(t, h.Get("Content-Security-Policy"), "unsafe")
	require.NotContains(t, h.Get("Content-Security-Policy"), "http")
	require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'self'")
	require.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	require.Equal(t, "no-store", h.Get("Cache-Control"))
}
