package imports

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Rows gives the rows for which wanted is true, beginning with page from, and where to go on: the pages that one answer
// looks through and the rows it gives are limited, so there may be none and still be more. more is false at the end.
func (e *Engine) Rows(ctx context.Context, job Job, from int, wanted func(Row) bool) (rows []Row, next int, more bool, err error) {
	const lookThrough = 200 // pages
	n := max(from, 0)
	for ; n < min(job.Pages, from+lookThrough) && len(rows) < pageRows; n++ {
		page, err := e.Page(ctx, job, n)
		if err != nil {
			return nil, 0, false, err
		}
		rows = append(rows, slices.DeleteFunc(page.Rows, func(r Row) bool { return !wanted(r) })...)
	}
	return rows, n, n < job.Pages, nil
}

var reportHeader = []string{"line", "email", "name", "role", "organization", "result", "reason", "detail", "invitation"}

// Report writes what became of every row, as CSV in UTF-8 that spreadsheets show and never calculate.
func (e *Engine) Report(ctx context.Context, job Job, to io.Writer) error {
	out := bufio.NewWriter(to)
	_, _ = out.WriteString("\ufeff") // without the mark, Excel takes UTF-8 for something older; bufio keeps the error
	record(out, reportHeader)
	for n := range job.Pages {
		page, err := e.Page(ctx, job, n)
		if err != nil {
			return err
		}
		for _, r := range page.Rows {
			record(out, []string{strconv.Itoa(r.Line), r.Email, r.Name, r.Role, r.in(job), result(job, r), r.Code, r.Detail, r.Invitation})
		}
	}
	return out.Flush()
}

// result is a row's verdict in the words of a report.
func result(job Job, r Row) string {
	switch {
	case r.Verdict == RowReady && job.State.Ended():
		return "not sent"
	case r.Verdict == RowFaulty, r.Verdict == RowRefused:
		return "not invited"
	}
	return string(r.Verdict)
}

// record writes one line as RFC 4180 has it, every field in quotes.
func record(out *bufio.Writer, fields []string) {
	for i, f := range fields {
		if i > 0 {
			_ = out.WriteByte(',') // bufio keeps the first error for Flush
		}
		_, _ = out.WriteString(`"` + strings.ReplaceAll(harmless(f), `"`, `""`) + `"`)
	}
	_, _ = out.WriteString("\r\n")
}

// Characters with which spreadsheets take a cell for a formula, also as full-width forms; and those after which some
// spreadsheet, set to another separator than ours, sees a new cell begin.
const (
	formula = "=+-@\x00＝＋－＠"
	newCell = ",;\t\r\n\"|"
)

// harmless puts an apostrophe before whatever a spreadsheet could take for a formula (CWE-1236, OWASP "CSV injection"),
// at the beginning of the field and where a cell could begin within it.
func harmless(field string) string {
	var b strings.Builder
	begins := true
	for i, r := range field {
		cut := strings.ContainsRune(newCell, r)
		switch {
		case begins && strings.ContainsRune(formula, r), i == 0 && (r == '\t' || r == '\r' || r == '\n'):
			b.WriteByte('\'')
			begins = false
		case !cut && r != ' ' && r != '\u00a0' && r != '\'':
			begins = false
		}
		if cut {
			begins = true
		}
		b.WriteRune(r)
	}
	return b.String()
}
