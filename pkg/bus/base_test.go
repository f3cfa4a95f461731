package bus
import ("context";"testing";"sync/atomic";"github.com/nats-io/nats.go/jetstream";"github.com/usherhq/usher/pkg/brokertest";"github.com/usherhq/usher/events")
func benchBase(b *testing.B, dec bool) {
	broker := brokertest.Process(b, brokertest.Lazy())
	nc := broker.Conn(b)
	fill(b, nc, b.N)
	js,_ := jetstream.New(nc)
	c, err := js.CreateConsumer(context.Background(), "BENCH", jetstream.ConsumerConfig{Durable:"x", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10000})
	if err!=nil {b.Fatal(err)}
	var n atomic.Int64; done := make(chan struct{})
	before := cpuTime(); b.ReportAllocs(); b.ResetTimer()
	cc, _ := c.Consume(func(m jetstream.Msg){ if dec { events.Decode(m.Headers(), m.Data(), m.Subject()) }; m.Ack(); if n.Add(1)==int64(b.N) {close(done)} })
	<-done; b.StopTimer(); cc.Stop()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/msg")
}
func BenchmarkBase(b *testing.B) { benchBase(b,false) }
func BenchmarkBaseDecode(b *testing.B) { benchBase(b,true) }
