package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports are handed out below the range from which the system takes those of outgoing connections: a server that was killed
// finds its own port free again.
const (
	lowestPort  = 12000
	highestPort = 31000
)

var ports = struct {
	sync.Mutex
	next int
}{next: lowestPort + rand.IntN(highestPort-lowestPort)}

// Port is a port that nobody listens on and that nobody else is given.
func Port() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	for range highestPort - lowestPort {
		if ports.next++; ports.next >= highestPort {
			ports.next = lowestPort
		}
		l, err := net.Listen("tcp", Addr(ports.next))
		if err == nil {
			return ports.next, l.Close()
		}
	}
	return 0, fmt.Errorf("no port is free from %d to %d", lowestPort, highestPort)
}

// Addr is a port on this machine alone.
func Addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
