package redisdb

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"
)

// Every key there is, with its lifetime. What stands in braces decides the slot in a cluster, so that the keys one script
// touches are together. Nothing from outside becomes part of a key unless it was checked or hashed: a delimiter in it
// would make one key out of two.

// Lifetimes.
const (
	// tokenGrace is how long a token outlives its deadline, so that a late visitor is told "expired" from the index.
	tokenGrace = 24 * time.Hour
	// claimLife bounds a claim nobody settled; the ledger's "sent" is the lasting record.
	claimLife = 48 * time.Hour
	// leaseLife is how long a repeat of a request waits for a process that gives no sign of life any more.
	leaseLife = 10 * time.Second
	// webhookLease is the same for a webhook, whose sender takes its time between two tries.
	webhookLease = time.Minute
	// answerLife is how long the answer to an idempotent request is kept.
	answerLife = 24 * time.Hour
	// sessionIdle is how long a session may go unused. When it ends at the latest stands in the session itself.
	sessionIdle = 2 * time.Hour
)

// usher:token:<SHA-256 of the token> → "<org> <invitation>". Lives until a day after the deadline.
func tokenKey(hash [sha256.Size]byte) string { return "usher:token:" + hex.EncodeToString(hash[:]) }

// usher:claim:{<org>}:<invitation> → "<nanoseconds> <intent> <owner>", and the same for a notice under
// usher:notice:{<org>}:<invitation>:<intent>. Lives for claimLife, or until released.
func claimKey(i Intent) string {
	if i.Notice {
		return "usher:notice:{" + i.Organization + "}:" + i.Invitation + ":" + strconv.FormatUint(i.Sequence, 10)
	}
	return "usher:claim:{" + i.Organization + "}:" + i.Invitation
}

// usher:idempotency:<hash of scope and key> → the lease or the answer. Lives for leaseLife, then for answerLife.
func idempotencyKey(scope, key string) string {
	return "usher:idempotency:" + digest(strconv.Itoa(len(scope))+":"+scope+key)
}

// usher:webhook:<hash of the provider's token> → the nonce of whoever saw it first, for webhookLease; then that it is stored, as long as the caller says.
func webhookKey(token string) string { return "usher:webhook:" + digest(token) }

// usher:session:<SHA-256 of the token> → "<end in milliseconds> <data>". Lives for sessionIdle after its last use.
func sessionKey(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "usher:session:" + hex.EncodeToString(sum[:])
}

// usher:limit:<hash of what is limited>:<number of the window> → how often in that window. Lives for two windows.
func limitKey(what string, window int64) string {
	return "usher:limit:" + digest(what) + ":" + strconv.FormatInt(window, 10)
}

// The views of one organization. They live for good, and are made again by a rebuild.
type viewKeys struct{ prefix string }

func keysOf(org string) viewKeys { return viewKeys{prefix: "usher:{" + org + "}:"} }

// usher:{<org>}:invitations → hash of invitation → record.
func (k viewKeys) invitations() string { return k.prefix + "invitations" }

// usher:{<org>}:people → hash of person → their invitations, parted by spaces.
func (k viewKeys) people() string { return k.prefix + "people" }

// usher:{<org>}:counts → hash of combo → number of invitations.
func (k viewKeys) counts() string { return k.prefix + "counts" }

// usher:{<org>}:buckets → sorted set of "<bucket>:<combo>" for each index there is, by bucket.
func (k viewKeys) buckets() string { return k.prefix + "buckets" }

// usher:{<org>}:index:<bucket>:<combo> → sorted set of invitation by sequence.
func (k viewKeys) index() string { return k.prefix + "index:" }

// digest is a hash long enough that nobody finds two texts with the same one.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:20])
}
