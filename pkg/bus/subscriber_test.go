package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
)

func (h *harness) subscriber(s Subscription, change ...func(*SubscriberOptions)) *Subscriber {
	h.t.Helper()
	o := SubscriberOptions{
		Plan: func(string) (Subscription, error) { return s, nil }, Logger: h.logger, CloseGrace: 5 * time.Second,
	}
	for _, c := range change {
		c(&o)
	}
	sub, err := NewSubscriber(h.nc, o)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, sub.Close()) })
	return sub
}

func (h *harness) subscribe(sub *Subscriber) <-chan *message.Message {
	h.t.Helper()
	messages, err := sub.Subscribe(context.Background(), "worker")
	require.NoError(h.t, err)
	return messages
}

func TestDeliveryIsDescribedInMetadata(t *testing.T) {
	t.Parallel()
	h := setup(t)
	messages := h.subscribe(h.subscriber(plan()))
	h.publish("evt-1")
	first := next(t, messages)
	require.Equal(t, "evt-1", first.UUID)
	first.Nack()
	m := next(t, messages)
	require.Equal(t, testSubject, m.Metadata[MetadataSubject])
	require.Equal(t, testStream, m.Metadata[MetadataStream])
	require.Equal(t, "1", m.Metadata[MetadataSequence])
	require.Equal(t, "2", m.Metadata[MetadataDeliveries])
	at, err := time.Parse(time.RFC3339Nano, m.Metadata[MetadataTime])
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	m.Ack()
	h.settled("worker")
}

func TestHeadersSurviveBothWaysRepeatedAndInAnyCase(t *testing.T) {
	t.Parallel()
	h := setup(t)
	messages := h.subscribe(h.subscriber(plan()))
	h.publishRaw(&nats.Msg{Subject: testSubject, Header: nats.Header{
		"x-tag": {"one", "two", "three"}, "X-Tag": {"other"}, "CE-ID": {"evt-1"}, "Empty": {""},
	}})
	m := next(t, messages)
	m.Ack()
	require.Equal(t, "evt-1", m.UUID)

	require.NoError(t, mustPublisher(t, h.nc).Publish("requests.copy", m))
	stream, err := h.js.Stream(h.context(), testStream)
	require.NoError(t, err)
	copied, err := stream.GetLastMsgForSubject(h.context(), "requests.copy")
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two", "three"}, copied.Header["x-tag"])
	require.Equal(t, []string{"other"}, copied.Header["X-Tag"])
	require.Equal(t, []string{""}, copied.Header["Empty"])
	require.Equal(t, []string{"evt-1"}, copied.Header["ce-id"])
}

func TestServersHeadersAreStrippedBothWays(t *testing.T) {
	t.Parallel()
	h := setup(t)
	messages := h.subscribe(h.subscriber(plan()))
	h.publishRaw(&nats.Msg{Subject: testSubject, Header: nats.Header{
		"Nats-Msg-Id": {"1"}, "Nats-Expected-Stream": {testStream}, "nats-other": {"x"},
		"Usher-Bus-Deliveries": {"99"}, MetadataSubject: {"forged"}, "Kept": {"y"},
	}})
	m := next(t, messages)
	m.Ack()
	require.Empty(t, m.UUID)
	require.Len(t, m.Metadata, 6, "five about the delivery and the one that is kept: %v", m.Metadata)
	require.Equal(t, testSubject, m.Metadata[MetadataSubject])
	require.Equal(t, "1", m.Metadata[MetadataDeliveries])
	require.Equal(t, "y", m.Metadata["Kept"])

	out := message.NewMessage("evt-2", nil)
	out.Metadata = message.Metadata{
		"Nats-Expected-Stream": "OTHER", "nats-rollup": "all", MetadataSequence: "5", "Kept": "y", "": "nameless",
	}
	require.Equal(t, nats.Header{"Kept": {"y"}, "ce-id": {"evt-2"}, "Nats-Msg-Id": {"evt-2"}}, encodeHeader(out))
	require.NoError(t, mustPublisher(t, h.nc).Publish("requests.copy", out), "obeyed, the headers would be refused")
}

func TestARepeatedPublishIsStoredOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	p := mustPublisher(t, h.nc)
	m := message.NewMessage("evt-1", []byte("x"))
	require.NoError(t, p.Publish(testSubject, m, m))
	require.NoError(t, p.Publish(testSubject, m))
	require.EqualValues(t, 1, h.messages(testStream))
	m.Metadata.Set(MetadataMessageID, "another")
	require.NoError(t, p.Publish(testSubject, m))
	require.EqualValues(t, 2, h.messages(testStream))
}

