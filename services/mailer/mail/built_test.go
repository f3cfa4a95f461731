package mail_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheTemplateIsWhatItsSourcesMake needs no npm: what the last "make mails" read and wrote is kept beside the sources. It
// wrote nothing unless every mail program of the list shows what the template uses, or does well without.
func TestTheTemplateIsWhatItsSourcesMake(t *testing.T) {
	var checked struct {
		Sources, Output string
		Clients         []string
		Lacking         map[string]struct {
			By       []string
			Accepted string
		}
	}
	raw, err := os.ReadFile("mjml/checked.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &checked))
	var sources []string
	for _, name := range []string{"build.mjs", "letter.mjml", "package-lock.json", "package.json"} {
		source, err := os.ReadFile(filepath.Join("mjml", name))
		require.NoError(t, err)
		sources = append(sources, string(source))
	}
	template, err := os.ReadFile("templates/letter.html.tmpl")
	require.NoError(t, err)
	require.Equal(t, digest(sources...), checked.Sources, `the sources were changed: run "make mails"`)
	require.Equal(t, digest(string(template)), checked.Output, `the template was changed by hand: change mjml/letter.mjml and run "make mails"`)
	for _, client := range []string{"gmail.*", "outlook.*", "apple-mail.*", "yahoo.*"} {
		require.Contains(t, checked.Clients, client)
	}
	for feature, lack := range checked.Lacking {
		require.NotEmpty(t, lack.By, feature)
		require.NotEmpty(t, lack.Accepted, feature)
	}
}

func digest(texts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(texts, "\n")))
	return hex.EncodeToString(sum[:])
}

// What html/template drops as a comment would be missed by Outlook alone, where nobody looks.
func TestEveryMarkerOfTheTemplateIsInTheMail(t *testing.T) {
	template, err := os.ReadFile("templates/letter.html.tmpl")
	require.NoError(t, err)
	marker := regexp.MustCompile(`<!--.*?-->|<!\[endif\]-->`)
	c := acme()
	want, got := marker.FindAllString(string(template), -1), marker.FindAllString(written(t, c, ann()).HTML(), -1)
	require.GreaterOrEqual(t, len(want), 15)
	require.Equal(t, want, got)
}

func BenchmarkLetter(b *testing.B) {
	r := renderer(b)
	n := 0
	for b.Loop() {
		c := acme()
		c.Note = strings.Repeat("x", n%300)
		n++
		if _, err := r.Mail(c, ann()); err != nil {
			b.Fatal(err)
		}
	}
}
