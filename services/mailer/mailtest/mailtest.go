// Package mailtest is what every provider of mail must do, as tests that each implementation runs.
package mailtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/mailer/mail"
)

// Provider is a provider under test.
type Provider interface {
	mail.Sender
	mail.Finder
}

// Mails are n mails of one letter, to as many people.
func Mails(t testing.TB, n int) []mail.Mail {
	t.Helper()
	r, err := mail.NewRenderer(mail.RendererOptions{From: "Usher <hello@mg.example.org>"})
	require.NoError(t, err)
	mails := make([]mail.Mail, n)
	for i := range mails {
		mails[i], err = r.Mail(
			mail.Context{Purpose: mail.PurposeInvitation, Organization: "Acme", Inviter: "Bob", Role: "member"},
			mail.Recipient{
				Invitation: fmt.Sprint("inv_", i), Generation: 1, Intent: uint64(i + 1), To: fmt.Sprintf("person%d@example.org", i),
				Link: fmt.Sprint("https://usher.example/i/", i), Deadline: time.Now().Add(time.Hour),
			})
		require.NoError(t, err)
	}
	return mails
}

// Run runs the suite. Each call of fresh gives a provider that has taken nothing yet, takes everything, and knows at once
// what it took.
func Run(t *testing.T, fresh func(t *testing.T) Provider) {
	t.Run("EachMailGetsAnAnswer", func(t *testing.T) {
		p := fresh(t)
		for _, n := range []int{0, 1, 2, mail.MaxBatch, mail.MaxBatch + 1} {
			results := p.Send(t.Context(), Mails(t, n))
			require.Len(t, results, n)
			for _, r := range results {
				require.NoError(t, r.Err)
				require.NotEmpty(t, r.ID)
			}
		}
	})
	t.Run("MailsOfDifferentLettersCanBeMixed", func(t *testing.T) {
		p := fresh(t)
		mails := append(Mails(t, 2), Mails(t, 2)...) // two renderers, two letters, the same addresses
		require.Len(t, p.Send(t.Context(), mails), 4)
	})
	t.Run("WhatWasTakenIsFoundAndNothingElseIs", func(t *testing.T) {
		p := fresh(t)
		mails := Mails(t, 5)
		attempted := time.Now()
		p.Send(t.Context(), mails[:4])
		for i, m := range mails {
			id, found, err := p.Find(t.Context(), m, attempted)
			require.NoError(t, err)
			require.Equal(t, i < 4, found)
			require.Equal(t, i < 4, id != "")
		}
	})
}
