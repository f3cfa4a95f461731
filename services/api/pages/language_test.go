package pages_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/i18n"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/services/api/pages"
)

// in reads a page as somebody whose browser asks for a language.
func (b *browser) in(lang, path string) page {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, http.Header{"Accept-Language": {lang}})
}

func (p page) lang() string {
	lang, _ := attribute(p.all("html")[0], "lang")
	return lang
}

func TestTheInvitationsLanguageComesFirstThenTheOrganizationsThenTheBrowsers(t *testing.T) {
	d, b := setup(t)
	for _, c := range [][4]string{
		{"ja-JP", "ko", "de", "ja"}, {"", "ko", "de", "ko"}, {"", "", "de-AT, en;q=0.5", "de"}, {"", "", "", "en"},
		{"fr", "ko", "de", "ko"}, {"", "fr", "es-MX", "es"},
	} {
		d.links[token].Record.Request.Locale, d.links[token].Organization.Locale = c[0], c[1]
		p := b.in(c[2], "/i/"+token)
		require.Equal(t, c[3], p.lang(), c)
		require.Equal(t, c[3], p.header.Get("Content-Language"))
	}
}

func TestALanguageThatIsChosenOnThePageStays(t *testing.T) {
	d, b := setup(t)
	d.links[token].Record.Request.Locale = "ja"
	b.get("/i/" + token)
	p := b.get("/join?lang=ar")
	require.Equal(t, "ar", p.lang())
	dir, _ := attribute(p.all("html")[0], "dir")
	require.Equal(t, "rtl", dir)
	require.Equal(t, "/join", p.path)
	require.Equal(t, "ar", b.get("/join").lang())
	for _, other := range []string{"fr", "AR", "xx", "en-US", "%00", "de;q=1"} {
		require.Equal(t, "ar", b.get("/join?lang="+url.QueryEscape(other)).lang(), other)
	}
	require.Empty(t, d.acts)
}

func TestTheChoiceOfALanguageLeadsToNoOtherHost(t *testing.T) {
	_, b := setup(t)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, path := range []string{"/join", "//evil.example/join", "/%2f%2fevil.example", `/\evil.example`, "/https://evil.example"} {
		p := b.get(path + "?lang=de")
		to := p.header.Get("Location")
		require.Equal(t, http.StatusSeeOther, p.status, path)
		require.True(t, strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") && !strings.HasPrefix(to, `/\`), to)
	}
}

func TestANewPersonSaysWhichLanguageTheyWantAndIsAnsweredInIt(t *testing.T) {
	d, b := setup(t)
	p := b.in("de", "/i/"+token)
	require.Equal(t, "de", p.forms()[0].fields.Get("locale"), "the page's own is there to start with")
	form := p.forms()[0]
	form.fields.Set("locale", "ko")
	for name, value := range map[string]string{"action": "accept", "confirm": "yes", "name": "Nia"} {
		form.fields.Set(name, value)
	}
	p = b.post("/join", form.fields)
	require.Equal(t, redeem.By{Name: "Nia", Locale: "ko"}, d.by)
	require.Equal(t, "ko", p.lang())
}

func TestALanguageThatWasChosenSurvivesAMistake(t *testing.T) {
	_, b := setup(t)
	form := b.get("/i/" + token).forms()[0]
	form.fields.Set("locale", "es")
	form.fields.Set("action", "accept")
	require.Equal(t, "es", b.post("/join", form.fields).forms()[0].fields.Get("locale"))
}

// Every page is rendered in every language: with its own words, no message left out, and nothing of a message's own code.
func TestEveryPageSpeaksEveryLanguage(t *testing.T) {
	ended := func(code problem.Code) func(*door) {
		return func(d *door) {
			d.links[token].Record.Outcome, d.links[token].Record.EndedAt = invitation.Status(code), d.now
		}
	}
	asked := func(renewed bool) func(*door) {
		return func(d *door) {
			d.now = d.links[token].Record.Deadline
			d.links[token].Record.RenewalAskedAt, d.links[token].Record.Renewed = d.now, renewed
		}
	}
	english := map[string]string{}
	for _, tag := range i18n.Tags() {
		for name, happen := range map[string]func(*door){
			"open": func(*door) {}, "existing": func(d *door) { d.links[token].Invitee = redeem.Existing },
			"declined": ended(problem.Declined), "revoked": ended(problem.Revoked), "settingup": ended(problem.Accepted),
			"joined":  func(d *door) { ended(problem.Accepted)(d); d.links[token].Record.Provisioned = true },
			"refused": func(d *door) { ended(problem.Accepted)(d); d.links[token].Record.Refused = true },
			"expired": func(d *door) { d.now = d.links[token].Record.Deadline }, "asked": asked(false), "renewed": asked(true),
			"replaced": func(d *door) { d.links[token].Record.Generation = 1 }, "down": func(d *door) { d.down = problem.Unavailable("x", nil) },
			"gone": func(d *door) { delete(d.links, token) },
		} {
			d, b := setup(t)
			b.get("/i/" + token)
			happen(d)
			p := b.in(tag.String(), "/join")
			says := p.says()
			require.Equal(t, tag.String(), p.lang(), name)
			require.NotContains(t, says, "pages.", "%s in %s", name, tag)
			require.NotContains(t, p.text, "{{", "%s in %s", name, tag)
			require.NotContains(t, p.text, "no value", "%s in %s", name, tag)
			if tag.String() == "en" {
				english[name] = p.heading()
			} else if english[name] != "" {
				require.NotEqual(t, english[name], p.heading(), "%s in %s", name, tag)
			}
		}
	}
}

func TestTheUnsubscribePageSpeaksTheInvitationsLanguageAndNamesItsAddressMasked(t *testing.T) {
	d, b := setup(t)
	d.links[token].Record.Request.Locale = "de"
	p := b.get("/unsubscribe/" + token)
	require.Equal(t, "de", p.lang())
	require.Contains(t, p.says(), "n•••@example.org")
	require.NotContains(t, p.text, "Acme", "it is about the address, not about one organization")
	d.down = problem.Unavailable("The ledger", nil)
	require.Equal(t, http.StatusOK, b.get("/unsubscribe/"+token).status, "what cannot be read keeps nobody from it")
}

func TestRolesThatEveryInstanceBeginsWithAreTranslatedAndOthersStand(t *testing.T) {
	d, b := setup(t)
	require.Contains(t, b.in("de", "/i/"+token).says(), "Ihre Rolle Mitglied")
	d.links[token].Record.Request.Role = "Raketenwart"
	require.Contains(t, b.in("de", "/join").says(), "Ihre Rolle Raketenwart")
}

func TestAnOrganizationsContactIsNamedWhereThereIsOne(t *testing.T) {
	d, b := setup(t)
	require.NotContains(t, b.get("/i/"+token).says(), "Questions?")
	d.links[token].Organization.Contact = "people@acme.example"
	p := b.get("/join")
	require.Contains(t, p.says(), "Questions? people@acme.example")
	require.Contains(t, p.text, `href="mailto:people@acme.example"`)
	d.links[token].Organization.Contact = "call <b>Ann</b>, extension 17"
	p = b.get("/join")
	require.Contains(t, p.says(), "call <b>Ann</b>, extension 17")
	require.NotContains(t, p.text, "mailto:")
}

var _ pages.SignIn = (*gate)(nil)
