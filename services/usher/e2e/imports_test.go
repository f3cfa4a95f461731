package e2e

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// bulkJob is an import as the API shows it.
type bulkJob struct {
	ID, Organization, State, Reason string
	Rows, Ready, Handled, Invited   int
	Faults, Refused                 map[string]int
}

// file is a list of so many new people, with a header.
func file(n int) (text string, emails []string) {
	var b strings.Builder
	b.WriteString("email,role,name\n")
	for range n {
		email := harness.Address("listed")
		emails = append(emails, email)
		fmt.Fprintf(&b, "%s,member,Somebody\n", email)
	}
	return b.String(), emails
}

// upload uploads a file as the organization's owner.
func upload(t *testing.T, o *harness.Organization, text string, header ...string) harness.Answer {
	t.Helper()
	return o.API().As(o.Owner).Post(t, o.Path("/imports?name=people.csv"), harness.Raw(text), append([]string{"Content-Type", "text/csv"}, header...)...)
}

func uploaded(t *testing.T, o *harness.Organization, text string) bulkJob {
	t.Helper()
	return harness.Read[bulkJob](t, upload(t, o, text), http.StatusCreated)
}

// act starts, pauses, resumes or cancels as the owner.
func act(t *testing.T, o *harness.Organization, job bulkJob, what string) bulkJob {
	t.Helper()
	return harness.Read[bulkJob](t, o.API().As(o.Owner).Post(t, "/v1/imports/"+job.ID+"/"+what, nil), http.StatusOK)
}

// reaches waits until the job is as wanted, and sees that its progress never goes back.
func reaches(t *testing.T, o *harness.Organization, job bulkJob, what string, as func(bulkJob) bool) bulkJob {
	t.Helper()
	handled := 0
	return harness.Until(t, "the import "+what, func() (bulkJob, bool) {
		now := harness.Read[bulkJob](t, o.API().Get(t, "/v1/imports/"+job.ID), http.StatusOK)
		require.GreaterOrEqual(t, now.Handled, handled)
		handled = now.Handled
		return now, as(now)
	})
}

// report gives the report's rows without its header.
func report(t *testing.T, o *harness.Organization, job bulkJob) [][]string {
	t.Helper()
	a := o.API().Get(t, "/v1/imports/"+job.ID+"/report.csv")
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, "text/csv; charset=utf-8", a.Header.Get("Content-Type"))
	require.Contains(t, a.Header.Get("Content-Disposition"), "attachment")
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(a.Body), "\ufeff"))).ReadAll()
	require.NoError(t, err)
	return rows[1:]
}

// TestAnImportGoesOnAfterKill9AndInvitesEverybodyOnce kills "usher up", broker and all, at random moments of a job.
func TestAnImportGoesOnAfterKill9AndInvitesEverybodyOnce(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, mailgun.Settings()...)
	o := u.Organization(t)
	rounds := short(5, 2)
	text, emails := file(200 * (rounds + 1))
	job := uploaded(t, o, text)
	require.Equal(t, len(emails), job.Ready)
	act(t, o, job, "start")
	for round := range rounds {
		atLeast := 150*round + rand.IntN(150)
		reaches(t, o, job, fmt.Sprintf("to have invited %d", atLeast), func(j bulkJob) bool { return j.Invited >= atLeast })
		u.Kill9()
		require.NoError(t, u.Start())
	}
	done := reaches(t, o, job, "to be done", func(j bulkJob) bool { return j.State == "done" })
	require.Equal(t, len(emails), done.Invited)

	listed := map[string][]string{} // ids by address
	for _, i := range harness.All[harness.Invitation](t, u.API(), o.Path("/invitations?limit=200")) {
		listed[i.Email] = append(listed[i.Email], i.ID)
	}
	require.Len(t, listed, len(emails))
	for n, row := range report(t, o, done) {
		require.Equal(t, []string{row[8]}, listed[emails[n]], "the report names the one invitation of row %d", n)
		require.Equal(t, "invited", row[5])
	}
	for subject, n := range u.Bus(t).Subjects(t, "INVITATIONS", "invitations."+o.ID+".*.requested") {
		require.Equal(t, 1, n, subject)
	}
	mailgun.Taken(t, len(emails))
}

