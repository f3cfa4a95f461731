package ledger

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
)

func TestAFileComesBackAsItWasPutUntilItIsDeleted(t *testing.T) {
	b := brokertest.Run(t)
	files, err := open(t, b).Objects(t.Context(), ObjectsLogos)
	require.NoError(t, err)
	_, err = files.Get(t.Context(), "acme/a.png")
	require.ErrorIs(t, err, ErrNotFound)

	large := bytes.Repeat([]byte("picture"), 50_000) // of several chunks
	require.NoError(t, files.Put(t.Context(), "acme/a.png", large))
	require.NoError(t, files.Put(t.Context(), "globex/a.png", []byte("another")))
	again, err := open(t, b).Objects(t.Context(), ObjectsLogos)
	require.NoError(t, err)
	got, err := again.Get(t.Context(), "acme/a.png")
	require.NoError(t, err)
	require.True(t, bytes.Equal(large, got))

	require.NoError(t, files.Delete(t.Context(), "acme/a.png"))
	require.NoError(t, files.Delete(t.Context(), "acme/a.png"))
	_, err = again.Get(t.Context(), "acme/a.png")
	require.ErrorIs(t, err, ErrNotFound)
	got, err = again.Get(t.Context(), "globex/a.png")
	require.NoError(t, err)
	require.Equal(t, "another", string(got))
}

func TestAWeakerObjectStoreIsRefused(t *testing.T) {
	for want, config := range map[string]jetstream.ObjectStoreConfig{
		"storage: is Memory, needs File": {Bucket: ObjectsLogos, Storage: jetstream.MemoryStorage},
		"max age: is 1h0m0s, needs 0s":   {Bucket: ObjectsLogos, TTL: time.Hour},
	} {
		b := brokertest.Run(t)
		js, err := jetstream.New(b.Conn(t))
		require.NoError(t, err)
		_, err = js.CreateObjectStore(t.Context(), config)
		require.NoError(t, err)
		_, err = Open(t.Context(), b.Conn(t), Options{Durable: Durability{Declared: true}})
		require.ErrorContains(t, err, "object store logos exists with weaker settings ("+want+")")
	}
}
