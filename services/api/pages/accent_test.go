package pages

import (
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/colour"
)

var variable = regexp.MustCompile(`(--[a-z-]+): #([0-9a-f]{6});`)

// variables reads the two blocks of a generated stylesheet.
func variables(t *testing.T, sheet string) (light, dark map[string]colour.Colour) {
	light, dark = map[string]colour.Colour{}, map[string]colour.Colour{}
	for i, m := range variable.FindAllStringSubmatch(sheet, -1) {
		var c colour.Colour
		_, err := hex.Decode(c[:], []byte(m[2]))
		require.NoError(t, err)
		if i < 5 {
			light[m[1]] = c
		} else {
			dark[m[1]] = c
		}
	}
	return light, dark
}

func TestAnyAccentCanBeReadInLightAndDark(t *testing.T) {
	const step = 15
	for n := range 18 * 18 * 18 {
		c := colour.Colour{byte(n % 18 * step), byte(n / 18 % 18 * step), byte(n / 18 / 18 * step)}
		light, dark := variables(t, accentSheet(c))
		for card, got := range map[colour.Colour]map[string]colour.Colour{lightCard: light, darkCard: dark} {
			require.Len(t, got, 5)
			require.Equal(t, c, got["--accent"], "the button has the organization's own colour")
			require.GreaterOrEqual(t, colour.Contrast(got["--accent"], got["--on-accent"]), 4.5, "the button's text on %s", c)
			require.GreaterOrEqual(t, colour.Contrast(got["--accent-edge"], card), 3.0, "the button's edge, %s", c)
			require.GreaterOrEqual(t, colour.Contrast(got["--accent-text"], card), 4.5, "text, %s", c)
			require.GreaterOrEqual(t, colour.Contrast(got["--accent-text"], got["--tint"]), 3.0, "large text on the tint, %s", c)
		}
	}
}

func TestTheCardsAreThoseOfTheStylesheet(t *testing.T) {
	sheet, err := os.ReadFile("../web/assets/pages.css")
	require.NoError(t, err)
	cards := regexp.MustCompile(`--card: (#[0-9a-f]+);`).FindAllSubmatch(sheet, -1)
	require.Len(t, cards, 2)
	require.Equal(t, "#fff", string(cards[0][1]))
	require.Equal(t, darkCard.String(), string(cards[1][1]))
}

func TestOnlyAColourHasAStylesheet(t *testing.T) {
	p := New(Options{PublicURL: "http://localhost"})
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	w := get("/assets/accent/1a5fb4.css")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "text/css; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, "public, max-age=2592000", w.Header().Get("Cache-Control"))
	for _, bad := range []string{"1A5FB4.css", "1a5fb4", "1a5fb.css", "1a5fb44.css", "red.css", "1a5fb4.css.css", "%7d%7dbod.css", "1a5f%0a.css", ".css"} {
		require.Equal(t, http.StatusNotFound, get("/assets/accent/"+bad).Code, bad)
	}
	for setting, want := range map[string]string{"#1A5fb4": "1a5fb4", "1a5fb4": "", "#fff": "", "red": "", "#1a5fb4;}": "", "": "", "#1a5fbg": "", "#1a5fb4\n": ""} {
		require.Equal(t, want, accentOf(setting), setting)
	}
}
