package harness

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// Bus is the broker as an upstream app or an operator reaches it.
type Bus struct {
	*nats.Conn
	js jetstream.JetStream
}

// Bus connects to the broker until the test ends.
func (s *System) Bus(t testing.TB) *Bus {
	t.Helper()
	nc, err := nats.Connect(s.NATSURL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.IgnoreDiscoveredServers())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return &Bus{Conn: nc, js: js}
}

// Request publishes a message as an app does, and waits until the stream has it. Headers come in pairs.
func (b *Bus) Request(t testing.TB, subject string, body []byte, header ...string) *jetstream.PubAck {
	t.Helper()
	m := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{}}
	for i := 0; i+1 < len(header); i += 2 {
		m.Header[header[i]] = append(m.Header[header[i]], header[i+1]) // as written: Set would change the case
	}
	ack, err := b.js.PublishMsg(t.Context(), m)
	require.NoError(t, err)
	return ack
}

// Flood publishes many messages as quickly as the stream takes them, and returns once it has all of them.
func (b *Bus) Flood(t testing.TB, messages []*nats.Msg) {
	t.Helper()
	acks := make([]jetstream.PubAckFuture, len(messages))
	for i, m := range messages {
		var err error
		acks[i], err = b.js.PublishMsgAsync(m, jetstream.WithStallWait(Patience))
		require.NoError(t, err)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			require.NoError(t, err)
		}
	}
}

// Stored is one stored message.
type Stored struct {
	Subject  string
	Sequence uint64
	Header   nats.Header
	Data     []byte
	Time     time.Time
}

// Fields reads the body.
func (s Stored) Fields(t testing.TB) map[string]any {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal(s.Data, &fields), "%s", s.Data)
	return fields
}

// Fact is what follows the invitation's id in the subject.
func (s Stored) Fact() string {
	if parts := strings.SplitN(s.Subject, ".", 4); len(parts) == 4 {
		return parts[3]
	}
	return ""
}

// Count tells how many stored messages match a filter.
func (b *Bus) Count(t testing.TB, stream, filter string) int {
	t.Helper()
	n := 0
	for _, count := range b.Subjects(t, stream, filter) {
		n += count
	}
	return n
}

// Subjects tells how many messages are stored on each subject that matches a filter.
func (b *Bus) Subjects(t testing.TB, stream, filter string) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	s, err := b.js.Stream(ctx, stream)
	require.NoError(t, err)
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	require.NoError(t, err)
	subjects := map[string]int{}
	for subject, count := range info.State.Subjects {
		subjects[subject] = int(count)
	}
	return subjects
}

// Stored gives the stored messages that match a filter, oldest first.
func (b *Bus) Stored(t testing.TB, stream, filter string) []Stored {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	s, err := b.js.Stream(ctx, stream)
	require.NoError(t, err)
	var found []Stored
	for next := uint64(1); ; {
		m, err := s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return found
		}
		require.NoError(t, err)
		found = append(found, Stored{Subject: m.Subject, Sequence: m.Sequence, Header: m.Header, Data: m.Data, Time: m.Time})
		next = m.Sequence + 1
	}
}

// Facts lists what the ledger says of one invitation, by the names of the facts, oldest first. Timers are left out.
func (b *Bus) Facts(t testing.TB, org, invitation string) []string {
	t.Helper()
	var facts []string
	for _, s := range b.Stored(t, "INVITATIONS", "invitations."+org+"."+invitation+".>") {
		if !strings.HasPrefix(s.Fact(), "timer.") {
			facts = append(facts, s.Fact())
		}
	}
	return facts
}

// Idle waits until a consumer has handled all there is, and requires that it does.
func (b *Bus) Idle(t testing.TB, stream, consumer string) {
	t.Helper()
	Eventually(t, "consumer "+consumer+" to have handled everything", func() bool {
		c, err := b.js.Consumer(t.Context(), stream, consumer)
		require.NoError(t, err)
		info := c.CachedInfo()
		return info.NumPending == 0 && info.NumAckPending == 0
	})
}

// Observed is what came by on some subjects since it was begun.
type Observed struct {
	mu   sync.Mutex
	seen []*nats.Msg
}

// Observe listens on subjects until the test ends. It hears everything that is published from its return on.
func (b *Bus) Observe(t testing.TB, subjects ...string) *Observed {
	t.Helper()
	o := &Observed{}
	for _, subject := range subjects {
		_, err := b.Subscribe(subject, func(m *nats.Msg) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.seen = append(o.seen, m)
		})
		require.NoError(t, err)
	}
	require.NoError(t, b.Flush())
	return o
}

// Subjects lists the subjects that came by, in order.
func (o *Observed) Subjects() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	subjects := make([]string, len(o.seen))
	for i, m := range o.seen {
		subjects[i] = m.Subject
	}
	return subjects
}

// Messages are the messages that came by, in order.
func (o *Observed) Messages() []*nats.Msg {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.seen)
}

// Len tells how many messages came by.
func (o *Observed) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.seen)
}

// Await waits until something came by on a subject.
func (o *Observed) Await(t testing.TB, subject string) *nats.Msg {
	t.Helper()
	return Until(t, "a message on "+subject, func() (*nats.Msg, bool) {
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, m := range o.seen {
			if m.Subject == subject {
				return m, true
			}
		}
		return nil, false
	})
}
