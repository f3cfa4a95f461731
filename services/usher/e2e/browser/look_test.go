package browser

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// axe is axe-core 4.14.1 as published; its licences lie beside it.
//
//go:embed axe/axe.min.js
var axe string

var looks = struct {
	sync.Mutex
	at map[string]bool
}{at: map[string]bool{}}

// lookAt looks at the page as it is now, which one template made, in light and dark, wide and narrow. kind tells apart what
// the same template shows.
func (p *person) lookAt(template string, kind ...string) {
	p.t.Helper()
	looks.Lock()
	looks.at[template] = true
	looks.Unlock()
	name := strings.ReplaceAll(strings.Join(append([]string{template}, kind...), "-"), "/", "-")
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		p.picture(name + "-" + scheme)
		p.accessible(name + ", " + scheme)
	}
	p.scheme("light")
	p.size(narrow, 640)
	p.fits(name)
	p.picture(name + "-narrow")
	p.size(wide, high)
}

// scheme is whether the reader's system is light or dark.
func (p *person) scheme(scheme string) {
	p.t.Helper()
	p.do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}))
}

// fits requires that nothing must be scrolled sideways to be read.
func (p *person) fits(what string) {
	p.t.Helper()
	type part struct {
		Name  string
		Right float64
	}
	over := look[[]part](p, "its width", `
		const scrolls = [document.scrollingElement, ...document.querySelectorAll("dialog[open], dialog[open] *")].some(el => el.scrollWidth > el.clientWidth + 1 && (el === document.scrollingElement || /auto|scroll/.test(getComputedStyle(el).overflowX)));
		if (!scrolls) return [];
		return [...place.querySelectorAll("*")].map(el => ({Name: el.tagName + "." + el.className, Right: el.getBoundingClientRect().right})).filter(part => part.Right > innerWidth + 1).slice(0, 10)`)
	require.Empty(p.t, over, "%s must be scrolled sideways at %d pixels", what, narrow)
	require.LessOrEqual(p.t, look[int](p, "its width", `return document.scrollingElement.scrollWidth`), narrow, "%s must be scrolled sideways", what)
}

// accessible requires that axe finds nothing.
func (p *person) accessible(what string) {
	p.t.Helper()
	type violation struct {
		ID, Help string
		Nodes    []struct{ HTML, FailureSummary string }
	}
	if p.scriptless { // axe sets timers
		p.script(true)
		defer p.script(false)
	}
	if there, err := js[bool](p, `return Boolean(window.axe)`); err != nil || !there {
		p.do(chromedp.Evaluate[chromedp.Void](axe))
	}
	found, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]violation](`
		axe.run(document, {resultTypes: ["violations"], rules: {"target-size": {enabled: true}}}).then(r => r.violations.map(v => ({
			ID: v.id, Help: v.help, Nodes: v.nodes.map(n => ({HTML: n.html, FailureSummary: n.failureSummary})),
		})))`, chromedp.EvalAwaitPromise))
	require.NoError(p.t, err)
	said, err := json.MarshalIndent(found, "", "  ")
	require.NoError(p.t, err)
	require.Empty(p.t, found, "axe on %s: %s", what, said)
}

// picture keeps a picture of the whole page as an artefact of the test.
func (p *person) picture(name string) {
	p.t.Helper()
	folder := os.Getenv("USHER_ARTEFACTS")
	if folder == "" {
		folder = p.t.ArtifactDir()
	}
	image, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil { // the browser is gone, which is told elsewhere
		p.t.Logf("no picture: %v", err)
		return
	}
	require.NoError(p.t, os.MkdirAll(folder, 0o750))
	if name == "failed" {
		name += "-" + strings.ReplaceAll(p.t.Name(), "/", "-")
	}
	require.NoError(p.t, os.WriteFile(filepath.Join(folder, name+".png"), image, 0o600))
}

// unseen are the templates at whose pages nobody looked.
func unseen() []string {
	var missing []string
	for _, area := range []string{"pages", "console", "signin"} {
		files, err := filepath.Glob(filepath.Join(harness.Root(), "services", "api", area, "templates", "*.html"))
		if err != nil || len(files) == 0 {
			return []string{fmt.Sprintf("all of %s: its templates are not where they were (%v)", area, err)}
		}
		for _, file := range files {
			name := area + "/" + strings.TrimSuffix(filepath.Base(file), ".html")
			part := strings.HasPrefix(filepath.Base(file), "_") || slices.Contains([]string{"pages/frame", "pages/parts"}, name)
			if !part && !looks.at[name] {
				missing = append(missing, name)
			}
		}
	}
	return missing
}
