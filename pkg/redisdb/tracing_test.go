package redisdb_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/usherhq/usher/pkg/redisdb"
)

// I6: what travels to Redis does not travel to the tracing backend too.
func TestSpansTellOfRoundTripsButNotOfTheirContent(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	db := openWith(t, "", redisdb.Options{Tracing: provider})
	put := token("secret", time.Now().Add(time.Hour))
	require.NoError(t, db.PutToken(t.Context(), put))
	_, err := db.Apply(t.Context(), "acme", []redisdb.Change{added("one", 1, "c", "p1")})
	require.NoError(t, err)
	seen := fmt.Sprintf("%+v", spans.GetSpans().Snapshots())
	require.NotEmpty(t, spans.GetSpans())
	for _, secret := range []string{fmt.Sprintf("%x", put.Hash), invitation, "usher:", "acme", "p1"} {
		require.NotContains(t, seen, secret)
	}
}
