package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// office is an organization with somebody of each kind signed in to the console.
type office struct {
	*harness.Organization
	owner, admin, member, stranger *harness.Person
	ownerID, adminID, memberID     string
	adminEmail, memberEmail        string
}

func openOffice(t *testing.T) *office {
	t.Helper()
	u := common(t)
	o := &office{Organization: u.Organization(t)}
	admin, member := o.Join(t, "admin"), o.Join(t, "member")
	owner, ok := o.Member(t, o.Owner)
	require.True(t, ok)
	o.ownerID, o.adminID, o.memberID = owner.Person, admin.Person, member.Person
	o.adminEmail, o.memberEmail = admin.Email, member.Email
	o.owner, o.admin, o.member = u.SignedIn(t, o.Owner), u.SignedIn(t, admin.Email), u.SignedIn(t, member.Email)
	elsewhere := u.Organization(t)
	o.stranger = u.SignedIn(t, elsewhere.Owner) // the owner of another organization
	return o
}

// at is below the organization's pages.
func (o *office) at(rest string) string { return "/console/" + o.ID + rest }

// form fills in the form that invites.
func (o *office) form(token string, pairs ...string) url.Values {
	f := url.Values{"token": {token}, "do": {"invite"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Add("email", pairs[i])
		f.Add("role", pairs[i+1])
		f.Add("organization", o.ID)
		f.Add("called", "")
	}
	return f
}

// V074, V075, V080, V081, V082, V043, T207, T208, T210: every route of the console with every kind of caller. To strangers
// the organization is not there.
func TestEachRouteOfTheConsoleTakesWhomItMay_V074_V080_V082(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	open := o.Invite(t, harness.Address("open"), "member")
	high := o.Invite(t, harness.Address("high"), "owner")
	const ok, away, forbidden, missing = http.StatusOK, http.StatusSeeOther, http.StatusForbidden, http.StatusNotFound
	nobody := o.Person(t)
	someone := "/members/" + o.memberID
	for _, c := range []struct {
		method, path                   string
		form                           url.Values
		owner, admin, member, stranger int
	}{
		{http.MethodGet, "", nil, away, away, away, missing},
		{http.MethodGet, "/members", nil, ok, ok, ok, missing},
		{http.MethodGet, someone, nil, ok, ok, ok, missing},
		{http.MethodGet, someone + "/remove", nil, ok, ok, forbidden, missing},
		{http.MethodPost, someone + "/role", url.Values{"role": {"member"}}, away, away, forbidden, missing},
		{http.MethodPost, "/members/" + o.ownerID + "/role", url.Values{"role": {"member"}}, http.StatusConflict, forbidden, forbidden, missing},
		{http.MethodPost, "/members/" + o.ownerID + "/remove", url.Values{}, http.StatusConflict, forbidden, forbidden, missing},
		{http.MethodPost, "/members/" + o.memberID + "/role", url.Values{"role": {"owner"}}, 0, forbidden, forbidden, missing},
		{http.MethodPost, "/members/*/remove", url.Values{}, missing, missing, forbidden, missing},
		{http.MethodGet, "/invitations", nil, ok, ok, ok, missing}, // to members it says that it is not for them
		{http.MethodGet, "/invitations/" + open.ID, nil, ok, ok, forbidden, missing},
		{http.MethodGet, "/invitations/" + open.ID + "/revoke", nil, ok, ok, forbidden, missing},
		{http.MethodGet, "/invitations/" + open.ID + "/mail", nil, ok, ok, forbidden, missing},
		{http.MethodPost, "/invitations/" + open.ID + "/resend", url.Values{}, away, away, missing, missing},
		{http.MethodPost, "/invitations/" + high.ID + "/resend", url.Values{}, away, forbidden, missing, missing},
		{http.MethodPost, "/invitations/" + high.ID + "/revoke", url.Values{}, 0, forbidden, missing, missing},
		{http.MethodPost, "/invitations/" + high.ID + "/address", url.Values{"email": {"x@example.org"}}, 0, forbidden, missing, missing},
		{http.MethodPost, "/invitations", url.Values{"id": {open.ID}, "do": {"resend"}}, ok, ok, forbidden, missing},
		{http.MethodGet, "/invite", nil, ok, ok, forbidden, missing},
		{http.MethodPost, "/invite", o.form("x", "not an address", "member"), ok, ok, forbidden, missing},
		{http.MethodPost, "/invite/check", o.form("x", "not an address", "member"), ok, ok, forbidden, missing},
		{http.MethodGet, "/nothing", nil, missing, missing, missing, missing},
	} {
		for _, who := range []struct {
			name string
			*harness.Person
			want int
		}{{"owner", o.owner, c.owner}, {"admin", o.admin, c.admin}, {"member", o.member, c.member}, {"stranger", o.stranger, c.stranger}} {
			if who.want == 0 {
				continue
			}
			a := who.Once(c.method, o.at(c.path), c.form)
			require.Equal(t, who.want, a.Status, "%s %s as %s: %s", c.method, c.path, who.name, a.Body)
			if who.name == "member" || who.name == "stranger" { // who is invited is not for them
				require.False(t, strings.Contains(a.Text(), open.Email) || strings.Contains(a.Text(), high.Email), "%s %s as %s", c.method, c.path, who.name)
			}
		}
		a := nobody.Once(c.method, o.at(c.path), c.form)
		if c.method == http.MethodGet {
			require.Equal(t, away, a.Status, "%s as nobody", c.path)
			require.True(t, strings.HasPrefix(a.Header.Get("Location"), "/signin?"), c.path)
		} else {
			require.Equal(t, http.StatusUnauthorized, a.Status, "%s as nobody", c.path)
		}
	}
	require.Equal(t, "pending", o.Show(t, high.ID).Status)
	require.Equal(t, "pending", o.Show(t, open.ID).Status)
}

// V030, V034, V046, V087, T211: an invitation of one organization is not there on another's pages, whoever asks for it.
func TestAnInvitationIsOnItsOwnOrganizationsPagesAlone_V030(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	other := o.System.Organization(t)
	theirs := other.Invite(t, harness.Address("theirs"), "member")
	p := common(t).SignedIn(t, o.Owner)
	both := invitedToo(t, other, o.adminEmail) // manages both, and still finds each invitation at its own place alone
	for _, act := range []string{"resend", "revoke", "address"} {
		a := both.Once(http.MethodPost, o.at("/invitations/"+theirs.ID+"/"+act), url.Values{"email": {"x@example.org"}})
		require.Equal(t, http.StatusNotFound, a.Status, act)
	}
	require.Equal(t, http.StatusNotFound, both.Once(http.MethodGet, o.at("/invitations/"+theirs.ID), nil).Status)
	require.Equal(t, http.StatusOK, both.Once(http.MethodGet, "/console/"+other.ID+"/invitations/"+theirs.ID, nil).Status)
	for _, rest := range []string{"", "/revoke"} {
		require.Equal(t, http.StatusNotFound, p.Once(http.MethodGet, o.at("/invitations/"+theirs.ID+rest), nil).Status, rest)
	}
	for _, act := range []string{"resend", "revoke", "address"} {
		a := p.Once(http.MethodPost, o.at("/invitations/"+theirs.ID+"/"+act), url.Values{"email": {"x@example.org"}})
		require.Equal(t, http.StatusNotFound, a.Status, act)
	}
	several := p.Post(o.at("/invitations"), url.Values{"id": {theirs.ID}, "do": {"revoke"}, "confirm": {"yes"}})
	require.NotContains(t, several.Text(), theirs.Email)
	rows := o.form("x", harness.Address("planted"), "member")
	rows.Set("organization", other.ID)
	require.Contains(t, p.Post(o.at("/invite"), rows).Text(), "You may not invite to this organization")
	require.Equal(t, "pending", other.Show(t, theirs.ID).Status)
}

// invitedToo makes somebody an admin of another organization as well, and signs them in.
func invitedToo(t *testing.T, o *harness.Organization, email string) *harness.Person {
	t.Helper()
	invitation := o.Invite(t, email, "admin")
	o.Accept(t, invitation, o.Mails.Next(t, email, 1))
	return common(t).SignedIn(t, email)
}

// V121, V122, T251: what another site makes a browser send changes nothing.
func TestOtherSitesCannotActForAMember_V121_V122(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	open := o.Invite(t, harness.Address("open"), "member")
	for name, header := range map[string]http.Header{
		"another site":           {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
		"a neighbour":            {"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://evil.localhost"}},
		"an old browser":         {"Sec-Fetch-Site": nil, "Origin": {"https://evil.example"}},
		"a frame without origin": {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"null"}},
		"no origin told":         {"Sec-Fetch-Site": nil, "Origin": {"null"}},
		"this host as a prefix":  {"Sec-Fetch-Site": nil, "Origin": {o.URL + ".evil.example"}},
	} {
		p := o.Person(t)
		p.Cookies, p.Header = o.owner.Cookies, header
		for path, form := range map[string]url.Values{
			o.at("/invite"): o.form("x", harness.Address("forged"), "owner"), o.at("/invitations/" + open.ID + "/revoke"): {},
			o.at("/invitations/" + open.ID + "/resend"): {"link": {"new"}}, o.at("/members/" + o.memberID + "/role"): {"role": {"owner"}},
			o.at("/members/" + o.memberID + "/remove"): {}, o.at("/invitations"): {"id": {open.ID}, "do": {"revoke"}, "confirm": {"yes"}},
			"/signout": {}, "/signin": {"email": {"eve@example.org"}},
		} {
			a := p.Once(http.MethodPost, path, form)
			require.Equal(t, http.StatusForbidden, a.Status, "%s: %s", name, path)
			require.Empty(t, a.Header.Values("Set-Cookie"), "%s: %s", name, path)
		}
	}
	shown := o.Show(t, open.ID)
	require.Equal(t, "pending", shown.Status)
	require.Equal(t, 1, shown.Generation)
	m, ok := o.Member(t, o.memberEmail)
	require.True(t, ok)
	require.Equal(t, "member", m.Role)
	require.Empty(t, o.owner.Once(http.MethodGet, o.at("/members"), nil).Header.Get("Access-Control-Allow-Origin"))
}

