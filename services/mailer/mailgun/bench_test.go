package mailgun_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/usherhq/usher/services/mailer/mail"
)

// cpu is what this process has used, the fake Mailgun included.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkSend(b *testing.B, size int) {
	s := setup(b, nil)
	mails := s.mails(b, size)
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

// BenchmarkSendThroughBatching is the mailer's path: many callers, one mail each, all with one letter.
func BenchmarkSendThroughBatching(b *testing.B) {
	for _, callers := range []int{64, 1000} {
		b.Run(fmt.Sprint(callers, "callers"), func(b *testing.B) {
			bench := setup(b, nil)
			mails := bench.mails(b, 1000)
			batching := mail.NewBatching(bench.Sender, mail.BatchingOptions{})
			defer batching.Close()
			before := cpu()
			b.SetParallelism(callers / 2)
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := batching.Send(b.Context(), mails[n.Add(1)%1000]); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/mail")
			b.ReportMetric(float64(b.N)/float64(bench.fake.Counters().Calls), "mails/call")
		})
	}
}

func BenchmarkSendOne(b *testing.B)      { benchmarkSend(b, 1) }
func BenchmarkSendTen(b *testing.B)      { benchmarkSend(b, 10) }
func BenchmarkSendHundred(b *testing.B)  { benchmarkSend(b, 100) }
func BenchmarkSendThousand(b *testing.B) { benchmarkSend(b, 1000) }
