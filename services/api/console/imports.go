package console

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/services/api/imports"
)

// isUpload reports whether a request brings a file.
func isUpload(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && r.Method == http.MethodPost && media == "multipart/form-data" && strings.HasSuffix(r.URL.Path, "/imports")
}

// who is the visitor to the imports.
func (v visit) who() imports.Who { return imports.Who{Email: v.email, Person: v.person} }

// importLine is one import in the list.
type importLine struct {
	Path, Name string
	State      state
	Rows       int
	Invited    int
	When       *moment
}

type importsPage struct {
	frame
	Tabs  tabs
	Lines []importLine
	// Roles are those the visitor may grant, Role the one that rows without get.
	Roles []string
	Role  string
	// Text is what was pasted, where it was refused; Fault says why.
	Text, Fault string
}

func (c *Console) importsPage(r *http.Request, v visit) (*importsPage, error) {
	counts, err := c.tabs(r, v, "imports")
	if err != nil {
		return nil, err
	}
	p := &importsPage{frame: c.frame(r, v, "Imports"), Tabs: counts, Roles: c.grantable(v.role), Role: c.usualRole(v.role)}
	for _, j := range c.Imports.List(v.org.ID, func(org string) bool {
		m, ok := c.Roster.Member(org, v.person)
		return ok && c.Roster.Roles().MayInvite(m.Role)
	}) {
		p.Lines = append(p.Lines, importLine{
			Path: p.Org.Path + "/imports/" + j.ID, Name: j.Name, State: jobState(j), Rows: j.Rows, Invited: j.Invited, When: at(j.CreatedAt, c.Clock()),
		})
	}
	return p, nil
}

// imports lists the imports, and takes a new file.
func (c *Console) imports(w http.ResponseWriter, r *http.Request, v visit) error {
	if err := c.managing(v); err != nil {
		return err
	}
	p, err := c.importsPage(r, v)
	if err != nil {
		return err
	}
	return c.render(w, http.StatusOK, "imports", p)
}

// keepText is how much of a refused paste comes back to be corrected.
const keepText = 64 << 10

// upload takes a file or a pasted list as it arrives, and leads to what was made of it.
func (c *Console) upload(w http.ResponseWriter, r *http.Request, v visit) error {
	if err := c.managing(v); err != nil {
		return err
	}
	more := c.arriving(w)
	more()
	job, text, err := c.take(r, v, more)
	if err == nil {
		see(w, "/console/"+v.org.ID+"/imports/"+job.ID)
		return nil
	}
	_, _ = io.Copy(io.Discard, r.Body) // a browser that is still sending does not read the answer
	e := problem.As(err)
	if e.Code == problem.NotNow {
		return err
	}
	p, err := c.importsPage(r, v)
	if err != nil {
		return err
	}
	p.Fault = e.Detail
	for _, f := range e.Fields {
		p.Fault += " " + complaint(f)
	}
	if len(text) < keepText {
		p.Text = text
	}
	return c.render(w, e.Status(), "imports", p)
}

// arriving gives the connection more time with every piece of a file that was dealt with.
func (c *Console) arriving(w http.ResponseWriter) func() {
	control := http.NewResponseController(w)
	return func() {
		until := clock.System().Add(30 * time.Second)
		_ = control.SetReadDeadline(until) // where there are no deadlines, there is nothing to move
		_ = control.SetWriteDeadline(until)
	}
}

// take reads the form part by part: the role first, then what was pasted, then the file. text is the beginning of what was
// pasted.
func (c *Console) take(r *http.Request, v visit, more func()) (job imports.Job, text string, err error) {
	u := imports.Upload{Who: v.who(), Organization: v.org.ID, Arriving: more}
	parts, err := r.MultipartReader()
	if err != nil {
		return job, "", problem.New(problem.Malformed, "The form did not arrive as it was sent.")
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return job, "", problem.New(problem.Malformed, "Choose a file, or paste a list.")
		}
		if err != nil {
			return job, "", problem.New(problem.Malformed, "The file did not arrive whole.")
		}
		switch part.FormName() {
		case "role":
			role, _ := io.ReadAll(io.LimitReader(part, 100)) // a part that breaks off breaks the next too
			u.Role = string(role)
		case "text":
			if begin := bufio.NewReader(part); !blank(begin) {
				var kept bytes.Buffer
				u.Name = "Pasted list"
				job, err := c.Imports.Take(r.Context(), u, io.TeeReader(begin, &limited{&kept}))
				return job, kept.String(), err
			}
		case "file":
			if part.FileName() != "" {
				return c.takeFile(r, u, part)
			}
		}
	}
}

