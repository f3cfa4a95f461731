package pipeline

import (
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Broker is a nats-server in this process, on disk, every write synced, that can be stopped and started on the same files
// and port.
type Broker struct {
	options *server.Options
	server  *server.Server
	addr    string
}

func startBroker(folder string) (*Broker, error) {
	b := &Broker{options: &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: folder, SyncAlways: true, NoSigs: true, NoLog: true,
	}}
	return b, b.Start()
}

// Start starts the broker, which must not be running.
func (b *Broker) Start() error {
	s, err := server.NewServer(b.options)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		s.Shutdown()
		return errors.New("the broker does not become ready")
	}
	b.server, b.options.Port = s, s.Addr().(*net.TCPAddr).Port
	b.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(b.options.Port))
	return nil
}

// Stop ends the broker.
func (b *Broker) Stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

// URL is where clients connect.
func (b *Broker) URL() string { return "nats://" + b.addr }
