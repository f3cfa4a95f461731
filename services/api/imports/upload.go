package imports

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
)

// Bounds of a page: one message of the broker, with room for its text written as JSON.
const (
	pageRows  = 50
	pageBytes = 96 << 10
)

// maxTitle is how many characters of a file's name are kept.
const maxTitle = 100

// uploadTime is how long an upload may last; a job that is uploading for longer was given up.
const uploadTime = 10 * time.Minute

// Upload is a file that arrives.
type Upload struct {
	Who          Who
	Organization string
	// Name is what people will know the job by.
	Name string
	// Role is that of rows that name none; empty for none.
	Role string
	// Repeatable names the upload, so that the same one again is the same job; empty for a job of its own.
	Repeatable string
	// Arriving is called whenever a piece of the file was dealt with; it may be nil.
	Arriving func()
}

// intake is an upload being read.
type intake struct {
	*Engine
	Upload
	job     Job
	reader  *reader
	seen    map[[16]byte]int // who is in the file, with the line
	allowed map[string]error // what the uploader may do in other organizations
}

// Take reads a file, judges every row and keeps them; nobody is invited. The job and its rows are stored when it returns.
// It returns a *problem.Error for what cannot be a file of people, and keeps nothing of it.
func (e *Engine) Take(ctx context.Context, u Upload, file io.Reader) (job Job, err error) {
	if err := e.manages(ctx, u.Who, u.Organization); err != nil {
		return job, err
	}
	if u.Role != "" && !e.Roster.Roles().Known(u.Role) {
		return job, problem.Fields(events.FieldError{Location: "query.role", Message: "must be one of " + strings.Join(e.Roster.Roles(), ", ")})
	}
	ctx, cancel := context.WithTimeout(ctx, uploadTime)
	defer cancel()
	now := e.Ledger.Now()
	in := &intake{Engine: e, Upload: u, seen: map[[16]byte]int{}, allowed: map[string]error{}}
	in.job = Job{
		ID: events.NewImportID(), Organization: u.Organization, Name: title(u.Name), State: uploading, By: u.Who, CreatedAt: now, ChangedAt: now,
		Faults: map[string]int{},
	}
	if u.Repeatable != "" {
		in.job.ID = events.DerivedImportID("http", u.Repeatable)
	} else if err := e.roomFor(u.Organization); err != nil {
		return job, err
	}
	digest := in.digest()
	in.job, err = e.store(ctx, in.job)
	if errors.Is(err, ledger.ErrConflict) {
		return e.repeated(ctx, in.job.ID, digest, file)
	}
	if err != nil {
		return job, err
	}
	failpoint.Here(failpoint.ImportOpened)
	err = in.read(ctx, io.TeeReader(arriving{file}, digest))
	if err == nil {
		failpoint.Here(failpoint.ImportRead)
		in.job.State, in.job.Digest = Ready, hex.EncodeToString(digest.Sum(nil))
		job, err = e.store(ctx, in.job)
	}
	if err != nil {
		return job, errors.Join(err, e.forget(context.WithoutCancel(ctx), in.job.ID))
	}
	return job, nil
}

// arriving makes problems of what goes wrong with a request's body.
type arriving struct{ io.Reader }

func (a arriving) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return n, problem.New(problem.TooLarge, "The file is larger than %d bytes; upload it in parts.", tooLarge.Limit)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, &problem.Error{Code: problem.Malformed, Detail: "The file did not arrive whole.", Cause: err}
	}
	return n, err
}

