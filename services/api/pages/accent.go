package pages

import (
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"
)

// An organization's accent colour travels as a stylesheet of its own, because the policy of these pages forbids styles
// within them.

// colour is red, green and blue.
type colour [3]byte

var accentForm = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// accentOf is a colour as it stands in the stylesheet's name; empty for what is none.
func accentOf(setting string) string {
	if !accentForm.MatchString(setting) {
		return ""
	}
	return strings.ToLower(setting[1:])
}

// Grounds on which an accent must be seen: cards in light and dark, as pages.css has them.
var (
	lightCard = colour{0xff, 0xff, 0xff}
	darkCard  = colour{0x1c, 0x1b, 0x23}
	black     = colour{}
	white     = colour{0xff, 0xff, 0xff}
)

// The contrasts that WCAG 2.2 asks for (1.4.3 and 1.4.11), with a little to spare for rounding.
const (
	readable = 4.6
	visible  = 3.1
)

// serveAccent gives the stylesheet of one colour. The name is the colour in small letters and nothing else, so there is one
// address for each and none for anything that is no colour.
func serveAccent(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(r.PathValue("file"), ".css")
	if !ok || name == "" || accentOf("#"+name) != name {
		http.NotFound(w, r)
		return
	}
	var c colour
	_, _ = hex.Decode(c[:], []byte(name)) // six digits, by the line above
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=2592000")
	w.Header().Del("X-Robots-Tag")
	_, _ = fmt.Fprint(w, accentSheet(c)) // the reader has gone; there is nobody to tell
}

// accentSheet sets the colours that follow from an accent. Buttons have the colour itself, with black or white upon it,
// whichever is easier to read, and an edge that tells them from the card; text gets a shade that can be read.
func accentSheet(c colour) string {
	return ":root {" + shades(c, lightCard, black) + " }\n" +
		"@media (prefers-color-scheme: dark) { :root {" + shades(c, darkCard, white) + " } }\n"
}

func shades(c, card, towards colour) string {
	edge, text, on := c.until(visible, card, towards), c.until(readable, card, towards), white
	if contrast(c, black) > contrast(c, white) {
		on = black
	}
	return fmt.Sprintf(" --accent: %s; --on-accent: %s; --accent-edge: %s; --accent-text: %s; --tint: %s;", c, on, edge, text, text.mixed(card, 0.9))
}

func (c colour) String() string { return "#" + hex.EncodeToString(c[:]) }

// until is c, mixed with another colour as little as it takes to have that contrast with the ground.
func (c colour) until(wanted float64, ground, towards colour) colour {
	for share := 0.0; share < 1; share += 0.02 {
		if m := c.mixed(towards, share); contrast(m, ground) >= wanted {
			return m
		}
	}
	return towards
}

// mixed is c with a share of another colour.
func (c colour) mixed(other colour, share float64) colour {
	var m colour
	for i := range c {
		m[i] = byte(math.Round(float64(c[i])*(1-share) + float64(other[i])*share))
	}
	return m
}

// contrast is the contrast ratio of two colours, as WCAG 2.2 defines it.
func contrast(a, b colour) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func (c colour) luminance() float64 {
	var linear [3]float64
	for i, channel := range c {
		s := float64(channel) / 255
		if linear[i] = s / 12.92; s > 0.04045 {
			linear[i] = math.Pow((s+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*linear[0] + 0.7152*linear[1] + 0.0722*linear[2]
}