func (c *Console) takeFile(r *http.Request, u imports.Upload, part *multipart.Part) (imports.Job, string, error) {
	u.Name = part.FileName()
	job, err := c.Imports.Take(r.Context(), u, part)
	return job, "", err
}

func blank(b *bufio.Reader) bool {
	begin, _ := b.Peek(512) // fewer bytes are no error here
	return len(bytes.TrimSpace(begin)) == 0
}

// limited keeps the beginning of what is written.
type limited struct{ *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), max(0, keepText-l.Len()))])
	return len(p), nil
}

// jobState is where an import stands, in words.
func jobState(j imports.Job) state {
	switch j.State {
	case imports.Running:
		return state{Tone: "lead", Icon: "send", Text: "Inviting"}
	case imports.Paused:
		return state{Tone: "warn", Icon: "hourglass", Text: "Paused"}
	case imports.Stopped:
		return state{Tone: "bad", Icon: "triangle-alert", Text: "Stopped"}
	case imports.Cancelled:
		return state{Icon: "ban", Text: "Cancelled"}
	case imports.Done:
		return state{Tone: "good", Icon: "circle-check", Text: "Done"}
	}
	return state{Tone: "warn", Icon: "eye", Text: "Not started"}
}

// tally is how many rows share a reason.
type tally struct {
	Count int
	Text  string
}

// reasons puts the codes of refusals into words, the most frequent first.
func reasons(counts map[string]int) []tally {
	var all []tally
	for code, n := range counts {
		text, ok := rowReasons[code]
		if !ok {
			text = plain(code)
		}
		all = append(all, tally{n, text})
	}
	slices.SortFunc(all, func(a, b tally) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Text, b.Text)
	})
	return all
}

var rowReasons = map[string]string{
	imports.CodeDuplicate:               "the same address stands earlier in the file",
	string(problem.Malformed):           "the line cannot be read",
	string(problem.Invalid):             "the address, role or another field is wrong",
	string(problem.AlreadyInvited):      "an invitation is open already",
	string(problem.AlreadyMember):       "a member already",
	string(problem.Suppressed):          "the address bounced before, or wants no mail",
	string(problem.RoleTooHigh):         "the role is above your own",
	string(problem.NoAuthority):         "you may not invite to that organization",
	string(problem.Forbidden):           "you may not invite to that organization",
	string(problem.UnknownOrganization): "there is no such organization",
	string(problem.Conflict):            "somebody else was inviting the same person",
}

// jobRow is one row of a file.
type jobRow struct {
	imports.Row
	Org    string
	State  state
	Path   string
	Detail string
}

type jobPage struct {
	frame
	Tabs            tabs
	Job             imports.Job
	State           state
	Percent         int
	Here            string
	Faults, Refused []tally
	Problems        int
	Rows            []jobRow
	OnlyProblems    bool
	Next, First     string
	// Base is the import's own path, Back that of the list.
	Base, Back string
	// Kept is false once the rows are gone.
	Kept bool
	When *moment
}

// Unhandled is how many people wait to be invited.
func (p *jobPage) Unhandled() int { return p.Job.Ready - p.Job.Handled() }

// job shows an import: what was found in the file, how far it got, and every row.
func (c *Console) job(w http.ResponseWriter, r *http.Request, v visit) error {
	job, err := c.findJob(r, v)
	if err != nil {
		return err
	}
	counts, err := c.tabs(r, v, "imports")
	if err != nil {
		return err
	}
	p := &jobPage{
		frame: c.frame(r, v, job.Name), Tabs: counts, Job: job, State: jobState(job), Faults: reasons(job.Faults), Refused: reasons(job.Refused),
		Here: withQuery(r.URL.Path, r.URL.Query(), "done", ""), Problems: job.Rows - job.Ready + job.Handled() - job.Invited,
		OnlyProblems: r.URL.Query().Get("show") == "problems", Kept: true, When: at(job.CreatedAt, c.Clock()),
	}
	p.Back = p.Org.Path + "/imports"
	p.Base = p.Back + "/" + job.ID
	if job.Ready > 0 {
		p.Percent = 100 * job.Handled() / job.Ready
	}
	if err := c.jobRows(r, v, p); err != nil {
		return err
	}
	return c.render(w, http.StatusOK, "import", p)
}

