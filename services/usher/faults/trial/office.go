package trial

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/faults/campaign"
)

// office is what an owner does beside inviting: it changes the organization and a clerk's role, again and again.
type office struct {
	*traffic
	clerk *story
	// role is the clerk's as it was acknowledged last; sure is false where a later change was not answered.
	role string
	sure bool
}

// open makes the clerk a member, while nothing is broken yet.
func (o *office) open(ctx context.Context) error {
	o.clerk = &story{email: "clerk." + o.org + "@example.org", key: "clerk", role: "member", door: doorHTTP, end: endAccept}
	if o.invite(ctx, o.clerk) {
		o.goOn(ctx, o.clerk)
	}
	if len(o.clerk.accepted) == 0 {
		return fmt.Errorf("the clerk could not be made a member: %v", o.clerk.odd)
	}
	o.role, o.sure = o.clerk.role, true
	return nil
}

// work goes on until ctx ends.
func (o *office) work(ctx context.Context) {
	for n := 0; wait(ctx, 100*time.Millisecond); n++ {
		request(ctx, http.MethodPut, o.any()+"/v1/organizations/"+o.org, map[string]any{"name": fmt.Sprintf("Trial %d", n)}, o.machine(""))
		role := []string{"viewer", "member"}[n%2]
		a := request(ctx, http.MethodPatch, o.any()+"/v1/organizations/"+o.org+"/members/"+cmp.Or(o.person(ctx, o.clerk.email), "nobody"), map[string]string{"role": role}, o.owner(""))
		switch {
		case a.yes():
			o.role, o.sure = role, true
		case a.open():
			o.sure = false
		}
	}
}

// person is a member's name in addresses; empty where there is no such member among those who are listed first.
func (t *traffic) person(ctx context.Context, email string) string {
	a := request(ctx, http.MethodGet, t.any()+"/v1/organizations/"+t.org+"/members?limit=200", nil, t.machine(""))
	var list struct {
		Items []struct{ Person, Email string }
	}
	_ = json.Unmarshal(a.body, &list) // of no answer there is nobody
	for _, m := range list.Items {
		if m.Email == email {
			return m.Person
		}
	}
	return ""
}

// judge compares the clerk's role with what was acknowledged.
func (o *office) judge(s *stored, out *campaign.Outcome) {
	said := s.memberships[s.people[o.clerk.email]]
	out.Count("changes of a member", int64(max(len(said)-1, 0)))
	if len(said) == 0 {
		out.Violate("the clerk's membership is gone")
		return
	}
	role := ""
	switch m := said[len(said)-1].(type) {
	case *events.MembershipProvisioned:
		role = m.Role
	case *events.MembershipRoleChanged:
		role = m.Role
	}
	if o.sure && role != o.role {
		out.Violate("the clerk was made %s, and is %q", o.role, role)
	}
}
