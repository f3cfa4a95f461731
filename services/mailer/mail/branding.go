package mail

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// ownAccent is the colour of buttons where the organization has none.
const ownAccent = "#1d4ed8"

var colour = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// accents gives the colour of buttons, and the one of the text on them: black or white, whichever is read better.
func accents(wish string) (accent, onAccent string) {
	if !colour.MatchString(wish) {
		wish = ownAccent
	}
	l := luminance(wish)
	if (l+0.05)/0.05 > 1.05/(l+0.05) {
		return wish, "#000000"
	}
	return wish, "#ffffff"
}

// luminance is how bright a colour is, from 0 to 1 (WCAG 2.2, relative luminance).
func luminance(c string) float64 {
	rgb, _ := strconv.ParseUint(c[1:], 16, 24) // matches colour
	linear := func(shift int) float64 {
		v := float64(rgb>>shift&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(16) + 0.7152*linear(8) + 0.0722*linear(0)
}

// initial is what stands for an organization without a logo: the first letter or digit of its name, or a dot.
func initial(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return strings.ToUpper(string(r))
		}
	}
	return "•"
}
