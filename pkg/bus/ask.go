package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/usherhq/usher/pkg/problem"
)

// Conn is a connection to the broker, for those who only pass one on.
type Conn = nats.Conn

// Ask sends a question to whoever answers on a subject and waits for the answer until ctx ends. Nothing is kept: where
// nobody answers, it is problem.NotNow.
func Ask(ctx context.Context, nc *nats.Conn, subject string, question []byte) ([]byte, error) {
	answer, err := nc.RequestWithContext(ctx, subject, question)
	if err != nil {
		return nil, problem.Unavailable("What answers on "+subject, err)
	}
	return answer.Data, nil
}

// Answer answers the questions on a subject until ctx ends, some at once. Of several processes with the same queue, one
// gets each question. What was asked before ctx ended is still answered when it returns.
func Answer(ctx context.Context, nc *nats.Conn, subject, queue string, atOnce int, answer func(context.Context, []byte) []byte) error {
	questions := make(chan *nats.Msg, 16*atOnce)
	sub, err := nc.ChanQueueSubscribe(subject, queue, questions)
	if err != nil {
		return fmt.Errorf("bus: answer on %s: %w", subject, err)
	}
	finished := make(chan struct{}, atOnce)
	for range atOnce {
		go func() {
			for q := range questions {
				_ = q.Respond(answer(context.WithoutCancel(ctx), q.Data)) // who asked waits no longer
			}
			finished <- struct{}{}
		}()
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // fails where the connection is closed already
	close(questions)
	for range atOnce {
		<-finished
	}
	return nil
}
