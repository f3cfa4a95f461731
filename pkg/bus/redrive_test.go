package bus

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
)

func TestARedrivenDeadLetterIsToItsHandlerWhatItWas(t *testing.T) {
	t.Parallel()
	h := setup(t)
	var mended atomic.Bool
	seen := make(chan Received, 10)
	h.run(plan(), func(_ context.Context, m *Received) error {
		if !mended.Load() {
			return Never("broken", errors.New("not yet"))
		}
		seen <- *m
		return nil
	}, func(o *RouterOptions) { o.Redrives = true })
	h.publish("evt-1")
	letter := h.deadLetter(1)
	stored, err := time.Parse(time.RFC3339Nano, letter.Header.Get(DeadStored))
	require.NoError(t, err)

	mended.Store(true)
	h.redrive(letter.Header, letter.Data, "again")
	m := <-seen
	require.Equal(t, testSubject, m.Subject)
	require.EqualValues(t, 1, m.Sequence)
	require.Equal(t, "evt-1", m.Event.ID)
	require.True(t, stored.Equal(m.Time))
	require.Equal(t, 1, m.Delivered)
}

// redrive puts a dead letter where its handler hears it, as the command line does.
func (h *harness) redrive(header nats.Header, body []byte, id string) {
	h.t.Helper()
	m := &nats.Msg{Subject: events.RedriveSubject("worker"), Header: nats.Header{}, Data: body}
	for name, values := range header {
		if !strings.HasPrefix(name, "Nats-") {
			m.Header[name] = values
		}
	}
	m.Header.Set(nats.MsgIdHdr, id)
	h.publishRaw(m)
}
