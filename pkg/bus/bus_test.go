package bus

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
)

func TestConnectWaitsForTheBroker(t *testing.T) {
	t.Parallel()
	broker := brokertest.Run(t)
	broker.Stop()
	connected := make(chan *nats.Conn)
	log := &logBuffer{}
	go func() {
		nc, _ := Connect(context.Background(), Options{URL: broker.URL, Name: "usher-test", Logger: slog.New(slog.NewTextHandler(log, nil))})
		connected <- nc
	}()
	require.Eventually(t, func() bool { return log.String() != "" }, soon, 5*time.Millisecond)
	broker.Restart(t)
	nc := next(t, connected)
	t.Cleanup(nc.Close)
	require.True(t, nc.IsConnected())
	require.Equal(t, "usher-test", nc.Opts.Name)
}

func TestConnectGivesUpWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Connect(ctx, Options{URL: "nats://127.0.0.1:1"})
	require.ErrorContains(t, err, "nats cannot be reached")
}

func TestConnectInProcessComesBackAfterARestart(t *testing.T) {
	t.Parallel()
	broker := brokertest.Run(t)
	nc, err := Connect(context.Background(), Options{InProcess: broker})
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	broker.Restart(t)
	require.Eventually(t, func() bool { return nc.FlushTimeout(time.Second) == nil }, soon, 5*time.Millisecond)
}

const users = `
accounts {
  MAIN {
    jetstream: enabled
    users: [
      { user: owner, password: secret }
      { user: app, password: secret, permissions: { publish: { allow: ["requests.crm"] }, subscribe: { allow: ["_INBOX.>"] } } }
    ]
  }
}`

func TestWrongCredentialsAreAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	broker := brokertest.Run(t, brokertest.Config(users))
	_, err := Connect(context.Background(), Options{URL: broker.URL})
	require.ErrorIs(t, err, nats.ErrAuthorization)
}

func TestPublishWithoutPermissionNamesThePermission(t *testing.T) {
	t.Parallel()
	broker := brokertest.Run(t, brokertest.Config(users))
	log := &logBuffer{}
	nc, err := nats.Connect(broker.URL, append(natsOptions(Options{Logger: slog.New(slog.NewTextHandler(log, nil))}), nats.UserInfo("app", "secret"))...)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	err = mustPublisher(t, nc).Publish("invitations.acme.x.requested", message.NewMessage("evt-1", nil))
	require.ErrorIs(t, err, nats.ErrPermissionViolation)
	require.ErrorContains(t, err, "invitations.acme.x.requested")
	require.Contains(t, log.String(), "nats permission violation")
}

func TestWatermillsTraceOutputCostsNothing(t *testing.T) {
	q := quiet{slog.New(slog.NewTextHandler(&logBuffer{}, nil))}
	fields := watermill.LogFields{"a": 1}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		q.Trace("m", fields)
		q.Debug("m", fields)
	}))
}
