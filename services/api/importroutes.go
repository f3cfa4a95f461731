package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/services/api/imports"
)

// The routes that stream, beside huma.
const (
	uploadPath = "/v1/organizations/{org}/imports"
	reportPath = "/v1/imports/{id}/report.csv"
)

// who is the caller to the jobs.
func (c caller) who() imports.Who {
	return imports.Who{Email: c.actor, Person: c.person, Key: c.keyID()}
}

// bulkJob is a job on the wire.
type bulkJob struct {
	ID           string         `json:"id"`
	Organization string         `json:"organization"`
	Name         string         `json:"name" doc:"What people know it by, mostly the file's name."`
	State        imports.State  `json:"state" enum:"ready,running,paused,stopped,cancelled,done"`
	Reason       string         `json:"reason,omitempty" doc:"Why it stopped."`
	CreatedAt    time.Time      `json:"created_at"`
	StartedAt    *time.Time     `json:"started_at,omitempty"`
	EndedAt      *time.Time     `json:"ended_at,omitempty"`
	Rows         int            `json:"rows" doc:"Rows of the file."`
	Ready        int            `json:"ready" doc:"Rows that may be invited, as things were when the file was read."`
	Faults       map[string]int `json:"faults,omitempty" doc:"How many rows may not, by code."`
	Ignored      []string       `json:"ignored_columns,omitempty" doc:"Columns that mean nothing here."`
	Handled      int            `json:"handled" doc:"How many of the ready rows were sent, whatever came of it."`
	Invited      int            `json:"invited" doc:"How many people were invited."`
	Refused      map[string]int `json:"refused,omitempty" doc:"How many were not after all, by code."`
}

func jobResource(j imports.Job) bulkJob {
	instant := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return bulkJob{
		ID: j.ID, Organization: j.Organization, Name: j.Name, State: j.State, Reason: j.Reason, CreatedAt: j.CreatedAt,
		StartedAt: instant(j.StartedAt), EndedAt: instant(j.EndedAt), Rows: j.Rows, Ready: j.Ready, Faults: j.Faults, Ignored: j.Ignored,
		Handled: j.Handled(), Invited: j.Invited, Refused: j.Refused,
	}
}

type importIDInput struct {
	ID string `path:"id" doc:"Id of the import."`
}

type importOutput struct{ Body bulkJob }

func (s *Service) importAnswer(job imports.Job, err error) (*importOutput, error) {
	if err != nil {
		return nil, s.refusal(err, "")
	}
	return &importOutput{Body: jobResource(job)}, nil
}

func (s *Service) showImport(ctx context.Context, in *importIDInput) (*importOutput, error) {
	return s.importAnswer(s.Imports.Job(ctx, callerOf(ctx).who(), in.ID))
}

func (s *Service) startImport(ctx context.Context, in *importIDInput) (*importOutput, error) {
	return s.importAnswer(s.Imports.Start(ctx, callerOf(ctx).who(), in.ID))
}

func (s *Service) pauseImport(ctx context.Context, in *importIDInput) (*importOutput, error) {
	return s.importAnswer(s.Imports.Pause(ctx, callerOf(ctx).who(), in.ID))
}

func (s *Service) resumeImport(ctx context.Context, in *importIDInput) (*importOutput, error) {
	return s.importAnswer(s.Imports.Resume(ctx, callerOf(ctx).who(), in.ID))
}

func (s *Service) cancelImport(ctx context.Context, in *importIDInput) (*importOutput, error) {
	return s.importAnswer(s.Imports.Cancel(ctx, callerOf(ctx).who(), in.ID))
}

