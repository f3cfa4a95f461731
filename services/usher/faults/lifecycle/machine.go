package lifecycle

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

// machine does to an organization what people do, one thing after another, and compares every answer with the model's.
type machine struct {
	*pipeline.Pipeline
	ctx context.Context
	// front is the instance that this organization's people come to. What another has done with members an instance knows a
	// moment later, so an invite right after a removal may be refused by another: that is no question of order, and not asked here.
	front *pipeline.Instance
	org   string
	model organization
	steps int
}

// people are those that are invited: few, so that they meet. The second and the third are the same, written otherwise.
var people = []string{"ann", "bob", "Bob", "eve"}

// at is somebody's address: another one for each organization, so that mails of one are not taken for mails of another.
func (m *machine) at(person string) string { return person + "@" + m.org + ".example.org" }

// commands are what people do.
func (m *machine) commands() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"invite":         m.counted(m.invite),
		"invite several": m.counted(m.inviteSeveral),
		"accept":         m.counted(func(t *rapid.T) { m.answer(t, "accept", accepted) }),
		"decline":        m.counted(func(t *rapid.T) { m.answer(t, "decline", declined) }),
		"revoke":         m.counted(m.revoke),
		"resend":         m.counted(m.resend),
		"look up":        m.counted(m.lookUp),
		"show":           m.counted(m.show),
		"list":           m.counted(m.list),
		"members":        m.counted(m.listMembers),
		"remove":         m.counted(m.remove),
		"change role":    m.counted(m.changeRole),
		"announce":       m.counted(m.announce),
		"pass":           m.counted(m.pass),
	}
}

func (m *machine) counted(command func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		m.steps++
		command(t)
	}
}

