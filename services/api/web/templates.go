package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed templates/*.html
var frameFiles embed.FS

// Frame is what the frame shows around a page. Pages embed it in the data they are executed with.
type Frame struct {
	// Title is the page's own; the frame adds nothing.
	Title string
	// Lang is the page's BCP 47 language ("en" where empty), Dir its direction ("ltr" where empty).
	Lang, Dir string
	// Script loads htmx and Usher's own script. Pages work without.
	Script bool
}

// Templates are pages, each in the frame. A page is a file that defines "body" and may define "class" (of the body
// element), "header" and "footer"; files whose name begins with an underscore are parts that all pages may use.
type Templates struct {
	pages map[string]*template.Template
}

// Parse reads the pages in a folder; a page is named for its file, without ".html". Beside funcs they have "icon", which
// draws an icon, and "asset", which gives the path of a file that Handler serves. It panics where a page cannot be read:
// they are embedded.
func Parse(files fs.FS, folder string, funcs template.FuncMap) *Templates {
	frame := template.Must(template.New("frame.html").
		Funcs(template.FuncMap{"icon": Icon, "asset": Asset}).Funcs(funcs).ParseFS(frameFiles, "templates/frame.html"))
	names, err := fs.Glob(files, folder+"/*.html")
	if err != nil || len(names) == 0 {
		panic(fmt.Sprintf("web: no pages in %s: %v", folder, err))
	}
	for _, name := range names {
		if strings.HasPrefix(path.Base(name), "_") {
			template.Must(frame.ParseFS(files, name))
		}
	}
	t := &Templates{pages: map[string]*template.Template{}}
	for _, name := range names {
		if base := path.Base(name); !strings.HasPrefix(base, "_") {
			t.pages[strings.TrimSuffix(base, ".html")] = template.Must(template.Must(frame.Clone()).ParseFS(files, name))
		}
	}
	return t
}

// Render answers with a page, whole or not at all. data embeds Frame. An error means that nothing was answered yet.
func (t *Templates) Render(w http.ResponseWriter, status int, page string, data any) error {
	p, ok := t.pages[page]
	if !ok {
		return fmt.Errorf("web: there is no page %q", page)
	}
	var body bytes.Buffer
	if err := p.Execute(&body, data); err != nil {
		return fmt.Errorf("web: page %s: %w", page, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the reader has gone; there is nobody to tell
	return nil
}

// Fragment answers with one block of a page alone, for scripts that replace a part of it. An error means that nothing was
// answered yet.
func (t *Templates) Fragment(w http.ResponseWriter, status int, page, block string, data any) error {
	p, ok := t.pages[page]
	if !ok {
		return fmt.Errorf("web: there is no page %q", page)
	}
	var body bytes.Buffer
	if err := p.ExecuteTemplate(&body, block, data); err != nil {
		return fmt.Errorf("web: page %s: %s: %w", page, block, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the reader has gone; there is nobody to tell
	return nil
}
