package pipeline

import (
	"bytes"
	"hash/fnv"
	"strconv"
	"sync"
	"sync/atomic"
)

// Repeats makes a real broker deliver every message many times: what a service says it is done with is wanted again, on the
// wire, until the message was delivered as often as chance decided. Messages that come again come among others, so that their
// order is lost as well.
type Repeats struct {
	// Seed decides how often each message is delivered to each consumer: 2 to 50 times.
	Seed uint64
	// Forgetful takes from everything that is stored the id by which the broker would know it again: as if each repeat came
	// after the time for which it remembers ids.
	Forgetful bool

	deliveries atomic.Int64
	mu         sync.Mutex
	messages   map[string]int // consumer and sequence to deliveries so far
}

// mostRepeats is how often a message is delivered at most.
const mostRepeats = 50

// Deliveries is how many deliveries were answered, over all consumers.
func (r *Repeats) Deliveries() int64 { return r.deliveries.Load() }

// Messages is how many different messages that were, counted for each consumer.
func (r *Repeats) Messages() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.messages))
}

var (
	ackCommand = []byte("PUB $JS.ACK.")
	ackBody    = []byte("\r\n+ACK\r\n")
	nakBody    = []byte("\r\n-NAK\r\n")
)

var (
	messageID   = []byte("\r\nNats-Msg-Id:")
	noMessageID = []byte("\r\nNats-Msg-Ix:")
)

// Rewrite is a Rewriter.
func (r *Repeats) Rewrite(said []byte) []byte {
	if r.Forgetful && bytes.Contains(said, messageID) {
		said = bytes.ReplaceAll(said, messageID, noMessageID)
	}
	changed := said
	for at := 0; ; {
		begin := bytes.Index(said[at:], ackCommand)
		if begin < 0 {
			return changed
		}
		begin += at
		line := bytes.IndexByte(said[begin:], '\r')
		if line < 0 {
			return changed
		}
		at = begin + line
		if !bytes.HasPrefix(said[at:], ackBody) || r.enough(string(said[begin+len(ackCommand):at])) {
			continue
		}
		if &changed[0] == &said[0] {
			changed = bytes.Clone(said)
		}
		copy(changed[at:], nakBody)
	}
}

// enough counts a delivery, and reports whether its message was delivered often enough. The subject of an ack ends with stream,
// consumer, deliveries so far, sequence in the stream, and more: three words, or four in the form that begins with a domain.
func (r *Repeats) enough(command string) bool {
	subject, _, _ := bytes.Cut([]byte(command), []byte(" "))
	words := bytes.Split(subject, []byte("."))
	if len(words) >= 9 { // domain and account come first
		words = words[2:]
	}
	if len(words) < 4 {
		return true
	}
	delivered, err := strconv.Atoi(string(words[2]))
	if err != nil {
		return true
	}
	message := string(words[1]) + " " + string(words[3])
	r.deliveries.Add(1)
	r.mu.Lock()
	if r.messages == nil {
		r.messages = map[string]int{}
	}
	r.messages[message] = delivered
	r.mu.Unlock()
	return delivered >= r.wanted(message)
}

// wanted is how often a message is to be delivered.
func (r *Repeats) wanted(message string) int {
	h := fnv.New64a()
	_, _ = h.Write(strconv.AppendUint(nil, r.Seed, 36))
	_, _ = h.Write([]byte(message))
	return 2 + int(h.Sum64()%(mostRepeats-1))
}
