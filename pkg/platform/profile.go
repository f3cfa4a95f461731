package platform

import (
	"context"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
	"time"
)

// sampleNothing stops the sampling of what is allocated, which costs two hundredths of the time. It is the process's own
// setting, however many platforms there are in it.
var sampleNothing = sync.OnceFunc(func() { runtime.MemProfileRate = 0 })

// openProfiles serves Go's profiles at an address of their own, where the settings name one. A profile shows what is in
// memory, so the settings allow addresses of this machine alone.
func (p *Platform) openProfiles(context.Context, Options) error {
	if p.Settings.ProfileAddr == "" {
		sampleNothing()
		return nil
	}
	listener, err := net.Listen("tcp", p.Settings.ProfileAddr)
	if err != nil { // most likely a command beside a running service, in the same environment
		p.Logger.Warn("profiles are not served", "error", err)
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	p.onClose(server.Close)
	return nil
}
