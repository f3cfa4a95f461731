package pipeline

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// errDown is what dialling a wire gives while it is down.
var errDown = errors.New("the wire is down")

// Rewriter changes what a service says to the broker on its way there. It may be called for several connections at once, must
// not keep what it is given, and gives back as many bytes as it got: lengths stand in front of what they belong to. The
// client hands over whole messages.
type Rewriter func([]byte) []byte

// Wire is the way between one instance and the broker: TCP, which can be cut, and through which things can be said that the
// service did not say. It is a nats.InProcessConnProvider, which is how a service comes to it.
type Wire struct {
	addr    string
	rewrite Rewriter

	down atomic.Bool
	deaf atomic.Bool

	mu    sync.Mutex
	conns map[*wired]struct{}
}

func newWire(addr string, rewrite Rewriter) *Wire {
	return &Wire{addr: addr, rewrite: rewrite, conns: map[*wired]struct{}{}}
}

// InProcessConn implements nats.InProcessConnProvider.
func (w *Wire) InProcessConn() (net.Conn, error) {
	if w.down.Load() {
		return nil, errDown
	}
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		return nil, err
	}
	one := &wired{Conn: c, wire: w}
	w.mu.Lock()
	w.conns[one] = struct{}{}
	w.mu.Unlock()
	return one, nil
}

// Cut ends the connections there are. What was under way may have arrived or not; the client connects again.
func (w *Wire) Cut() {
	w.deaf.Store(false)
	w.mu.Lock()
	conns := w.conns
	w.conns = map[*wired]struct{}{}
	w.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}

// Deafen keeps from the service what the broker answers, while what it says still arrives, until the next Cut.
func (w *Wire) Deafen() { w.deaf.Store(true) }

// Down cuts the wire and keeps it so until Up.
func (w *Wire) Down() {
	w.down.Store(true)
	w.Cut()
}

// Up lets the service connect again.
func (w *Wire) Up() { w.down.Store(false) }

// wired is one connection over a wire.
type wired struct {
	net.Conn
	wire *Wire
}

// Write implements io.Writer.
func (c *wired) Write(p []byte) (int, error) {
	if c.wire.rewrite != nil {
		p = c.wire.rewrite(p)
	}
	return c.Conn.Write(p)
}

// Read implements io.Reader. What comes while the wire is deaf is thrown away.
func (c *wired) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.wire.deaf.Load() {
			return n, err
		}
	}
}

// Close implements io.Closer.
func (c *wired) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}