// call asks for something. What should come is a status and, for a refusal, its code.
func (m *machine) call(t *rapid.T, method, path string, body any, status int, code string, into any) {
	t.Helper()
	a := m.Call(m.ctx, m.front, method, path, body)
	if a.Status != status || a.Code != code {
		t.Fatalf("%s %s %v: answered %d %s, should be %d %s: %s", method, path, body, a.Status, a.Code, status, code, a.Body)
	}
	if into != nil {
		if err := a.Read(into); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

// told is an invitation as the API shows it.
type told struct {
	ID, Status, Role, Membership string
	Generation                   int
}

// any draws one of the invitations; it skips the command where there is none.
func (m *machine) any(t *rapid.T) *invitation {
	if len(m.model.invitations) == 0 {
		t.Skip("nobody is invited")
	}
	// The newest more often than the others.
	back := rapid.IntRange(0, len(m.model.invitations)-1).Draw(t, "how long ago")
	return m.model.invitations[len(m.model.invitations)-1-back]
}

var lifetimes = []time.Duration{10 * time.Minute, time.Hour, 24 * time.Hour}

func (m *machine) invite(t *rapid.T) {
	address, role := m.at(rapid.SampledFrom(people).Draw(t, "person")), rapid.SampledFrom([]string{"admin", "member", "viewer"}).Draw(t, "role")
	ttl := rapid.SampledFrom(lifetimes).Draw(t, "ttl")
	body := map[string]string{"email": address, "role": role, "name": "Nell", "inviter": pipeline.Owner, "expires_in": ttl.String()}
	if code := m.model.refusesInvite(strings.ToLower(address)); code != "" {
		var got struct{ Other string }
		m.call(t, http.MethodPost, m.path("invitations"), body, http.StatusConflict, code, &got)
		if open := m.model.open(strings.ToLower(address)); open != nil && got.Other != open.id {
			t.Fatalf("the refusal names %s, open is %s", got.Other, open.id)
		}
		return
	}
	var got told
	m.call(t, http.MethodPost, m.path("invitations"), body, http.StatusAccepted, "", &got)
	m.model.add(got.ID, strings.ToLower(address), role, ttl)
}

// inviteSeveral invites everybody in one request. The second of two spellings of an address is refused.
func (m *machine) inviteSeveral(t *rapid.T) {
	var rows []map[string]string
	for _, person := range people {
		rows = append(rows, map[string]string{"organization": m.org, "email": m.at(person), "role": "member", "name": "Nell", "inviter": pipeline.Owner, "expires_in": "1h"})
	}
	var got struct {
		Results []struct {
			Status     int
			Invitation told
		}
	}
	m.call(t, http.MethodPost, "/v1/invitations", map[string]any{"invitations": rows}, http.StatusOK, "", &got)
	for n, person := range people {
		address, want := strings.ToLower(m.at(person)), http.StatusAccepted
		if m.model.refusesInvite(address) != "" {
			want = http.StatusConflict
		}
		if got.Results[n].Status != want {
			t.Fatalf("row %d (%s) is answered %d, should be %d", n, address, got.Results[n].Status, want)
		}
		if want == http.StatusAccepted {
			m.model.add(got.Results[n].Invitation.ID, address, "member", time.Hour)
		}
	}
}

// link draws a link of an invitation: that of the newest mail, or an older one.
func (m *machine) link(t *rapid.T, i *invitation) (generation int, body map[string]string) {
	generation = i.generation - rapid.IntRange(0, min(1, i.generation-1)).Draw(t, "mails ago")
	return generation, map[string]string{"token": m.Token(i.id, generation)}
}

// answer is what an invitee says.
func (m *machine) answer(t *rapid.T, what, outcome string) {
	i := m.any(t)
	generation, body := m.link(t, i)
	if code := m.model.refusesLink(i, generation); code != "" && code != outcome {
		m.call(t, http.MethodPost, "/v1/links/"+what, body, http.StatusGone, code, nil)
		return
	}
	m.call(t, http.MethodPost, "/v1/links/"+what, body, http.StatusOK, "", nil)
	if i.outcome == outcome {
		return // the same success again
	}
	if i.outcome = outcome; outcome == accepted {
		m.model.members[i.address] = i.role
		m.await(t, "the membership of "+i.address, func() bool {
			a := m.Call(m.ctx, m.front, http.MethodGet, "/v1/invitations/"+i.id, nil)
			var got told
			return a.Read(&got) == nil && got.Membership == "active"
		})
		m.await(t, "the members in memory", m.membersAgree)
	}
}

// patience is how long something may take that is done by others than who answered.
const patience = 30 * time.Second

func (m *machine) await(t *rapid.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(m.ctx, patience)
	defer cancel()
	if err := pipeline.Until(ctx, what, func() (bool, error) { return so(), nil }); err != nil {
		t.Fatalf("%v", err)
	}
}

func (m *machine) revoke(t *rapid.T) {
	i := m.any(t)
	switch m.model.status(i) {
	case pending, revoked:
		m.call(t, http.MethodPost, "/v1/invitations/"+i.id+"/revoke", map[string]string{}, http.StatusOK, "", nil)
		i.outcome = revoked
	default:
		m.call(t, http.MethodPost, "/v1/invitations/"+i.id+"/revoke", map[string]string{}, http.StatusConflict, "ended", nil)
	}
}

func (m *machine) resend(t *rapid.T) {
	i := m.any(t)
	rotate := rapid.Bool().Draw(t, "rotate")
	path, body := "/v1/invitations/"+i.id+"/resend", map[string]bool{"rotate": rotate}
	var got told
	switch m.model.status(i) {
	case pending:
		m.call(t, http.MethodPost, path, body, http.StatusAccepted, "", &got)
		m.model.resend(i, rotate)
		if got.ID != i.id || got.Generation != i.generation {
			t.Fatalf("the resend of %s answers %+v, should be generation %d", i.id, got, i.generation)
		}
	case expired: // a new one is made in its place
		if code := m.model.refusesInvite(i.address); code != "" {
			m.call(t, http.MethodPost, path, body, http.StatusConflict, code, nil)
			return
		}
		m.call(t, http.MethodPost, path, body, http.StatusAccepted, "", &got)
		if got.ID == i.id {
			t.Fatalf("the expired invitation %s was opened again", i.id)
		}
		m.model.add(got.ID, i.address, i.role, i.ttl)
	default:
		m.call(t, http.MethodPost, path, body, http.StatusConflict, "ended", nil)
	}
}

func (m *machine) lookUp(t *rapid.T) {
	i := m.any(t)
	generation, body := m.link(t, i)
	if code := m.model.refusesLink(i, generation); code != "" {
		m.call(t, http.MethodPost, "/v1/links/lookup", body, http.StatusGone, code, nil)
		return
	}
	m.call(t, http.MethodPost, "/v1/links/lookup", body, http.StatusOK, "", nil)
}

func (m *machine) show(t *rapid.T) {
	i := m.any(t)
	var got told
	m.call(t, http.MethodGet, "/v1/invitations/"+i.id, nil, http.StatusOK, "", &got)
	if got.Status != m.model.status(i) || got.Generation != i.generation || got.Role != i.role {
		t.Fatalf("%s is shown as %+v, should be %s with generation %d as %s", i.id, got, m.model.status(i), i.generation, i.role)
	}
}

// list compares the whole list. It may be behind what others than the API have said, for a moment.
func (m *machine) list(t *rapid.T) {
	m.await(t, "the list", func() bool {
		a := m.Call(m.ctx, m.front, http.MethodGet, m.path("invitations?limit=200"), nil)
		var got struct{ Items []told }
		if a.Status != http.StatusOK || a.Read(&got) != nil || len(got.Items) != len(m.model.invitations) {
			return false
		}
		shown := map[string]told{}
		for _, one := range got.Items {
			shown[one.ID] = one
		}
		for _, i := range m.model.invitations {
			one := shown[i.id]
			membership := "none"
			if i.outcome == accepted {
				membership = "active"
			}
			if one.Status != m.model.status(i) || one.Generation != i.generation || one.Membership != membership {
				return false
			}
		}
		return true
	})
}

func (m *machine) listMembers(t *rapid.T) { m.await(t, "the members", m.membersAgree) }

// member is one as the API shows it.
type member struct{ Person, Email, Role string }

func (m *machine) members() []member {
	var got struct{ Items []member }
	a := m.Call(m.ctx, m.front, http.MethodGet, m.path("members?limit=200"), nil)
	if a.Status != http.StatusOK || a.Read(&got) != nil {
		return nil
	}
	return got.Items
}

func (m *machine) membersAgree() bool {
	all := m.members()
	if len(all) != len(m.model.members)+1 { // and the owner
		return false
	}
	for _, one := range all {
		if one.Email != pipeline.Owner && m.model.members[strings.ToLower(one.Email)] != one.Role {
			return false
		}
	}
	return true
}

// one draws a member; it skips the command where there is none but the owner.
func (m *machine) one(t *rapid.T) member {
	var all []member
	for _, one := range m.members() {
		if one.Email != pipeline.Owner {
			all = append(all, one)
		}
	}
	if len(all) == 0 {
		t.Skip("nobody is a member")
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "member")]
}

func (m *machine) remove(t *rapid.T) {
	one := m.one(t)
	m.call(t, http.MethodDelete, m.path("members/"+one.Person), nil, http.StatusNoContent, "", nil)
	delete(m.model.members, strings.ToLower(one.Email))
	m.await(t, "the members in memory", m.membersAgree)
}

func (m *machine) changeRole(t *rapid.T) {
	one, role := m.one(t), rapid.SampledFrom([]string{"admin", "member", "viewer"}).Draw(t, "role")
	m.call(t, http.MethodPatch, m.path("members/"+one.Person), map[string]string{"role": role}, http.StatusOK, "", nil)
	m.model.members[strings.ToLower(one.Email)] = role
	m.await(t, "the members in memory", m.membersAgree)
}

// announce says what the broker says when the timer of an expired invitation fires; how it stands, that does not change.
func (m *machine) announce(t *rapid.T) {
	i := m.any(t)
	if m.model.status(i) != expired {
		t.Skip("it has not expired")
	}
	i.outcome = expired
	due := &events.InvitationExpiryDue{Invitation: i.id, ExpiresAt: m.Clock.Now()}
	if err := m.Say(m.ctx, m.org, i.id, events.FactExpiryDue, due); err != nil {
		t.Fatalf("%v", err)
	}
}

func (m *machine) pass(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Minute, 9 * time.Minute, 55 * time.Minute, 23 * time.Hour}).Draw(t, "time")
	m.Clock.Pass(d)
	m.model.now += d
}

func (m *machine) path(what string) string {
	return fmt.Sprintf("/v1/organizations/%s/%s", m.org, what)
}

// mailed compares the mails in the end: never more than were asked for. One may have been overtaken.
func (m *machine) mailed(t *rapid.T) {
	asked, sent := map[string]int{}, map[string]int{}
	for _, i := range m.model.invitations {
		asked[i.address] += i.mails
	}
	for _, person := range people {
		mails, _ := m.Mails.Mails(m.at(person), 1000)
		sent[strings.ToLower(m.at(person))] += len(mails)
	}
	for address, n := range sent {
		if n > asked[address] {
			t.Fatalf("%d mails went to %s, and %d were asked for", n, address, asked[address])
		}
	}
}