func TestPublishFailsWhereNoStreamListens(t *testing.T) {
	t.Parallel()
	h := setup(t)
	err := mustPublisher(t, h.nc).Publish("nowhere", message.NewMessage("evt-1", nil))
	require.ErrorContains(t, err, "publish to nowhere")
}

func TestBorrowedConnectionStaysOpen(t *testing.T) {
	t.Parallel()
	h := setup(t)
	p, s := mustPublisher(t, h.nc), h.subscriber(plan())
	messages := h.subscribe(s)
	require.NoError(t, p.Close())
	require.NoError(t, p.Close(), "twice is fine")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice is fine")
	_, open := <-messages
	require.False(t, open)
	require.ErrorIs(t, p.Publish(testSubject, message.NewMessage("evt-1", nil)), ErrClosed)
	_, err := s.Subscribe(context.Background(), "worker")
	require.ErrorIs(t, err, ErrClosed)
	require.True(t, h.nc.IsConnected())
	h.publish("evt-1")
}

func TestMessagesOutliveTheContextOfSubscribe(t *testing.T) {
	t.Parallel()
	h := setup(t)
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "value"))
	messages, err := h.subscriber(plan()).Subscribe(ctx, "worker")
	require.NoError(t, err)
	h.publish("evt-1")
	m := next(t, messages)
	cancel()
	for range messages { // until it is closed
	}
	require.NoError(t, m.Context().Err())
	require.Equal(t, "value", m.Context().Value(key{}))
	m.Ack()
	<-m.Context().Done()
	h.settled("worker")
}

func TestMessagesThatWereNotEmittedGoBackAtOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.AckWait = time.Hour
	slow := h.subscriber(s)
	messages := h.subscribe(slow)
	h.publish(ids(0, 50)...)
	next(t, messages).Ack()
	require.NoError(t, slow.Close()) // 49 had been handed to it

	others := h.subscribe(h.subscriber(s))
	for range 49 {
		next(t, others).Ack()
	}
	h.settled("worker")
}

func TestMessagesOnTheirWayAtTheStopGoBackToo(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	s.AckWait, s.InFlight = time.Hour, 500
	p := mustPublisher(t, h.nc)
	var published []*message.Message
	for _, id := range ids(0, 2000) {
		published = append(published, message.NewMessage(id, nil))
	}
	require.NoError(t, p.Publish(testSubject, published...))
	for range 20 {
		hasty := h.subscriber(s)
		next(t, h.subscribe(hasty)).Nack()
		require.NoError(t, hasty.Close())
	}
	patient := h.subscribe(h.subscriber(s))
	for range published {
		next(t, patient).Ack()
	}
	h.settled("worker")
}

func TestAMessageWithAStatusHeaderIsAMessage(t *testing.T) {
	t.Parallel()
	h := setup(t)
	messages := h.subscribe(h.subscriber(plan()))
	for i, status := range []string{"100", "400", "404", "408", "409", "503"} { // all have their meaning between broker and client
		h.publishRaw(&nats.Msg{Subject: testSubject, Header: nats.Header{
			"Status": {status}, "Description": {"Consumer Deleted"}, "Nats-Pending-Messages": {"500"},
		}})
		m := next(t, messages)
		require.Equal(t, strconv.Itoa(i+1), m.Metadata[MetadataSequence])
		require.Equal(t, "1", m.Metadata[MetadataDeliveries])
		m.Ack()
	}
	require.NotContains(t, h.log.String(), "not consuming")
}

func TestLostConsumerIsMadeAnewWhereItStood(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := h.subscriber(plan())
	messages := h.subscribe(s)
	h.publish(ids(0, 20)...)
	for range 20 {
		next(t, messages).Ack()
	}
	h.settled("worker")
	lookedAfter(t, s, 20)

	require.NoError(t, h.js.DeleteConsumer(h.context(), testStream, "worker"))
	h.publish("evt-new")
	m := next(t, messages)
	require.Equal(t, "evt-new", m.UUID, "none of the twenty comes again")
	m.Ack()
	require.Eventually(t, func() bool { return s.Healthy() == nil }, soon, 5*time.Millisecond)

	lookedAfter(t, s, 21)
	require.NoError(t, h.js.DeleteConsumer(h.context(), testStream, "worker"), "and a second time")
	h.publish("evt-newer")
	m = next(t, messages)
	require.Equal(t, "evt-newer", m.UUID)
	m.Ack()
}

// lookedAfter waits until an inspection has seen that everything up to a sequence is settled.
func lookedAfter(t *testing.T, s *Subscriber, sequence uint64) {
	t.Helper()
	sub := only(s)
	require.Eventually(t, func() bool { return sub.floor.Load() == sequence }, soon, 5*time.Millisecond)
}

