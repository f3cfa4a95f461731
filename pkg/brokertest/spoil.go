package brokertest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// What follows makes brokers that have lost something, for tests of what notices that.

// Lose deletes a stored message, as nobody ever should.
func Lose(t testing.TB, js jetstream.JetStream, stream string, sequence uint64) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	require.NoError(t, err)
	require.NoError(t, s.DeleteMsg(t.Context(), sequence))
}

// Handled makes a durable consumer that has handled everything that is stored by now, in the place of one of that name.
func Handled(t testing.TB, js jetstream.JetStream, stream, durable string) {
	t.Helper()
	_ = js.DeleteConsumer(t.Context(), stream, durable) // the first time there is none
	_, err := js.CreateConsumer(t.Context(), stream, jetstream.ConsumerConfig{
		Durable: durable, DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckExplicitPolicy,
	})
	require.NoError(t, err)
}

// Cluster starts brokers that replicate to each other, called node-0, node-1 and so on, and waits until they have a leader.
func Cluster(t testing.TB, size int, opts ...Option) []*Broker {
	t.Helper()
	routes := ""
	ports := make([]int, size)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ports[i] = l.Addr().(*net.TCPAddr).Port
		require.NoError(t, l.Close())
		routes += fmt.Sprintf("nats://127.0.0.1:%d,", ports[i])
	}
	brokers := make([]*Broker, size)
	for i := range brokers {
		brokers[i] = Run(t, append(opts, Config(fmt.Sprintf("server_name: node-%d\ncluster { name: test, listen: \"127.0.0.1:%d\", routes: [%s] }", i, ports[i], routes)))...)
	}
	require.Eventually(t, func() bool {
		for _, b := range brokers {
			if b.server.JetStreamIsLeader() && len(b.server.JetStreamClusterPeers()) == size {
				return true
			}
		}
		return false
	}, patience, 20*time.Millisecond, "the cluster has no leader")
	return brokers
}

// Damage stops the broker, flips bits in the middle of its own copy of a stream, and starts it again.
func (b *Broker) Damage(t testing.TB, stream string) {
	t.Helper()
	b.Stop()
	folder := filepath.Join(b.settings.store, "jetstream", "$G", "streams", stream, "msgs")
	blocks, err := filepath.Glob(filepath.Join(folder, "*.blk"))
	require.NoError(t, err)
	require.NotEmpty(t, blocks, "nothing is stored in %s", folder)
	content, err := os.ReadFile(blocks[0])
	require.NoError(t, err)
	content[len(content)/2] ^= 0xff
	require.NoError(t, os.WriteFile(blocks[0], content, 0o600))
	_ = os.Remove(filepath.Join(folder, "index.db")) // what it summed up, so that the block itself is read
	b.start(t)
}
