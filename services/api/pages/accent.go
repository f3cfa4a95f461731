package pages

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/usherhq/usher/pkg/colour"
)

// An organization's accent colour travels as a stylesheet of its own, because the policy of these pages forbids styles
// within them.

// accentOf is a colour as it stands in the stylesheet's name; empty for what is none.
func accentOf(setting string) string {
	c, ok := colour.Parse(setting)
	if !ok {
		return ""
	}
	return c.String()[1:]
}

// Grounds on which an accent must be seen: cards in light and dark, as pages.css has them.
var (
	lightCard = colour.White
	darkCard  = colour.Colour{0x1c, 0x1b, 0x23}
)

// spare is added to the contrasts that are needed: for rounding, and for screens that are not exact.
const spare = 0.1

// serveAccent gives the stylesheet of one colour. The name is the colour in small letters and nothing else, so there is one
// address for each and none for anything that is no colour.
func serveAccent(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(r.PathValue("file"), ".css")
	if !ok || name == "" || accentOf("#"+name) != name {
		http.NotFound(w, r)
		return
	}
	c, _ := colour.Parse("#" + name) // it is one, by the line above
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=2592000")
	w.Header().Del("X-Robots-Tag")
	_, _ = fmt.Fprint(w, accentSheet(c)) // the reader has gone; there is nobody to tell
}

// accentSheet sets the colours that follow from an accent. Buttons have the colour itself, with black or white upon it,
// whichever is easier to read, and an edge that tells them from the card; text gets a shade that can be read.
func accentSheet(c colour.Colour) string {
	return ":root {" + shades(c, lightCard, colour.Black) + " }\n" +
		"@media (prefers-color-scheme: dark) { :root {" + shades(c, darkCard, colour.White) + " } }\n"
}

func shades(c, card, towards colour.Colour) string {
	edge, text := c.Until(colour.Visible+spare, card, towards), c.Until(colour.Readable+spare, card, towards)
	return fmt.Sprintf(" --accent: %s; --on-accent: %s; --accent-edge: %s; --accent-text: %s; --tint: %s;", c, c.Text(), edge, text, text.Mixed(card, 0.9))
}