func TestDeletedStreamIsReportedAndNotMadeAnew(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := h.subscriber(plan())
	messages := h.subscribe(s)
	require.NoError(t, s.Healthy())
	h.publish("evt-1")
	next(t, messages).Ack()
	h.settled("worker")
	lookedAfter(t, s, 1)

	require.NoError(t, h.js.DeleteStream(h.context(), testStream))
	require.Eventually(t, func() bool { return errors.Is(s.Healthy(), errStreamGone) }, soon, 5*time.Millisecond)
	require.ErrorContains(t, s.Healthy(), "worker is not consuming: the stream does not exist: "+testStream)
	_, err := h.js.Stream(h.context(), testStream)
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)

	h.makeStream(testStream, "requests.*") // by whoever owns it
	h.publish("evt-1")
	m := next(t, messages)
	require.Equal(t, "evt-1", m.UUID, "sequence 1 of the new stream is not that of the old")
	m.Ack()
	require.NoError(t, s.Healthy())
}

func TestAnotherStartKeepsTheConsumerThatIsThere(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := plan()
	h.publish("evt-old")
	s.Start = jetstream.DeliverNewPolicy
	first := h.subscriber(s)
	h.subscribe(first)
	require.NoError(t, first.Close())
	h.publish("evt-new")

	s.Start = jetstream.DeliverAllPolicy // a release that changed its mind must not fail on the consumer of the one before
	s.AckWait = 7 * time.Second
	m := next(t, h.subscribe(h.subscriber(s)))
	require.Equal(t, "evt-new", m.UUID)
	m.Ack()
	c, err := h.js.Consumer(h.context(), testStream, "worker")
	require.NoError(t, err)
	require.Equal(t, s.AckWait, c.CachedInfo().Config.AckWait)
}

func TestAConsumerThatIsAsItShouldBeIsLeftAlone(t *testing.T) {
	t.Parallel()
	h := setup(t)
	for _, s := range []Subscription{plan(), {Stream: testStream, Durable: "all"}, {Stream: testStream, Durable: "two", Filters: []string{"requests.a", "requests.b"}}} {
		h.subscribe(h.subscriber(s))
		changes, err := h.broker.Conn(t).SubscribeSync("$JS.API.CONSUMER.CREATE.>")
		require.NoError(t, err)
		require.NoError(t, h.nc.Flush())
		h.subscribe(h.subscriber(s))
		require.NoError(t, h.nc.Flush())
		_, err = changes.NextMsg(50 * time.Millisecond)
		require.ErrorIs(t, err, nats.ErrTimeout)
	}
}

func TestNothingIsLostWhenTheBrokerRestarts(t *testing.T) {
	t.Parallel()
	h := setup(t)
	messages := h.subscribe(h.subscriber(plan()))
	const total = 3000
	var heard sync.Map
	var distinct atomic.Int64
	all := make(chan struct{})
	go func() {
		for m := range messages {
			if _, again := heard.LoadOrStore(m.UUID, true); !again && distinct.Add(1) == total {
				close(all)
			}
			m.Ack()
		}
	}()
	p := mustPublisher(t, h.nc)
	for i := range total {
		if i == total/3 || i == total/2 {
			h.broker.Restart(t)
		}
		m := message.NewMessage(fmt.Sprintf("evt-%d", i), nil)
		for p.Publish(testSubject, m) != nil { // until the broker is back
		}
	}
	next(t, all)
	h.settled("worker")
}

func TestConsumingGoesOnAtOnceWhenTheBrokerWasKilled(t *testing.T) {
	t.Parallel()
	process := brokertest.Process(t)
	h := newHarness(t, process.Conn(t))
	messages := h.subscribe(h.subscriber(plan()))
	h.publish("evt-1")
	next(t, messages).Ack()
	process.Kill9() // the open request dies with it, and nobody tells
	process.Start(t)
	require.Eventually(t, func() bool { return h.nc.IsConnected() }, soon, 5*time.Millisecond)
	h.publish("evt-2")
	select {
	case m := <-messages:
		m.Ack()
	case <-time.After(mostSilence - time.Second):
		require.Fail(t, "only the silence told")
	}
}

func TestUnhealthyWhileThereIsNoConnection(t *testing.T) {
	t.Parallel()
	h := setup(t)
	s := h.subscriber(plan())
	h.subscribe(s)
	require.NoError(t, s.Healthy())
	h.broker.Stop()
	require.Eventually(t, func() bool { return errors.Is(s.Healthy(), errDisconnected) }, soon, 5*time.Millisecond)
	h.broker.Restart(t)
	require.Eventually(t, func() bool { return s.Healthy() == nil }, soon, 5*time.Millisecond)
}
