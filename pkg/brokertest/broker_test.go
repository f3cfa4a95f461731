package brokertest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
)

func TestEmbeddedBrokerKeepsItsMessagesAndPortsAcrossARestart(t *testing.T) {
	b := brokertest.Run(t)
	js := b.JetStream(t)
	publishOne(t, js)
	url := b.URL

	b.Restart(t)

	require.Equal(t, url, b.URL)
	requireOneMessage(t, js)
}

func TestEmbeddedBrokerTakesConnectionsInProcess(t *testing.T) {
	b := brokertest.Run(t)
	nc, err := nats.Connect("", nats.InProcessServer(b))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	require.NoError(t, nc.FlushTimeout(5*time.Second))
}

func TestProcessKeepsAcknowledgedMessagesWhenKilled(t *testing.T) {
	p := brokertest.Process(t)
	js := p.JetStream(t)
	publishOne(t, js)

	p.Kill9()
	p.Start(t)
	requireOneMessage(t, js)

	p.Stop(t)
	p.Start(t)
	requireOneMessage(t, js)
}

func TestBrokersSyncAlwaysUnlessLazy(t *testing.T) {
	require.True(t, syncsAlways(t, brokertest.Run(t).MonitoringURL))
	require.False(t, syncsAlways(t, brokertest.Run(t, brokertest.Lazy()).MonitoringURL))
	require.True(t, syncsAlways(t, brokertest.Process(t).MonitoringURL))
}

func TestConfigReachesTheServer(t *testing.T) {
	b := brokertest.Run(t, brokertest.Config(`authorization { user: ann, password: secret }`))
	_, err := nats.Connect(b.URL)
	require.ErrorIs(t, err, nats.ErrAuthorization)
	b.Conn(t, nats.UserInfo("ann", "secret"))
}

func publishOne(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	_, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	require.NoError(t, err)
	_, err = js.Publish(context.Background(), "s", []byte("kept"))
	require.NoError(t, err)
}

func requireOneMessage(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	require.Eventually(t, func() bool { // the client reconnects in its own time
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s, err := js.Stream(ctx, "S")
		return err == nil && s.CachedInfo().State.Msgs == 1
	}, 30*time.Second, 20*time.Millisecond)
}

func syncsAlways(t *testing.T, monitoring string) bool {
	t.Helper()
	answer, err := http.Get(monitoring + "/varz")
	require.NoError(t, err)
	defer answer.Body.Close()
	var varz struct {
		JetStream struct {
			Config struct {
				SyncAlways bool `json:"sync_always"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&varz))
	return varz.JetStream.Config.SyncAlways
}