// title makes one short line of what a file is called.
func title(name string) string {
	name = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(name, ""), func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }), " ")
	if _, after, isPath := strings.Cut(name, ":\\"); isPath { // what some browsers send
		name = after[strings.LastIndex(after, `\`)+1:]
	}
	if runes := []rune(strings.TrimSpace(name)); len(runes) > maxTitle {
		name = string(runes[:maxTitle-1]) + "…"
	}
	return cmp.Or(strings.TrimSpace(name), "People")
}

// digest begins with what is said beside the file.
func (u Upload) digest() hash.Hash {
	h := sha256.New()
	for _, said := range []string{u.Organization, u.Name, u.Role} {
		fmt.Fprintf(h, "%d:%s", len(said), said)
	}
	return h
}

func (e *Engine) roomFor(org string) error {
	open := 0
	for _, j := range e.List(org, func(string) bool { return true }) {
		if !j.State.Ended() {
			open++
		}
	}
	if open >= maxOpen {
		return problem.New(problem.WrongState, "The organization has %d imports that have not ended; cancel one that is not needed.", open)
	}
	return nil
}

// repeated answers an upload that names a job that is there.
func (e *Engine) repeated(ctx context.Context, id string, digest hash.Hash, file io.Reader) (Job, error) {
	job, err := e.load(ctx, id)
	if err != nil {
		return job, err
	}
	if job.State == uploading {
		p := problem.New(problem.KeyInUse, "The first upload with this Idempotency-Key is still running; try again shortly.")
		p.RetryAfter = time.Second
		return job, p
	}
	if _, err := io.Copy(digest, arriving{file}); err != nil {
		return job, err
	}
	if hex.EncodeToString(digest.Sum(nil)) != job.Digest {
		return job, problem.New(problem.KeyReused, "This Idempotency-Key was used for another file.")
	}
	return job, nil
}

// forget removes a job that came to nothing, and its rows.
func (e *Engine) forget(ctx context.Context, id string) error {
	if err := e.pages.Drop(ctx, id); err != nil {
		return err
	}
	failpoint.Here(failpoint.ImportForgetting)
	return e.jobs.Delete(ctx, id)
}

// read takes in the whole file, page by page.
func (in *intake) read(ctx context.Context, file io.Reader) (err error) {
	if in.reader, err = newReader(file); err != nil {
		return err
	}
	in.job.Ignored = in.reader.ignored
	for {
		rows, last, err := in.some()
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			if err := in.keep(ctx, rows); err != nil {
				return err
			}
		}
		if in.Arriving != nil {
			in.Arriving()
		}
		if last {
			break
		}
	}
	if in.job.Rows == 0 {
		return unreadable("The file has no rows below the names of the columns.")
	}
	return nil
}

// some reads the rows of one page; last is true at the end of the file.
func (in *intake) some() (rows []Row, last bool, err error) {
	for size := 0; len(rows) < pageRows && size < pageBytes; {
		read, err := in.reader.next()
		if errors.Is(err, io.EOF) {
			return rows, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		if in.job.Rows+len(rows) == MaxRows {
			return nil, false, problem.New(problem.TooLarge, "The file has more than %d rows; upload it in parts.", MaxRows)
		}
		row := Row{Fields: read.Fields, Line: read.line, Verdict: RowReady}
		row.Role = in.role(row.Role)
		if row.Organization == in.Organization {
			row.Organization = ""
		}
		if read.wrong != "" {
			row.refuse(RowFaulty, problem.New(problem.Malformed, "%s", read.wrong))
		}
		rows = append(rows, row)
		size += len(row.Email) + len(row.Role) + len(row.Name) + len(row.Locale) + len(row.Organization) + len(row.ExpiresIn) + len(row.Note)
	}
	return rows, false, nil
}

// role is the role that was meant.
func (in *intake) role(written string) string {
	if written == "" {
		return in.Role
	}
	for _, known := range in.Roster.Roles() {
		if strings.EqualFold(known, written) {
			return known
		}
	}
	return written
}

// keep judges the rows of a page and stores it.
func (in *intake) keep(ctx context.Context, rows []Row) error {
	if err := in.judge(ctx, rows); err != nil {
		return err
	}
	page := Page{First: in.job.Rows, Rows: rows}
	if err := in.putPage(ctx, in.job.ID, in.job.Pages, page); err != nil {
		return err
	}
	failpoint.Here(failpoint.ImportPageKept)
	in.job.Pages++
	in.job.Rows += len(rows)
	for _, r := range rows {
		if r.Verdict == RowReady {
			in.job.Ready++
		} else {
			in.job.Faults[r.Code]++
		}
	}
	return nil
}

// judge says of every row whether it may be invited. Of rows with the same address the first that may be counts, so that
// a row waits for the judgement of those before it.
func (in *intake) judge(ctx context.Context, rows []Row) error {
	var waiting []int
	for i := range rows {
		if rows[i].Verdict == RowReady {
			waiting = append(waiting, i)
		}
	}
	for len(waiting) > 0 {
		var err error
		if waiting, err = in.judgeFirst(ctx, rows, waiting); err != nil {
			return err
		}
	}
	return nil
}

// judgeFirst judges the first row of each address, and gives those that must wait for it.
func (in *intake) judgeFirst(ctx context.Context, rows []Row, places []int) (later []int, err error) {
	var requests []admission.Request
	var now []int
	var marks [][16]byte
	for _, i := range places {
		row, mark := &rows[i], in.mark(rows[i])
		if line, twice := in.seen[mark]; twice {
			row.Verdict, row.Code, row.Detail = RowFaulty, CodeDuplicate, fmt.Sprintf("The same address stands on line %d.", line)
			continue
		}
		if slices.Contains(marks, mark) {
			later = append(later, i)
			continue
		}
		request, err := in.request(ctx, *row)
		if err != nil && problem.As(err).Code == problem.NotNow {
			return nil, err
		}
		if err != nil {
			row.refuse(RowFaulty, err)
			continue
		}
		requests, now, marks = append(requests, request), append(now, i), append(marks, mark)
	}
	for j, err := range in.Admission.CheckAll(ctx, requests) {
		switch {
		case err == nil:
			in.seen[marks[j]] = rows[now[j]].Line
		case problem.As(err).Code == problem.NotNow:
			return nil, err
		default:
			rows[now[j]].refuse(RowFaulty, err)
		}
	}
	return later, nil
}

// mark stands for an address in an organization, in little memory.
func (in *intake) mark(row Row) (mark [16]byte) {
	email, err := address.Canonical(row.Email)
	if err != nil {
		email = row.Email
	}
	sum := sha256.Sum256([]byte(row.Organization + "\n" + email))
	copy(mark[:], sum[:])
	return mark
}

// request is what a row asks admission for, in the name of the uploader.
func (in *intake) request(ctx context.Context, row Row) (admission.Request, error) {
	if err := in.elsewhere(ctx, row.Organization); err != nil {
		return admission.Request{}, err
	}
	return in.requestFor(in.job, row, in.Who)
}

// elsewhere checks that the uploader may invite to another organization than the job's: who looks at the job later must
// be allowed to know of all of them.
func (in *intake) elsewhere(ctx context.Context, org string) error {
	if org == "" || slices.Contains(in.job.Others, org) {
		return nil
	}
	err, asked := in.allowed[org]
	if !asked {
		err = in.manages(ctx, in.Who, org)
		if len(in.allowed) < 1000 { // made-up names are not worth remembering
			in.allowed[org] = err
		}
	}
	if err != nil {
		return err
	}
	if len(in.job.Others) == maxOrganizations {
		return problem.Fields(events.FieldError{Location: "organization", Message: "is one too many: a file may name " +
			fmt.Sprint(maxOrganizations) + " beside its own"})
	}
	in.job.Others = append(in.job.Others, org)
	return nil
}

// requestFor is what a row asks admission for, in somebody's name.
func (e *Engine) requestFor(job Job, row Row, who Who) (admission.Request, error) {
	key, err := e.key(who, job.Organization)
	return admission.Request{
		InvitationRequested: events.InvitationRequested{
			Organization: row.in(job), Email: row.Email, Role: row.Role, Inviter: who.Email, Name: row.Name, Locale: row.Locale,
			ExpiresIn: row.ExpiresIn, Note: row.Note,
		},
		Key: key, Source: e.Source, Causation: job.ID,
	}, err
}
