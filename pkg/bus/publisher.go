package bus

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrClosed is returned by Publish and Subscribe after Close.
var ErrClosed = errors.New("bus: closed")

// ErrUnexpected is returned by Publish when what MetadataExpected says did not hold: somebody was there before, perhaps this
// very message.
var ErrUnexpected = errors.New("bus: expected last sequence differs")

const publishTimeout = 5 * time.Second

// Error codes of nats-server for an expectation that did not hold.
const (
	codeWrongLastSequence         = 10071
	codeWrongLastSequenceConstant = 10164
)

// Publisher is Watermill's Publisher over JetStream. The topic is the subject.
type Publisher struct {
	nc *nats.Conn
	js jetstream.JetStream

	mu     sync.RWMutex // held for reading by every Publish, so that Close waits for them
	closed bool
}

// NewPublisher publishes over a connection that stays the caller's: Close leaves it open.
func NewPublisher(nc *nats.Conn) (*Publisher, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	return &Publisher{nc: nc, js: js}, nil
}

// Publish returns once the broker has stored every message; after an error some may be stored, and repeating the call stores
// none of them twice within the stream's duplicate window. It returns ErrClosed after Close.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	sent := make([]jetstream.PubAckFuture, 0, len(messages))
	var failed error
	for _, m := range messages {
		future, err := p.js.PublishMsgAsync(&nats.Msg{Subject: topic, Header: encodeHeader(m), Data: m.Payload})
		if err != nil {
			failed = err
			break
		}
		sent = append(sent, future)
	}
	for _, future := range sent {
		select {
		case <-future.Ok():
		case err := <-future.Err(): // comes at the latest with the timeout
			failed = err
		}
	}
	if failed != nil {
		return fmt.Errorf("publish to %s: %w", topic, p.explain(failed))
	}
	return nil
}

// explain names the permission where there is none: the broker does not answer such a publish, it only tells the connection.
func (p *Publisher) explain(err error) error {
	if refusal, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch refusal.ErrorCode {
		case codeWrongLastSequence, codeWrongLastSequenceConstant:
			return fmt.Errorf("%w: %w", ErrUnexpected, err)
		}
	}
	silent := errors.Is(err, jetstream.ErrAsyncPublishTimeout) || errors.Is(err, nats.ErrTimeout)
	if last := p.nc.LastError(); silent && errors.Is(last, nats.ErrPermissionViolation) {
		return fmt.Errorf("%w; the connection's last complaint: %w", err, last)
	}
	return err
}

// Close waits for running publishes. The connection stays open.
func (p *Publisher) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.js.CleanupPublisher()
	}
	return nil
}
