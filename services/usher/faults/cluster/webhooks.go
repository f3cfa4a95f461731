package cluster

import (
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// openWebhooks opens the one address that the provider knows, and hands what comes on to any API process, as the load
// balancer in front of them would.
func (c *Cluster) openWebhooks() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			apis := c.Of("api")
			if target, err := url.Parse(apis[rand.IntN(len(apis))].URL); err == nil { // it was made by addService
				r.SetURL(target)
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		Transport:    probe.Transport,
		ErrorLog:     quiet,
	}
	c.webhooks = &http.Server{Handler: proxy, ReadHeaderTimeout: 5 * time.Second, ErrorLog: quiet}
	go func() { _ = c.webhooks.Serve(l) }() // ends with Close
	return "http://" + l.Addr().String() + "/webhooks/mailgun", nil
}

// quiet takes what the standard library says about connections that were broken on purpose.
var quiet = log.New(io.Discard, "", 0)
