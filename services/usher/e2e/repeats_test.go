package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

func TestTheSameIdempotencyKeyGivesTheFirstAnswerAgain(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	key := harness.Unique("key-")
	body := map[string]any{"email": harness.Address("idem"), "role": "member"}
	post := func(c harness.Client, body any, more ...string) harness.Answer {
		return c.Post(t, o.Path("/invitations"), body, append([]string{"Idempotency-Key", key}, more...)...)
	}
	first := post(o.API(), body)
	made := harness.Read[harness.Invitation](t, first, http.StatusAccepted)
	for range 3 {
		again := post(o.API(), body)
		require.Equal(t, first.Status, again.Status)
		require.Equal(t, string(first.Body), string(again.Body))
		require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
		require.Equal(t, "true", again.Header.Get("Idempotent-Replayed"))
	}
	other := map[string]any{"email": body["email"], "role": "viewer"}
	post(o.API(), other).Refused(t, http.StatusUnprocessableEntity, "idempotency-key-reused")
	o.API().Post(t, "/v1/invitations/"+made.ID+"/revoke", nil, "Idempotency-Key", key).Refused(t, http.StatusUnprocessableEntity, "idempotency-key-reused")
	require.Equal(t, "pending", u.Show(t, made.ID).Status)

	// Another caller's key of the same name is another key.
	post(o.API().As(o.Owner), body).Refused(t, http.StatusConflict, "already-invited")
	require.Equal(t, made.ID, post(o.API().As(o.Owner), body).Problem(t).Other, "a refusal is an answer too")

	// Without a key, the same request is another one.
	o.API().Post(t, o.Path("/invitations"), body).Refused(t, http.StatusConflict, "already-invited")
	o.API().Post(t, o.Path("/invitations"), body, "Idempotency-Key", strings.Repeat("k", 201)).Refused(t, http.StatusUnprocessableEntity, "invalid")
	u.Mails.Next(t, made.Email, 0)
	u.Bus(t).Idle(t, "INVITATIONS", "mailer")
	require.Len(t, u.Mails.To(t, made.Email), 1)
}

func TestAResendWithTheSameIdempotencyKeyMailsOnce(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	invitation, _ := o.Invited(t, "member")
	key := harness.Unique("key-")
	resend := func() harness.Answer {
		return u.API().Post(t, "/v1/invitations/"+invitation.ID+"/resend", map[string]any{"rotate": true}, "Idempotency-Key", key)
	}
	first := harness.Read[harness.Invitation](t, resend(), http.StatusAccepted)
	require.Equal(t, first, harness.Read[harness.Invitation](t, resend(), http.StatusAccepted))
	u.Mails.Next(t, invitation.Email, 1)
	bus := u.Bus(t)
	bus.Idle(t, "INVITATIONS", "mailer-resend")
	require.Len(t, u.Mails.To(t, invitation.Email), 2)
	require.Equal(t, 1, bus.Count(t, "INVITATIONS", "invitations."+o.ID+"."+invitation.ID+".resend"))
}

// Campaign, "failpoints" 56: an API that dies between ending a bounced invitation and admitting the one in its place leaves the
// first revoked. Whoever asks again gets what is missing, once.
func TestAReplacementWhoseMakerDiedIsMadeByTheNextWhoAsks(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	left, _ := o.Invited(t, "member")
	left = harness.Read[harness.Invitation](t, u.API().Post(t, "/v1/invitations/"+left.ID+"/revoke", map[string]any{"reason": "replaced by a new invitation"}), http.StatusOK)
	resend := func() harness.Answer { return u.API().Post(t, "/v1/invitations/"+left.ID+"/resend", nil) }

	fresh := harness.Read[harness.Invitation](t, resend(), http.StatusAccepted)
	require.NotEqual(t, left.ID, fresh.ID)
	require.Equal(t, left.ID, fresh.Replaces)
	require.Equal(t, "pending", fresh.Status)
	require.Equal(t, fresh.ID, harness.Read[harness.Invitation](t, resend(), http.StatusAccepted).ID)
	u.Mails.Next(t, left.Email, 1)

	o.API().Post(t, "/v1/invitations/"+fresh.ID+"/revoke", nil)
	resend().Refused(t, http.StatusConflict, "ended")
	u.Bus(t).Idle(t, "INVITATIONS", "mailer")
	require.Len(t, u.Mails.To(t, left.Email), 2)
}

