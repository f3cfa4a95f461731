package console

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
)

// perPage is how many rows a list shows at once.
const perPage = 25

// tabs are the two lists with their counts.
type tabs struct {
	Members, Invitations int
	// Now is the list that is shown.
	Now string
}

// tabs counts. While Redis is down, how many invitations there are is not known.
func (c *Console) tabs(r *http.Request, v visit, now string) (tabs, error) {
	t := tabs{Now: now, Members: len(c.Roster.People(v.org.ID)), Invitations: -1}
	if !c.mayInvite(v) {
		return t, nil
	}
	tallies, err := c.Views.Tallies(r.Context(), v.org.ID)
	if problem.Is(err, problem.NotNow) && now == "members" {
		return t, nil
	}
	t.Invitations = 0
	for _, n := range tallies {
		t.Invitations += n.Count
	}
	return t, err
}

// memberRow is one member in the list.
type memberRow struct {
	Person, Name, Email, Role string
	Since                     *moment
	// Inviter names who brought them in, Invitation the invitation where the reader may see it.
	Inviter, Invitation string
	You, Manage         bool
}

type membersPage struct {
	frame
	Tabs   tabs
	Rows   []memberRow
	Search string
	// Here is the page's own address, Next that of the one after it, First that of the first where this is another.
	Here, Next, First string
	Problem           *trouble
}

// members lists who is in the organization, to every member.
func (c *Console) members(w http.ResponseWriter, r *http.Request, v visit) error {
	counts, err := c.tabs(r, v, "members")
	if err != nil {
		return err
	}
	p := &membersPage{
		frame: c.frame(r, v, "Members"), Tabs: counts, Here: withQuery(r.URL.Path, r.URL.Query(), "done", ""),
		Search: strings.TrimSpace(r.URL.Query().Get("search")),
	}
	people, next, err := c.page(v.org.ID, p.Search, r.URL.Query().Get("cursor"))
	if err != nil {
		return err
	}
	if next != "" {
		p.Next = withQuery(r.URL.Path, r.URL.Query(), "cursor", next, "done", "")
	}
	if r.URL.Query().Get("cursor") != "" {
		p.First = withQuery(r.URL.Path, r.URL.Query(), "cursor", "", "done", "")
	}
	if p.Rows, err = c.memberRows(r, v, people); err != nil {
		return err
	}
	return c.render(w, http.StatusOK, "members", p)
}

// position is a member's place in the list: by role, then name. It is the cursor, so that who joins meanwhile moves nobody
// from one page to another.
type position struct {
	Rank   int    `json:"r"`
	Name   string `json:"n"`
	Person string `json:"p"`
}

func (a position) compare(b position) int {
	return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Person, b.Person))
}

// page gives the ids of the members on one page, and the cursor of the next.
func (c *Console) page(org, search, cursor string) (people []string, next string, err error) {
	var after position
	if cursor != "" {
		raw, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil || json.Unmarshal(raw, &after) != nil {
			return nil, "", problem.Fields(events.FieldError{Location: "cursor", Message: "is not one that a list gave out"})
		}
	}
	places := c.positions(org, search)
	from := 0
	if cursor != "" {
		from, _ = slices.BinarySearchFunc(places, after, position.compare)
		if from < len(places) && places[from] == after {
			from++
		}
	}
	places = places[from:]
	if len(places) > perPage {
		last, _ := json.Marshal(places[perPage-1]) // a struct of plain fields
		next, places = base64.RawURLEncoding.EncodeToString(last), places[:perPage]
	}
	for _, at := range places {
		people = append(people, at.Person)
	}
	return people, next, nil
}

// positions are all members whose name holds the text, or whose whole address it is, in their order.
func (c *Console) positions(org, search string) []position {
	wanted := strings.ToLower(search)
	person, isAddress := c.Desk.Person(search)
	var places []position
	for _, p := range c.Roster.People(org) {
		name := strings.ToLower(p.Name)
		if wanted == "" || strings.Contains(name, wanted) || isAddress && p.ID == person {
			places = append(places, position{slices.Index(c.Roster.Roles(), p.Role), name, p.ID})
		}
	}
	slices.SortFunc(places, position.compare)
	return places
}

