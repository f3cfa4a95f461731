package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// cast is an organization with somebody of every role, and a neighbour.
type cast struct {
	*harness.Organization
	neighbour *harness.Organization
	callers   map[string]harness.Client
	members   map[string]harness.Member
}

func newCast(t *testing.T, s *harness.System) cast {
	c := cast{Organization: s.Organization(t), neighbour: s.Organization(t), members: map[string]harness.Member{}}
	c.callers = map[string]harness.Client{"machine": s.API(), "neighbour": s.API().As(c.neighbour.Owner), "stranger": s.API().As(harness.Address("stranger"))}
	for _, role := range []string{"admin", "member", "viewer"} {
		c.members[role] = c.Join(t, role)
	}
	c.members["owner"], _ = c.Member(t, c.Owner)
	for role, m := range c.members {
		c.callers[role] = s.API().As(m.Email)
	}
	return c
}

// TestWhoMayDoWhat is the matrix of callers and routes: what each is answered.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	c := newCast(t, &common(t).System)
	invite := func(role string) func(harness.Client) harness.Answer {
		return func(as harness.Client) harness.Answer {
			return as.Post(t, c.Path("/invitations"), map[string]any{"email": harness.Address("matrix"), "role": role})
		}
	}
	// open makes an invitation of its own for each call that may end it.
	open := func(role string, call func(harness.Client, harness.Invitation) harness.Answer) func(harness.Client) harness.Answer {
		return func(as harness.Client) harness.Answer { return call(as, c.Invite(t, harness.Address("matrix"), role)) }
	}
	act := func(act string) func(harness.Client, harness.Invitation) harness.Answer {
		return func(as harness.Client, i harness.Invitation) harness.Answer {
			return as.Post(t, "/v1/invitations/"+i.ID+act, nil)
		}
	}
	read := func(rest string) func(harness.Client, harness.Invitation) harness.Answer {
		return func(as harness.Client, i harness.Invitation) harness.Answer {
			return as.Get(t, "/v1/invitations/"+i.ID+rest)
		}
	}
	get := func(path string) func(harness.Client) harness.Answer {
		return func(as harness.Client) harness.Answer { return as.Get(t, path) }
	}
	change := func(from, to string) func(harness.Client) harness.Answer {
		return func(as harness.Client) harness.Answer {
			return as.Do(t, http.MethodPatch, c.Path("/members/"+c.Join(t, from).Person), map[string]any{"role": to})
		}
	}
	remove := func(role string) func(harness.Client) harness.Answer {
		return func(as harness.Client) harness.Answer {
			return as.Do(t, http.MethodDelete, c.Path("/members/"+c.Join(t, role).Person), nil)
		}
	}
	const no = http.StatusForbidden
	hidden := http.StatusNotFound
	for name, row := range map[string]struct {
		call                                                       func(harness.Client) harness.Answer
		machine, owner, admin, member, viewer, neighbour, stranger int
	}{
		"invite an owner":      {invite("owner"), 202, 202, no, no, no, no, no},
		"invite an admin":      {invite("admin"), 202, 202, 202, no, no, no, no},
		"invite a viewer":      {invite("viewer"), 202, 202, 202, no, no, no, no},
		"list invitations":     {get(c.Path("/invitations")), 200, 200, 200, no, no, no, no},
		"list members":         {get(c.Path("/members")), 200, 200, 200, no, no, no, no},
		"read an invitation":   {open("owner", read("")), 200, 200, 200, hidden, hidden, hidden, hidden},
		"read a timeline":      {open("owner", read("/events")), 200, 200, 200, hidden, hidden, hidden, hidden},
		"revoke an owner's":    {open("owner", act("/revoke")), 200, 200, no, hidden, hidden, hidden, hidden},
		"revoke an admin's":    {open("admin", act("/revoke")), 200, 200, 200, hidden, hidden, hidden, hidden},
		"resend an owner's":    {open("owner", act("/resend")), 202, 202, no, hidden, hidden, hidden, hidden},
		"resend a member's":    {open("member", act("/resend")), 202, 202, 202, hidden, hidden, hidden, hidden},
		"make a member admin":  {change("member", "admin"), 200, 200, 200, no, no, no, no},
		"make a member owner":  {change("member", "owner"), 200, 200, no, no, no, no, no},
		"make an owner member": {change("owner", "member"), 200, 200, no, no, no, no, no},
		"make an admin viewer": {change("admin", "viewer"), 200, 200, 200, no, no, no, no},
		"remove a member":      {remove("member"), 204, 204, 204, no, no, no, no},
		"remove an admin":      {remove("admin"), 204, 204, 204, no, no, no, no},
		"remove an owner":      {remove("owner"), 204, 204, no, no, no, no, no},
		"rename the organization": {func(as harness.Client) harness.Answer {
			return as.Do(t, http.MethodPut, c.Path(""), map[string]any{"name": "Renamed"})
		}, 200, 200, no, no, no, no, no},
		"name an owner": {func(as harness.Client) harness.Answer {
			return as.Do(t, http.MethodPut, c.Path(""), map[string]any{"name": "Renamed", "owner": map[string]any{"email": harness.Address("named")}})
		}, 200, no, no, no, no, no, no},
		"make another organization": {func(as harness.Client) harness.Answer {
			return as.Do(t, http.MethodPut, "/v1/organizations/"+harness.Unique("new-"), map[string]any{"name": "New", "owner": map[string]any{"email": harness.Address("new")}})
		}, 201, hidden, hidden, hidden, hidden, hidden, hidden},
		"invite into another's": {func(as harness.Client) harness.Answer {
			return as.Post(t, c.neighbour.Path("/invitations"), map[string]any{"email": harness.Address("x"), "role": "viewer"})
		}, 202, no, no, no, no, 202, no},
		"speak for somebody else": {func(as harness.Client) harness.Answer {
			return as.Post(t, c.Path("/invitations"), map[string]any{"email": harness.Address("x"), "role": "viewer", "inviter": c.members["admin"].Email})
		}, 202, no, 202, no, no, no, no},
		"a member that is not there": {func(as harness.Client) harness.Answer {
			return as.Do(t, http.MethodDelete, c.Path("/members/aaaaaaaaaaaaaaaaaaaaaaaaaa"), nil)
		}, 404, 404, 404, no, no, no, no},
		"an invitation that is not": {get("/v1/invitations/inv_01jd8x5rbgf3y8zt5s9r2h4q6w"), 404, 404, 404, 404, 404, 404, 404},
	} {
		for caller, want := range map[string]int{
			"machine": row.machine, "owner": row.owner, "admin": row.admin, "member": row.member, "viewer": row.viewer,
			"neighbour": row.neighbour, "stranger": row.stranger,
		} {
			a := row.call(c.callers[caller])
			require.Equal(t, want, a.Status, "%s as %s: %s", name, caller, a.Body)
			if want >= 400 {
				clientError(t, a, name+" as "+caller)
			}
		}
	}
}

