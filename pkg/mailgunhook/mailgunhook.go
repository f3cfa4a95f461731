// Package mailgunhook reads Mailgun's webhooks: it checks who sent one, how old it is, and says what it reports.
//
// Mailgun signs the timestamp and a token, not the report itself. So a report that passes may still have been altered by
// somebody who saw a real one: it may move the delivery state of a mail, and nothing else. Whoever calls Parse must also
// remember the tokens it gave for twice MaxSkew and ignore what comes again.
package mailgunhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxSkew is how far a webhook's timestamp may lie from the present, either way. A token must be remembered for 2*MaxSkew.
const MaxSkew = 15 * time.Minute

// MaxToken is the longest token accepted; Mailgun's have 50 characters.
const MaxToken = 100

var (
	// ErrNoKey is returned when there is no signing key to check against. The API key is never tried in its place.
	ErrNoKey = errors.New("no webhook signing key is set")
	// ErrMalformed is returned for a body that is no webhook.
	ErrMalformed = errors.New("not a Mailgun webhook")
	// ErrSignature is returned when the signature is missing or not the signing key's.
	ErrSignature = errors.New("the webhook's signature is wrong")
	// ErrStale is returned when the signature is right but older or newer than MaxSkew.
	ErrStale = errors.New("the webhook's timestamp is too far from now")
)

// Kind is what a webhook reports.
type Kind string

// The kinds that say something about a mail's delivery. Mailgun's other events (accepted, opened, clicked, …) come with
// their own names, and mean nothing here.
const (
	Delivered    Kind = "delivered"
	Deferred     Kind = "deferred" // "failed" with severity "temporary"
	Bounced      Kind = "bounced"  // "failed" with severity "permanent"
	Complained   Kind = "complained"
	Unsubscribed Kind = "unsubscribed"
)

// The names of the user variables that tie a report to its invitation. The sender sets them, Mailgun gives them back.
const (
	VarInvitation = "invitation"
	// VarNotice stands in the place of VarInvitation on a mail that tells the inviter what became of the invitation: what is
	// reported of it says nothing about the invitee.
	VarNotice     = "notice"
	VarGeneration = "generation"
	VarPurpose    = "purpose"
	VarIntent     = "intent"
)

// Event is one report.
type Event struct {
	// Token names the delivery of the webhook; the same token twice is a replay.
	Token string
	// ID is Mailgun's id of the event, the same in each repetition.
	ID   string
	Kind Kind
	// OccurredAt is when it happened, by Mailgun's clock.
	OccurredAt time.Time
	// Invitation, Generation, Purpose and Intent are the user variables; empty or zero for mails of another sender.
	Invitation string
	// Notice is the invitation that a notice to the inviter is about; Invitation is empty then.
	Notice     string
	Generation int
	Purpose    string
	Intent     uint64
	// Recipient is the address the report is about.
	Recipient string
	// MessageID is the mail's Message-ID with its angle brackets.
	MessageID string
	// Code is the SMTP status, where there was one. Reason is Mailgun's word for the class of failure ("bounce").
	Code   int
	Reason string
}

// envelope is the body of a webhook.
type envelope struct {
	Signature struct {
		Timestamp string `json:"timestamp"`
		Token     string `json:"token"`
		Signature string `json:"signature"`
	} `json:"signature"`
	Data json.RawMessage `json:"event-data"`
}

// data is Mailgun's event, as far as it matters.
type data struct {
	ID        string  `json:"id"`
	Event     string  `json:"event"`
	Severity  string  `json:"severity"`
	Reason    string  `json:"reason"`
	Timestamp float64 `json:"timestamp"` // seconds
	Recipient string  `json:"recipient"`
	Message   struct {
		Headers struct {
			MessageID string `json:"message-id"`
		} `json:"headers"`
	} `json:"message"`
	Status struct {
		Code text `json:"code"`
	} `json:"delivery-status"`
	Variables json.RawMessage `json:"user-variables"`
}

// Parse reads the body of a webhook. It returns ErrNoKey, ErrMalformed, ErrSignature or ErrStale; a body that fails the
// check is not looked into any further.
func Parse(body []byte, signingKey string, now time.Time) (Event, error) {
	if signingKey == "" {
		return Event{}, ErrNoKey
	}
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	s := e.Signature
	if s.Token == "" || len(s.Token) > MaxToken || !hmac.Equal([]byte(s.Signature), []byte(Sign(signingKey, s.Timestamp, s.Token))) {
		return Event{}, ErrSignature
	}
	if err := fresh(s.Timestamp, now); err != nil {
		return Event{}, err
	}
	var d data
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return Event{}, fmt.Errorf("%w: event-data: %w", ErrMalformed, err)
	}
	ev := d.event()
	ev.Token = s.Token
	return ev, nil
}

// Sign is the signature Mailgun puts on a webhook: lower-case hex of HMAC-SHA-256 over the timestamp and the token.
// Comparing texts, not bytes, keeps any other spelling of the same signature out.
func Sign(signingKey, timestamp, token string) string {
	h := hmac.New(sha256.New, []byte(signingKey))
	h.Write([]byte(timestamp))
	h.Write([]byte(token))
	return hex.EncodeToString(h.Sum(nil))
}

// fresh also keeps the border between timestamp and token where it was: nothing in the signature marks it, but a digit
// moved across it makes another time, far away.
func fresh(timestamp string, now time.Time) error {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return ErrStale
	}
	if d := now.Sub(time.Unix(seconds, 0)); d > MaxSkew || d < -MaxSkew {
		return ErrStale
	}
	return nil
}

func (d data) event() Event {
	vars := variables(d.Variables)
	generation, _ := strconv.Atoi(vars[VarGeneration]) // what is not ours has none, and is then nobody's generation
	intent, _ := strconv.ParseUint(vars[VarIntent], 10, 64)
	code, _ := strconv.Atoi(string(d.Status.Code))
	return Event{
		ID: d.ID, Kind: d.kind(), OccurredAt: instant(d.Timestamp),
		Invitation: vars[VarInvitation], Notice: vars[VarNotice], Generation: generation, Purpose: vars[VarPurpose], Intent: intent,
		Recipient: d.Recipient, MessageID: bracketed(d.Message.Headers.MessageID),
		Code: code, Reason: d.Reason,
	}
}

func (d data) kind() Kind {
	switch {
	case d.Event == "failed" && d.Severity == "permanent":
		return Bounced
	case d.Event == "failed":
		return Deferred // of two ways to misread an unknown severity, the one that does no harm
	default:
		return Kind(d.Event)
	}
}

// variables reads the user variables. They are an object of texts, but other senders on the same domain may use numbers,
// and Mailgun sends an empty list where there are none.
func variables(raw json.RawMessage) map[string]string {
	var vars map[string]text
	if json.Unmarshal(raw, &vars) != nil {
		return nil
	}
	out := make(map[string]string, len(vars))
	for k, v := range vars {
		out[k] = string(v)
	}
	return out
}

// text is a JSON text or number, as text; anything else is empty.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(raw []byte) error {
	var s string
	var n json.Number
	switch {
	case json.Unmarshal(raw, &s) == nil:
		*t = text(s)
	case json.Unmarshal(raw, &n) == nil:
		*t = text(n)
	}
	return nil
}

func instant(seconds float64) time.Time {
	return time.UnixMicro(int64(seconds * 1e6)).UTC()
}

func bracketed(id string) string {
	if id == "" {
		return ""
	}
	return "<" + strings.Trim(id, "<>") + ">"
}