func TestRequestsWithOneIdempotencyKeyAtOnceAreOneRequest(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	for range short(10, 4) {
		key := harness.Unique("key-")
		rows := make([]map[string]any, 50)
		for i := range rows {
			rows[i] = map[string]any{"organization": o.ID, "email": harness.Address("atonce"), "role": "member"}
		}
		answers := atOnce(12, func(int) tried {
			return try(o.API(), "/v1/invitations", map[string]any{"invitations": rows}, "Idempotency-Key", key)
		})
		ids := map[string]bool{}
		for _, a := range answers {
			require.NoError(t, a.err)
			if a.Status == http.StatusConflict {
				a.Refused(t, http.StatusConflict, "idempotency-key-in-use")
				require.Equal(t, "1", a.Header.Get("Retry-After"))
				continue
			}
			for _, v := range harness.Read[harness.Bulk](t, a.Answer, http.StatusOK).Results {
				require.Equal(t, http.StatusAccepted, v.Status, "%+v", v.Problem)
				ids[v.Invitation.ID] = true
			}
		}
		require.Len(t, ids, len(rows))
	}
	require.Equal(t, 50*short(10, 4), u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+".*.requested"))
}

func TestABulkRequestGivesEachRowItsVerdictInOrder(t *testing.T) {
	t.Parallel()
	mailgun := harness.RunMailgun(t, "")
	u := harness.Up(t, mailgun.Settings()...)
	o := u.Organization(t)
	o.Mails = mailgun.Mailbox
	member := o.Join(t, "member")
	open := o.Invite(t, harness.Address("open"), "member")
	row := func(change map[string]any) map[string]any {
		r := map[string]any{"organization": o.ID, "email": harness.Address("bulk"), "role": "member", "inviter": o.Owner}
		for k, v := range change {
			r[k] = v
		}
		return r
	}
	rows := make([]any, 1000)
	want := make([]string, len(rows)) // the refusal's code, or "" for yes
	for i := range rows {
		switch i % 25 {
		case 3:
			rows[i], want[i] = row(map[string]any{"email": "Bob <bob@example.org>"}), "invalid"
		case 5:
			rows[i], want[i] = row(map[string]any{"email": member.Email}), "already-member"
		case 7:
			rows[i], want[i] = row(map[string]any{"email": strings.ToUpper(open.Email)}), "already-invited"
		case 9:
			rows[i], want[i] = row(map[string]any{"email": rows[i-1].(map[string]any)["email"]}), "already-invited"
		case 11:
			rows[i], want[i] = row(map[string]any{"inviter": member.Email}), "no-authority"
		case 13:
			rows[i], want[i] = row(map[string]any{"organization": "nowhere"}), "unknown-organization"
		case 15:
			rows[i], want[i] = row(map[string]any{"favourite_colour": "blue"}), "malformed"
		case 17:
			rows[i], want[i] = []int{1}, "malformed"
		case 19:
			rows[i], want[i] = row(map[string]any{"role": "emperor"}), "invalid"
		default:
			rows[i] = row(nil)
		}
	}
	results := harness.Read[harness.Bulk](t, o.API().Post(t, "/v1/invitations", map[string]any{"invitations": rows}), http.StatusOK).Results
	require.Len(t, results, len(rows))
	yes := 0
	for i, v := range results {
		if want[i] == "" {
			require.Equal(t, http.StatusAccepted, v.Status, "row %d: %+v", i, v.Problem)
			require.Equal(t, rows[i].(map[string]any)["email"], v.Invitation.Email, "row %d", i)
			yes++
			continue
		}
		require.Nil(t, v.Invitation, "row %d", i)
		require.Equal(t, want[i], v.Problem.Code(), "row %d", i)
		require.Equal(t, v.Problem.Status, v.Status, "row %d", i)
		if want[i] == "invalid" {
			require.Contains(t, v.Problem.Errors[0].Location, fmt.Sprintf("body.invitations[%d].", i))
		}
	}
	// Every row that was admitted is there, mailed, and open; no other left anything.
	require.Equal(t, yes+2, u.Bus(t).Count(t, "INVITATIONS", "invitations."+o.ID+".*.requested"))
	mailgun.Taken(t, yes+2)
	u.Bus(t).Idle(t, "INVITATIONS", "mailer")
	for email, mails := range mailgun.ByRecipient(t) {
		require.Len(t, mails, 1, email)
	}
	require.Len(t, harness.All[harness.Invitation](t, o.API(), o.Path("/invitations?status=pending&limit=200")), yes+1)
	for _, n := range []int{0, 1001} {
		p := o.API().Post(t, "/v1/invitations", map[string]any{"invitations": make([]struct{}, n)}).Refused(t, http.StatusUnprocessableEntity, "invalid")
		require.Equal(t, "body.invitations", p.Errors[0].Location)
	}
}

