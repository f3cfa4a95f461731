package redisdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/usherhq/usher/events"
)

// Token is the index entry of an invite token.
type Token struct {
	// Hash is the SHA-256 of the token; the token itself never comes here.
	Hash [sha256.Size]byte
	// Organization and Invitation are where the token leads.
	Organization, Invitation string
	// ExpiresAt is the invitation's deadline; the entry outlives it by a day. It is not read back: the ledger knows better.
	ExpiresAt time.Time
}

// PutToken adds a token to the index. It returns problem.NotNow while Redis is down.
func (db *DB) PutToken(ctx context.Context, t Token) error {
	c := db.putToken(ctx, t)
	if c == nil {
		return nil
	}
	return db.do(ctx, c)
}

// PutTokens adds many tokens to the index. It returns problem.NotNow while Redis is down; some may then be added.
func (db *DB) PutTokens(ctx context.Context, tokens []Token) error {
	commands := make([]redis.Cmder, 0, len(tokens))
	for _, t := range tokens {
		if c := db.putToken(ctx, t); c != nil {
			commands = append(commands, c)
		}
	}
	if len(commands) == 0 {
		return nil
	}
	return db.do(ctx, commands...)
}

// putToken is the command that adds t, nil where the entry would have died already.
func (db *DB) putToken(ctx context.Context, t Token) redis.Cmder {
	left := t.ExpiresAt.Add(tokenGrace).Sub(db.clock())
	if left < time.Millisecond {
		return nil
	}
	return redis.NewStatusCmd(ctx, "set", tokenKey(t.Hash), t.Organization+" "+t.Invitation, "px", left.Milliseconds())
}

// Token looks a hash up. A miss says nothing about the link, only about the index: ask the ledger then. An entry that Usher
// did not write is a miss too, and an alarm. It returns problem.NotNow while Redis is down.
func (db *DB) Token(ctx context.Context, hash [sha256.Size]byte) (Token, bool, error) {
	c := redis.NewStringCmd(ctx, "get", tokenKey(hash))
	switch err := db.do(ctx, c); {
	case wrongType(err):
		db.foreign("token", err)
		return Token{}, false, nil
	case err != nil:
		return Token{}, false, err
	case c.Err() != nil: // no such key
		return Token{}, false, nil
	}
	org, invitation, _ := strings.Cut(c.Val(), " ")
	if !events.ValidOrganization(org) || !events.IsInvitationID(invitation) {
		db.foreign("token", errors.New("not an organization and an invitation"))
		return Token{}, false, nil
	}
	return Token{Hash: hash, Organization: org, Invitation: invitation}, true, nil
}
