package cli

import (
	"context"

	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/services/api/console"
	"github.com/usherhq/usher/services/mailer"
)

// letters lets the console show mails as they went out: here the mailer that writes them is in the same process.
type letters struct{ *mailer.Service }

// Letter implements console.Letters.
func (l letters) Letter(ctx context.Context, record invitation.Record) (console.Letter, error) {
	m, err := l.Preview(ctx, record)
	if err != nil {
		return console.Letter{}, err
	}
	return console.Letter{From: m.Letter.From, To: m.To, Subject: m.Subject(), Text: m.Text(), HTML: m.HTML()}, nil
}
