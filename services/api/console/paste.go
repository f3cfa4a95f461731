package console

import (
	"strings"
	"unicode"
)

// pasted is one address out of a list, with the name that stood beside it.
type pasted struct{ Name, Email string }

// addresses reads a list of addresses as people paste them: parted by commas, semicolons, line breaks, tabs or spaces, with
// or without names ("Jane Doe <jane@example.org>", "Doe, Jane <jane@example.org>"). What is no address stays as it was
// typed, to be corrected; the same address twice is one.
func addresses(text string) []pasted {
	var found []pasted
	seen := map[string]bool{}
	add := func(name, email string) {
		email = strings.Trim(strings.TrimPrefix(strings.TrimSpace(email), "mailto:"), "<>\"'()[].,;: ")
		if email == "" || seen[strings.ToLower(email)] {
			return
		}
		seen[strings.ToLower(email)] = true
		if !strings.ContainsFunc(name, unicode.IsLetter) { // the number of a list
			name = ""
		}
		found = append(found, pasted{Name: strings.Trim(strings.Join(strings.Fields(name), " "), "\"' ,()"), Email: email})
	}
	for line := range strings.SplitSeq(visible(text), "\n") {
		readLine(line, add)
	}
	return found
}

// visible takes out what nobody sees, and makes all line breaks one kind.
func visible(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u00a0", " ").Replace(text)
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) || unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}

// readLine reads one line: its parts between separators, where words without an address may be the begin of a name.
func readLine(line string, add func(name, email string)) {
	waiting := ""
	for _, part := range parts(line) {
		name, rest, angled := strings.Cut(part, "<")
		words := strings.Fields(part)
		addressed := 0
		for _, word := range words {
			if strings.Contains(word, "@") {
				addressed++
			}
		}
		switch {
		case angled:
			email, _, _ := strings.Cut(rest, ">")
			add(join(waiting, name), email)
			waiting = ""
		case addressed == 0:
			waiting = join(waiting, part)
		case addressed == 1:
			readWords(join(waiting, part), add)
			waiting = ""
		default:
			for _, word := range words {
				add("", word)
			}
			waiting = ""
		}
	}
	add("", waiting) // it was typed by somebody, who can see it and correct it
}

// readWords reads words of which one is an address and the others are its owner's name.
func readWords(text string, add func(name, email string)) {
	var name []string
	email := ""
	for _, word := range strings.Fields(text) {
		if strings.Contains(word, "@") {
			email = word
		} else {
			name = append(name, word)
		}
	}
	add(strings.Join(name, " "), email)
}

func join(a, b string) string {
	a, b = strings.TrimSpace(a), strings.TrimSpace(b)
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

// parts cuts a line at its separators, but not inside quotes or angle brackets.
func parts(line string) []string {
	var out []string
	var part strings.Builder
	quoted, angled := false, false
	flush := func() {
		if strings.TrimSpace(part.String()) != "" {
			out = append(out, part.String())
		}
		part.Reset()
	}
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
		case r == '<' && !quoted:
			angled = true
		case r == '>' && !quoted:
			angled = false
		case strings.ContainsRune(",;\t", r) && !quoted && !angled:
			flush()
			continue
		}
		part.WriteRune(r)
	}
	flush()
	return out
}