type importsInput struct {
	Org    string `path:"org"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
}

func (s *Service) listImports(ctx context.Context, in *importsInput) (*listOutput[bulkJob], error) {
	if _, err := s.manages(ctx, in.Org); err != nil {
		return nil, s.refusal(err, "")
	}
	jobs := s.Imports.List(in.Org, func(org string) bool { _, err := s.manages(ctx, org); return err == nil })
	out := &listOutput[bulkJob]{}
	out.Body.Items = []bulkJob{}
	for _, j := range jobs {
		place := fmt.Sprintf("%019d.%s", j.CreatedAt.UnixNano(), j.ID) // as text it sorts as the jobs do
		switch {
		case in.Cursor != "" && place >= in.Cursor:
		case len(out.Body.Items) == in.Limit:
			out.Link = nextLink(ctx, out.Body.NextCursor)
			return out, nil
		default:
			out.Body.Items, out.Body.NextCursor = append(out.Body.Items, jobResource(j)), place
		}
	}
	out.Body.NextCursor = ""
	return out, nil
}

// importRow is a row on the wire; the document has a "Row" already, that of the bulk route.
type importRow struct{ imports.Row }

type rowsInput struct {
	ID      string          `path:"id" doc:"Id of the import."`
	Verdict imports.Verdict `query:"verdict" enum:"ready,faulty,invited,refused" doc:"Only such rows."`
	Cursor  string          `query:"cursor" doc:"next_cursor of the page before."`
}

// importRows shows a job's rows in the order of the file. Where only some are wanted, a page may be short or empty and yet
// not the last.
func (s *Service) importRows(ctx context.Context, in *rowsInput) (*listOutput[importRow], error) {
	job, err := s.Imports.Job(ctx, callerOf(ctx).who(), in.ID)
	if err != nil {
		return nil, s.refusal(err, "")
	}
	from := 0
	if in.Cursor != "" {
		if from, err = strconv.Atoi(in.Cursor); err != nil || from < 0 || from > job.Pages {
			return nil, s.refusal(problem.Fields(events.FieldError{Location: "query.cursor", Message: "is not from this list"}), "")
		}
	}
	rows, next, more, err := s.Imports.Rows(ctx, job, from, func(r imports.Row) bool { return in.Verdict == "" || r.Verdict == in.Verdict })
	if err != nil {
		return nil, s.refusal(err, "")
	}
	out := &listOutput[importRow]{}
	out.Body.Items = make([]importRow, len(rows))
	for i, row := range rows {
		out.Body.Items[i] = importRow{row}
	}
	if more {
		out.Body.NextCursor = strconv.Itoa(next)
		out.Link = nextLink(ctx, out.Body.NextCursor)
	}
	return out, nil
}

// Times of a streamed upload or download: how long a piece of it may take. The server's own time-outs are for whole
// requests of the usual size.
const (
	pieceTime = 30 * time.Second
	drainTime = 10 * time.Second
)

// uploadImport takes a file as it arrives, and answers with the judged job.
func (s *Service) uploadImport(w http.ResponseWriter, r *http.Request) {
	if !isCSV(r.Header.Get("Content-Type")) {
		s.refuse(w, problem.New(problem.MediaType, "Send \"Content-Type: text/csv\"."))
		return
	}
	c := callerOf(r.Context())
	u := imports.Upload{
		Who: c.who(), Organization: r.PathValue("org"), Name: r.URL.Query().Get("name"), Role: r.URL.Query().Get("role"),
		Arriving: patience(w),
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		u.Repeatable = c.key.ID + "/" + c.person + "/" + key
	}
	u.Arriving()
	body := http.MaxBytesReader(w, r.Body, imports.MaxBytes)
	job, err := s.Imports.Take(r.Context(), u, body)
	if err != nil {
		// Who is still sending does not read the answer before it has sent everything.
		_ = http.NewResponseController(w).SetReadDeadline(clock.System().Add(drainTime)) // where there are no deadlines, there is nothing to move
		_, _ = io.Copy(io.Discard, body)
		s.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Location", "/v1/imports/"+job.ID)
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(jobResource(job)) // the client has gone; the job is listed
}

// patience gives a connection more time whenever it is called.
func patience(w http.ResponseWriter) func() {
	c := http.NewResponseController(w)
	return func() {
		until := clock.System().Add(pieceTime)
		_ = c.SetReadDeadline(until) // where there are no deadlines, there is nothing to move
		_ = c.SetWriteDeadline(until)
	}
}

func isCSV(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && slices.Contains([]string{"text/csv", "text/tab-separated-values", "application/csv"}, media)
}

// importReport writes what became of every row, as a file.
func (s *Service) importReport(w http.ResponseWriter, r *http.Request) {
	job, err := s.Imports.Job(r.Context(), callerOf(r.Context()).who(), r.PathValue("id"))
	if err == nil && job.Pages > 0 {
		_, err = s.Imports.Page(r.Context(), job, 0) // what is not kept any more is refused before anything is written
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+job.ID+`.csv"`)
	w.Header().Set("Cache-Control", "no-store")
	if err := s.Imports.Report(r.Context(), job, patient{w, patience(w)}); err != nil {
		s.Logger.Warn("a report was cut off", "import", job.ID, "error", err)
		panic(http.ErrAbortHandler) // so that half a report never looks like a whole one
	}
}

// patient gives a connection more time with every piece that it takes.
type patient struct {
	io.Writer
	more func()
}

func (p patient) Write(b []byte) (int, error) {
	p.more()
	return p.Writer.Write(b)
}

// describeImports tells the document of the two routes that stream.
func describeImports(api huma.API) {
	key := []map[string][]string{{"key": {}}}
	job := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[bulkJob](), true, "")
	refusal := &huma.Response{Description: "Refused", Content: map[string]*huma.MediaType{"application/problem+json": {
		Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")}}}
	text := func(name, doc string, in string, required bool) *huma.Param {
		return &huma.Param{Name: name, In: in, Description: doc, Required: required, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	file := map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}}
	api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "upload-import", Method: http.MethodPost, Path: uploadPath, Security: key,
		Summary: "Upload up to 100,000 people to invite, as CSV",
		Description: "The first line names the columns, in any order: email, role, name, locale, organization, expires_in, note; or the file is a " +
			"bare list of addresses. Every row is judged, and nobody is invited until the import is started.",
		Parameters: []*huma.Param{
			text("org", "Short name of the organization.", "path", true),
			text("name", "What people will know it by.", "query", false),
			text("role", "Role of rows that name none.", "query", false),
		},
		RequestBody: &huma.RequestBody{Required: true, Content: file},
		Responses: map[string]*huma.Response{
			"201": {Description: "Created", Content: map[string]*huma.MediaType{"application/json": {Schema: job}},
				Headers: map[string]*huma.Param{"Location": {Schema: &huma.Schema{Type: huma.TypeString}}}},
			"400": refusal, "401": refusal, "403": refusal, "404": refusal, "409": refusal, "413": refusal, "415": refusal, "422": refusal, "503": refusal,
		},
	})
	api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "get-import-report", Method: http.MethodGet, Path: reportPath, Security: key, Summary: "Download what became of every row",
		Parameters: []*huma.Param{text("id", "Id of the import.", "path", true)},
		Responses: map[string]*huma.Response{
			"200": {Description: "OK", Content: file}, "400": refusal, "401": refusal, "404": refusal, "503": refusal,
		},
	})
}
