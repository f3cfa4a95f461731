package address

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

const (
	maxLabel = 63 // of RFC 1035, in bytes; maxTotal keeps the whole domain within its 253
	// punycode starts the labels that stand for characters beyond ASCII.
	punycode = "xn--"
)

// parseDomain gives the part after the @ as mail is sent to it, and as it is compared: in ASCII and lower case.
func parseDomain(s string) (stored, canonical string, err error) {
	switch {
	case s == "":
		return "", "", refuse(EmptyDomain)
	case !strings.Contains(s, "."):
		return "", "", refuse(NoDot)
	}
	canonical = strings.ToLower(s)
	stored = s
	if !isASCII(s) || strings.Contains(canonical, punycode) {
		if canonical, err = internationalized(canonical); err != nil {
			return "", "", err
		}
		stored = canonical
	}
	if err := checkLabels(canonical); err != nil {
		return "", "", err
	}
	return stored, canonical, nil
}

// internationalized turns a domain with characters beyond ASCII into its ASCII form. Decoding that again must give the
// name that was typed: this refuses names that mapping would quietly turn into another, and labels that spell plain ASCII
// in punycode (CVE-2026-39821), either of which would give one domain two canonical forms.
func internationalized(lower string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(lower)
	if err != nil || !isASCII(ascii) {
		return "", refuse(DomainName)
	}
	there, err := idna.Lookup.ToUnicode(ascii)
	if err != nil {
		return "", refuse(DomainName)
	}
	given, decoded := strings.Split(norm.NFC.String(lower), "."), strings.Split(there, ".")
	if len(given) != len(decoded) {
		return "", refuse(DomainName)
	}
	for i, label := range given {
		encoded := strings.HasPrefix(label, punycode)
		if encoded && isASCII(decoded[i]) || !encoded && label != decoded[i] {
			return "", refuse(DomainName)
		}
	}
	return ascii, nil
}

// checkLabels applies RFC 1123 to a domain in ASCII.
func checkLabels(domain string) error {
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if len(label) == 0 || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return refuse(DomainLabel)
		}
		for _, r := range label {
			if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') {
				return refuse(DomainLabel)
			}
		}
	}
	if !topLevel(labels[len(labels)-1]) {
		return refuse(TopLevel)
	}
	return nil
}

// topLevel tells what can end a domain: letters, or punycode. Digits there are a network address, dotted or hexadecimal.
func topLevel(label string) bool {
	if strings.HasPrefix(label, punycode) {
		return true
	}
	for _, r := range label {
		if r < 'a' || r > 'z' {
			return false
		}
	}
	return len(label) > 1
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
