package replays

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

const (
	org = "acme"
	// people is how many are invited. Inviters are told of at most twenty things of a kind in a row, so it is few enough.
	people = 40
	short  = 30 * time.Hour   // how long some invitations stay open
	long   = 8000 * time.Hour // and the others
)

// story is what happens to some invitations: the same with the same seed, whatever is delivered how often. Between two steps
// everything comes to rest, so that nothing is left to who is quicker.
type story struct {
	*pipeline.Pipeline
	random *rand.Rand
	all    []*told
}

// told is an invitation as the story goes.
type told struct {
	ID         string    `json:"id"`
	Email      string    `json:"email"`
	Generation int       `json:"generation"`
	ExpiresAt  time.Time `json:"expires_at"`
	bounced    bool
	answered   string // how it was ended; empty where it was not
}

func (s *story) tell(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.invite, s.report, s.resend, s.remind, s.answer, s.expire, s.renew, s.change, s.replace, s.forge,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := s.Quiet(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) post(ctx context.Context, want int, path string, body any, into any) error {
	return s.call(ctx, want, http.MethodPost, path, body, into)
}

func (s *story) call(ctx context.Context, want int, method, path string, body any, into any) error {
	a := s.Call(ctx, s.Front(0), method, path, body)
	if a.Status != want {
		return fmt.Errorf("%s %s: %s %s", method, path, a, a.Body)
	}
	if into == nil {
		return nil
	}
	return a.Read(into)
}

func (s *story) invite(ctx context.Context) error {
	if err := s.Organization(ctx, org, map[string]any{"reminder_after": []string{"24h"}}); err != nil {
		return err
	}
	for i := range people {
		one := &told{}
		ttl := long
		if i%4 == 0 {
			ttl = short
		}
		body := map[string]any{
			"email": fmt.Sprintf("p%d@example.org", i), "role": []string{"admin", "member"}[s.random.IntN(2)], "name": "Nell", "inviter": pipeline.Owner,
			"expires_in": ttl.String(),
		}
		if err := s.post(ctx, http.StatusAccepted, "/v1/organizations/"+org+"/invitations", body, one); err != nil {
			return err
		}
		s.all = append(s.all, one)
	}
	return nil
}

// report says what the provider reports of the mails: mostly that they were delivered.
func (s *story) report(ctx context.Context) error {
	stored, err := s.Stored(ctx, events.StreamInvitations)
	if err != nil {
		return err
	}
	intents := map[string]uint64{}
	for _, e := range stored {
		if _, id, fact, ok := events.SplitInvitation(e.Subject); ok && (fact == events.FactRequested || fact == events.FactResend) {
			intents[id] = e.Sequence
		}
	}
	for _, one := range s.all {
		d := events.Delivery{Invitation: one.ID, Generation: 1, Intent: intents[one.ID], OccurredAt: s.Clock.Now()}
		var facts []events.Data
		switch s.random.IntN(8) {
		case 0:
			facts = []events.Data{&events.InvitationBounced{Delivery: d}}
			one.bounced = true
		case 1:
			facts = []events.Data{&events.InvitationDeferred{Delivery: d}, &events.InvitationDelivered{Delivery: d}}
		case 2:
			facts = []events.Data{&events.InvitationDeferred{Delivery: d}}
		default:
			facts = []events.Data{&events.InvitationDelivered{Delivery: d}}
		}
		for _, f := range facts {
			if err := s.Say(ctx, org, one.ID, factOf[f.EventType()], f); err != nil {
				return err
			}
		}
	}
	return nil
}

var factOf = map[events.Type]string{
	events.TypeInvitationDelivered: events.FactDelivered, events.TypeInvitationDeferred: events.FactDeferred, events.TypeInvitationBounced: events.FactBounced,
}

func (s *story) resend(ctx context.Context) error {
	for _, one := range s.all {
		if one.bounced || s.random.IntN(3) > 0 {
			continue
		}
		body := map[string]bool{"rotate": s.random.IntN(2) == 0}
		if err := s.post(ctx, http.StatusAccepted, "/v1/invitations/"+one.ID+"/resend", body, one); err != nil {
			return err
		}
	}
	return nil
}

// remind lets a day pass, and says what the broker says when the reminders are due.
func (s *story) remind(ctx context.Context) error {
	s.Clock.Pass(24 * time.Hour)
	for _, one := range s.all {
		if err := s.Say(ctx, org, one.ID, events.FactReminderDue, &events.InvitationReminderDue{Invitation: one.ID, Number: 1}); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) answer(ctx context.Context) error {
	for _, one := range s.all {
		var err error
		token := map[string]string{"token": s.Token(one.ID, one.Generation)}
		switch one.answered = []string{"accepted", "declined", "revoked", "", ""}[s.random.IntN(5)]; one.answered {
		case "accepted":
			err = s.post(ctx, http.StatusOK, "/v1/links/accept", token, nil)
		case "declined":
			err = s.post(ctx, http.StatusOK, "/v1/links/decline", token, nil)
		case "revoked":
			err = s.post(ctx, http.StatusOK, "/v1/invitations/"+one.ID+"/revoke", map[string]string{}, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expire lets the deadline of some pass, and says what the broker says then.
func (s *story) expire(ctx context.Context) error {
	s.Clock.Pass(short)
	for _, one := range s.all {
		if !one.ExpiresAt.Before(s.Clock.Now()) {
			continue // its timer has not fired
		}
		due := &events.InvitationExpiryDue{Invitation: one.ID, ExpiresAt: one.ExpiresAt}
		if err := s.Say(ctx, org, one.ID, events.FactExpiryDue, due); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) expired(one *told) bool {
	return one.answered == "" && one.ExpiresAt.Before(s.Clock.Now())
}

// renew asks for new links in place of some that have expired.
func (s *story) renew(ctx context.Context) error {
	for _, one := range s.all {
		if !s.expired(one) || s.random.IntN(2) == 0 {
			continue
		}
		if err := s.post(ctx, http.StatusAccepted, "/v1/links/renew", map[string]string{"token": s.Token(one.ID, one.Generation)}, nil); err != nil {
			return err
		}
	}
	return nil
}

// change takes some memberships away again, and makes others something else.
func (s *story) change(ctx context.Context) error {
	type member struct{ Person, Email, Invitation string }
	var members struct{ Items []member }
	if err := s.call(ctx, http.StatusOK, http.MethodGet, "/v1/organizations/"+org+"/members?limit=200", nil, &members); err != nil {
		return err
	}
	slices.SortFunc(members.Items, func(a, b member) int { return strings.Compare(a.Email, b.Email) }) // they joined in any order
	for _, m := range members.Items {
		var err error
		path := "/v1/organizations/" + org + "/members/" + m.Person
		switch chance := s.random.IntN(3); {
		case m.Invitation == "":
		case chance == 0:
			err = s.call(ctx, http.StatusNoContent, http.MethodDelete, path, nil, nil)
		case chance == 1:
			err = s.call(ctx, http.StatusOK, http.MethodPatch, path, map[string]string{"role": "viewer"}, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replace invites some again whose invitation has expired.
func (s *story) replace(ctx context.Context) error {
	for _, one := range s.all {
		if !s.expired(one) || s.random.IntN(2) == 0 {
			continue
		}
		if err := s.post(ctx, http.StatusAccepted, "/v1/invitations/"+one.ID+"/resend", map[string]bool{}, nil); err != nil {
			return err
		}
	}
	return nil
}

// forge says things that no service says: acceptances of invitations that nobody made (T109) or that another organization made
// (T111), and a second end of one that has ended.
func (s *story) forge(ctx context.Context) error {
	for i, one := range s.all[:10] {
		at, id := org, one.ID
		switch i % 3 {
		case 0:
			id = events.DerivedInvitationID("forged", one.ID)
		case 1:
			at = "umbrella"
		default:
			if one.answered == "" || one.answered == "accepted" {
				continue
			}
		}
		accepted := &events.InvitationAccepted{Invitation: id, Generation: 1, Person: "abcdefghijklmnopqrstuvwxyz", Name: "Mallory", Invitee: events.InviteeNew}
		if err := s.Say(ctx, at, id, events.FactAccepted, accepted); err != nil {
			return err
		}
	}
	return nil
}
