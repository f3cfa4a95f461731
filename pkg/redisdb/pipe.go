package redisdb

import (
	"io"
	"net"
	"sync"
	"time"
)

// pipe makes two ends of a connection within the process. Unlike net.Pipe it buffers, because a pipeline writes all its
// commands before it reads the first answer; unlike a socket it costs no system calls.
func pipe() (near, far net.Conn) {
	there, back := newFlow(), newFlow()
	return &end{in: back, out: there}, &end{in: there, out: back}
}

// keptBuffer is the size up to which an empty buffer waits for its next use.
const keptBuffer = 256 << 10

// flow is one direction.
type flow struct {
	mu     sync.Mutex
	filled *sync.Cond
	bytes  []byte
	next   int // the first byte that was not read
	closed bool
}

func newFlow() *flow {
	f := &flow{}
	f.filled = sync.NewCond(&f.mu)
	return f
}

func (f *flow) read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.next == len(f.bytes) {
		if f.closed {
			return 0, io.EOF
		}
		f.filled.Wait()
	}
	n := copy(p, f.bytes[f.next:])
	if f.next += n; f.next == len(f.bytes) {
		f.bytes, f.next = f.bytes[:0], 0
	}
	if cap(f.bytes) > keptBuffer && len(f.bytes) == 0 {
		f.bytes = nil
	}
	return n, nil
}

func (f *flow) write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, io.ErrClosedPipe
	}
	f.bytes = append(f.bytes, p...)
	f.filled.Signal()
	return len(p), nil
}

func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.filled.Broadcast()
}

// end is one end of a pipe.
type end struct{ in, out *flow }

func (e *end) Read(p []byte) (int, error)  { return e.in.read(p) }
func (e *end) Write(p []byte) (int, error) { return e.out.write(p) }

func (e *end) Close() error {
	e.in.close()
	e.out.close()
	return nil
}

// Deadlines are for peers that may go silent; this one lives and dies with the process.
func (*end) SetDeadline(time.Time) error      { return nil }
func (*end) SetReadDeadline(time.Time) error  { return nil }
func (*end) SetWriteDeadline(time.Time) error { return nil }

func (*end) LocalAddr() net.Addr  { return within{} }
func (*end) RemoteAddr() net.Addr { return within{} }

type within struct{}

func (within) Network() string { return "pipe" }
func (within) String() string  { return "in-process" }
