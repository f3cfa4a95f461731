package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/problem"
)

// caller is who makes a request: a machine by its key, the member it acts for where it does, or a member alone, who
// signed in to the console. The zero value is nobody, and may nothing.
type caller struct {
	// key is nil for a member alone.
	key *apikeys.Key
	// actor is the member's address and person their hash; both empty for the machine itself.
	actor, person string
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// authenticated lets requests with a known key through.
func (s *Service) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			s.refuse(w, problem.New(problem.Unauthenticated, "Send \"Authorization: Bearer <API key>\"."))
			return
		}
		key, err := s.Keys.Check(r.Context(), secret)
		if err != nil {
			s.refuse(w, err)
			return
		}
		c := caller{key: &key}
		// A header that is there and empty is somebody's mistake, and no leave to act as the machine.
		if as := r.Header.Values("Usher-Actor"); len(as) > 0 {
			who, err := address.Parse(strings.Join(as, ","))
			if err != nil {
				s.refuse(w, problem.Fields(events.FieldError{Location: "header.Usher-Actor", Message: err.Error()}))
				return
			}
			c.actor, c.person = who.Stored, address.Person(s.Ledger.PersonKey(), who.Canonical)
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

// by names the caller in events.
func (c caller) by() string {
	if c.person != "" {
		return c.person
	}
	return c.keyID()
}

// keyID is the id of the key the caller came with, empty for a member alone.
func (c caller) keyID() string {
	if c.key == nil {
		return ""
	}
	return c.key.ID
}

// may reports whether the caller's key works for an organization. A member alone needs none: what they may, their role says.
func (c caller) may(org string) bool {
	if c.key == nil {
		return c.person != ""
	}
	return c.key.May(org)
}

// machine reports whether a machine acts for itself.
func (c caller) machine() bool { return c.key != nil && c.person == "" }

// manages checks that the caller may read and manage an organization's invitations and members: the key must work for
// it, and the member it acts for must be an owner or admin. It gives that member's role, the highest for a machine.
func (s *Service) manages(ctx context.Context, org string) (role string, err error) {
	c := callerOf(ctx)
	if !c.may(org) {
		return "", problem.New(problem.Forbidden, "This API key does not work for that organization.")
	}
	if _, err := s.Roster.Organization(ctx, org); err != nil {
		return "", err
	}
	if c.machine() {
		return s.Roster.Roles().Owner(), nil
	}
	m, ok, err := s.Roster.Authority(ctx, org, c.person)
	if err != nil {
		return "", err
	}
	if !ok || !s.Roster.Roles().MayInvite(m.Role) {
		return "", problem.New(problem.NoAuthority, "Only owners and admins of the organization may do this.")
	}
	return m.Role, nil
}
