package console

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/pkg/views"
)

// mostRows is how many people one form invites. More are a matter for a file.
const mostRows = 100

// inviteRow is one person to invite.
type inviteRow struct {
	Number            int
	Email, Role, Name string
	Org               string
	// Roles are those the visitor may give out in the row's organization.
	Roles []string
	// Fault says why the row was not invited, Hint what to do about it.
	Fault, Hint string
}

// invited is one person who was invited by this form.
type invited struct{ Email, Role, Org, Path string }

// choice is one option of a list.
type choice struct {
	Value, Text string
	Chosen      bool
}

type invitePage struct {
	frame
	// Form names this form, so that it counts once however often it arrives.
	Form    string
	Rows    []inviteRow
	Orgs    []place
	Expires []choice
	Note    string
	Notes   bool
	Paste   string
	Invited []invited
	// Fault is what is wrong with the form as a whole.
	Fault  string
	Failed int
}

// invite shows the form.
func (c *Console) invite(w http.ResponseWriter, r *http.Request, v visit) error {
	if err := c.managing(v); err != nil {
		return err
	}
	p := c.invitePage(r, v)
	p.Form = rand.Text()
	p.Rows = []inviteRow{{Org: v.org.ID, Role: c.usualRole(v.role)}}
	return c.showInvite(w, r, v, p)
}

// usualRole is what is offered first: the highest role that does not invite, so that nobody makes an admin by haste.
func (c *Console) usualRole(own string) string {
	for _, role := range c.grantable(own) {
		if !c.Roster.Roles().MayInvite(role) {
			return role
		}
	}
	roles := c.grantable(own)
	return roles[len(roles)-1]
}

func (c *Console) invitePage(r *http.Request, v visit) *invitePage {
	p := &invitePage{frame: c.frame(r, v, "Invite people")}
	for _, id := range c.Roster.Organizations(v.person) {
		m, _ := c.Roster.Member(id, v.person)
		org, err := c.Roster.Organization(r.Context(), id)
		if err != nil || !c.Roster.Roles().MayInvite(m.Role) {
			continue
		}
		p.Orgs = append(p.Orgs, place{ID: id, Name: org.Name})
		p.Notes = p.Notes || org.Policy.PersonalNotes
	}
	return p
}

// showInvite fills in what each row may choose from, and always leaves a row to type in. The answer is a good one even where
// rows failed: each row has its own verdict.
func (c *Console) showInvite(w http.ResponseWriter, r *http.Request, v visit, p *invitePage) error {
	if len(p.Rows) == 0 && len(p.Invited) == 0 {
		p.Rows = []inviteRow{{Org: v.org.ID, Role: c.usualRole(v.role)}}
	}
	for i := range p.Rows {
		row := &p.Rows[i]
		row.Number = i
		m, _ := c.Roster.Member(row.Org, v.person)
		row.Roles = c.grantable(m.Role)
	}
	p.Expires = c.expiries(v.org, r.PostFormValue("expires"))
	return c.render(w, http.StatusOK, "invite", p)
}

// expiries are the times to answer that the form offers.
func (c *Console) expiries(org roster.Organization, chosen string) []choice {
	usual := c.TTL
	if ttl, err := time.ParseDuration(org.Policy.InvitationTTL); err == nil {
		usual = ttl
	}
	choices := []choice{{Value: "", Text: days(usual) + ", as usual"}}
	for _, ttl := range []time.Duration{24 * time.Hour, 3 * 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour, 30 * 24 * time.Hour} {
		choices = append(choices, choice{Value: ttl.String(), Text: days(ttl)})
	}
	for i := range choices {
		choices[i].Chosen = choices[i].Value == chosen
	}
	return choices
}

