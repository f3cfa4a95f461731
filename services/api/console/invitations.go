package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/views"
)

// filter is a way to narrow the list.
type filter struct {
	Name, Text string
	only       func(invitation.Status, invitation.Delivery) bool
	Count      int
	Path       string
	Chosen     bool
}

// filters are the ways to narrow the list, in their order. The first is all.
func filters() []filter {
	status := func(wanted invitation.Status) func(invitation.Status, invitation.Delivery) bool {
		return func(s invitation.Status, _ invitation.Delivery) bool { return s == wanted }
	}
	return []filter{
		{Name: "", Text: "All"},
		{Name: "waiting", Text: "Waiting", only: func(s invitation.Status, d invitation.Delivery) bool { return s == invitation.Pending && !failed(d) }},
		{Name: "undelivered", Text: "Not delivered", only: func(s invitation.Status, d invitation.Delivery) bool { return s == invitation.Pending && failed(d) }},
		{Name: "accepted", Text: "Accepted", only: status(invitation.Accepted)},
		{Name: "declined", Text: "Declined", only: status(invitation.Declined)},
		{Name: "expired", Text: "Expired", only: status(invitation.Expired)},
		{Name: "revoked", Text: "Revoked", only: status(invitation.Revoked)},
	}
}

// failed reports whether a mail will never arrive as things are.
func failed(d invitation.Delivery) bool {
	return d == invitation.Bounced || d == invitation.Complained
}

// invitationRow is one invitation in the list.
type invitationRow struct {
	ID, Email, Name, Role, Inviter string
	State                          state
	When                           *moment
	// Resend and Revoke tell what may still be done.
	Resend, Revoke bool
}

type invitationsPage struct {
	frame
	Tabs    tabs
	Filters []filter
	Rows    []invitationRow
	Search  string
	Filter  string
	// Here is the page's own address, Next that of the one after it, First that of the first where this is another.
	Here, Next, First string
	// Top is the cursor at which the page's first row begins. A page that is read in rest is asked for with it, so that its
	// rows stay where they are; Newer then tells that there are others above.
	Top   string
	Newer bool
	// Results are what became of several invitations that were to be resent or revoked.
	Results []result
	// Confirm is what is about to be revoked.
	Confirm []invitationRow
}

// invitations lists who is invited, newest first, to those who invite.
func (c *Console) invitations(w http.ResponseWriter, r *http.Request, v visit) error {
	if !c.mayInvite(v) {
		p := &membersPage{frame: c.frame(r, v, "Invitations")}
		var err error
		if p.Tabs, err = c.tabs(r, v, "invitations"); err != nil {
			return err
		}
		return c.render(w, http.StatusOK, "notforyou", p)
	}
	p, err := c.invitationList(r, v)
	if err != nil {
		return err
	}
	return c.render(w, http.StatusOK, "invitations", p)
}

func (c *Console) invitationList(r *http.Request, v visit) (*invitationsPage, error) {
	counts, err := c.tabs(r, v, "invitations")
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	p := &invitationsPage{
		frame: c.frame(r, v, "Invitations"), Tabs: counts, Search: strings.TrimSpace(query.Get("search")), Filter: query.Get("filter"),
		Here: withQuery(r.URL.Path, query, "done", "", "pin", ""),
	}
	chosen, err := c.countFilters(r, v, p)
	if err != nil {
		return nil, err
	}
	q := views.Query{Only: chosen.only, Limit: perPage, Cursor: query.Get("cursor")}
	if person, ok := c.Desk.Person(p.Search); ok {
		q.Person = person
	} else {
		q.Text = p.Search
	}
	page, err := c.pinned(r, v, q, p)
	if err != nil {
		return nil, err
	}
	p.Top = page.Top
	if page.Next != "" {
		p.Next = withQuery(r.URL.Path, query, "cursor", page.Next, "done", "", "pin", "")
	}
	if q.Cursor != "" {
		p.First = withQuery(r.URL.Path, query, "cursor", "", "done", "", "pin", "")
	}
	p.Rows, err = c.invitationRows(r, v, page.Records)
	return p, err
}

// pinned reads the page, from the row it was pinned at where it was.
func (c *Console) pinned(r *http.Request, v visit, q views.Query, p *invitationsPage) (views.Page, error) {
	pin := r.URL.Query().Get("pin")
	if pin == "" || q.Cursor != "" || q.Person != "" {
		return c.Desk.Invitations(r.Context(), v.org.ID, q)
	}
	at := q
	at.Cursor = pin
	page, err := c.Desk.Invitations(r.Context(), v.org.ID, at)
	if err != nil {
		return page, err
	}
	q.Limit = 1
	newest, err := c.Desk.Invitations(r.Context(), v.org.ID, q)
	p.Newer = err == nil && newest.Top != page.Top && newest.Top != ""
	return page, err
}