// ASVS 3.5.3, V015, V044: reading changes nothing, whatever the address says.
func TestReadingThePagesChangesNothing_V044(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	open := o.Invite(t, harness.Address("open"), "member")
	before := len(harness.All[harness.Invitation](t, o.API(), o.Path("/invitations")))
	for _, path := range []string{
		"/invitations/" + open.ID + "/revoke", "/invitations/" + open.ID + "/resend?link=new", "/invitations/" + open.ID + "/address?email=x@example.org",
		"/members/" + o.memberID + "/remove", "/members/" + o.memberID + "/role?role=owner",
		"/invite?" + o.form("x", "forged@example.org", "owner").Encode(), "/invitations?do=revoke&confirm=yes&id=" + open.ID,
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			o.owner.Once(method, o.at(path), nil)
		}
	}
	require.Equal(t, "pending", o.Show(t, open.ID).Status)
	require.Equal(t, 1, o.Show(t, open.ID).Generation)
	require.Len(t, harness.All[harness.Invitation](t, o.API(), o.Path("/invitations")), before)
	require.Len(t, o.Members(t), 3)
}

// hostile are texts that would do something where they are not treated as text.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'-alert(1)-'`, `</title><svg onload=alert(1)>`, `{{.}}`, "${alert(1)}",
	`javascript:alert(1)`, `<a href="https://evil.example">click</a>`, `<form action=https://evil.example>`, `<meta http-equiv=refresh content=0>`,
	`" hx-get="https://evil.example" hx-trigger="load`, `<div hx-get=/x hx-trigger=load>`,
}