func (c *Console) memberRows(r *http.Request, v visit, people []string) ([]memberRow, error) {
	found, err := c.Roster.Memberships(r.Context(), v.org.ID, people)
	if err != nil {
		return nil, err
	}
	brought := c.broughtBy(r, v.org.ID, found)
	rows := make([]memberRow, 0, len(people))
	for _, id := range people {
		m, ok := found[id]
		if !ok {
			continue
		}
		row := c.memberRow(v, m)
		if record, ok := brought[m.Invitation]; ok && record.Request != nil {
			row.Inviter = inviter(record.Request)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// broughtBy reads the invitations that brought members in. Without Redis the list goes without them.
func (c *Console) broughtBy(r *http.Request, org string, members map[string]events.Membership) map[string]invitation.Record {
	var ids []string
	for _, m := range members {
		if m.Invitation != "" {
			ids = append(ids, m.Invitation)
		}
	}
	records, err := c.Views.Get(r.Context(), org, ids)
	if err != nil {
		c.Logger.Warn("the members are listed without their inviters", "error", err)
	}
	return records
}

func (c *Console) memberRow(v visit, m events.Membership) memberRow {
	row := memberRow{
		Person: m.Person, Name: m.Name, Email: m.Email, Role: m.Role, Since: at(m.JoinedAt, c.Clock()),
		You: m.Person == v.person, Manage: c.mayManage(v, m.Role),
	}
	if c.mayInvite(v) {
		row.Invitation = m.Invitation
	}
	return row
}

// mayManage reports whether the visitor may change a member of that role.
func (c *Console) mayManage(v visit, role string) bool {
	return c.mayInvite(v) && c.Roster.Roles().MayGrant(v.role, role)
}

// inviter is how the one who invited is called.
func inviter(q *events.InvitationRequested) string {
	switch {
	case q.InviterName != "":
		return q.InviterName
	case q.InviterPerson != "":
		return q.Inviter
	}
	return "an app" // an API key's id tells people nothing
}

type memberPage struct {
	frame
	Member memberRow
	Roles  []string
	// Last is true for the only owner, who can be neither lowered nor removed.
	Last    bool
	Problem *trouble
}

// member shows one member, to be changed or removed by those who may.
func (c *Console) member(w http.ResponseWriter, r *http.Request, v visit) error {
	return c.showMember(w, r, v, "member", http.StatusOK, nil)
}

func (c *Console) askRemove(w http.ResponseWriter, r *http.Request, v visit) error {
	if err := c.managing(v); err != nil {
		return err
	}
	return c.showMember(w, r, v, "remove", http.StatusOK, nil)
}

func (c *Console) showMember(w http.ResponseWriter, r *http.Request, v visit, name string, status int, refused error) error {
	m, err := c.Roster.Current(r.Context(), v.org.ID, personIn(r))
	if err != nil {
		return err
	}
	if m.Membership == nil {
		return problem.New(problem.NotFound, "There is no such member; they may have left meanwhile.")
	}
	p := &memberPage{frame: c.frame(r, v, cmp.Or(m.Membership.Name, m.Membership.Email)), Member: c.memberRow(v, *m.Membership)}
	if record, ok := c.broughtBy(r, v.org.ID, map[string]events.Membership{"": *m.Membership})[m.Membership.Invitation]; ok && record.Request != nil {
		p.Member.Inviter = inviter(record.Request)
	}
	p.Roles, p.Last = c.grantable(v.role), c.lastOwner(v.org.ID, *m.Membership)
	if refused != nil {
		p.Problem = explain(problem.As(refused))
	}
	return c.render(w, status, name, p)
}

// personIn is the person in the path; what is no id of anybody becomes one that nobody has.
func personIn(r *http.Request) string {
	id := r.PathValue("person")
	if strings.ContainsFunc(id, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') }) {
		return "nobody"
	}
	return id
}

// grantable are the roles that somebody of that role may give out, highest first.
func (c *Console) grantable(own string) []string {
	return slices.DeleteFunc(slices.Clone([]string(c.Roster.Roles())), func(role string) bool { return !c.Roster.Roles().MayGrant(own, role) })
}

// lastOwner reports whether a member is the organization's only owner, as far as memory knows; the ledger decides.
func (c *Console) lastOwner(org string, m events.Membership) bool {
	owner := c.Roster.Roles().Owner()
	return m.Role == owner && !slices.ContainsFunc(c.Roster.People(org), func(p roster.Person) bool { return p.Role == owner && p.ID != m.Person })
}

func (c *Console) changeRole(w http.ResponseWriter, r *http.Request, v visit) error {
	_, err := c.Desk.ChangeRole(r.Context(), v.org.ID, personIn(r), r.PostFormValue("role"))
	return c.memberDone(w, r, v, "member", "role", err)
}

func (c *Console) remove(w http.ResponseWriter, r *http.Request, v visit) error {
	person := personIn(r)
	_, err := c.Desk.Remove(r.Context(), v.org.ID, person)
	if err == nil {
		c.hub.end(v.org.ID, person)
	}
	if err == nil && person == v.person {
		see(w, "/console")
		return nil
	}
	return c.memberDone(w, r, v, "remove", "removed", err)
}

// memberDone goes back to the list, or shows on the form why nothing was done.
func (c *Console) memberDone(w http.ResponseWriter, r *http.Request, v visit, form, code string, err error) error {
	e := problem.As(err)
	switch {
	case err == nil:
		see(w, "/console/"+v.org.ID+"/members?done="+code)
		return nil
	case e.Code == problem.NotFound, e.Code == problem.NotNow, e.Code == problem.NoAuthority:
		return err
	}
	return c.showMember(w, r, v, form, e.Status(), err)
}

// days is a duration as a choice says it.
func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return plural(int(d/(24*time.Hour)), "day")
	}
	return span(d)
}
