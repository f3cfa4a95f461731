package imports

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/usherhq/usher/pkg/problem"
)

// Fields are what one row asks for.
type Fields struct {
	Email        string `json:"email"`
	Role         string `json:"role,omitempty"`
	Name         string `json:"name,omitempty"`
	Locale       string `json:"locale,omitempty"`
	Organization string `json:"organization,omitempty"`
	ExpiresIn    string `json:"expires_in,omitempty"`
	Note         string `json:"note,omitempty"`
}

// parsed is one row as it was read. Wrong says why it cannot be one; its fields are then what could be made out.
type parsed struct {
	Fields
	line  int
	wrong string
}

// columns are the headings that are understood, without spaces and punctuation and in lower case, in the languages that
// Usher speaks.
var columns = map[string]column{}

type column int

const (
	colIgnored column = iota
	colEmail
	colRole
	colName
	colFirstName
	colLastName
	colLocale
	colOrganization
	colExpiresIn
	colNote
)

func init() {
	for col, names := range map[column]string{
		colEmail:        "email mail emailaddress mailaddress useremail invitee emailadresse mailadresse 이메일 이메일주소 メール メールアドレス correo correoelectrónico البريد البريدالإلكتروني",
		colRole:         "role rolle rol 역할 役割 ロール الدور",
		colName:         "name fullname displayname vollständigername nombre nombrecompleto 이름 성명 名前 氏名 الاسم",
		colFirstName:    "firstname givenname vorname nombredepila 名 الاسمالأول",
		colLastName:     "lastname surname familyname nachname apellido apellidos 姓 اسمالعائلة",
		colLocale:       "locale language lang sprache idioma 언어 言語 اللغة",
		colOrganization: "organization organisation org organización 조직 組織 المنظمة",
		colExpiresIn:    "expiresin expires expiry expiration validfor ttl gültigkeit caducidad",
		colNote:         "note personalnote message nachricht nota mensaje 메모 メッセージ ملاحظة",
	} {
		for _, name := range strings.Fields(names) {
			columns[name] = col
		}
	}
}

// heading is a column's name as the table above spells it.
func heading(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\u00a0_-.:/()", r) {
			return -1
		}
		return r
	}, strings.ToLower(trim(s)))
}

// trim takes off what surrounds a cell that was copied from somewhere: spaces of all kinds, and marks that nobody sees.
func trim(s string) string {
	return strings.Trim(strings.TrimSpace(s), " \t\r\n\u00a0\u200b\u200c\u200d\u2060\ufeff")
}

// reader reads rows from a file of comma-separated values as programs and people write them: with commas, semicolons or
// tabs, in UTF-8 or, with a byte order mark, UTF-16, with a header in any order or as a bare list of addresses. It keeps no
// more than one record.
type reader struct {
	lines     *lines
	separator byte
	feed      *feed
	csv       *csv.Reader

	columns []column // by place; nil for a bare list
	ignored []string // headings that mean nothing here
	pending []parsed // rows of a record that were not given out yet
}

// feed gives a csv.Reader one record after the other. Between two it is at its end.
type feed struct{ text []byte }

func (f *feed) Read(p []byte) (int, error) {
	if len(f.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.text)
	f.text = f.text[n:]
	return n, nil
}

// newReader looks at the beginning of the file. It returns a *problem.Error for a file that cannot hold rows.
func newReader(file io.Reader) (*reader, error) {
	raw := bufio.NewReaderSize(file, 4<<10)
	if err := plausible(raw); err != nil {
		return nil, err
	}
	text := transform.NewReader(raw, unicode.BOMOverride(transform.Nop))
	r := &reader{lines: &lines{from: bufio.NewReaderSize(text, 16<<10)}, feed: &feed{}}
	if err := r.separate(); err != nil {
		return nil, err
	}
	return r, r.head()
}

// plausible refuses, with a sentence that helps, what is a file of another kind.
func plausible(raw *bufio.Reader) error {
	begin, err := raw.Peek(512)
	marked := bytes.HasPrefix(begin, []byte("\xff\xfe")) || bytes.HasPrefix(begin, []byte("\xfe\xff"))
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case len(bytes.TrimSpace(begin)) == 0 && err != nil:
		return unreadable("The file is empty.")
	case bytes.HasPrefix(begin, []byte("PK\x03\x04")), bytes.HasPrefix(begin, []byte("\xd0\xcf\x11\xe0")):
		return unreadable("This is a workbook, not text: save it as \"CSV UTF-8\" and upload that.")
	case !marked && 4*bytes.Count(begin, []byte{0}) > len(begin): // UTF-16 that does not say so, or no text at all
		return unreadable("This is not text in UTF-8: save it as \"CSV UTF-8\" and upload that.")
	}
	return nil
}