// submit does what a button of the form says: add or remove a row, take pasted addresses, or invite. Whatever it is,
// nothing that was typed is lost.
func (c *Console) submit(w http.ResponseWriter, r *http.Request, v visit) error {
	if err := c.managing(v); err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return problem.New(problem.TooLarge, "The form is larger than this page takes, or did not arrive whole.")
	}
	p := c.invitePage(r, v)
	p.Form, p.Note, p.Paste = r.PostForm.Get("token"), r.PostForm.Get("note"), r.PostForm.Get("paste")
	p.Rows = rowsOf(r, v.org.ID)
	if p.Form == "" || len(p.Form) > 64 {
		p.Form = rand.Text()
	}
	action := r.PostForm.Get("do")
	number, isRemove := strings.CutPrefix(action, "remove-")
	switch {
	case isRemove:
		if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < len(p.Rows) {
			p.Rows = slices.Delete(p.Rows, n, n+1)
		}
	case action == "add":
		p.Rows = append(p.Rows, inviteRow{Org: v.org.ID, Role: c.usualRole(v.role)})
	case action == "paste":
		c.paste(p, v)
	default:
		return c.send(w, r, v, p)
	}
	if len(p.Rows) > mostRows {
		p.Fault = "This form takes " + strconv.Itoa(mostRows) + " people at once; the rest was left out. Import a file for more."
		p.Rows = p.Rows[:mostRows]
	}
	return c.showInvite(w, r, v, p)
}

// rowsOf reads the rows of a form.
func rowsOf(r *http.Request, org string) []inviteRow {
	emails := r.PostForm["email"]
	rows := make([]inviteRow, 0, len(emails))
	nth := func(name string, i int, otherwise string) string {
		if values := r.PostForm[name]; i < len(values) {
			return values[i]
		}
		return otherwise
	}
	for i, email := range emails[:min(len(emails), 2*mostRows)] {
		rows = append(rows, inviteRow{
			Email: strings.TrimSpace(email), Role: nth("role", i, ""), Org: nth("organization", i, org), Name: strings.TrimSpace(nth("called", i, "")),
		})
	}
	return rows
}

// paste makes rows of a list of addresses in any common shape. Rows nobody has typed in make room.
func (c *Console) paste(p *invitePage, v visit) {
	found := addresses(p.Paste)
	if len(found) == 0 {
		p.Fault = "There is no address in what was pasted."
		return
	}
	role, org := c.usualRole(v.role), v.org.ID
	if len(p.Rows) > 0 {
		role, org = p.Rows[len(p.Rows)-1].Role, p.Rows[len(p.Rows)-1].Org
	}
	p.Rows = slices.DeleteFunc(p.Rows, func(row inviteRow) bool { return row.Email == "" })
	for _, one := range found {
		p.Rows = append(p.Rows, inviteRow{Email: one.Email, Name: one.Name, Role: role, Org: org})
	}
	p.Paste = ""
}

// send invites everybody in the form. Who could not be invited stays in it, with the reason.
func (c *Console) send(w http.ResponseWriter, r *http.Request, v visit, p *invitePage) error {
	typed := slices.DeleteFunc(slices.Clone(p.Rows), func(row inviteRow) bool { return row.Email == "" })
	switch {
	case len(typed) == 0:
		p.Fault = "Type at least one address."
	case len(typed) > mostRows:
		p.Fault = "This form takes " + strconv.Itoa(mostRows) + " people at once. Import a file for more."
	}
	if p.Fault != "" {
		return c.showInvite(w, r, v, p)
	}
	asked := make([]events.InvitationRequested, len(typed))
	for i, row := range typed {
		asked[i] = c.asked(r, row, p.Note)
	}
	p.Rows = nil
	for i, verdict := range c.Desk.Invite(r.Context(), p.Form, asked) {
		c.answered(p, typed[i], verdict)
	}
	p.Failed = len(p.Rows)
	return c.showInvite(w, r, v, p)
}

// asked is the request that a row makes. A note goes only where the organization allows it.
func (c *Console) asked(r *http.Request, row inviteRow, note string) events.InvitationRequested {
	asked := events.InvitationRequested{Organization: row.Org, Email: row.Email, Role: row.Role, Name: row.Name, ExpiresIn: r.PostFormValue("expires")}
	if org, err := c.Roster.Organization(r.Context(), row.Org); err == nil && org.Policy.PersonalNotes {
		asked.Note = strings.Join(strings.Fields(note), " ")
	}
	return asked
}

