package api

import (
	"context"
	"time"

	"github.com/usherhq/usher/pkg/problem"
)

const (
	// fenceFor bounds how long a revoke waits for a mail that is being handed to the provider: longer than a mail may wait
	// for its turn and a call to the provider may last.
	fenceFor   = 25 * time.Second
	fenceEvery = 10 * time.Millisecond
)

// mailSettled waits until no mail of the invitation is between claim and provider, so that none leaves after the revoke
// was answered. A claim older than fenceFor belongs to a worker that died or is asking the provider: it looks at the
// ledger again before it sends anything.
func (s *Service) mailSettled(ctx context.Context, org, invitation string) error {
	timer := time.NewTicker(fenceEvery)
	defer timer.Stop()
	for {
		claim, held, err := s.Redis.MailInFlight(ctx, org, invitation)
		if err != nil {
			return err
		}
		if !held || s.Ledger.Now().Sub(claim.Since) > fenceFor {
			return nil
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return problem.Unavailable("The mailer", context.Cause(ctx))
		}
	}
}
