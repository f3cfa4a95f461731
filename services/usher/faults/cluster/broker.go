package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Broker is one nats-server.
type Broker struct {
	*Program
	// Port is where clients connect, Monitoring where /healthz and /jsz are, Route where the other nodes connect.
	Port, Monitoring, Route int
	// Store is where its files are.
	Store string
}

// addBrokers prepares one node, or three that are a cluster.
func (c *Cluster) addBrokers(n int) error {
	for i := range n {
		b := &Broker{Program: &Program{Name: fmt.Sprintf("nats-%d", i+1), dir: c.Dir}, Store: filepath.Join(c.store(), fmt.Sprintf("nats-%d", i+1))}
		for _, port := range []*int{&b.Port, &b.Monitoring, &b.Route} {
			var err error
			if *port, err = Port(); err != nil {
				return err
			}
		}
		c.Brokers = append(c.Brokers, b)
	}
	for _, b := range c.Brokers {
		config := filepath.Join(c.Dir, b.Name+".conf")
		text, err := c.brokerConfig(b)
		if err != nil {
			return err
		}
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return err
		}
		b.Words = []string{c.Programs.NATS, "-c", config}
	}
	return nil
}

// brokerConfig is one node's configuration. Nodes reach each other through links that can be broken, and tell nobody of
// other ways.
func (c *Cluster) brokerConfig(b *Broker) (string, error) {
	sync := "always"
	if c.Shape.LazySync {
		sync = "2m" // nats-server's own default
	}
	text := fmt.Sprintf("server_name: %s\nlisten: %q\nhttp: %q\njetstream { store_dir: %q, sync_interval: %s }\n",
		b.Name, Addr(b.Port), Addr(b.Monitoring), b.Store, sync)
	if len(c.Brokers) == 1 {
		return text, nil
	}
	var routes []string
	for _, other := range c.Brokers {
		if other == b {
			continue
		}
		link, err := c.link(b.Name, other.Name, Addr(other.Route))
		if err != nil {
			return "", err
		}
		routes = append(routes, fmt.Sprintf("%q", "nats://"+link.Listen))
	}
	return text + fmt.Sprintf("cluster { name: usher, listen: %q, no_advertise: true, pool_size: -1, routes: [%s] }\n", Addr(b.Route), strings.Join(routes, ", ")), nil
}