func TestEveryRouteButTheLinksWantsAKey(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	for _, op := range operations(t, u) {
		path := op.at(o, "inv_01jd8x5rbgf3y8zt5s9r2h4q6w", "aaaaaaaaaaaaaaaaaaaaaaaaaa")
		for _, key := range []string{"", "x", u.Key[:len(u.Key)-1], u.Key + "x", "usher_" + u.Key[7:], strings.ToUpper(u.Key)} {
			a := u.API().With(key).Do(t, op.method, path, nil)
			if strings.HasPrefix(op.path, "/v1/links/") {
				require.NotEqual(t, http.StatusUnauthorized, a.Status, "the token is the right")
				continue
			}
			a.Refused(t, http.StatusUnauthorized, "unauthenticated")
			require.Contains(t, a.Header.Get("WWW-Authenticate"), "Bearer")
		}
		if !strings.HasPrefix(op.path, "/v1/links/") {
			harness.Client{URL: u.URL}.Do(t, op.method, path, nil, "Authorization", "Basic "+u.Key).Refused(t, http.StatusUnauthorized, "unauthenticated")
			harness.Client{URL: u.URL}.Do(t, op.method, path+"?key="+u.Key+"&access_token="+u.Key, nil).Refused(t, http.StatusUnauthorized, "unauthenticated")
		}
	}
}