func TestAListShowsItsOwnWriteAtOnceAndFiltersRight(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	list := func(query string) []string {
		var ids []string
		for _, i := range harness.All[harness.Invitation](t, u.API(), o.Path("/invitations?limit=3&"+query)) {
			ids = append(ids, i.ID)
		}
		return ids
	}
	var made []string // newest first, as lists are
	var accepted, viewers []string
	for n := range 10 {
		role := []string{"member", "viewer"}[n%2]
		i := o.Invite(t, harness.Address("list"), role)
		made = append([]string{i.ID}, made...)
		require.Equal(t, made, list(""), "the list does not show what was just answered 202")
		require.Equal(t, []string{i.ID}, list("email="+strings.ToUpper(i.Email)))
		if role == "viewer" {
			viewers = append([]string{i.ID}, viewers...)
		}
		if n%3 == 0 {
			mail := u.Mails.Next(t, i.Email, 0)
			require.Equal(t, http.StatusOK, harness.Client{URL: u.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "N"}).Status)
			accepted = append([]string{i.ID}, accepted...)
			require.Equal(t, accepted, list("status=accepted"), "the list does not show what was just accepted")
		}
	}
	require.Equal(t, http.StatusOK, u.API().Post(t, "/v1/invitations/"+made[1]+"/revoke", nil).Status)
	require.Equal(t, []string{made[1]}, list("status=revoked"))
	require.Equal(t, viewers, list("role=viewer"))
	require.Empty(t, list("status=declined"))
	require.Empty(t, list("email="+harness.Address("nobody")))
	harness.Eventually(t, "every mail to be counted as sent", func() bool { return slices.Equal(made, list("delivery=sent")) })
	require.Equal(t, made, list("delivery=sent"))
}

func TestPagesStayRightWhileInvitationsComeAndGo(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	var before []string
	for range 12 {
		before = append([]string{o.Invite(t, harness.Address("page"), "member").ID}, before...)
	}
	var paged []string
	path, cursor := o.Path("/invitations?limit=5"), ""
	for {
		a := u.API().Get(t, path+"&cursor="+cursor)
		page := harness.Read[harness.List[harness.Invitation]](t, a, http.StatusOK)
		for _, i := range page.Items {
			paged = append(paged, i.ID)
		}
		// Between any two pages something is inserted, and something that was seen changes.
		o.Invite(t, harness.Address("between"), "member")
		u.API().Post(t, "/v1/invitations/"+page.Items[0].ID+"/revoke", nil)
		if cursor = page.NextCursor; cursor == "" {
			require.Empty(t, a.Header.Get("Link"))
			break
		}
		require.Equal(t, "<"+o.Path("/invitations?")+"cursor="+cursor+`&limit=5>; rel="next"`, a.Header.Get("Link"))
	}
	require.Equal(t, before, paged, "a row is there twice or left out")

	for range 7 {
		o.Join(t, "member")
	}
	var people []string
	for _, m := range harness.All[harness.Member](t, u.API(), o.Path("/members?limit=3")) {
		people = append(people, m.Email)
	}
	require.Len(t, people, 8)
	slices.Sort(people)
	require.Len(t, slices.Compact(people), 8)
}

func TestChangingAnOrganizationTellsWhetherItWasMade(t *testing.T) {
	t.Parallel()
	u := common(t)
	o := u.Organization(t)
	put := func(c harness.Client, body map[string]any) harness.Answer {
		return c.Do(t, http.MethodPut, o.Path(""), body)
	}
	require.Equal(t, http.StatusOK, put(u.API(), map[string]any{"name": "Another"}).Status)
	require.Equal(t, http.StatusOK, put(u.API(), map[string]any{"name": "Another", "owner": map[string]any{"email": o.Owner}}).Status)
	require.Len(t, o.Members(t), 1, "naming the owner again made another")
	_, mail := o.Invited(t, "member")
	require.Contains(t, mail.Subject, "Another")
	for location, body := range map[string]map[string]any{
		"body.name":                          {"name": "A\nB"},
		"body.owner.email":                   {"name": "A", "owner": map[string]any{"email": "x"}},
		"body.policy.invitation_ttl":         {"name": "A", "policy": map[string]any{"invitation_ttl": "1s"}},
		"body.policy.reminder_after[0]":      {"name": "A", "policy": map[string]any{"reminder_after": []string{"x"}}},
		"body.policy.inviter_lost_authority": {"name": "A", "policy": map[string]any{"inviter_lost_authority": "ignore"}},
	} {
		p := put(u.API(), body).Refused(t, http.StatusUnprocessableEntity, "invalid")
		require.Equal(t, location, p.Errors[0].Location)
	}
	u.API().Do(t, http.MethodPut, "/v1/organizations/"+harness.Unique("new-"), map[string]any{"name": "No owner"}).Refused(t, http.StatusUnprocessableEntity, "invalid")
	short := harness.Read[harness.Invitation](t, put(u.API(), map[string]any{"name": "A", "policy": map[string]any{"invitation_ttl": "2h", "redirect_hosts": []string{"app.example"}}}), http.StatusOK)
	require.Empty(t, short.Status) // it is an organization
	i, mail := o.Invited(t, "member", "redirect_url", "https://app.example/welcome")
	require.InDelta(t, 2, i.ExpiresAt.Sub(i.RequestedAt).Hours(), 0.01)
	accepted := harness.Read[harness.Accepted](t, harness.Client{URL: u.URL}.Post(t, "/v1/links/accept", map[string]any{"token": mail.Token(t), "name": "N"}), http.StatusOK)
	require.Equal(t, "https://app.example/welcome", accepted.RedirectURL)
}
