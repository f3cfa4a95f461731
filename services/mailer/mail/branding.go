package mail

import (
	"strings"
	"unicode"

	"github.com/usherhq/usher/pkg/colour"
)

// ownAccent is the colour of buttons where the organization has none.
const ownAccent = "#1d4ed8"

// accents gives the colour of buttons, and the one of the text on them: black or white, whichever is read better.
func accents(wish string) (accent, onAccent string) {
	c, ok := colour.Parse(wish)
	if !ok {
		wish = ownAccent
		c, _ = colour.Parse(ownAccent)
	}
	return wish, c.Text().String()
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