func TestAnImportIsLookedAtPausedResumedAndCancelled(t *testing.T) {
	t.Parallel()
	o := common(t).Organization(t)
	text, _ := file(600)
	job := uploaded(t, o, text)
	require.Equal(t, "ready", job.State)
	rows := harness.Read[harness.List[map[string]any]](t, o.API().Get(t, "/v1/imports/"+job.ID+"/rows"), http.StatusOK)
	require.Equal(t, "ready", rows.Items[0]["verdict"])
	require.Empty(t, harness.All[harness.Invitation](t, o.API(), o.Path("/invitations?limit=200")), "looking invites nobody")
	o.API().Post(t, "/v1/imports/"+job.ID+"/pause", nil).Refused(t, http.StatusConflict, "wrong-state")

	act(t, o, job, "start")
	reaches(t, o, job, "to have begun", func(j bulkJob) bool { return j.Invited > 0 })
	paused := act(t, o, job, "pause")
	require.Equal(t, "paused", paused.State)
	requested := func() int {
		return len(o.Bus(t).Subjects(t, "INVITATIONS", "invitations."+o.ID+".*.requested"))
	}
	require.Equal(t, paused.Invited, requested(), "what it says is what was done")
	act(t, o, job, "resume")
	reaches(t, o, job, "to go on", func(j bulkJob) bool { return j.Invited > paused.Invited })
	cancelled := act(t, o, job, "cancel")
	require.Equal(t, "cancelled", cancelled.State)
	require.Equal(t, cancelled.Invited, requested())
	results := map[string]int{}
	for _, row := range report(t, o, job) {
		results[row[5]]++
	}
	require.Equal(t, map[string]int{"invited": cancelled.Invited, "not sent": 600 - cancelled.Invited}, results)
	o.API().Post(t, "/v1/imports/"+job.ID+"/resume", nil).Refused(t, http.StatusConflict, "wrong-state")
}

// TestAReportNeverHoldsAFormula is about CVE-2017-18900 (CWE-1236, CSV injection).
func TestAReportNeverHoldsAFormula(t *testing.T) {
	t.Parallel()
	o := common(t).Organization(t)
	job := uploaded(t, o, "email;name;role\n=cmd|'/C calc'!A0;=1+1;+1\na@example.org;@SUM(1);-1\nb@example.org;\"\t=1\";member\n")
	for _, row := range report(t, o, job) {
		for _, cell := range row {
			require.NotRegexp(t, `^\s*[=+\-@]`, cell)
		}
	}
	require.Equal(t, "'=cmd|'/C calc'!A0", report(t, o, job)[0][1])
}

func TestAnImportThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, other := u.Organization(t), u.Organization(t)
	text, _ := file(3)
	member := o.Join(t, "member")

	o.API().Post(t, o.Path("/imports"), map[string]any{"email": "x"}).Refused(t, http.StatusUnsupportedMediaType, "media-type")
	upload(t, o, "").Refused(t, http.StatusBadRequest, "malformed")
	upload(t, o, "name\nNell\n").Refused(t, http.StatusBadRequest, "malformed")
	upload(t, o, "PK\x03\x04").Refused(t, http.StatusBadRequest, "malformed")
	upload(t, o, "email\n"+strings.Repeat("a@example.org\n", 100_001)).Refused(t, http.StatusRequestEntityTooLarge, "too-large")
	csvType := []string{"Content-Type", "text/csv"}
	o.API().As(member.Email).Post(t, o.Path("/imports"), harness.Raw(text), csvType...).Refused(t, http.StatusForbidden, "no-authority")
	o.API().Post(t, o.Path("/imports?role=emperor"), harness.Raw(text), csvType...).Refused(t, http.StatusUnprocessableEntity, "invalid")
	o.API().Post(t, "/v1/organizations/nowhere/imports", harness.Raw(text), csvType...).Refused(t, http.StatusNotFound, "unknown-organization")
	harness.Client{URL: o.URL}.Post(t, o.Path("/imports"), harness.Raw(text), csvType...).Refused(t, http.StatusUnauthorized, "unauthenticated")
	require.Empty(t, harness.All[bulkJob](t, o.API(), o.Path("/imports?limit=200")))

	first := harness.Read[bulkJob](t, upload(t, o, text, "Idempotency-Key", "4711-"+o.ID), http.StatusCreated)
	again := harness.Read[bulkJob](t, upload(t, o, text, "Idempotency-Key", "4711-"+o.ID), http.StatusCreated)
	require.Equal(t, first.ID, again.ID, "an upload that is sent again is the same import")
	upload(t, o, text+"more@example.org,member,x\n", "Idempotency-Key", "4711-"+o.ID).Refused(t, http.StatusUnprocessableEntity, "idempotency-key-reused")
	require.Len(t, harness.All[bulkJob](t, o.API(), o.Path("/imports?limit=200")), 1)

	for _, path := range []string{"", "/rows", "/report.csv"} {
		o.API().As(other.Owner).Get(t, "/v1/imports/"+first.ID+path).Refused(t, http.StatusNotFound, "not-found")
	}
	for _, what := range []string{"start", "pause", "resume", "cancel"} {
		o.API().As(member.Email).Post(t, "/v1/imports/"+first.ID+"/"+what, nil).Refused(t, http.StatusNotFound, "not-found")
		o.API().Post(t, "/v1/imports/imp_01h455vb4pex5vsknk084sn02q/"+what, nil).Refused(t, http.StatusNotFound, "not-found")
	}
}

func TestTheCommandLineImportsAFile(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	text, _ := file(30)
	path := filepath.Join(t.TempDir(), "people.csv")
	require.NoError(t, os.WriteFile(path, []byte(text+"nobody,member,x\n"), 0o600))
	said := u.Command(t, "import", path, "--org", o.ID, "--inviter", o.Owner).Must(t)
	require.Contains(t, said, "30 of 31 rows can be invited")
	require.Empty(t, harness.All[harness.Invitation](t, o.API(), o.Path("/invitations?limit=200")))
	var done bulkJob
	decode(t, u.Command(t, "import", path, "--org", o.ID, "--inviter", o.Owner, "--start", "--json").Must(t), &done)
	require.Equal(t, "done", done.State)
	require.Equal(t, 30, done.Invited)
	require.Equal(t, 2, u.Command(t, "import", path+".missing").Code)
}