// V104, V105, V106, V107, V108, V116, T231: names and notes are text on every page, in the question before a revoke too.
func TestNamesAreTextOnEveryPage_V107_V108_V116(t *testing.T) {
	t.Parallel()
	u := common(t)
	for i, text := range hostile {
		o := u.Organization(t, map[string]any{"personal_notes": true})
		a := o.API().Do(t, http.MethodPut, o.Path(""), map[string]any{"name": text, "policy": map[string]any{"personal_notes": true}})
		require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
		open := o.Invite(t, fmt.Sprintf("open%d@example.org", i), "member", "name", text, "note", text)
		invitation, mail := o.Invited(t, "member", "name", text)
		a = harness.Client{URL: o.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": text})
		require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
		member := harness.Until(t, "the membership", func() (harness.Member, bool) { return o.Member(t, invitation.Email) })
		declined, mail := o.Invited(t, "member")
		harness.Client{URL: o.URL}.Post(t, "/v1/links/decline", map[string]any{"token": mail.Token(t), "reason": text})

		p := u.SignedIn(t, o.Owner)
		base := "/console/" + o.ID
		pages := map[string]harness.Seen{
			"several": p.Post(base+"/invitations", url.Values{"id": {open.ID}, "do": {"revoke"}}),
			"form":    p.Post(base+"/invite", url.Values{"token": {text}, "do": {"add"}, "email": {text}, "role": {text}, "organization": {text}, "called": {text}, "note": {text}, "paste": {text}, "expires": {text}}),
			"paste":   p.Post(base+"/invite", url.Values{"do": {"paste"}, "paste": {text + " <a@example.org>"}}),
			"failed":  p.Post(base+"/invite", url.Values{"do": {"invite"}, "email": {text}, "role": {text}, "organization": {o.ID}, "called": {text}}),
			"lost":    o.Person(t).Post(base+"/invite", url.Values{text: {text}}),
		}
		for _, path := range []string{
			"/members", "/members?search=" + url.QueryEscape(text), "/members?done=" + url.QueryEscape(text), "/members/" + member.Person, "/members/" + member.Person + "/remove",
			"/invitations", "/invitations?filter=" + url.QueryEscape(text) + "&search=" + url.QueryEscape(text), "/invitations/" + open.ID, "/invitations/" + open.ID + "/revoke",
			"/invitations/" + invitation.ID, "/invitations/" + declined.ID, "/invite", "/invitations?cursor=" + url.QueryEscape(text),
		} {
			pages[path] = p.Get(base + path)
		}
		for name, page := range pages {
			inert(t, name, page, text)
		}
	}
}

// inert requires a page to hold nothing that our pages do not: no script of its own, no handler, no address elsewhere.
func inert(t *testing.T, name string, page harness.Seen, text string) {
	t.Helper()
	require.Less(t, page.Status, 500, "%s: %s", name, text)
	tokens := html.NewTokenizer(strings.NewReader(page.Text()))
	for kind := tokens.Next(); kind != html.ErrorToken; kind = tokens.Next() {
		if token := tokens.Token(); kind == html.StartTagToken || kind == html.SelfClosingTagToken {
			harmless(t, token, fmt.Sprintf("%s shows %q as more than text", name, text))
		}
	}
	policy := page.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'self'", name)
	require.NotContains(t, policy, "unsafe", name)
	require.Equal(t, "nosniff", page.Header.Get("X-Content-Type-Options"), name)
	require.Equal(t, "no-store", page.Header.Get("Cache-Control"), name)
}

func harmless(t *testing.T, token html.Token, message string) {
	t.Helper()
	require.NotContains(t, []string{"object", "embed", "base", "style", "template"}, token.Data, message)
	source := ""
	for _, a := range token.Attr {
		require.False(t, strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "srcdoc" || a.Key == "http-equiv", "%s: %s", message, token)
		switch a.Key {
		case "src", "href", "action", "formaction", "hx-get", "hx-post", "hx-sse:connect":
			source = a.Val
			local := a.Val == "" || a.Val[0] == '#' || a.Val[0] == '?' || a.Val[0] == '/' && !strings.HasPrefix(a.Val, "//") && !strings.HasPrefix(a.Val, `/\\`)
			require.True(t, local, "%s: %s", message, token)
		}
	}
	if token.Data == "iframe" {
		require.Contains(t, token.String(), "sandbox", message)
		require.True(t, strings.HasPrefix(source, "/console/"), "%s: %s", message, token)
	}
	if token.Data == "script" || token.Data == "img" || token.Data == "link" {
		require.True(t, strings.HasPrefix(source, "/static/"), "%s: %s", message, token)
	}
}

// V047, V049, V050, V051, V052, V053, T189, T190, I6: nobody reads a link back from the console.
func TestNoPageShowsALink_V047_V050(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	invitation, mail := o.Invited(t, "member")
	token := mail.Token(t)
	for _, path := range []string{"/invitations", "/invitations/" + invitation.ID, "/invitations/" + invitation.ID + "/revoke", "/invitations/" + invitation.ID + "/mail", "/members"} {
		page := o.owner.Get(o.at(path))
		require.NotContains(t, page.Text(), token, path)
		require.NotContains(t, page.Text(), "/i/"+token[:8], path)
	}
}

// V012's kin, V078, V079, T212, T213, T214: fields that a form does not have, and roles above one's own, do nothing.
func TestAFormGivesOutNoMoreThanItsSenderMay_V078(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	form := o.form("x", harness.Address("climber"), "owner")
	form.Set("inviter", o.Owner)
	form.Set("key", "x")
	form.Set("Usher-Actor", o.Owner)
	page := o.admin.Post(o.at("/invite"), form)
	require.Contains(t, page.Text(), "This role is above your own")
	require.NotContains(t, o.admin.Get(o.at("/invite")).Text(), "<option>owner")

	o.admin.Header = http.Header{"Usher-Actor": {o.Owner}, "Authorization": {"Bearer " + o.Key}, "X-Forwarded-User": {o.Owner}}
	require.Contains(t, o.admin.Post(o.at("/invite"), form).Text(), "This role is above your own", "headers lent authority")
	require.Equal(t, http.StatusForbidden, o.admin.Once(http.MethodPost, o.at("/members/"+o.adminID+"/role"), url.Values{"role": {"owner"}}).Status)
	m, ok := o.Member(t, o.adminEmail)
	require.True(t, ok)
	require.Equal(t, "admin", m.Role)
}

// T215: an organization keeps an owner, also when two of them act at once; the console says what to do.
func TestTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	page := o.owner.Post(o.at("/members/"+o.ownerID+"/remove"), url.Values{})
	require.Equal(t, http.StatusConflict, page.Status)
	require.Contains(t, page.Text(), "somebody else an owner")
	require.Contains(t, o.owner.Get(o.at("/members/"+o.ownerID)).Text(), "only owner")

	require.Equal(t, http.StatusOK, o.owner.Post(o.at("/members/"+o.adminID+"/role"), url.Values{"role": {"owner"}}).Status)
	results := make(chan int, 2)
	for who, id := range map[*harness.Person]string{o.owner: o.ownerID, o.admin: o.adminID} {
		go func() { results <- who.Once(http.MethodPost, o.at("/members/"+id+"/remove"), url.Values{}).Status }()
	}
	require.ElementsMatch(t, []int{http.StatusSeeOther, http.StatusConflict}, []int{<-results, <-results})
}

