// Package address judges e-mail addresses: which ones Usher writes to, and when two of them are the same person's.
//
// Mail goes to the stored form; comparing uses the canonical form, and nothing else. The rules are narrower than mail
// syntax on purpose: what a mailbox never looks like in practice (quoted local parts, comments, routes, invisible
// characters) is how invitations are misdirected.
package address

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of RFC 5321, in bytes.
const (
	maxTotal = 254
	maxLocal = 64
)

// Address is an e-mail address that passed Parse.
type Address struct {
	// Stored is what mail is sent to: the local part as it was typed, the domain in a form every mail server understands.
	Stored string
	// Canonical is for comparing alone: two addresses are the same person's exactly when these are equal.
	Canonical string
}

// Parse judges s. It returns an *Error that says what is wrong, without repeating s. Nothing is trimmed: whoever reads a
// form takes the spaces off first.
func Parse(s string) (Address, error) {
	if err := checkText(s); err != nil {
		return Address{}, err
	}
	local, domain, err := split(s)
	if err != nil {
		return Address{}, err
	}
	storedLocal, canonicalLocal, err := parseLocal(local)
	if err != nil {
		return Address{}, err
	}
	storedDomain, canonicalDomain, err := parseDomain(domain)
	if err != nil {
		return Address{}, err
	}
	a := Address{Stored: storedLocal + "@" + storedDomain, Canonical: canonicalLocal + "@" + canonicalDomain}
	if max(len(a.Stored), len(a.Canonical)) > maxTotal {
		return Address{}, refuse(TooLong)
	}
	return a, nil
}

// Canonical is the form in which addresses are compared. It returns what Parse returns for an address that is none.
func Canonical(s string) (string, error) {
	a, err := Parse(s)
	return a.Canonical, err
}

// checkText refuses what no part of an address may hold.
func checkText(s string) error {
	switch {
	case s == "":
		return refuse(Empty)
	case len(s) > maxTotal: // first of all, so that nothing below is ever given much to chew on
		return refuse(TooLong)
	case !utf8.ValidString(s):
		return refuse(NotText)
	}
	for _, r := range s {
		if err := checkRune(r); err != nil {
			return err
		}
	}
	return nil
}

func checkRune(r rune) error {
	switch {
	case r > ' ' && r < 0x7f:
		return nil
	case unicode.IsControl(r):
		return refuse(Control)
	case unicode.IsSpace(r) || unicode.Is(unicode.Z, r):
		return refuse(Space)
	case unicode.Is(unicode.Bidi_Control, r):
		return refuse(Bidi)
	case invisible(r):
		return refuse(Invisible)
	case becomesASCII(r):
		return refuse(Lookalike)
	}
	return nil
}

// invisible characters make two addresses look the same that are not.
func invisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) ||
		r == '\u2800' // the empty Braille pattern
}

// becomesASCII tells the characters that normalizing or folding would turn into plain letters (the Kelvin sign, a dotted
// capital I, full-width letters): comparing would make two mailboxes equal, as in CVE-2019-19844.
func becomesASCII(r rune) bool {
	return unicode.ToLower(r) < utf8.RuneSelf || norm.NFKC.String(string(r))[0] < utf8.RuneSelf
}

// split cuts s at its one @, and names the common shapes that are not an address alone.
func split(s string) (local, domain string, err error) {
	switch {
	case strings.ContainsAny(s, "<>"):
		return "", "", refuse(DisplayName)
	case strings.ContainsAny(s, `"\`):
		return "", "", refuse(Quoted)
	case strings.ContainsAny(s, "()"):
		return "", "", refuse(Comment)
	case strings.ContainsAny(s, "[]"):
		return "", "", refuse(Literal)
	case strings.ContainsAny(s, ",;"):
		return "", "", refuse(Several)
	}
	switch strings.Count(s, "@") {
	case 0:
		return "", "", refuse(NoAt)
	case 1:
		local, domain, _ = strings.Cut(s, "@")
		return local, domain, nil
	}
	return "", "", refuse(Several)
}

// parseLocal gives the part before the @ as mail is sent to it, and as it is compared.
func parseLocal(s string) (stored, canonical string, err error) {
	stored = norm.NFC.String(s)
	// Case is folded letter by letter (never "ß" to "ss"), so that folding joins no two mailboxes that differ in more.
	// Composing comes again, because some small letters have an accented form that their capitals lack.
	canonical = norm.NFC.String(strings.ToLower(stored))
	switch {
	case stored == "":
		return "", "", refuse(EmptyLocal)
	case max(len(s), len(stored), len(canonical)) > maxLocal:
		return "", "", refuse(LongLocal)
	case strings.HasPrefix(stored, ".") || strings.HasSuffix(stored, ".") || strings.Contains(stored, ".."):
		return "", "", refuse(Dots)
	case strings.ContainsAny(stored, "%!"):
		return "", "", refuse(Routing)
	case !norm.NFKC.IsNormalString(stored):
		return "", "", refuse(Lookalike)
	}
	for i, r := range stored {
		if !localRune(r) || i == 0 && unicode.IsMark(r) {
			return "", "", refuse(LocalCharacter)
		}
	}
	return stored, canonical, nil
}

// localRune tells the characters of RFC 5322's atext without those of routing, and beyond ASCII (RFC 6531) the letters,
// marks and digits of all scripts.
func localRune(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune(".!#$&'*+-/=?^_`{|}~", r)
	}
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)
}

// Mask hides an address in answers that a stranger may see: "n•••@example.org".
func Mask(addr string) string {
	local, domain, ok := strings.Cut(addr, "@")
	first, size := utf8.DecodeRuneInString(local)
	if !ok || size == 0 || first == utf8.RuneError {
		return "•••"
	}
	return string(first) + "•••@" + domain
}

// Is reports whether err is Parse's refusal for that reason.
func Is(err error, reason Reason) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reason == reason
}