func unreadable(format string, args ...any) error {
	return problem.New(problem.Malformed, format, args...)
}

// separate finds out what stands between fields, from the first line that says something: the line "sep=;" that some
// programs write, or the character that it has most of.
func (r *reader) separate() error {
	first, err := r.lines.next()
	for err == nil && len(bytes.TrimSpace(first.text)) == 0 {
		first, err = r.lines.next()
	}
	if errors.Is(err, io.EOF) {
		return unreadable("The file is empty.")
	}
	if err != nil {
		return err
	}
	r.separator = ','
	if named := strings.ToLower(string(bytes.TrimRight(first.text, "\n"))); named == "sep=," || named == "sep=;" || named == "sep=\t" {
		r.separator = named[len(named)-1]
	} else {
		r.lines.putBack(first)
		most := 0
		for _, candidate := range []byte(",;\t") {
			if n := count(first.text, candidate); n > most {
				r.separator, most = candidate, n
			}
		}
	}
	r.renew()
	return nil
}

// count is how often a separator stands outside quotes.
func count(text []byte, separator byte) (n int) {
	quoted := false
	for _, c := range text {
		switch c {
		case '"':
			quoted = !quoted
		case separator:
			if !quoted {
				n++
			}
		}
	}
	return n
}

// renew replaces the csv.Reader, which after an error may still hold a piece of the record.
func (r *reader) renew() {
	r.csv = csv.NewReader(r.feed)
	r.csv.Comma, r.csv.FieldsPerRecord = rune(r.separator), -1
	r.csv.TrimLeadingSpace = r.separator != '\t' // it would take empty cells for space
}

// head reads the header, where there is one.
func (r *reader) head() error {
	first, wrong, err := r.lines.record(r.separator)
	if errors.Is(err, io.EOF) {
		return unreadable("The file is empty.")
	}
	if err != nil {
		return err
	}
	if wrong == "" {
		wrong = illegible(first.text)
	}
	var fields []string
	if wrong == "" {
		fields, wrong = r.split(first)
	}
	switch {
	case wrong != "" && bytes.IndexByte(first.text, '@') >= 0: // "New, Nell" <nell@example.org> is no CSV
		r.lines.putBack(first)
		return nil
	case wrong != "":
		return unreadable("Line %d: %s", first.number, wrong)
	}
	found := make([]column, len(fields))
	ignored := []string{}
	for i, f := range fields {
		found[i] = columns[heading(f)]
		if found[i] == colIgnored && trim(f) != "" {
			ignored = append(ignored, trim(f))
		}
	}
	return r.understand(first, fields, found, ignored)
}

func (r *reader) understand(first line, fields []string, found []column, ignored []string) error {
	known := slices.DeleteFunc(slices.Clone(found), func(c column) bool { return c == colIgnored })
	distinct := slices.Compact(slices.Sorted(slices.Values(known)))
	switch {
	case len(known) > len(distinct):
		return unreadable("Line %d: two columns mean the same; name each once.", first.number)
	case slices.Contains(known, colEmail):
		r.columns, r.ignored = found, ignored
		return nil
	case slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(f, "@") }):
		r.lines.putBack(first)
		return nil
	}
	return unreadable("Line %d: no column is called \"email\". The first line must name the columns (email, role, name, locale, organization, "+
		"expires_in, note), or the file be a bare list of addresses.", first.number)
}

// next gives the next row, or io.EOF after the last. Other errors are of reading the file.
func (r *reader) next() (parsed, error) {
	for len(r.pending) == 0 {
		record, wrong, err := r.lines.record(r.separator)
		if err != nil {
			return parsed{}, err
		}
		var fields []string
		if wrong == "" {
			wrong = illegible(record.text)
		}
		if wrong == "" && r.columns != nil {
			fields, wrong = r.split(record)
		}
		switch {
		case wrong != "":
			r.pending = []parsed{{line: record.number, wrong: wrong, Fields: Fields{Email: excerpt(record.text)}}}
		case r.columns == nil:
			r.pending = bare(record)
		default:
			r.pending = r.named(record, fields)
		}
	}
	row := r.pending[0]
	r.pending = r.pending[1:]
	return row, nil
}