func TestWhatIsHiddenLooksLikeWhatIsNotThere(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, neighbour := u.Organization(t), u.Organization(t)
	invitation := o.Invite(t, harness.Address("hidden"), "member")
	there := u.API().As(neighbour.Owner).Get(t, "/v1/invitations/"+invitation.ID)
	not := u.API().As(neighbour.Owner).Get(t, "/v1/invitations/inv_01jd8x5rbgf3y8zt5s9r2h4q6w")
	require.Equal(t, not.Status, there.Status)
	require.Equal(t, string(not.Body), string(there.Body))
}

func TestAnOrganizationAlwaysKeepsAnOwner(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	owner, _ := o.Member(t, o.Owner)
	path := o.Path("/members/" + owner.Person)
	u.API().Do(t, http.MethodDelete, path, nil).Refused(t, http.StatusConflict, "last-owner")
	u.API().Do(t, http.MethodPatch, path, map[string]any{"role": "admin"}).Refused(t, http.StatusConflict, "last-owner")
	u.API().As(o.Owner).Do(t, http.MethodDelete, path, nil).Refused(t, http.StatusConflict, "last-owner")
	require.Equal(t, http.StatusOK, u.API().Do(t, http.MethodPatch, path, map[string]any{"role": "owner"}).Status)

	for round := range short(25, 8) {
		o := u.Organization(t)
		first, _ := o.Member(t, o.Owner)
		second := o.Join(t, "owner")
		// Two owners put each other out, or one leaves while the other steps down.
		answers := atOnce(2, func(n int) tried {
			one, other := first, second
			if n == 1 {
				one, other = second, first
			}
			as := u.API().As(one.Email)
			if round%2 == 0 {
				a, err := as.Try(http.MethodDelete, o.Path("/members/"+other.Person), nil)
				return tried{a, err}
			}
			a, err := as.Try(http.MethodPatch, o.Path("/members/"+one.Person), map[string]any{"role": "member"})
			return tried{a, err}
		})
		done := 0
		for _, a := range answers {
			require.NoError(t, a.err)
			if a.Status < 300 {
				done++
				continue
			}
			require.Contains(t, []string{"last-owner", "no-authority", "role-too-high", "conflict", "not-found"}, clientError(t, a.Answer, "the loser").Code())
		}
		require.Equal(t, 1, done, "%s %s", answers[0].Body, answers[1].Body)
		owners := 0
		for _, m := range o.Members(t) {
			if m.Role == "owner" {
				owners++
			}
		}
		require.Equal(t, 1, owners)
	}
}

func TestMembersAreChangedOnTheBusToo(t *testing.T) {
	t.Parallel()
	u := common(t)
	o, bus := u.Organization(t), u.Bus(t)
	member := o.Join(t, "member")
	path := o.Path("/members/" + member.Person)
	changed := harness.Read[harness.Member](t, u.API().As(o.Owner).Do(t, http.MethodPatch, path, map[string]any{"role": "admin"}), http.StatusOK)
	require.Equal(t, "admin", changed.Role)
	require.Equal(t, http.StatusOK, u.API().Do(t, http.MethodPatch, path, map[string]any{"role": "admin"}).Status)
	require.Equal(t, http.StatusNoContent, u.API().Do(t, http.MethodDelete, path, nil).Status)
	u.API().Do(t, http.MethodDelete, path, nil).Refused(t, http.StatusNotFound, "not-found")
	_, there := o.Member(t, member.Email)
	require.False(t, there, "the list shows somebody who was just removed")

	var types []string
	for _, m := range bus.Stored(t, "MEMBERSHIPS", "memberships."+o.ID+"."+member.Person) {
		types = append(types, m.Header.Get("ce-type"))
	}
	require.Equal(t, []string{"usher.membership.provisioned.v1", "usher.membership.role-changed.v1", "usher.membership.removed.v1"}, types)

	// The link that once made the member does not bring them back; a new invitation does.
	invitation := u.Show(t, member.Invitation)
	require.Equal(t, "accepted", invitation.Status)
	mail := u.Mails.To(t, member.Email)[0]
	harness.Client{URL: u.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "N"})
	bus.Idle(t, "INVITATIONS", "acceptance")
	_, there = o.Member(t, member.Email)
	require.False(t, there, "an old link brought a removed member back")
	again := o.Invite(t, member.Email, "viewer")
	require.Equal(t, "viewer", o.Accept(t, again, u.Mails.Next(t, member.Email, 1)).Role)
}

