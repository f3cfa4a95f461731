package docs_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/api/docs"
)

func get(t *testing.T, path string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	answer := httptest.NewRecorder()
	docs.Handler().ServeHTTP(answer, r)
	return answer
}

// What the page refers to, as an attribute or in the initializer.
var reference = regexp.MustCompile(`(?:href|src)="([^"]+)"`)

func TestThePageLoadsOnlyWhatIsServedBesideIt(t *testing.T) {
	page := get(t, "/", nil)
	require.Equal(t, http.StatusOK, page.Code)
	require.Equal(t, "text/html; charset=utf-8", page.Header().Get("Content-Type"))
	found := reference.FindAllStringSubmatch(page.Body.String(), -1)
	require.Len(t, found, 5)
	for _, at := range found {
		if at[1] != "../openapi.json" {
			require.Equal(t, http.StatusOK, get(t, "/"+at[1], nil).Code, at[1])
		}
	}
	require.Contains(t, get(t, "/initializer.js", nil).Body.String(), `url: "../openapi.json"`)
}

func TestNothingInThePageNeedsInlineScriptOrStyle(t *testing.T) {
	page := get(t, "/", nil)
	require.NotRegexp(t, `<script>|<style|style=|\son[a-z]+=`, page.Body.String())
	for _, path := range []string{"/", "/initializer.js", "/swagger-ui/swagger-ui-bundle.js"} {
		policy := get(t, path, nil).Header().Get("Content-Security-Policy")
		require.True(t, strings.HasPrefix(policy, "default-src 'self'; "))
		require.NotContains(t, policy, "unsafe")
		require.Contains(t, policy, "frame-ancestors 'none'")
	}
}

func TestTheSpecificationIsReadFromNowhereElse(t *testing.T) {
	require.Contains(t, get(t, "/initializer.js", nil).Body.String(), "validatorUrl: null", "it would send the address of the document to swagger.io")
}

func TestFilesAreAskedAfterAndAnsweredBriefly(t *testing.T) {
	first := get(t, "/swagger-ui/swagger-ui-bundle.js", nil)
	require.Equal(t, "no-cache", first.Header().Get("Cache-Control"))
	require.Equal(t, http.StatusNotModified, get(t, "/swagger-ui/swagger-ui-bundle.js", http.Header{"If-None-Match": {first.Header().Get("ETag")}}).Code)
}

func TestNothingElseIsServed(t *testing.T) {
	for _, path := range []string{"/swagger-ui/", "/swagger-ui", "/index.html", "/docs.go", "/swagger-ui/LICENSE", "/../docs.go"} {
		require.NotEqual(t, http.StatusOK, get(t, path, nil).Code, path)
	}
	r := httptest.NewRecorder()
	docs.Handler().ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	require.Equal(t, http.StatusMethodNotAllowed, r.Code)
}
