package bus

import (
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Metadata that a Subscriber adds to what it received, and a Publisher never sends.
const (
	MetadataSubject    = "usher-bus-subject"    // what the message was published on
	MetadataStream     = "usher-bus-stream"     // the stream that stored it
	MetadataSequence   = "usher-bus-sequence"   // its sequence there
	MetadataTime       = "usher-bus-time"       // when it was stored, RFC 3339
	MetadataDeliveries = "usher-bus-deliveries" // how often it was handed out, this time included
)

// MetadataMessageID replaces the UUID as the Nats-Msg-Id that a Publisher sends, by which the stream tells repeats.
const MetadataMessageID = "usher-bus-message-id"

// MetadataExpected makes a publish conditional: the last sequence on the topic, or on the filter in MetadataExpectedOn, must be
// this one, "0" for "nothing yet".
const (
	MetadataExpected   = "usher-bus-expected"
	MetadataExpectedOn = "usher-bus-expected-on"
)

const (
	headerID       = "ce-id"
	reservedServer = "nats-"      // stored messages keep these, and a stream refuses or obeys them when they come again
	reservedBus    = "usher-bus-" // ours alone, so that no publisher can pretend to be the broker
)

// Several values of one header share one metadata entry, a newline between: the one character that no header value holds.
const valueSeparator = "\n"

func reserved(name string) bool {
	return hasPrefixFold(name, reservedServer) || hasPrefixFold(name, reservedBus)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// encodeHeader turns a message's metadata into headers, one to one; the UUID travels as ce-id.
func encodeHeader(m *message.Message) nats.Header {
	h := make(nats.Header, len(m.Metadata)+2)
	for name, value := range m.Metadata {
		if !reserved(name) && name != "" {
			h[name] = strings.Split(value, valueSeparator)
		}
	}
	id := m.UUID
	if id != "" {
		h[headerID] = []string{id}
	}
	if other := m.Metadata[MetadataMessageID]; other != "" {
		id = other
	}
	if id != "" {
		h[nats.MsgIdHdr] = []string{id}
	}
	if sequence := m.Metadata[MetadataExpected]; sequence != "" {
		h[jetstream.ExpectedLastSubjSeqHeader] = []string{sequence}
	}
	if filter := m.Metadata[MetadataExpectedOn]; filter != "" {
		h[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{filter}
	}
	return h
}

// decodeHeader is the way back: the UUID, and metadata with room for what a delivery adds.
func decodeHeader(h nats.Header) (uuid string, metadata message.Metadata) {
	metadata = make(message.Metadata, len(h)+5)
	for name, values := range h {
		switch {
		case len(values) == 0 || reserved(name):
		case strings.EqualFold(name, headerID):
			uuid = values[0]
		case len(values) == 1:
			metadata[name] = values[0]
		default:
			metadata[name] = strings.Join(values, valueSeparator)
		}
	}
	return uuid, metadata
}

// describe adds what the broker told about the delivery.
func (d *delivery) describe(metadata message.Metadata) {
	metadata[MetadataSubject] = d.subject
	metadata[MetadataStream] = d.stream
	metadata[MetadataSequence] = strconv.FormatUint(d.sequence, 10)
	metadata[MetadataTime] = d.stored.UTC().Format(time.RFC3339Nano)
	metadata[MetadataDeliveries] = strconv.Itoa(d.deliveries)
}
