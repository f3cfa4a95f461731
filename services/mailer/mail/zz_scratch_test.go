package mail_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/mailer/mail"
)

func TestScratch(t *testing.T) {
	r := renderer(t)
	out := func(name string, c mail.Context, to mail.Recipient) {
		m, err := r.Mail(c, to)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile("/tmp/mailshots/"+name+".html", []byte(m.HTML()), 0o644))
		require.NoError(t, os.WriteFile("/tmp/mailshots/"+name+".txt", []byte(m.Letter.From+"\n"+m.Subject()+"\n\n"+m.Text()), 0o644))
	}
	to := mail.Recipient{Invitation: "inv_01k9", Generation: 1, Intent: 7, To: "ann@example.org", Name: "Ann Example", Deadline: time.Date(2026, 11, 30, 15, 4, 0, 0, time.UTC),
		Link: "https://invite.acme.example/i/AQEBAZqsZ1f2cZe6t0S1c0k2d3J1bm5lcnVubmVycnVubmVy", Unsubscribe: "https://invite.acme.example/unsubscribe/AQEBAZqsZ1f2c"}
	base := mail.Context{Purpose: mail.PurposeInvitation, Organization: "Acme Robotics", Inviter: "Maria Silva", Role: "admin"}
	out("plain", base, to)
	note := base
	note.Note = "Welcome aboard! The wiki is at acme.example/start, call me at +1 555 010 9999 if anything is unclear."
	note.Accent, note.Logo = "#f4b400", "http://127.0.0.1:8899/logo.svg"
	out("note", note, to)
	note.Logo = "https://invite.acme.example/logos/acme/none.png"
	out("nologo", note, to)
	for _, l := range []string{"ko", "de", "ja", "es", "ar"} {
		c := base
		c.Locale, c.Note = l, "Welcome aboard, see you on Monday!"
		out(l, c, to)
	}
	rem := base
	rem.Purpose = mail.PurposeReminder
	out("reminder", rem, to)
	long := base
	long.Organization = "Vereinigte Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft GmbH"
	long.Inviter = "Wolfeschlegelsteinhausenbergerdorff-Maximilian von und zu Hohenzollern-Sigmaringen"
	out("long", long, to)
	for _, p := range []mail.Purpose{mail.PurposeAccepted, mail.PurposeBounced, mail.PurposeUnwanted, mail.PurposeRenewalAsked} {
		c := base
		c.Purpose, c.Invitee, c.Address = p, "Ann Example", "ann@example.org"
		to := to
		to.Name, to.Unsubscribe, to.Link = "Maria", "", "https://invite.acme.example/console/acme/invitations/inv_01k9"
		out(string(p), c, to)
	}
}
