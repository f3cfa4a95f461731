package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// wide and high are a desktop's window, narrow the narrowest screen that pages are made for.
const (
	wide, high = 1280, 900
	narrow     = 320
)

// person is somebody at a browser with cookies of their own. They see what is visible and press what is not covered.
type person struct {
	t    *testing.T
	ctx  context.Context
	site string
	// scriptless browsers run no script but that of these tests.
	scriptless bool

	mu     sync.Mutex
	said   []string
	loaded []string
}

// visitor opens a browser that knows nothing of Usher yet. At the end of the test its console must be empty.
func visitor(t *testing.T, site string) *person {
	t.Helper()
	ctx, cancel := chromedp.NewContext(chromium(t), chromedp.WithNewBrowserContext())
	ctx, stop := context.WithTimeout(ctx, 3*time.Minute) // more than all patience in one test; ends what hangs
	p := &person{t: t, ctx: ctx, site: site}
	p.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return err
	}))
	p.watch()
	p.size(wide, high)
	t.Cleanup(func() {
		if t.Failed() {
			p.picture("failed")
		}
		stop()
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Empty(t, p.said, "the browser's console is not empty")
	})
	return p
}

// signedIn opens the browser of a member, as development lets people in.
func signedIn(t *testing.T, s *harness.System, email string) *person {
	t.Helper()
	p := visitor(t, s.URL)
	p.become(s, email)
	return p
}

// become signs somebody in without the page for it.
func (p *person) become(s *harness.System, email string) {
	p.t.Helper()
	session := s.SignedIn(p.t, email).Cookie("usher-session")
	p.do(call(network.SetCookie, network.SetCookieParams{Name: session.Name, Value: session.Value, URL: p.site, HTTPOnly: new(true)}))
}

// watch collects what turns up in the browser's console, and what is loaded. That a page has the status it should have is no
// trouble, although the browser logs it.
func (p *person) watch() {
	messages := chromedp.Console(p.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			page := m.Source == "network" && !strings.Contains(m.URL, "/assets/")
			if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleWarning || m.IsException() {
				axe := strings.Contains(fmt.Sprint(m), "Failed to execute 'postMessage'") // which asks frames that are only just loading; no page of ours posts messages
				if !page && !axe {
					p.mu.Lock()
					p.said = append(p.said, fmt.Sprintf("%s (%s, %s)", m, m.Source, m.URL))
					p.mu.Unlock()
				}
			}
		}
	}()
	requests := chromedp.Events(p.ctx, network.RequestWillBeSent)
	go func() {
		for r, err := range requests {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.loaded = append(p.loaded, r.Request.URL)
			p.mu.Unlock()
		}
	}()
}

// requests counts what was loaded so far from a path.
func (p *person) requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, loaded := range p.loaded {
		if u, err := url.Parse(loaded); err == nil && u.Path == path {
			n++
		}
	}
	return n
}

func call[P, R any](cmd cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, cmd, params)
		return err
	})
}

func (p *person) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	require.NoError(p.t, chromedp.Do(p.ctx, actions...))
}

// size is how large the window is.
func (p *person) size(width, height int64) {
	p.t.Helper()
	p.do(call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1}))
}

// withoutScript turns script off, for all pages from now on.
func (p *person) withoutScript() *person {
	p.t.Helper()
	p.script(false)
	p.scriptless = true
	return p
}

func (p *person) script(on bool) {
	p.t.Helper()
	p.do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}))
}

// open goes to a path or an address.
func (p *person) open(target string) *person {
	p.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = p.site + target
	}
	p.do(chromedp.Navigate(target))
	return p
}

// eyes are how a person finds things: by their words, among what is visible, in the open dialog where there is one.
const eyes = `
if (document.readyState !== "complete") throw new Error("the page is on its way");
const place = document.querySelector("dialog[open]") || document.body;
const line = s => (s || "").replace(/\s+/g, " ").trim();
const label = el => { const copy = el.cloneNode(true); copy.querySelectorAll("input,select,textarea,svg,[aria-hidden=true]").forEach(f => f.remove()); return line(copy.textContent) };
const name = el => line(el.getAttribute("aria-label") || (el.labels?.length ? label(el.labels[0]) : el.matches("input,select,textarea") ? el.placeholder : label(el)));
const seen = el => el.checkVisibility({visibilityProperty: true}) && !el.closest("[aria-hidden=true]");
const things = kind => [...place.querySelectorAll(kind)].filter(seen);
const named = (kind, wanted) => things(kind).find(el => name(el) === wanted) || things(kind).find(el => name(el).startsWith(wanted));
const spot = el => {
  if (!el || el.disabled) return null;
  el.scrollIntoView({block: "center", behavior: "instant"});
  const box = el.getClientRects()[0];
  if (!box) return null;
  const x = box.x + box.width / 2, y = box.y + box.height / 2, top = document.elementFromPoint(x, y);
  return top && (el.contains(top) || top.contains(el)) ? {x, y} : null;
};
`