func TestAnInviterWhoLostAuthorityBlocksOrLowersTheAcceptance(t *testing.T) {
	t.Parallel()
	u := common(t)
	invitee := harness.Client{URL: u.URL}
	// lose has an admin invite an admin and a member, then takes the admin's authority away.
	lose := func(policy map[string]any, take func(o *harness.Organization, admin harness.Member)) (o *harness.Organization, high, low harness.Invitation, tokens [2]harness.Mail) {
		o = u.Organization(t, policy)
		admin := o.Join(t, "admin")
		high = o.Invite(t, harness.Address("high"), "admin", "inviter", admin.Email)
		low = o.Invite(t, harness.Address("low"), "viewer", "inviter", admin.Email)
		tokens = [2]harness.Mail{u.Mails.Next(t, high.Email, 0), u.Mails.Next(t, low.Email, 0)}
		take(o, admin)
		return o, high, low, tokens
	}
	demote := func(o *harness.Organization, admin harness.Member) {
		a := u.API().Do(t, http.MethodPatch, o.Path("/members/"+admin.Person), map[string]any{"role": "member"})
		require.Equal(t, http.StatusOK, a.Status)
	}
	remove := func(o *harness.Organization, admin harness.Member) {
		require.Equal(t, http.StatusNoContent, u.API().Do(t, http.MethodDelete, o.Path("/members/"+admin.Person), nil).Status)
	}
	refused := func(o *harness.Organization, i harness.Invitation, mail harness.Mail) {
		t.Helper()
		invitee.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "N"}).Refused(t, http.StatusConflict, "inviter-lost-authority")
		u.Invitee(t).Open(mail.Link(t)).Accept("Nell").Shows(http.StatusConflict, "")
		require.Equal(t, "pending", u.Show(t, i.ID).Status, "a refused acceptance ended the invitation")
		require.Contains(t, u.Bus(t).Facts(t, o.ID, i.ID), "refused")
		require.Contains(t, string(u.API().Get(t, "/v1/invitations/"+i.ID+"/events").Body), "inviter-lost-authority", "the reason is not to be seen")
	}
	t.Run("blocked by default", func(t *testing.T) {
		for _, take := range []func(*harness.Organization, harness.Member){demote, remove} {
			o, high, low, mails := lose(nil, take)
			refused(o, high, mails[0])
			refused(o, low, mails[1])
			require.Len(t, u.Bus(t).Subjects(t, "MEMBERSHIPS", "memberships."+o.ID+".*"), 2)
		}
	})
	t.Run("lowered where the policy says so", func(t *testing.T) {
		// An owner who became an admin may still invite, but grants less than before.
		o := u.Organization(t, map[string]any{"inviter_lost_authority": "lower"})
		second := o.Join(t, "owner")
		invitation := o.Invite(t, harness.Address("high"), "owner", "inviter", second.Email)
		mail := u.Mails.Next(t, invitation.Email, 0)
		a := u.API().Do(t, http.MethodPatch, o.Path("/members/"+second.Person), map[string]any{"role": "admin"})
		require.Equal(t, http.StatusOK, a.Status)
		require.Equal(t, "admin", o.Accept(t, invitation, mail).Role)

		// Who may invite no more has nothing left to lower to.
		o, high, _, mails := lose(map[string]any{"inviter_lost_authority": "lower"}, remove)
		refused(o, high, mails[0])
	})
	t.Run("given back", func(t *testing.T) {
		o, high, _, mails := lose(nil, demote)
		refused(o, high, mails[0])
		admin := u.Show(t, high.ID).Inviter
		member, _ := o.Member(t, admin)
		u.API().Do(t, http.MethodPatch, o.Path("/members/"+member.Person), map[string]any{"role": "admin"})
		require.Equal(t, "admin", o.Accept(t, high, mails[0]).Role)
	})
}
