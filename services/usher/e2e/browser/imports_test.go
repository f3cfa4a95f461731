package browser

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

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
