package e2e

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/redistest"
)

func number(n int64) string { return strconv.FormatInt(n, 10) }

func decode(t *testing.T, text string, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), into), "%s", text)
}

// lazyBroker and firmBroker are brokers that sync late and always; each as its address and that of its monitoring.
func lazyBroker(t *testing.T) string { return addresses(brokertest.Run(t, brokertest.Lazy())) }
func firmBroker(t *testing.T) string { return addresses(brokertest.Run(t)) }

func addresses(b *brokertest.Broker) string { return b.URL + " " + b.MonitoringURL }

func redisWith(t *testing.T, args ...string) string { return redistest.Run(t, args...).URL() }
