package mailgun_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/mailer/fakemailgun"
	"github.com/usherhq/usher/services/mailer/mail"
	"github.com/usherhq/usher/services/mailer/mailgun"
)

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkSend(b *testing.B, size int) {
	fake := fakemailgun.New(fakemailgun.Options{})
	srv := httptest.NewServer(fake)
	b.Cleanup(srv.Close)
	s, err := mailgun.New(mailgun.Options{Domain: "mg.example.org", APIKey: "key", Base: srv.URL})
	require.NoError(b, err)
	r, err := mail.NewRenderer(mail.RendererOptions{From: "Usher <hello@mg.example.org>"})
	require.NoError(b, err)
	mails := make([]mail.Mail, size)
	for i := range mails {
		mails[i], err = r.Mail(mail.Context{Purpose: mail.PurposeInvitation, Organization: "Acme", Inviter: "Bob", Role: "member", ReplyTo: "bob@acme.example"}, mail.Recipient{
			Invitation: fmt.Sprintf("inv_01jd7x2q8c9v5m3k4n6p7r8s%02x", i%256), Generation: 1, Intent: uint64(i + 1), To: fmt.Sprintf("person%d@example.org", i), Name: "Ann Example",
			Link:        "https://usher.example.org/i/AQEBAZNn8QyQcYGZp3CkWbX2Qq0kB0F1o2J3c4d5e6f7g8h9i0j1k2l3m4n5o",
			Unsubscribe: "https://usher.example.org/u/AQEBAZNn8QyQcYGZp3CkWbX2Qq0kB0F1o2J3c4d5e6f7g8h9i0j1k2l3m4n5o", Deadline: time.Now(),
		})
		require.NoError(b, err)
	}
	before := cpu()
	for b.Loop() {
		for _, r := range s.Send(context.Background(), mails) {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "mails/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N*size), "cpu-µs/mail")
}

func BenchmarkSendOne(b *testing.B)      { benchmarkSend(b, 1) }
func BenchmarkSendTen(b *testing.B)      { benchmarkSend(b, 10) }
func BenchmarkSendHundred(b *testing.B)  { benchmarkSend(b, 100) }
func BenchmarkSendThousand(b *testing.B) { benchmarkSend(b, 1000) }
