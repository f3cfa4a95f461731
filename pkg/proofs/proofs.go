// Package proofs is how the console asks the mailer for a mail: before anybody is invited with it, to look at or to have it
// sent to oneself, and after, to see what was mailed. Services know each other by what travels on the bus alone, and only the mailer writes mails.
package proofs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
)

// Wanted asks for an invitation as an organization's invitees get it.
type Wanted struct {
	// Organization is the organization as it would be: what is not stored yet is shown, too.
	Organization roster.Organization `json:"organization"`
	// Person is the member who asks. The mail names them as inviter, and a test goes to the address of their membership.
	Person string `json:"person"`
	// Send has the mail sent to that address, marked as a test.
	Send bool `json:"send,omitempty"`
	// Invitation asks for something else: the newest mail of that invitation as it went out, the secret of its links
	// masked. Of the organization only the id matters then.
	Invitation string `json:"invitation,omitempty"`
}

// Proof is the mail.
type Proof struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Subject string `json:"subject"`
	HTML    string `json:"html"`
	Text    string `json:"text"`
}

// answer is a proof, or why there is none.
type answer struct {
	Proof
	Code   problem.Code `json:"code,omitempty"`
	Detail string       `json:"detail,omitempty"`
	// Wait is when to ask again, in milliseconds.
	Wait int64 `json:"wait,omitempty"`
}

const (
	// patience is how long the console waits: the provider is asked in between where the mail is sent.
	patience = 15 * time.Second
	// atOnce is how many questions a mailer works on.
	atOnce = 4
	queue  = "mailer"
)

// Ask has the mailer answer. Refusals are the mailer's own, and problem.NotNow where none answers.
func Ask(ctx context.Context, nc *bus.Conn, w Wanted) (Proof, error) {
	question, err := json.Marshal(w)
	if err != nil {
		return Proof{}, fmt.Errorf("proofs: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	said, err := bus.Ask(ctx, nc, events.SubjectProofs, question)
	var a answer
	if err == nil {
		err = json.Unmarshal(said, &a)
	}
	if err != nil {
		return Proof{}, problem.Unavailable("The mailer", err)
	}
	if a.Code != "" {
		return a.Proof, &problem.Error{Code: a.Code, Detail: a.Detail, RetryAfter: time.Duration(a.Wait) * time.Millisecond}
	}
	return a.Proof, nil
}

// Serve answers with what write gives, until ctx ends. Its errors become refusals.
func Serve(ctx context.Context, nc *bus.Conn, write func(context.Context, Wanted) (Proof, error)) error {
	return bus.Answer(ctx, nc, events.SubjectProofs, queue, atOnce, func(ctx context.Context, question []byte) []byte {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var w Wanted
		var a answer
		err := json.Unmarshal(question, &w)
		if err == nil {
			a.Proof, err = write(ctx, w)
		} else {
			err = problem.New(problem.Malformed, "The question cannot be read.")
		}
		if err != nil {
			e := problem.As(err)
			a.Code, a.Detail, a.Wait = e.Code, e.Detail, e.RetryAfter.Milliseconds()
		}
		said, _ := json.Marshal(a) // texts alone
		return said
	})
}
