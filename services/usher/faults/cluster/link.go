package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Link is the way from one kind of process to another, through a proxy that can be slow, lossy or gone.
type Link struct {
	// Name is "<from>-<to>", Listen where the proxy listens.
	Name, Listen string

	proxy *toxiproxy.Proxy
}

// link makes the way from one process to another, once.
func (c *Cluster) link(from, to, upstream string) (*Link, error) {
	name := from + "-" + to
	if l, ok := c.Links[name]; ok {
		return l, nil
	}
	if c.toxics == nil {
		zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics write to a logger of their own
		c.toxics = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	}
	for tries := 0; ; tries++ {
		port, err := Port()
		if err != nil {
			return nil, err
		}
		l := &Link{Name: name, Listen: Addr(port), proxy: toxiproxy.NewProxy(c.toxics, name, Addr(port), upstream)}
		err = l.proxy.Start()
		if err == nil {
			c.Links[name] = l
			return l, nil
		}
		if tries == 3 { // another process was quicker every time
			return nil, fmt.Errorf("link %s: %w", name, err)
		}
	}
}

// Toxic is a way in which a link does harm, as toxiproxy names them: latency, bandwidth, slow_close, timeout (nothing comes
// through any more, and nothing says so), reset_peer, slicer, limit_data.
type Toxic struct {
	Type string `json:"type"`
	// Stream is "upstream" or "downstream" (default), towards the server or back.
	Stream     string         `json:"stream,omitempty"`
	Attributes map[string]any `json:"attributes"`
}

// Poison adds a toxic to the connections that are there and those that come.
func (l *Link) Poison(t Toxic) error {
	text, err := json.Marshal(t)
	if err == nil {
		_, err = l.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	}
	if err != nil {
		return fmt.Errorf("link %s: %w", l.Name, err)
	}
	return nil
}

// Cut ends the link's connections and refuses new ones.
func (l *Link) Cut() { l.proxy.Stop() }

// Heal makes the link good again.
func (l *Link) Heal(ctx context.Context) error {
	l.proxy.Toxics.ResetToxics(ctx)
	if err := l.proxy.Start(); err != nil && err != toxiproxy.ErrProxyAlreadyStarted { //nolint:errorlint // the library returns it as it is
		return fmt.Errorf("link %s: %w", l.Name, err)
	}
	return nil
}
