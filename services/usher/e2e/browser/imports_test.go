package browser

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// list is so many new people for the field that takes pasted lists.
func list(n int) string {
	var b strings.Builder
	b.WriteString("email,role,name,shoe size\n")
	for range n {
		fmt.Fprintf(&b, "%s,member,Nell New,38\n", harness.Address("listed"))
	}
	return b.String()
}

func TestAnImportIsLookedAtFirstAndRunsBeforeTheReadersEyes(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	p := signedIn(t, &u.System, o.Owner).open("/console/" + o.ID + "/invitations").click("Imports")
	p.sees("Import a file").lookAt("console/imports", "empty")

	p.fill("Paste a list", "name\nNell").click("Look at it first").sees("no column is called")
	p.lookAt("console/imports", "refused")
	require.Equal(t, "name\nNell", p.value("Paste a list", 0))

	p.fill("Paste a list", list(300)+"nobody,member,x,\n").click("Look at it first").sees("Invite 300 people").sees("shoe size")
	p.lookAt("console/import", "ready")
	require.Empty(t, harness.All[harness.Invitation](t, o.API(), o.Path("/invitations")), "looking invites nobody")
	page := p.path()

	p.click("Invite 300 people").sees("to go").holds("progress without a reload", `return document.querySelector("progress").value >= 50`)
	p.click("Pause").sees("Paused").lookAt("console/import", "paused")
	p.open(page).sees("Paused").click("Resume")
	p.sees("300 of 300 people invited").sees("Done").lookAt("console/import", "done")
	p.open("/console/"+o.ID+"/imports").sees("Pasted list").lookAt("console/imports", "list")
}

func TestAFileIsLookedAtThenImported(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	path := "/console/" + o.ID + "/imports"
	first, second := harness.Address("first"), harness.Address("second")
	file := filepath.Join(t.TempDir(), "people.csv")
	content := strings.Join([]string{"email,role,name", first + ",member,=1+1", "nobody@,member,", second + ",owner,Olga", o.Owner + ",viewer,"}, "\n")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))

	p := signedIn(t, &u.System, o.Owner).open(path).sees("Import a file")
	p.lookAt("console/imports", "empty")
	p.fill("Paste a list", "name\nJust a name").click("Look at it first").sees("This cannot be imported").lookAt("console/imports", "fault")
	require.Equal(t, "name\nJust a name", p.value("Paste a list", 0))

	p.open(path).do(chromedp.SetUploadFiles(chromedp.CSS("input[type=file]"), []string{file}))
	p.click("Look at it first").sees("people.csv").sees(first).lookAt("console/import", "ready")
	require.Empty(t, harness.All[harness.Invitation](t, u.API(), o.Path("/invitations")), "somebody was invited before anybody said so")
	p.click("Not invited 2").misses(first).sees("nobody@")
	p.click("Invite 2 people").sees("2 of 2 people invited").lookAt("console/import", "done")
	u.Mails.Next(t, first, 0)
	u.Mails.Next(t, second, 0)

	report := u.SignedIn(t, o.Owner).Once(http.MethodGet, look[string](p, "the report", `return named("a", "Download the report").getAttribute("href")`), nil)
	require.Contains(t, report.Text(), "'=1+1", "the report holds a formula")
	p.open(path).sees("people.csv").lookAt("console/imports")
}

func TestAnImportNeedsNoScriptAndIsDiscarded(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	p := signedIn(t, &u.System, o.Owner).withoutScript().open("/console/" + o.ID + "/imports")
	p.fill("Paste a list", harness.Address("one")+"\n"+harness.Address("two")).click("Look at it first")
	p.sees("Invite 2 people").click("Discard").misses("Invite 2 people").lookAt("console/import", "discarded")
	require.Empty(t, harness.All[harness.Invitation](t, u.API(), o.Path("/invitations")))
}