func TestNothingTypedIsLostWhenRowsFail(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	good, again := harness.Address("good"), o.Invite(t, harness.Address("again"), "member").Email
	form := o.form("form-1", good, "viewer", "not an address", "member", again, "viewer", o.memberEmail, "member")
	form.Set("expires", "72h0m0s")
	page := o.owner.Post(o.at("/invite"), form)
	for _, want := range []string{
		"1 invitation on the way", "3 rows could not be invited", `value="not an address"`, `value="` + again + `"`, `value="` + o.memberEmail + `"`,
		"open already", "a member already", "holds a space", `value="72h0m0s" selected`,
	} {
		require.Contains(t, page.Text(), want)
	}
	require.NotContains(t, page.Text(), `value="`+good+`"`, "who was invited stayed in the form")
	mail := o.Mails.Next(t, good, 0)
	require.Contains(t, mail.Text, "viewer")

	empty := o.owner.Post(o.at("/invite"), o.form("form-2", "", "member"))
	require.Contains(t, empty.Text(), "Type at least one address")
	removed := form
	removed.Set("do", "remove-1")
	require.NotContains(t, o.owner.Post(o.at("/invite"), removed).Text(), `value="not an address"`)
	added := o.form("form-3", "kept@example.org", "viewer")
	added.Set("do", "add")
	added.Set("note", "kept too")
	require.Contains(t, o.owner.Post(o.at("/invite"), added).Text(), `value="kept@example.org"`)
}

