package api

import (
	"context"
	"errors"

	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/suppressions"
)

// CheckUnsubscribe implements pages.Unsubscriber: it tells a genuine link from a forged one, and asks no store.
func (s *Service) CheckUnsubscribe(token string) error {
	if _, err := s.Links.Verify(links.PurposeUnsubscribe, token); err != nil {
		return problem.New(problem.NotFound, "This link leads nowhere.")
	}
	return nil
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
