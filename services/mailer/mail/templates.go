package mail

import (
	"bytes"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"io"
	"regexp"
	"strconv"
	texttemplate "text/template"
)

//go:embed templates
var files embed.FS

// sentenceTemplate shows a sentence with its names in bold. A name keeps its own direction, and gives it to nothing else.
const sentenceTemplate = `{{define "sentence"}}{{range .}}{{if .Name}}<strong dir="auto" style="font-weight:700">{{.Text}}</strong>{{else}}{{.Text}}{{end}}{{end}}{{end}}`

// outlookMarker opens or closes what Outlook for Windows alone reads, or alone does not.
var outlookMarker = regexp.MustCompile(`<!--\[if [^\]]*\]>(?:<!-->)?|(?:<!--)?<!\[endif\]-->`)

// parseHTML reads the template of the HTML part. html/template drops comments, and Outlook's markers are comments, so they
// are handed to it as data that needs no escaping. They are constants of the template: nothing that anybody typed becomes
// one.
func parseHTML() (*htmltemplate.Template, error) {
	source, err := files.ReadFile("templates/letter.html.tmpl")
	if err != nil {
		return nil, err
	}
	marked := outlookMarker.ReplaceAllStringFunc(string(source), func(marker string) string {
		return "{{outlook " + strconv.Quote(marker) + "}}"
	})
	t := htmltemplate.New("letter").Funcs(htmltemplate.FuncMap{
		"outlook": func(marker string) htmltemplate.HTML { return htmltemplate.HTML(marker) }, //nolint:gosec // see above
	})
	if t, err = t.Parse(marked); err == nil {
		t, err = t.Parse(sentenceTemplate)
	}
	return t, err
}

func parseText() (*texttemplate.Template, error) {
	t, err := texttemplate.ParseFS(files, "templates/letter.txt.tmpl")
	if err != nil {
		return nil, err
	}
	return t.Lookup("text"), nil
}

func executed(execute func(io.Writer, any) error, p *page) (string, error) {
	var b bytes.Buffer
	if err := execute(&b, p); err != nil {
		return "", fmt.Errorf("write mail: %w", err)
	}
	return b.String(), nil
}
