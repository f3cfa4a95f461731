package redisdb_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

func TestAPipeCarriesMuchBeforeAnybodyReads(t *testing.T) {
	near, far := redisdb.Pipe()
	sent := bytes.Repeat([]byte("0123456789"), 100_000)
	for range 3 {
		n, err := near.Write(sent)
		require.NoError(t, err)
		require.Equal(t, len(sent), n)
		got := make([]byte, len(sent))
		_, err = io.ReadFull(far, got)
		require.NoError(t, err)
		require.Equal(t, sent, got)
	}
}

func TestAClosedPipeEndsBothSides(t *testing.T) {
	near, far := redisdb.Pipe()
	read := make(chan error)
	go func() {
		_, err := far.Read(make([]byte, 1))
		read <- err
	}()
	require.NoError(t, near.Close())
	require.ErrorIs(t, <-read, io.EOF)
	_, err := far.Write([]byte("x"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	_, err = near.Write([]byte("x"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

func TestTimePassesForTheInProcessServer(t *testing.T) {
	server, err := redisdb.InProcess()
	require.NoError(t, err)
	defer server.Close()
	db, err := redisdb.Open(t.Context(), redisdb.Options{Embedded: server})
	require.NoError(t, err)
	defer db.Close()
	put := token("secret", time.Now().Add(time.Hour))
	require.NoError(t, db.PutToken(t.Context(), put))
	server.Pass(24 * time.Hour)
	_, found, err := db.Token(t.Context(), put.Hash)
	require.NoError(t, err)
	require.True(t, found)
	server.Pass(time.Hour)
	_, found, err = db.Token(t.Context(), put.Hash)
	require.NoError(t, err)
	require.False(t, found)
}

// Each in-process server is alone: two in one process share nothing.
func TestInProcessServersShareNothing(t *testing.T) {
	one, other := redistest.Embedded(t), redistest.Embedded(t)
	put := token("secret", time.Now().Add(time.Hour))
	require.NoError(t, one.PutToken(t.Context(), put))
	_, found, err := other.Token(t.Context(), put.Hash)
	require.NoError(t, err)
	require.False(t, found)
}
