package bus

import (
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

func mustPublisher(t testing.TB, nc *nats.Conn) *Publisher {
	t.Helper()
	p, err := NewPublisher(nc)
	require.NoError(t, err)
	return p
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
