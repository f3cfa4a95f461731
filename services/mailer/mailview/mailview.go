// Package mailview shows kept mails to people who try Usher out: a list, and one mail with its parts, as pages and as
// JSON. Mails hold secret links, so it belongs on a loopback address or behind a door of its own.
package mailview

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

//go:embed pages.html.tmpl style.css
var files embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{"pieces": pieces}).ParseFS(files, "pages.html.tmpl"))

// Mail is one kept mail.
type Mail struct {
	// Number counts the mails from 1 in the order they came.
	Number  int       `json:"number"`
	At      time.Time `json:"at"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Text    string    `json:"text,omitempty"`
	HTML    string    `json:"html,omitempty"`
	Headers []Header  `json:"headers,omitempty"`
}

// Header is one header field.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Source is where the mails are kept.
type Source interface {
	// Mails gives up to limit of the mails to an address (any, if empty), newest first, and how many came in all.
	Mails(to string, limit int) (mails []Mail, total int)
	// Mail gives one mail, if it is still kept.
	Mail(number int) (Mail, bool)
}

// viewer serves the pages of one source.
type viewer struct {
	title, prefix string
	source        Source
}

// Handler serves the list at prefix, a mail at prefix/{number}, and both as JSON with ?format=json. The list is also at
// prefix.json, and takes ?to= and ?limit=.
func Handler(title, prefix string, source Source) http.Handler {
	v := &viewer{title: title, prefix: strings.TrimRight(prefix, "/"), source: source}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+v.prefix+"/{$}", v.list)
	if v.prefix != "" {
		mux.HandleFunc("GET "+v.prefix, v.list)
		mux.HandleFunc("GET "+v.prefix+".json", v.listJSON)
	}
	mux.HandleFunc("GET "+v.prefix+"/{number}", v.mail)
	mux.HandleFunc("GET "+v.prefix+"/{number}/html", v.html)
	mux.HandleFunc("GET "+v.prefix+"/style.css", v.style)
	return mux
}

func (v *viewer) list(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("format") == "json" {
		v.listJSON(w, r)
		return
	}
	mails, total := v.source.Mails(r.FormValue("to"), limit(r))
	v.page(w, "list", map[string]any{"Mails": mails, "Total": total, "Title": v.title, "Prefix": v.prefix, "To": r.FormValue("to")})
}

func (v *viewer) listJSON(w http.ResponseWriter, r *http.Request) {
	mails, total := v.source.Mails(r.FormValue("to"), limit(r))
	if mails == nil {
		mails = []Mail{}
	}
	writeJSON(w, map[string]any{"items": mails, "total": total})
}

// limit is how many mails are asked for: 100, if nothing else is said, and at most 1000.
func limit(r *http.Request) int {
	n, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil || n < 1 {
		return 100
	}
	return min(n, 1000)
}

func (v *viewer) mail(w http.ResponseWriter, r *http.Request) {
	m, ok := v.find(w, r)
	switch {
	case !ok:
	case r.FormValue("format") == "json":
		writeJSON(w, m)
	default:
		v.page(w, "mail", map[string]any{"Mail": m, "Title": v.title, "Prefix": v.prefix})
	}
}

// html serves the HTML part for the frame on the mail's page. It may run nothing, load nothing but the organization's logo
// from this same place, and reach nothing around it; its links open in a tab of their own.
func (v *viewer) html(w http.ResponseWriter, r *http.Request) {
	m, ok := v.find(w, r)
	if !ok {
		return
	}
	headers(w, "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'self'; "+
		"sandbox allow-popups allow-popups-to-escape-sandbox")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, strings.ReplaceAll(m.HTML, "<a ", `<a target="_blank" rel="noopener noreferrer" `))
}

func (v *viewer) style(w http.ResponseWriter, _ *http.Request) {
	css, _ := files.ReadFile("style.css") // embedded
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(css)
}

func (v *viewer) find(w http.ResponseWriter, r *http.Request) (Mail, bool) {
	number, _ := strconv.Atoi(r.PathValue("number"))
	m, ok := v.source.Mail(number)
	if !ok {
		http.Error(w, "There is no such mail, or it is no longer kept.", http.StatusNotFound)
	}
	return m, ok
}

func (v *viewer) page(w http.ResponseWriter, name string, data any) {
	headers(w, "default-src 'none'; style-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = pages.ExecuteTemplate(w, name, data) // fails only when the reader is gone
}

func headers(w http.ResponseWriter, policy string) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Robots-Tag", "noindex")
}

func writeJSON(w http.ResponseWriter, v any) {
	headers(w, "default-src 'none'")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// piece is a stretch of a text; Link is set where it is a web address.
type piece struct {
	Text string
	Link bool
}

var webAddress = regexp.MustCompile(`https?://[^\s<>"]+`)

// pieces cuts a text at its web addresses, so that they can be followed.
func pieces(text string) []piece {
	var out []piece
	at := 0
	for _, m := range webAddress.FindAllStringIndex(text, -1) {
		out = append(out, piece{Text: text[at:m[0]]}, piece{Text: text[m[0]:m[1]], Link: true})
		at = m[1]
	}
	return append(out, piece{Text: text[at:]})
}
