package api

import (
	"context"
	"errors"

	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redeem"
	"github.com/usherhq/usher/pkg/suppressions"
)

// CheckUnsubscribe implements pages.Unsubscriber: it tells a genuine link from a forged one before any store is asked. What
// the link belongs to is for the page's language and nothing else, so a store that is down keeps nobody from unsubscribing.
func (s *Service) CheckUnsubscribe(ctx context.Context, token string) (redeem.Preview, error) {
	claim, err := s.Links.Verify(links.PurposeUnsubscribe, token)
	if err != nil {
		return redeem.Preview{}, problem.New(problem.NotFound, "This link leads nowhere.")
	}
	record, err := invitation.Find(ctx, s.Ledger, claim.Invitation)
	if err != nil || record.Request == nil {
		return redeem.Preview{}, nil
	}
	org, err := s.Roster.Organization(ctx, record.Organization)
	if err != nil {
		return redeem.Preview{}, nil
	}
	return redeem.Preview{Record: record, Organization: org, Email: address.Mask(record.Request.Email)}, nil
}

// Unsubscribe implements pages.Unsubscriber: the address that the link's mail went to is not written to again. Doing it
// twice is the same.
func (s *Service) Unsubscribe(ctx context.Context, token string) error {
	claim, err := s.Links.Verify(links.PurposeUnsubscribe, token)
	if err != nil {
		return problem.New(problem.NotFound, "This link leads nowhere.")
	}
	record, err := invitation.Find(ctx, s.Ledger, claim.Invitation)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && record.Request == nil {
		return problem.New(problem.NotFound, "This link leads nowhere.")
	}
	if err != nil {
		return err
	}
	if _, done := s.Suppressions.Get(record.Request.Person); done {
		return nil
	}
	return s.Suppressions.Add(ctx, record.Request.Person, suppressions.Suppression{Reason: suppressions.Unsubscribed, Invitation: record.ID})
}