// T004: a form that arrives twice, at once or later, invites once.
func TestAFormThatArrivesTwiceInvitesOnce(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	email := harness.Address("twice")
	form := o.form(harness.Unique("form"), email, "member")
	answers := make(chan string, 4)
	for range 4 {
		go func() { answers <- o.owner.Post(o.at("/invite"), form).Text() }()
	}
	for range 4 {
		require.Contains(t, <-answers, "1 invitation on the way")
	}
	require.Contains(t, o.owner.Post(o.at("/invite"), form).Text(), "1 invitation on the way")
	require.Len(t, harness.All[harness.Invitation](t, o.API(), o.Path("/invitations?email="+url.QueryEscape(email))), 1)
}

func TestSomebodyWhoseSessionEndedKeepsWhatTheyTyped(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	email := harness.Address("typed")
	o.owner.Post("/signout", url.Values{})
	page := o.owner.Post(o.at("/invite"), o.form("form", email, "viewer"))
	require.Equal(t, http.StatusUnauthorized, page.Status)
	require.Contains(t, page.Text(), "What you typed is kept")
	require.Contains(t, page.Text(), `name="email" value="`+email+`"`)
	require.Contains(t, page.Text(), `action="`+o.at("/invite")+`"`)
}

func TestMembersAreToldWhomToAsk(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	for _, path := range []string{"/members", "/invitations"} {
		page := o.member.Get(o.at(path))
		require.Contains(t, page.Text(), "Olivia Owner")
		require.NotContains(t, page.Text(), `href="`+o.at("/invite")+`"`)
	}
	invited := o.Invite(t, harness.Address("secret"), "member")
	require.NotContains(t, o.member.Get(o.at("/invitations")).Text(), invited.Email, "who is invited is for owners and admins")
}

