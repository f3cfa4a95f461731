package redisdb

import (
	"fmt"
	"net"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// tick is how often the in-process server's keys age. Ageing walks them all, so it is not done often: nothing rests on
// the minute a key dies in.
const tick = time.Minute

// Embedded is the in-process stand-in for Redis. It keeps everything in memory, listens nowhere, and starts empty.
type Embedded struct {
	server *miniredis.Miniredis
	stop   chan struct{}
	done   chan struct{}
}

// InProcess starts the in-process server.
func InProcess() (*Embedded, error) {
	server := miniredis.NewMiniRedis()
	first, err := server.Dial() // starts a server without a listener
	if err != nil {
		return nil, fmt.Errorf("redisdb: in-process server: %w", err)
	}
	_ = first.Close()
	e := &Embedded{server: server, stop: make(chan struct{}), done: make(chan struct{})}
	go e.age()
	return e, nil
}

// age lets time pass: the server's keys do not age by themselves.
func (e *Embedded) age() {
	defer close(e.done)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			e.Pass(tick)
		case <-e.stop:
			return
		}
	}
}

// Wipe forgets everything, as a Redis does that lost its disk.
func (e *Embedded) Wipe() { e.server.FlushAll() }

// Pass lets d pass for the lifetimes of keys.
func (e *Embedded) Pass(d time.Duration) { e.server.FastForward(d) }

// Close ends the server and forgets everything.
func (e *Embedded) Close() {
	close(e.stop)
	<-e.done
	e.server.Close()
}

// dial makes a connection within the process.
func (e *Embedded) dial() (net.Conn, error) {
	server := e.server.Server()
	if server == nil {
		return nil, net.ErrClosed
	}
	near, far := pipe()
	server.ServeConn(far)
	return near, nil
}
