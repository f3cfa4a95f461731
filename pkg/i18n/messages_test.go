package i18n_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/i18n"
)

// forms are the plural forms that each language tells apart (CLDR, cardinals).
var forms = map[string][]string{
	"en": {"one", "other"}, "de": {"one", "other"}, "es": {"one", "many", "other"}, "ko": {"other"}, "ja": {"other"},
	"ar": {"zero", "one", "two", "few", "many", "other"},
}

// message is what a file says under one id: a text for each plural form, or the one text under "".
type message map[string]string

// messages reads the files of one language, by area and id.
func messages(t *testing.T, language string) map[string]message {
	t.Helper()
	files, err := filepath.Glob("locales/*." + language + ".toml")
	require.NoError(t, err)
	found := map[string]message{}
	for _, file := range files {
		var tree map[string]any
		_, err := toml.DecodeFile(file, &tree)
		require.NoError(t, err, file)
		collect(t, file, "", tree, found)
	}
	return found
}

func collect(t *testing.T, file, id string, tree map[string]any, found map[string]message) {
	t.Helper()
	for key, value := range tree {
		switch value := value.(type) {
		case map[string]any:
			collect(t, file, strings.TrimPrefix(id+"."+key, "."), value, found)
		case string:
			where, form := strings.TrimPrefix(id+"."+key, "."), ""
			if slices.Contains(forms["ar"], key) { // all there are
				where, form = id, key
			}
			if found[where] == nil {
				found[where] = message{}
			}
			require.NotContains(t, found[where], form, "%s: %s is there twice", file, where)
			found[where][form] = value
		default:
			t.Fatalf("%s: %s.%s is no text", file, id, key)
		}
	}
}

func TestEveryLanguageHasEveryMessageInEveryForm(t *testing.T) {
	english := messages(t, "en")
	require.NotEmpty(t, english)
	for _, tag := range i18n.Tags() {
		language := tag.String()
		require.Contains(t, forms, language, "say which plural forms there are")
		there := messages(t, language)
		require.Equal(t, slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(there)), "the messages in %s", language)
		for id, m := range there {
			want := []string{""}
			if _, plain := english[id][""]; !plain {
				want = forms[language]
			}
			require.ElementsMatch(t, want, slices.Collect(maps.Keys(m)), "the forms of %s in %s", id, language)
			for form, text := range m {
				require.NotEmpty(t, strings.TrimSpace(text), "%s in %s", id, language)
				require.Equal(t, strings.TrimSpace(text), text, "%s in %s has spaces around it", id, language)
				require.NotContains(t, text, "%", "%s in %s: %s", id, language, form)
			}
		}
	}
}

var placeholder = regexp.MustCompile(`{{\s*\.(\w+)\s*}}`)

// placeholders of a message. A form that stands for one number may say it in words, so the number is not asked for.
func placeholders(m message) []string {
	found := map[string]bool{}
	for _, text := range m {
		for _, match := range placeholder.FindAllStringSubmatch(text, -1) {
			found[match[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func TestEveryLanguageFillsInTheSame(t *testing.T) {
	english := messages(t, "en")
	for _, tag := range i18n.Tags() {
		for id, m := range messages(t, tag.String()) {
			require.Equal(t, placeholders(english[id]), placeholders(m), "what %s fills in in %s", id, tag)
			for form, text := range m {
				require.NotContains(t, placeholder.ReplaceAllString(text, ""), "{", "%s in %s: %s", id, tag, form)
			}
		}
	}
}

func TestEveryFormIsSpoken(t *testing.T) {
	for _, tag := range i18n.Tags() {
		l := i18n.For(tag.String())
		for id, m := range messages(t, tag.String()) {
			var pairs []any
			for _, p := range placeholders(m) {
				pairs = append(pairs, p, "x")
			}
			if _, plain := m[""]; plain {
				require.NotContains(t, l.Text(id, pairs...), "<no value>")
				require.NotEqual(t, id, l.Text(id, pairs...))
				continue
			}
			for _, n := range []int{0, 1, 2, 3, 11, 100, 1_000_000} {
				text := l.Text(id, append(pairs, "count", n)...)
				require.NotEqual(t, id, text, "%s of %d in %s", id, n, tag)
				require.NotContains(t, text, "<no value>")
			}
		}
	}
}

// quoted is a text in a Go file or a template. Ids are written out wherever they are used, so that they can be found.
var quoted = regexp.MustCompile("\"([a-z][a-z0-9_.-]+)\"|`([a-z][a-z0-9_.-]+)`")

// used gives the ids in the repository's Go files and templates that begin with an area, with a file that has each.
func used(t *testing.T, areas map[string]bool) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".") && name != "..") {
			return filepath.SkipDir
		}
		if entry.IsDir() || strings.HasSuffix(name, "_test.go") || !slices.Contains([]string{".go", ".tmpl", ".html"}, filepath.Ext(name)) {
			return nil
		}
		source, err := os.ReadFile(path)
		for _, match := range quoted.FindAllStringSubmatch(string(source), -1) {
			id := match[1] + match[2]
			area, _, ok := strings.Cut(id, ".")
			if file := filepath.Ext(id); ok && areas[area] && file != ".tmpl" && file != ".html" && file != ".css" {
				found[id] = path
			}
		}
		return err
	})
	require.NoError(t, err)
	return found
}

func TestEveryMessageIsUsedAndEveryOneUsedIsThere(t *testing.T) {
	english, areas := messages(t, "en"), map[string]bool{}
	for id := range english {
		area, _, _ := strings.Cut(id, ".")
		areas[area] = true
	}
	found := used(t, areas)
	require.NotEmpty(t, found)
	for id, path := range found {
		require.Contains(t, slices.Sorted(maps.Keys(english)), id, "%s says %q, which is no message", path, id)
	}
	for id := range english {
		require.Contains(t, found, id, "nobody says this message")
	}
}
