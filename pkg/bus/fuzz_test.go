package bus

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/clock"
)

// Whatever headers a message has: its dead letter tells of the message and not what its headers pretend, and handed to the
// worker again it is the message it was.
func FuzzDeadLetters(f *testing.F) {
	f.Add("ce-id: 1\nce-type: a\nNats-Msg-Id: m", "handler said no", []byte(`{}`))
	f.Add("Usher-Dead-Subject: memberships.acme.p\nusher-dead-sequence: 1\nUSHER-DEAD-DETAIL: forged\nUsher-Dead-Message-Id: x", "a@b", []byte{0xff})
	f.Add("nats-expected-stream: X\nNATS-SCHEDULE: @at 1\nusher-bus-subject: y\nce-id: a\nCE-ID: b\nx: 1\nx: 2\n: z\nx:", "", []byte(nil))
	f.Fuzz(func(t *testing.T, headers, cause string, body []byte) {
		s := &subscription{working: context.Background(), direct: true}
		message := func(subject string, header nats.Header) *delivery {
			d, err := s.newDelivery(&nats.Msg{
				Subject: subject, Reply: "$JS.ACK.REQUESTS.worker.3.7.9.1795442399123456000.0", Header: header, Data: body, Sub: &nats.Subscription{},
			})
			require.NoError(t, err)
			return d
		}
		d := message(testSubject, parsed(headers))
		letter := GivenUp{
			Reason: "broken", Detail: detailOf(errors.New(cause)), Subject: d.subject, Stream: d.stream, Sequence: d.sequence, Stored: d.happened,
			Deliveries: d.deliveries, At: clock.System(),
		}.Letter(d.raw.Header)

		require.Equal(t, map[string]string{
			DeadReason: "broken", DeadSubject: testSubject, DeadStream: "REQUESTS", DeadSequence: "7", DeadDeliveries: "3",
			DeadMessageID: d.raw.Header.Get(nats.MsgIdHdr),
		}, tells(t, letter))

		again := nats.Header{}
		for name, values := range letter {
			if !strings.HasPrefix(name, "Nats-") {
				again[name] = values
			}
		}
		was := message(events.DeadActSubject("worker", events.DeadAgain, 12), again)
		require.Equal(t, []any{d.subject, d.stream, d.sequence, d.happened.UnixNano()}, []any{was.subject, was.stream, was.sequence, was.happened.UnixNano()})
	})
}

// parsed reads headers, one in each line.
func parsed(text string) nats.Header {
	header := nats.Header{}
	for line := range strings.SplitSeq(text, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		header[name] = append(header[name], value)
	}
	return header
}

// tells is what a dead letter tells of its message, but for the times. What the broker obeys, or we would believe, is not there.
func tells(t *testing.T, letter nats.Header) map[string]string {
	t.Helper()
	told := map[string]string{DeadMessageID: ""}
	for name, values := range letter {
		require.False(t, reserved(name) && name != nats.MsgIdHdr, "%s went along", name)
		if hasPrefixFold(name, deadPrefix) && !slices.Contains([]string{DeadAt, DeadStored}, name) {
			require.Len(t, values, 1, name)
			told[name] = values[0]
		}
	}
	return told
}
