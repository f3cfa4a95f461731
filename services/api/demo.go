package api

import (
	"context"

	"github.com/usherhq/usher/services/api/signin"
)

// mostDemoPeople is how many people development offers to sign in as.
const mostDemoPeople = 20

// demoPeople lists members of all organizations, for development's sign-in page.
func (s *Service) demoPeople(ctx context.Context) ([]signin.Demo, error) {
	var people []signin.Demo
	for _, org := range s.Roster.All() {
		var ids []string
		for _, p := range s.Roster.People(org) {
			if len(people)+len(ids) < mostDemoPeople {
				ids = append(ids, p.ID)
			}
		}
		found, err := s.Roster.Memberships(ctx, org, ids)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if m, ok := found[id]; ok {
				people = append(people, signin.Demo{Email: m.Email, Name: m.Name, Role: m.Role, Organization: org})
			}
		}
	}
	return people, nil
}