// excerpt shows which line is meant, where nothing better can be made out.
func excerpt(text []byte) string {
	s := []rune(trim(strings.ToValidUTF8(string(text), "\ufffd")))
	if len(s) > 80 {
		s = append(s[:80], '…')
	}
	return string(s)
}

// illegible says why a text cannot be read.
func illegible(text []byte) string {
	switch {
	case !utf8.Valid(text), bytes.ContainsRune(text, utf8.RuneError):
		return "There are characters that are not UTF-8: save the file as \"CSV UTF-8\"."
	case bytes.IndexByte(text, 0) >= 0:
		return "There is a NUL character."
	}
	return ""
}

// split takes a record apart.
func (r *reader) split(record line) (fields []string, wrong string) {
	r.feed.text = record.text
	fields, err := r.csv.Read()
	if err == nil && bytes.IndexByte(record.text, '\n') < len(record.text)-1 {
		if _, more := r.csv.Read(); !errors.Is(more, io.EOF) {
			err = csv.ErrQuote
		}
	}
	if err != nil {
		r.feed.text = nil
		r.renew()
		return nil, "A quote stands where none may: put the whole field in quotes, and double those inside."
	}
	return fields, ""
}

// bare reads a line of a list without header: addresses, with or without names, and between them whatever people put there.
func bare(record line) []parsed {
	var rows []parsed
	quoted := false
	for _, entry := range strings.FieldsFunc(string(record.text), func(c rune) bool {
		if c == '"' {
			quoted = !quoted
		}
		return !quoted && strings.ContainsRune(",;\t", c)
	}) {
		row := parsed{line: record.number}
		row.Email = trim(strings.Trim(trim(entry), `"`))
		switch {
		case row.Email == "":
			continue
		case strings.Contains(row.Email, "@"):
			addressed(&row.Fields)
		default:
			row.wrong = "This is not an address. To give names or roles, name the columns in the first line."
		}
		rows = append(rows, row)
	}
	return rows
}

// named reads a record by its header.
func (r *reader) named(record line, fields []string) []parsed {
	row := parsed{line: record.number}
	var first, last string
	empty := true
	for i, f := range fields {
		if f = trim(f); f == "" {
			continue
		}
		empty = false
		if i >= len(r.columns) {
			row.wrong = fmt.Sprintf("The line has %d fields, the first line names %d columns.", len(fields), len(r.columns))
			break
		}
		if into := r.columns[i].of(&row.Fields, &first, &last); into != nil {
			*into = f
		}
	}
	if empty {
		return nil
	}
	if row.Name == "" {
		row.Name = trim(first + " " + last)
	}
	addressed(&row.Fields)
	row.ExpiresIn = duration(row.ExpiresIn)
	return []parsed{row}
}

func (c column) of(f *Fields, first, last *string) *string {
	switch c {
	case colEmail:
		return &f.Email
	case colRole:
		return &f.Role
	case colName:
		return &f.Name
	case colFirstName:
		return first
	case colLastName:
		return last
	case colLocale:
		return &f.Locale
	case colOrganization:
		return &f.Organization
	case colExpiresIn:
		return &f.ExpiresIn
	case colNote:
		return &f.Note
	case colIgnored:
	}
	return nil
}

// addressed takes "Nell New <nell@example.org>", as mail programs copy it, for what it means.
func addressed(f *Fields) {
	name, rest, ok := strings.Cut(f.Email, "<")
	email, after, closed := strings.Cut(rest, ">")
	if !ok || !closed || trim(after) != "" || strings.ContainsAny(email, "<>") {
		return
	}
	f.Email = trim(email)
	if f.Name == "" {
		f.Name = trim(strings.Trim(trim(name), `"'`))
	}
}

var days = regexp.MustCompile(`^(\d{1,4}) ?(?:d|days?)$`)

// duration understands days, which Go's durations don't have.
func duration(s string) string {
	found := days.FindStringSubmatch(strings.ToLower(s))
	if found == nil {
		return s
	}
	n, _ := strconv.Atoi(found[1]) // four digits at most
	return strconv.Itoa(24*n) + "h"
}
