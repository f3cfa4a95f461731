package check

import (
	"context"
	"time"

	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/redisdb"
)

// claimAge is how long a worker may hold a claim without a sign of life before others settle it.
const claimAge = 30 * time.Second

// lookAtKeys goes over all keys in Redis: tokens and claims are compared at once, indexes remembered for the views.
func (l *look) lookAtKeys(ctx context.Context) error {
	if l.Links == nil {
		l.unchecked = append(l.unchecked, "links: USHER_LINK_KEYS is not set, so their index was left out")
	}
	l.indexes = map[string]map[string]bool{}
	for a := range l.everyone() {
		a.token = false
	}
	return l.Redis.Sweep(ctx, func(part redisdb.Sweep) {
		for org, names := range part.Indexes {
			if l.indexes[org] == nil {
				l.indexes[org] = map[string]bool{}
			}
			for _, name := range names {
				l.indexes[org][name] = true
			}
		}
		for _, t := range part.Tokens {
			if l.Links != nil {
				l.lookAtToken(t)
			}
		}
		for _, c := range part.Claims {
			l.lookAtClaim(c)
		}
	})
}

// lookAtToken finds the invitation's link that an entry is of.
func (l *look) lookAtToken(t redisdb.StoredToken) {
	l.checked["tokens"]++
	drop := mending{act: func(ctx context.Context) error { return l.Redis.DropToken(ctx, t) }}
	what := string(t.Hash[:])
	a := l.read.accounts[t.Organization+"."+t.Invitation]
	if a == nil || a.request == 0 {
		l.tellOf(t.Organization, t.Invitation, TokenForeign, drop, what, "an entry of the token index leads to an invitation that the ledger does not know; it does not belong there")
		return
	}
	r := a.fold()
	for generation := r.Generation; generation > 0; generation-- {
		if l.derives(t, generation) {
			a.token = a.token || generation == r.Generation
			return
		}
	}
	l.tell(a, TokenForeign, drop, what, "an entry of the token index leads to this invitation, and is none of its links; it does not belong there")
}

func (l *look) derives(t redisdb.StoredToken, generation int) bool {
	tokens, err := l.Links.Every(links.PurposeInvite, t.Invitation, generation)
	if err != nil {
		return false
	}
	for _, token := range tokens {
		if token.Hash() == t.Hash {
			return true
		}
	}
	return false
}

// lookAtClaim looks whether a mail that somebody claims is still to be sent.
func (l *look) lookAtClaim(c redisdb.StoredClaim) {
	l.checked["claims"]++
	if l.now.Sub(c.Claim.Since) < claimAge {
		return
	}
	i := c.Intent
	drop := mending{act: func(ctx context.Context) error { return l.Redis.Settle(ctx, i, c.Claim) }}
	a := l.read.accounts[i.Organization+"."+i.Invitation]
	if a == nil || a.request == 0 {
		l.tellOf(i.Organization, i.Invitation, ClaimUnknown, drop, "", "a mail is claimed for an invitation that the ledger does not know; the claim is to go")
		return
	}
	if i.Notice {
		l.lookAtNoticeClaim(a, c, drop)
		return
	}
	consumer, asked := l.asks(a, i.Sequence)
	switch {
	case !asked:
		l.tell(a, ClaimUnknown, drop, "", "a mail is claimed for sequence %d, where nobody asked for one; the claim is to go", i.Sequence)
	case a.wasMailed(i.Sequence):
		l.tell(a, ClaimLeft, drop, "", "a mail is claimed since %s, and the ledger says that it was sent; the claim is to go", said(c.Claim.Since))
	case l.done(consumer, i.Sequence) && a.open(l.now):
		// Whether it left is not known: the worker asks the provider before it sends.
		again := mending{act: func(ctx context.Context) error { return l.handAgain(ctx, i.Sequence, consumer) }}
		l.tell(a, ClaimLeft, again, "", "a mail is claimed since %s, and nobody works on it any more; the event at sequence %d is to be handed to %s again",
			said(c.Claim.Since), i.Sequence, consumer)
	case l.done(consumer, i.Sequence):
		l.tell(a, ClaimLeft, drop, "", "a mail is claimed since %s, and nobody works on it any more; the claim is to go", said(c.Claim.Since))
	}
}

func (l *look) lookAtNoticeClaim(a *account, c redisdb.StoredClaim, drop mending) {
	if l.done(consumerNotices, c.Intent.Sequence) {
		l.tell(a, ClaimLeft, drop, "notice", "a notice about sequence %d is claimed since %s, and nobody works on it any more; the claim is to go",
			c.Intent.Sequence, said(c.Claim.Since))
	}
}

// asks tells which consumer works on the mail that a sequence asks for; false where it asks for none.
func (l *look) asks(a *account, sequence uint64) (consumer string, ok bool) {
	for _, intent := range a.intents {
		if intent != sequence {
			continue
		}
		switch {
		case intent == a.request:
			return ledger.ConsumerMailer, true
		case a.reminds(intent):
			return consumerReminder, true
		}
		return consumerResend, true
	}
	return "", false
}

func (a *account) wasMailed(intent uint64) bool {
	for _, m := range a.mails {
		if m.intent == intent {
			return true
		}
	}
	return false
}

func (a *account) open(now time.Time) bool {
	r := a.fold()
	return r.Request != nil && r.StatusAt(now) == invitation.Pending
}

func said(at time.Time) string { return at.UTC().Format(time.RFC3339) }
