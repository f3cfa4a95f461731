// Package colour does the arithmetic of colours: how well two can be told apart, and what can be read on which.
package colour

import (
	"encoding/hex"
	"math"
	"regexp"
)

// Colour is red, green and blue.
type Colour [3]byte

// Black and White are what stands on an accent.
var (
	Black = Colour{}
	White = Colour{0xff, 0xff, 0xff}
)

// The contrasts that WCAG 2.2 asks for.
const (
	// Readable is that of text (1.4.3).
	Readable = 4.5
	// Visible is that of the edges of buttons (1.4.11).
	Visible = 3.0
)

var form = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// Parse reads a colour like "#1a5fb4", and reports false for anything else.
func Parse(s string) (c Colour, ok bool) {
	if !form.MatchString(s) {
		return c, false
	}
	_, err := hex.Decode(c[:], []byte(s[1:]))
	return c, err == nil
}

// String is the colour in the form that Parse reads, in small letters.
func (c Colour) String() string { return "#" + hex.EncodeToString(c[:]) }

// Text is black or white, whichever is read better on the colour. Its contrast is never below Readable.
func (c Colour) Text() Colour {
	if Contrast(c, Black) > Contrast(c, White) {
		return Black
	}
	return White
}

// Until is c, mixed with another colour as little as it takes to have that contrast with the ground.
func (c Colour) Until(wanted float64, ground, towards Colour) Colour {
	for share := 0.0; share < 1; share += 0.02 {
		if m := c.Mixed(towards, share); Contrast(m, ground) >= wanted {
			return m
		}
	}
	return towards
}

// Mixed is c with a share, from 0 to 1, of another colour.
func (c Colour) Mixed(other Colour, share float64) Colour {
	var m Colour
	for i := range c {
		m[i] = byte(math.Round(float64(c[i])*(1-share) + float64(other[i])*share))
	}
	return m
}

// Contrast is the contrast ratio of two colours, from 1 to 21, as WCAG 2.2 defines it.
func Contrast(a, b Colour) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func (c Colour) luminance() float64 {
	var linear [3]float64
	for i, channel := range c {
		s := float64(channel) / 255
		if linear[i] = s / 12.92; s > 0.04045 {
			linear[i] = math.Pow((s+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*linear[0] + 0.7152*linear[1] + 0.0722*linear[2]
}
