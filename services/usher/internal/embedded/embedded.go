// Package embedded runs a nats-server inside the process, on disk, every write synced.
package embedded

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Broker is the embedded broker.
type Broker struct {
	*server.Server
	lock *os.File
}

// Start locks the folder, because two servers over one store would hand out the same sequences and the server itself
// takes no lock, and starts the broker in it. listen is where upstream apps and the nats command line reach it; "off" for
// nowhere. It returns an error when another process has the folder, or the address is taken.
func Start(folder, listen string, log *slog.Logger) (*Broker, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	lock, err := lockFolder(folder)
	if err != nil {
		return nil, err
	}
	options, err := optionsFor(folder, listen)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("embedded broker: %w", err), lock.Close())
	}
	s.SetLoggerV2(logger{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		s.Shutdown()
		return nil, errors.Join(fmt.Errorf("embedded broker: not ready (is %s taken?)", listen), lock.Close())
	}
	return &Broker{Server: s, lock: lock}, nil
}

func optionsFor(folder, listen string) (*server.Options, error) {
	o := &server.Options{
		ServerName: "usher-embedded", JetStream: true, StoreDir: folder, SyncAlways: true, NoSigs: true, DontListen: listen == "off",
		MaxPayload: 1 << 20,
	}
	if o.DontListen {
		return o, nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("USHER_NATS_LISTEN must be host:port or off: %w", err)
	}
	o.Host = host
	if o.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("USHER_NATS_LISTEN: port: %w", err)
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	// The server only logs a taken address, and starts all the same; ask first.
	probe, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	return o, probe.Close()
}

func lockFolder(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("the data folder %s is in use by another usher", folder), f.Close())
	}
	return f, nil
}

// Close stops the broker and gives the folder free.
func (b *Broker) Close() error {
	b.Shutdown()
	b.WaitForShutdown()
	return b.lock.Close()
}

// logger hands the broker's warnings and errors on.
type logger struct{ log *slog.Logger }

func (l logger) Noticef(string, ...any) {}
func (l logger) Debugf(string, ...any)  {}
func (l logger) Tracef(string, ...any)  {}
func (l logger) Warnf(format string, v ...any) {
	l.log.Warn("broker", "message", fmt.Sprintf(format, v...))
}
func (l logger) Errorf(format string, v ...any) {
	l.log.Error("broker", "message", fmt.Sprintf(format, v...))
}
func (l logger) Fatalf(format string, v ...any) {
	l.log.Error("broker", "message", fmt.Sprintf(format, v...))
}

var _ io.Closer = (*Broker)(nil)
