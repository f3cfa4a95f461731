package bus

import (
	"context"

	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
)

// BenchmarkRouter measures one consumer whose handler does nothing, with metrics, decoding real events. The broker is a
// process of its own, so that the profile and the CPU time are the router's and the client's alone. With GOGC=800 the heap of a
// test, which is far smaller than a service's, does not make garbage collection the main cost.
func BenchmarkRouter(b *testing.B) {
	broker := brokertest.Process(b, brokertest.Lazy())
	nc := broker.Conn(b)
	fill(b, nc, b.N)

	var handled atomic.Int64
	finished := make(chan struct{})
	router, err := NewRouter(RouterOptions{
		Conn: nc, DeadLetters: mustPublisher(b, nc), Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	router.Handle("bench", Subscription{Stream: "BENCH", Durable: "bench", InFlight: 512}, func(context.Context, *Received) error {
		if handled.Add(1) == int64(b.N) {
			close(finished)
		}
		return nil
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	before := cpuTime()
	b.ReportAllocs()
	b.ResetTimer()
	go func() { ended <- router.Run(ctx) }()
	<-finished
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/msg")
	stop()
	require.NoError(b, <-ended)
}

func fill(b *testing.B, nc *nats.Conn, n int) {
	b.Helper()
	js, err := jetstream.New(nc)
	require.NoError(b, err)
	_, err = js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "BENCH", Subjects: []string{"invitations.>"}})
	require.NoError(b, err)
	id := events.NewInvitationID()
	header, body, err := events.Encode(events.Event{
		ID: events.NewEventID(), Source: "/usher/api", Subject: id, Time: time.Now(),
		CorrelationID: id, CausationID: events.NewEventID(), Data: &events.InvitationRequested{
			Organization: "acme", Email: "new.person@example.org", Role: "member", Inviter: "owner@example.org",
			Invitation: id, Person: "abcdefghijklmnopqrstuvwxyz", ExpiresAt: time.Now().Add(time.Hour),
		},
	})
	require.NoError(b, err)
	for range n {
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: events.InvitationSubject("acme", id, events.FactRequested), Header: header, Data: body},
			jetstream.WithStallWait(time.Minute))
		require.NoError(b, err)
	}
	<-js.PublishAsyncComplete()
}