// TestAFileIsImportedInTheConsole goes the way of somebody whose browser runs no script.
func TestAFileIsImportedInTheConsole(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	owner := u.SignedIn(t, o.Owner)
	path := "/console/" + o.ID + "/imports"
	require.Contains(t, owner.Get("/console/"+o.ID+"/invitations").Text(), `href="`+path+`"`)
	text, emails := file(120)
	hostile := `"<script>alert(1)</script>",member,"<img src=x onerror=alert(1)>"` + "\n"

	seen := owner.Upload(path, "team <b>.csv", text+hostile, "role", "member", "text", "")
	require.Equal(t, http.StatusOK, seen.Status)
	job := seen.URL.Path
	require.True(t, strings.HasPrefix(job, path+"/imp_"), job)
	require.Contains(t, seen.Text(), "Invite 120 people")
	require.Contains(t, seen.Text(), "team &lt;b&gt;.csv")
	require.NotContains(t, seen.Text(), "<script>alert")
	require.NotContains(t, owner.Get(job+"?show=problems").Text(), "<img src=x")
	require.Contains(t, owner.Get(job+"?show=problems").Text(), "Not invited")
	require.Empty(t, harness.All[harness.Invitation](t, o.API(), o.Path("/invitations?limit=200")))

	require.Equal(t, job, owner.Post(job+"/start", url.Values{}).URL.Path)
	owner.Post(job+"/start", url.Values{}) // somebody pressed twice
	harness.Eventually(t, "the page to say it is done", func() bool {
		return strings.Contains(owner.Get(job).Text(), "<b>120</b> of 120 people invited")
	})
	require.Len(t, harness.All[harness.Invitation](t, o.API(), o.Path("/invitations?limit=200")), len(emails))
	report := owner.Get(job + "/report.csv")
	require.Equal(t, "text/csv; charset=utf-8", report.Header.Get("Content-Type"))
	require.Equal(t, 122, strings.Count(report.Text(), "\r\n"))

	pasted := owner.Upload(path, "", "", "role", "viewer", "text", "pat@example.org, Sam Some <sam@example.org>")
	require.Contains(t, pasted.Text(), "Invite 2 people")
	require.Contains(t, pasted.Text(), "Sam Some")
	require.Contains(t, owner.Post(pasted.URL.Path+"/cancel", url.Values{}).Text(), "Cancelled")
}

func TestTheConsoleRefusesImportsThatCannotBe(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, other := u.Organization(t), u.Organization(t)
	owner, stranger, member := u.SignedIn(t, o.Owner), u.SignedIn(t, other.Owner), u.SignedIn(t, o.Join(t, "member").Email)
	path := "/console/" + o.ID + "/imports"
	text, _ := file(2)

	nothing := owner.Upload(path, "", "", "role", "member", "text", " ")
	require.Equal(t, http.StatusBadRequest, nothing.Status)
	require.Contains(t, nothing.Text(), "Choose a file, or paste a list.")
	wrong := owner.Upload(path, "", "", "role", "member", "text", "name,role\nNell,member")
	require.Contains(t, wrong.Text(), "no column is called")
	require.Contains(t, wrong.Text(), "Nell,member", "what was pasted is still there")
	require.Equal(t, http.StatusUnprocessableEntity, owner.Upload(path, "x.csv", text, "role", "emperor").Status)
	require.Equal(t, http.StatusForbidden, member.Get(path).Status)
	require.Equal(t, http.StatusForbidden, member.Upload(path, "x.csv", text, "role", "member").Status)
	require.Equal(t, http.StatusNotFound, stranger.Get(path).Status)
	require.Contains(t, u.Person(t).Upload(path, "x.csv", text, "role", "member").URL.Path, "/signin")

	job := owner.Upload(path, "x.csv", text, "role", "member").URL.Path
	elsewhere := strings.Replace(job, o.ID, other.ID, 1)
	for _, target := range []string{job, elsewhere, job + "/report.csv"} {
		require.Equal(t, http.StatusNotFound, stranger.Get(target).Status, target)
	}
	require.Equal(t, http.StatusNotFound, stranger.Post(elsewhere+"/start", url.Values{}).Status)
	require.Equal(t, http.StatusForbidden, member.Post(job+"/start", url.Values{}).Status)
	require.Equal(t, http.StatusNotFound, owner.Post(job+"/explode", url.Values{}).Status)
	owner.Header.Set("Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusForbidden, owner.Post(job+"/start", url.Values{}).Status)
	require.Equal(t, http.StatusForbidden, owner.Upload(path, "x.csv", text, "role", "member").Status)
	require.Empty(t, harness.All[harness.Invitation](t, o.API(), o.Path("/invitations?limit=200&status=pending")))
}