// answered puts a row where its verdict belongs.
func (c *Console) answered(p *invitePage, row inviteRow, verdict admission.Verdict) {
	if verdict.Err == nil {
		if status := verdict.Record.StatusAt(c.Clock()); status != invitation.Pending {
			row.Fault, row.Hint = "This very form invited that person before; the invitation is "+string(status)+".", "Open the form anew to invite again."
			p.Rows = append(p.Rows, row)
			return
		}
		p.Invited = append(p.Invited, invited{
			Email: verdict.Record.Request.Email, Role: row.Role, Org: row.Org, Path: "/console/" + row.Org + "/invitations/" + verdict.Record.ID,
		})
		return
	}
	row.Fault, row.Hint = rowFault(verdict.Err)
	p.Rows = append(p.Rows, row)
}

// rowFault puts a refusal of one row into words.
func rowFault(err error) (fault, hint string) {
	e := problem.As(err)
	switch e.Code {
	case problem.AlreadyInvited:
		return "An invitation to this address is open already.", "Resend that one instead; it is in the list of invitations."
	case problem.AlreadyMember:
		return "This person is a member already.", "Change the role in the list of members."
	case problem.Suppressed:
		return "This address is not written to: it bounced, marked a mail as spam, or does not want invitations.", "Ask the person for another address."
	case problem.NotNow:
		return "Not now: something Usher needs is not available.", "Nothing was sent for this row; please try again in a moment."
	case problem.Invalid:
		var words []string
		for _, f := range e.Fields {
			words = append(words, complaint(f))
		}
		return strings.Join(words, " "), ""
	case problem.UnknownOrganization, problem.NoAuthority:
		return "You may not invite to this organization.", ""
	case problem.RoleTooHigh:
		return "This role is above your own.", "Choose another role."
	}
	return e.Detail, ""
}

// complaint is what is wrong with a field, as a sentence. Some messages are sentences already.
func complaint(f events.FieldError) string {
	message := strings.TrimSuffix(f.Message, ".") + "."
	if message[0] >= 'A' && message[0] <= 'Z' {
		return message
	}
	return fieldName(f.Location) + " " + message
}

func fieldName(location string) string {
	if name, ok := map[string]string{"email": "The address", "role": "The role", "note": "The note", "expires_in": "The time to answer", "name": "The name"}[location]; ok {
		return name
	}
	return "The " + plain(location)
}

// check judges one row while it is being typed, as admission would.
func (c *Console) check(w http.ResponseWriter, r *http.Request, v visit) error {
	if err := c.managing(v); err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return problem.New(problem.Malformed, "The form did not arrive whole.")
	}
	rows := rowsOf(r, v.org.ID)
	if len(rows) == 0 {
		return problem.New(problem.Malformed, "There is no row to judge.")
	}
	row := rows[0]
	if row.Email != "" {
		if err := c.Desk.Check(r.Context(), c.asked(r, row, "")); err != nil {
			row.Fault, row.Hint = rowFault(err)
		} else if c.isInvited(r, row) {
			row.Fault, row.Hint = rowFault(problem.New(problem.AlreadyInvited, ""))
		}
	}
	return templates.Fragment(w, http.StatusOK, "invite", "verdict", row)
}

// isInvited reports whether an invitation of the row's address is open, as far as the lists know.
func (c *Console) isInvited(r *http.Request, row inviteRow) bool {
	person, ok := c.Desk.Person(row.Email)
	if !ok {
		return false
	}
	page, err := c.Desk.Invitations(r.Context(), row.Org, viewsOf(person))
	return err == nil && slices.ContainsFunc(page.Records, func(record invitation.Record) bool {
		return record.StatusAt(c.Clock()) == invitation.Pending
	})
}

// viewsOf asks for all invitations of one person.
func viewsOf(person string) views.Query { return views.Query{Person: person, Limit: perPage} }