// countFilters fills in how many invitations each filter would show, and gives the chosen one.
func (c *Console) countFilters(r *http.Request, v visit, p *invitationsPage) (filter, error) {
	tallies, err := c.Views.Tallies(r.Context(), v.org.ID)
	if err != nil {
		return filter{}, err
	}
	p.Filters = filters()
	chosen := p.Filters[0]
	for i := range p.Filters {
		f := &p.Filters[i]
		for _, t := range tallies {
			if f.only == nil || f.only(t.Status, t.Delivery) {
				f.Count += t.Count
			}
		}
		f.Path = withQuery(r.URL.Path, r.URL.Query(), "filter", f.Name, "cursor", "", "done", "", "pin", "")
		if f.Chosen = f.Name == p.Filter; f.Chosen {
			chosen = *f
		}
	}
	return chosen, nil
}

func (c *Console) invitationRows(r *http.Request, v visit, records []invitation.Record) ([]invitationRow, error) {
	now := c.Clock()
	var doubtful []string
	for i := range records {
		if d := records[i].DeliveryState(); records[i].StatusAt(now) == invitation.Pending && d == invitation.Bounced {
			doubtful = append(doubtful, records[i].ID)
		}
	}
	said, err := c.Desk.Deliveries(r.Context(), v.org.ID, doubtful)
	if err != nil {
		return nil, err
	}
	rows := make([]invitationRow, len(records))
	for i := range records {
		rows[i] = c.invitationRow(v, &records[i], said[records[i].ID])
	}
	return rows, nil
}

func (c *Console) invitationRow(v visit, record *invitation.Record, said events.Delivery) invitationRow {
	now := c.Clock()
	row := invitationRow{ID: record.ID, State: standing(record, said, now), When: at(record.RequestedAt, now)}
	q := record.Request
	if q == nil {
		return row
	}
	row.Email, row.Name, row.Role, row.Inviter = q.Email, q.Name, q.Role, inviter(q)
	status, may := record.StatusAt(now), c.mayManage(v, q.Role)
	row.Revoke = may && status == invitation.Pending
	row.Resend = may && (status == invitation.Pending || status == invitation.Expired)
	return row
}

// result is what became of one of several.
type result struct {
	Email, Text string
	OK          bool
}

// several resends or revokes what was ticked. Revoking asks first: it cannot be undone.
func (c *Console) several(w http.ResponseWriter, r *http.Request, v visit) error {
	if err := c.managing(v); err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return problem.New(problem.Malformed, "The form did not arrive whole.")
	}
	ids := slices.Compact(slices.Sorted(slices.Values(r.PostForm["id"])))
	if len(ids) > 4*perPage {
		return problem.New(problem.TooLarge, "So many invitations cannot be changed at once.")
	}
	p, err := c.invitationList(r, v)
	if err != nil {
		return err
	}
	revoking := r.PostForm.Get("do") == "revoke"
	if revoking && r.PostForm.Get("confirm") != "yes" && len(ids) > 0 {
		return c.confirmSeveral(w, r, v, p, ids)
	}
	for _, id := range ids {
		p.Results = append(p.Results, c.one(r, v, id, revoking))
	}
	if fresh, err := c.invitationList(r, v); err == nil { // as it stands after the acts
		fresh.Results = p.Results
		p = fresh
	}
	if len(ids) == 0 {
		p.Results = []result{{Text: "Nothing was ticked, so nothing was done."}}
	}
	return c.render(w, http.StatusOK, "invitations", p)
}

func (c *Console) confirmSeveral(w http.ResponseWriter, r *http.Request, v visit, p *invitationsPage, ids []string) error {
	for _, id := range ids {
		if record, err := c.Desk.Invitation(r.Context(), v.org.ID, id); err == nil {
			if row := c.invitationRow(v, &record, events.Delivery{}); row.Revoke {
				p.Confirm = append(p.Confirm, row)
			}
		}
	}
	if len(p.Confirm) == 0 {
		p.Results = []result{{Text: "None of the ticked invitations is open, so there is nothing to revoke."}}
		return c.render(w, http.StatusOK, "invitations", p)
	}
	return c.render(w, http.StatusOK, "revokeseveral", p)
}

// one does the act to one of several.
func (c *Console) one(r *http.Request, v visit, id string, revoking bool) result {
	record, err := c.Desk.Invitation(r.Context(), v.org.ID, id)
	out := result{Email: id}
	if err == nil && record.Request != nil {
		out.Email = record.Request.Email
	}
	if err == nil && revoking {
		out.Text, err = "revoked", c.Desk.Revoke(r.Context(), v.org.ID, id)
	} else if err == nil {
		_, err = c.Desk.Resend(r.Context(), v.org.ID, id, false, false)
		out.Text = "on its way again"
	}
	if out.OK = err == nil; !out.OK {
		e := problem.As(err)
		if out.Text = e.Detail; e.Code == problem.NotNow {
			out.Text = "not now: nothing was changed, please try again in a moment"
		}
	}
	return out
}
