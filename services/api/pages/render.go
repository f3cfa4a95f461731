package pages

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/usherhq/usher/services/api/web"
)

//go:embed templates/*.html
var templateFiles embed.FS

// templates has every page by its file's name: the frame with that page's title, heading and body in it.
var templates = parse()

func parse() map[string]*template.Template {
	frame := template.Must(template.New("frame.html").
		Funcs(template.FuncMap{"icon": web.Icon, "asset": web.Asset}).ParseFS(templateFiles, "templates/frame.html", "templates/parts.html"))
	pages := map[string]*template.Template{}
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is constant
	}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name != "frame" && name != "parts" {
			pages[name] = template.Must(template.Must(frame.Clone()).ParseFS(templateFiles, file))
		}
	}
	return pages
}

// render answers with a page. It is written whole or not at all.
func (p *Pages) render(w http.ResponseWriter, r *http.Request, status int, page string, v view) {
	if v.Localizer == nil {
		v.Localizer = speak(r)
	}
	v.Base = p.base
	var body bytes.Buffer
	if err := templates[page].Execute(&body, v); err != nil {
		p.Logger.Error("a page could not be rendered", "page", page, "error", err)
		http.Error(w, "Not now. Nothing was decided; please try again shortly.", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", v.Lang())
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the reader has gone; there is nobody to tell
}
