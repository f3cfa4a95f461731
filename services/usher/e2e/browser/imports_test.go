package browser

import (
	"fmt"
	"strings"
	"testing"

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
