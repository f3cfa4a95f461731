package composetest

import (
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/redisdb"
)

// The servers' own programs read the files that deploy ships, and Usher's own checks at start judge what comes of it.

func TestTheBrokersConfigurationIsWhatProductionAsksFor(t *testing.T) {
	options, err := server.ProcessConfigFile("../nats.conf")
	require.NoError(t, err)
	options.Host, options.Port = "127.0.0.1", server.RANDOM_PORT
	options.HTTPHost, options.HTTPPort = "127.0.0.1", server.RANDOM_PORT
	options.StoreDir, options.NoLog, options.NoSigs = t.TempDir(), true, true
	broker, err := server.NewServer(options)
	require.NoError(t, err)
	broker.Start()
	t.Cleanup(func() {
		broker.Shutdown()
		broker.WaitForShutdown()
	})
	require.True(t, broker.ReadyForConnections(30*time.Second))
	conn, err := nats.Connect(broker.ClientURL())
	require.NoError(t, err)
	t.Cleanup(conn.Close)

	l, err := ledger.Open(t.Context(), conn, ledger.Options{
		Replicas: 1, MaxAge: 9600 * time.Hour,
		Durable: ledger.Durability{MonitoringURL: fmt.Sprintf("http://%s", broker.MonitorAddr())},
	})
	require.NoError(t, err)
	l.Close()
}

func TestRedissConfigurationIsWhatProductionAsksFor(t *testing.T) {
	path, err := exec.LookPath("redis-server")
	require.NoError(t, err, "this test needs redis-server 7.0 or newer in PATH: apt-get install redis-server")
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	redis := exec.Command(path, "../redis.conf", "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir())
	require.NoError(t, redis.Start())
	t.Cleanup(func() {
		_ = redis.Process.Kill()
		_ = redis.Wait() // says only that it was killed
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	}, 30*time.Second, 20*time.Millisecond, "redis-server does not take the file")

	db, err := redisdb.Open(t.Context(), redisdb.Options{URL: "redis://" + address})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.Check(t.Context(), true))
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
