package brokertest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Cluster starts three embedded brokers that are a cluster, and ends them with the test. Options go to each.
func Cluster(t testing.TB, opts ...Option) []*Broker {
	t.Helper()
	routes := make([]string, 3)
	for i := range routes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		routes[i] = l.Addr().String()
		require.NoError(t, l.Close())
	}
	brokers := make([]*Broker, len(routes))
	for i := range brokers {
		lines := fmt.Sprintf("server_name: n%d\ncluster { name: c, listen: %q, routes: [\"nats://%s\"] }",
			i+1, routes[i], strings.Join(routes, `", "nats://`))
		brokers[i] = &Broker{settings: newSettings(t, append([]Option{Config(lines)}, opts...))}
		t.Cleanup(brokers[i].Stop)
		brokers[i].start(t)
	}
	require.Eventually(t, func() bool {
		for _, b := range brokers {
			if b.server.JetStreamIsLeader() {
				return true
			}
		}
		return false
	}, patience, 10*time.Millisecond, "the cluster found no leader")
	return brokers
}