// findJob gives the import that the path names, where it is the organization's.
func (c *Console) findJob(r *http.Request, v visit) (imports.Job, error) {
	if err := c.managing(v); err != nil {
		return imports.Job{}, err
	}
	job, err := c.Imports.Job(r.Context(), v.who(), r.PathValue("id"))
	if err == nil && job.Organization != v.org.ID {
		err = problem.New(problem.NotFound, "There is no such import here.")
	}
	return job, err
}

func (c *Console) jobRows(r *http.Request, v visit, p *jobPage) error {
	from, _ := strconv.Atoi(r.URL.Query().Get("from")) // what is no number begins at the beginning
	rows, next, more, err := c.Imports.Rows(r.Context(), p.Job, max(from, 0), func(row imports.Row) bool {
		return !p.OnlyProblems || row.Verdict == imports.RowFaulty || row.Verdict == imports.RowRefused
	})
	if problem.Is(err, problem.NotFound) {
		p.Kept = false
		return nil
	}
	if err != nil {
		return err
	}
	for _, row := range rows {
		p.Rows = append(p.Rows, rowOf(row, p.Job, v.org.ID))
	}
	if more {
		p.Next = withQuery(p.Base, r.URL.Query(), "from", strconv.Itoa(next), "done", "")
	}
	if from > 0 {
		p.First = withQuery(p.Base, r.URL.Query(), "from", "", "done", "")
	}
	return nil
}

func rowOf(row imports.Row, job imports.Job, org string) jobRow {
	shown := jobRow{Row: row, Org: row.Organization, Detail: row.Detail}
	switch row.Verdict {
	case imports.RowInvited:
		shown.State = state{Tone: "good", Icon: "check", Text: "Invited"}
	case imports.RowFaulty, imports.RowRefused:
		shown.State = state{Tone: "bad", Icon: "x", Text: "Not invited"}
	case imports.RowReady:
		shown.State = state{Tone: "lead", Icon: "mail", Text: "Will be invited"}
		if job.State.Ended() {
			shown.State = state{Icon: "ban", Text: "Not sent"}
		}
	}
	if row.Invitation != "" && (row.Organization == "" || row.Organization == org) {
		shown.Path = "/console/" + org + "/invitations/" + row.Invitation
	}
	return shown
}

// steer starts, pauses, resumes or cancels an import.
func (c *Console) steer(w http.ResponseWriter, r *http.Request, v visit) error {
	job, err := c.findJob(r, v)
	if err != nil {
		return err
	}
	act, ok := map[string]func() (imports.Job, error){
		"start":  func() (imports.Job, error) { return c.Imports.Start(r.Context(), v.who(), job.ID) },
		"pause":  func() (imports.Job, error) { return c.Imports.Pause(r.Context(), v.who(), job.ID) },
		"resume": func() (imports.Job, error) { return c.Imports.Resume(r.Context(), v.who(), job.ID) },
		"cancel": func() (imports.Job, error) { return c.Imports.Cancel(r.Context(), v.who(), job.ID) },
	}[r.PathValue("act")]
	if !ok {
		return problem.New(problem.NotFound, "There is no such page.")
	}
	// Of two who press the same button, the second sees what the first did.
	if _, err := act(); err != nil && !problem.Is(err, problem.WrongState) {
		return err
	} else if err != nil && r.PathValue("act") == "start" && job.State == imports.Ready {
		return err
	}
	see(w, "/console/"+v.org.ID+"/imports/"+job.ID)
	return nil
}

// report gives what became of every row, as a file.
func (c *Console) report(w http.ResponseWriter, r *http.Request, v visit) error {
	job, err := c.findJob(r, v)
	if err != nil {
		return err
	}
	if _, err := c.Imports.Page(r.Context(), job, 0); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+job.ID+`.csv"`)
	more := c.arriving(w)
	if err := c.Imports.Report(r.Context(), job, patientWriter{w, more}); err != nil {
		c.Logger.Warn("a report was cut off", "import", job.ID, "error", err)
		panic(http.ErrAbortHandler) // so that half a report never looks like a whole one
	}
	return nil
}

// patientWriter gives a connection more time with every piece that it takes.
type patientWriter struct {
	io.Writer
	more func()
}

func (p patientWriter) Write(b []byte) (int, error) {
	p.more()
	return p.Writer.Write(b)
}
