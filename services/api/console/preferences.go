package console

import (
	"net/http"
	"slices"

	"golang.org/x/text/language"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/i18n"
	"github.com/usherhq/usher/pkg/preferences"
	"github.com/usherhq/usher/pkg/problem"
)

// notices are what inviters can be told of.
var notices = []struct{ about, words string }{
	{events.NoticeAccepted, "Somebody accepted"},
	{events.NoticeDeclined, "Somebody declined"},
	{events.NoticeBounced, "An e-mail did not arrive, or is not wanted"},
	{events.NoticeRenewal, "Somebody asks for a new link"},
}

type preferencesPage struct {
	frame
	Notices []notice
	Locales []choice
}

type notice struct {
	About, Words string
	Wanted       bool
}

// preferences shows what the visitor wants of the mails that go to members.
func (c *Console) preferences(w http.ResponseWriter, r *http.Request, v visit) error {
	p := &preferencesPage{frame: c.frame(r, v, "Preferences")}
	now := c.Preferences.Get(v.person)
	for _, n := range notices {
		p.Notices = append(p.Notices, notice{n.about, n.words, now.Wants(n.about)})
	}
	p.Locales = tongues("The organization's", now.Locale)
	return c.render(w, http.StatusOK, "preferences", p)
}

func (c *Console) savePreferences(w http.ResponseWriter, r *http.Request, v visit) error {
	if err := readForm(r); err != nil {
		return err
	}
	chosen := preferences.Preferences{Notices: map[string]bool{}, Locale: r.PostFormValue("locale")}
	spoken := func(tag language.Tag) bool { return tag.String() == chosen.Locale }
	if chosen.Locale != "" && !slices.ContainsFunc(i18n.Tags(), spoken) {
		return problem.New(problem.Invalid, "There is no such language here.")
	}
	for _, n := range notices {
		if !slices.Contains(r.PostForm["notice"], n.about) {
			chosen.Notices[n.about] = false
		}
	}
	if err := c.Preferences.Put(r.Context(), v.person, chosen); err != nil {
		return err
	}
	see(w, "/console/preferences?done=preferences")
	return nil
}
