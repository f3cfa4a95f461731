package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"path"
	"strings"
)

// Path is where Handler expects to be reached.
const Path = "/static/"

//go:embed assets
var assetFiles embed.FS

//go:embed icons
var iconFiles embed.FS

// asset is a file as it is served.
type asset struct {
	kind          string
	plain, packed []byte
}

// named leads from a file's name to its path, served from its path to its content. The path holds a hash of the content, so
// that a browser may keep the file for good and two releases behind one address never mix.
var named, served = load()

func load() (map[string]string, map[string]asset) {
	named, served := map[string]string{}, map[string]asset{}
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // embedded
	}
	for _, file := range files {
		content, err := assetFiles.ReadFile("assets/" + file.Name())
		if err != nil {
			panic(err) // embedded
		}
		sum := sha256.Sum256(content)
		extension := path.Ext(file.Name())
		at := Path + strings.TrimSuffix(file.Name(), extension) + "." + hex.EncodeToString(sum[:8]) + extension
		named[file.Name()], served[at] = at, asset{kind: mime.TypeByExtension(extension), plain: content, packed: pack(content)}
	}
	return named, served
}

func pack(content []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is one there is
	_, _ = w.Write(content)                               // a buffer takes all
	_ = w.Close()
	return b.Bytes()
}

// Asset is the path of a file in assets/, by its name. It panics where there is none of that name: templates are executed
// in tests.
func Asset(name string) string {
	at, ok := named[name]
	if !ok {
		panic(fmt.Sprintf("web: there is no asset %q", name))
	}
	return at
}

// Handler serves the files below Path.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, ok := served[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Only GET and HEAD.", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", file.kind)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Vary", "Accept-Encoding")
		body := file.plain
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body = file.packed
		}
		h.Set("Content-Length", fmt.Sprint(len(body)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(body) // the reader has gone; there is nobody to tell
		}
	})
}

// icons are Lucide's drawings without what differs from page to page.
var icons = loadIcons()

func loadIcons() map[string]template.HTML {
	icons := map[string]template.HTML{}
	files, err := iconFiles.ReadDir("icons")
	if err != nil {
		panic(err) // embedded
	}
	for _, file := range files {
		content, err := iconFiles.ReadFile("icons/" + file.Name())
		if err != nil {
			panic(err) // embedded
		}
		_, rest, _ := strings.Cut(string(content), "<svg")
		_, drawing, _ := strings.Cut(rest, ">")
		drawing = strings.Join(strings.Fields(strings.TrimSuffix(strings.TrimSpace(drawing), "</svg>")), " ")
		icons[strings.TrimSuffix(file.Name(), ".svg")] = template.HTML( //nolint:gosec // our own file
			`<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">` + drawing + `</svg>`)
	}
	return icons
}

// Icon draws one of the icons in icons/, in the size and colour of the text around it and silent to screen readers. It
// panics where there is none of that name: templates are executed in tests.
func Icon(name string) template.HTML {
	drawing, ok := icons[name]
	if !ok {
		panic(fmt.Sprintf("web: there is no icon %q", name))
	}
	return drawing
}