// One may be revoked or resent, many may: the answer is per row.
func TestSeveralInvitationsAreChangedAtOnce(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	a, b := o.Invite(t, harness.Address("a"), "member"), o.Invite(t, harness.Address("b"), "member")
	high := o.Invite(t, harness.Address("high"), "owner")
	form := url.Values{"id": {a.ID, b.ID, high.ID}, "do": {"revoke"}}
	asked := o.admin.Post(o.at("/invitations"), form)
	require.Contains(t, asked.Text(), "Revoke 2 invitations?")
	require.NotContains(t, asked.Text(), high.Email)
	require.Equal(t, "pending", o.Show(t, a.ID).Status, "revoked without asking")

	form.Set("confirm", "yes")
	done := o.admin.Post(o.at("/invitations"), form)
	require.Equal(t, 2, strings.Count(done.Text(), "</bdi></b>: revoked"))
	require.Contains(t, done.Text(), "above your own")
	require.Equal(t, []string{"revoked", "revoked", "pending"}, []string{o.Show(t, a.ID).Status, o.Show(t, b.ID).Status, o.Show(t, high.ID).Status})
}

func TestTheAddressOfAnInvitationIsCorrected(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	wrong := o.Invite(t, harness.Address("worng"), "viewer")
	right := harness.Address("right")
	refused := o.owner.Post(o.at("/invitations/"+wrong.ID+"/address"), url.Values{"email": {"no address"}})
	require.Contains(t, refused.Text(), "holds a space")
	require.Equal(t, "pending", o.Show(t, wrong.ID).Status)

	page := o.owner.Post(o.at("/invitations/"+wrong.ID+"/address"), url.Values{"email": {right}})
	require.Equal(t, http.StatusOK, page.Status)
	require.Contains(t, page.Text(), "an earlier invitation")
	require.Contains(t, page.Text(), right)
	require.Equal(t, "revoked", o.Show(t, wrong.ID).Status)
	require.Contains(t, o.Mails.Next(t, right, 0).Text, "viewer")
}

var cursorIn = regexp.MustCompile(`cursor=([A-Za-z0-9_-]+)[^"]*"[^>]*>Next`)
var rowIn = regexp.MustCompile(`<tr role="row" id="(inv_[^"]+)"`)

// Pages stay right while rows arrive: nothing is shown twice, nothing left out.
func TestPagesStayRightWhileRowsArrive(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	wanted := map[string]bool{}
	for i := range 60 {
		wanted[o.Invite(t, harness.Address(fmt.Sprint("row", i)), "viewer").ID] = true
	}
	seen := map[string]int{}
	path := o.at("/invitations?filter=waiting&search=row")
	for {
		page := o.owner.Get(path)
		for _, id := range rowIn.FindAllStringSubmatch(page.Text(), -1) {
			seen[id[1]]++
		}
		o.Invite(t, harness.Address("row-late"), "viewer")
		next := cursorIn.FindStringSubmatch(page.Text())
		if next == nil {
			break
		}
		path = o.at("/invitations?filter=waiting&search=row&cursor=" + next[1])
	}
	for id := range wanted {
		require.Equal(t, 1, seen[id], id)
	}
}