const (
	pressable = "a[href],button,summary,[role=button],input[type=checkbox],input[type=radio],label"
	fillable  = "input:not([type=hidden]),textarea,select"
)

// js evaluates an expression in the page, with eyes.
func js[T any](p *person, format string, args ...any) (T, error) {
	for i := range args {
		quoted, err := json.Marshal(args[i])
		if err != nil {
			return *new(T), err
		}
		args[i] = string(quoted)
	}
	return chromedp.Run(p.ctx, chromedp.Evaluate[T]("(() => {"+eyes+fmt.Sprintf(format, args...)+"})()", chromedp.EvalAwaitPromise))
}

// look evaluates an expression until it can; pages may be on their way.
func look[T any](p *person, what, format string, args ...any) T {
	p.t.Helper()
	var last error
	found := harness.Until(p.t, what, func() (T, bool) {
		v, err := js[T](p, format, append([]any{}, args...)...)
		last = err
		return v, err == nil
	})
	require.NoError(p.t, last)
	return found
}

// holds waits until an expression is true in the page.
func (p *person) holds(what, format string, args ...any) {
	p.t.Helper()
	harness.Eventually(p.t, what+" in the page at "+p.site, func() bool {
		yes, err := js[bool](p, format, append([]any{}, args...)...)
		return err == nil && yes
	})
}

// sees waits until words are visible.
func (p *person) sees(words string) *person {
	p.t.Helper()
	p.holds("to see "+words, `return line(place.innerText).includes(%s)`, words)
	return p
}

// misses waits until words are not visible any more, or requires that they are not.
func (p *person) misses(words string) *person {
	p.t.Helper()
	p.holds("no more to see "+words, `return !line(place.innerText).includes(%s)`, words)
	return p
}

// text is all that is visible.
func (p *person) text() string {
	p.t.Helper()
	return look[string](p, "the page's text", `return line(place.innerText)`)
}

// path is where the browser is.
func (p *person) path() string {
	p.t.Helper()
	return look[string](p, "the address", `return location.pathname + location.search`)
}

// click presses what has that name: the whole of it, or its beginning.
func (p *person) click(name string) *person {
	p.t.Helper()
	p.clickThe("named "+name, `return spot(named(%s, %s))`, pressable, name)
	return p
}

// clickOn presses what a selector finds.
func (p *person) clickOn(selector string) *person {
	p.t.Helper()
	p.clickThe("at "+selector, `return spot(place.querySelector(%s))`, selector)
	return p
}

type point struct{ X, Y float64 }

func (p *person) clickThe(what, find string, args ...any) {
	p.t.Helper()
	at := p.target(what, find, args...)
	p.do(chromedp.MouseClickXY(at.X, at.Y))
}

func (p *person) target(what, find string, args ...any) *point {
	p.t.Helper()
	return harness.Until(p.t, "something to press "+what, func() (*point, bool) {
		at, err := js[*point](p, find, append([]any{}, args...)...)
		return at, err == nil && at != nil
	})
}

// fill types into the field with that label, over what stands in it. nth counts fields of the same label.
func (p *person) fill(label, text string, nth ...int) *person {
	p.t.Helper()
	n := 0
	if len(nth) > 0 {
		n = nth[0]
	}
	p.holds("a field "+label, `const el = things(%s).filter(el => name(el).startsWith(%s))[%s]; if (!el) return false; el.focus(); el.select(); return true`, fillable, label, n)
	if text == "" {
		p.keys(kb.Delete)
	} else {
		p.do(call(input.InsertText, input.InsertTextParams{Text: text}))
	}
	return p
}

// choose takes an option of a list.
func (p *person) choose(label, option string, nth ...int) *person {
	p.t.Helper()
	n := 0
	if len(nth) > 0 {
		n = nth[0]
	}
	p.holds("a list "+label, `const el = things("select").filter(el => name(el).startsWith(%s))[%s];
		const option = el && [...el.options].find(o => line(o.text).startsWith(%s));
		if (!option) return false;
		el.value = option.value;
		for (const type of ["input", "change"]) el.dispatchEvent(new Event(type, {bubbles: true}));
		return true`, label, n, option)
	return p
}

// value is what stands in a field.
func (p *person) value(label string, nth int) string {
	p.t.Helper()
	return look[string](p, "a field "+label, `return things(%s).filter(el => name(el).startsWith(%s))[%s].value`, fillable, label, nth)
}

// keys presses keys.
func (p *person) keys(keys string, options ...chromedp.KeyOption) *person {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys, options...))
	return p
}
