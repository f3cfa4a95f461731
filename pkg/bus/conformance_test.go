package bus

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
)

func TestWatermillConformance(t *testing.T) {
	// Lazy: the suite publishes tens of thousands of messages and is about delivery, not about disks.
	broker := brokertest.Run(t, brokertest.Lazy())
	// No RestartServiceCommand: the suite's TestReconnect compares what it received with a list of what it published that
	// another goroutine is still filling, which with a broker this near fails by itself. Ours is
	// TestNothingIsLostWhenTheBrokerRestarts.
	tests.TestPubSub(t, tests.Features{ConsumerGroups: true, Persistent: true}, func(t *testing.T) (message.Publisher, message.Subscriber) {
		return newSuitePubSub(t, broker, "shared")
	}, func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		return newSuitePubSub(t, broker, group)
	})
}

// suiteSubscriber makes a stream of each topic, which the product's subscriber never does.
type suiteSubscriber struct {
	*Subscriber
	js jetstream.JetStream
}

func (s suiteSubscriber) SubscribeInitialize(topic string) error {
	_, err := s.js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{Name: topic, Subjects: []string{topic}})
	return err
}

func newSuitePubSub(t *testing.T, broker *brokertest.Broker, group string) (message.Publisher, message.Subscriber) {
	nc := broker.Conn(t)
	publisher, err := NewPublisher(nc)
	require.NoError(t, err)
	subscriber, err := NewSubscriber(nc, SubscriberOptions{
		CloseGrace: time.Second,
		Plan: func(topic string) (Subscription, error) {
			return Subscription{
				Stream: topic, Durable: group, InFlight: 100, AckWait: 10 * time.Second,
				RetryMin: 10 * time.Millisecond, RetryMax: 100 * time.Millisecond,
			}, nil
		},
	})
	require.NoError(t, err)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return publisher, suiteSubscriber{subscriber, js}
}