// listen reads the names of the events of a live view, until it ends.
func listen(t *testing.T, p *harness.Person, path string) (events chan string, stop func()) {
	t.Helper()
	answer := p.Stream(path) //nolint:bodyclose // the caller closes it by stop
	require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
	events = make(chan string, 100)
	go func() {
		defer close(events)
		lines := bufio.NewScanner(answer.Body)
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				events <- name
			}
			if strings.HasPrefix(lines.Text(), ": here") && len(events) == 0 {
				select {
				case events <- "here":
				default:
				}
			}
		}
	}()
	return events, func() { _ = answer.Body.Close() }
}

func next(t *testing.T, events chan string) string {
	t.Helper()
	select {
	case name, open := <-events:
		if !open {
			return "closed"
		}
		return name
	case <-time.After(harness.Patience):
		require.Fail(t, "the live view says nothing")
		return ""
	}
}

// A page is told when something happens in its organization, and of nothing else's. I8.
func TestAnOpenPageIsToldOfItsOrganizationAlone(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	other := o.System.Organization(t)
	events, stop := listen(t, o.owner, o.at("/live"))
	defer stop()
	require.Equal(t, "here", next(t, events))
	other.Invite(t, harness.Address("theirs"), "member")
	select {
	case got := <-events:
		require.Fail(t, "told of another organization", got)
	case <-time.After(3 * time.Second): // absence has no signal; a telling takes less than one
	}
	invitation := o.Invite(t, harness.Address("ours"), "member")
	require.Equal(t, "changed", next(t, events))
	require.Contains(t, o.owner.Get(o.at("/invitations")).Text(), invitation.Email)
}

// V085, V086, T138, T216: the live view ends with the right to it: the membership, the role, the session.
func TestTheLiveViewEndsWithTheRight_V085_V086(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	ended := func(events chan string) {
		t.Helper()
		for {
			switch got := next(t, events); got {
			case "ended":
				require.Equal(t, "closed", next(t, events))
				return
			case "closed":
				require.Fail(t, "the view closed without a word")
			}
		}
	}
	views := map[string]chan string{}
	for name, p := range map[string]*harness.Person{"admin": o.admin, "member": o.member, "owner": o.owner} {
		events, stop := listen(t, p, o.at("/live"))
		defer stop()
		require.Equal(t, "here", next(t, events))
		views[name] = events
	}
	require.Equal(t, http.StatusOK, o.owner.Post(o.at("/members/"+o.memberID+"/remove"), url.Values{}).Status)
	ended(views["member"])
	require.Equal(t, http.StatusNotFound, o.member.Once(http.MethodGet, o.at("/members"), nil).Status, "rights end at once")
	require.Equal(t, http.StatusOK, o.owner.Post(o.at("/members/"+o.adminID+"/role"), url.Values{"role": {"viewer"}}).Status)
	ended(views["admin"])
	require.Equal(t, http.StatusForbidden, o.admin.Once(http.MethodGet, o.at("/invite"), nil).Status)
	o.owner.Post("/signout", url.Values{})
	ended(views["owner"])
}

// The first page does not grow slower with what is behind it.
func TestTheFirstPageOfTenThousandInvitationsIsQuick(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	for from := range short(10, 2) {
		rows := make([]map[string]any, 1000)
		for i := range rows {
			rows[i] = map[string]any{"organization": o.ID, "inviter": o.Owner, "role": "member", "email": fmt.Sprintf("many%d@example.org", 1000*from+i), "name": "One of many"}
		}
		require.Equal(t, http.StatusOK, o.API().Post(t, "/v1/invitations", map[string]any{"invitations": rows}).Status)
	}
	p := u.SignedIn(t, o.Owner)
	for _, path := range []string{"/invitations", "/invitations?filter=waiting", "/members"} {
		var took []time.Duration
		for range 21 {
			began := time.Now()
			page := p.Once(http.MethodGet, "/console/"+o.ID+path, nil)
			took = append(took, time.Since(began))
			require.Equal(t, http.StatusOK, page.Status)
		}
		slices.Sort(took)
		t.Logf("%s: median %s, slowest %s", path, took[10], took[20])
		require.Less(t, took[10], 100*time.Millisecond, path)
	}
}
