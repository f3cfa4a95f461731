package fakemailgun

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Where a fault cuts the connection.
const (
	CutBeforeRead   = "before-read"   // the request's body is never read
	CutBeforeAnswer = "before-answer" // it is read, and nothing is answered
	CutInAnswer     = "in-answer"     // in the middle of the JSON
)

// Fault is a way to fail. Its parts combine; the usual ones:
//
//	{"status": 429, "retry_after": "2"}              too many, with Retry-After
//	{"status": 500, "accept": true}                  says no and delivers all the same
//	{"delay": "1m"}                                  slow
//	{"accept": true, "cut": "before-answer"}         accepted, and nobody hears of it
//	{"cut": "before-read"}                           never read
//	{"status": 200, "body": "<html>", "accept": true} accepted, and answered with garbage
//	{"status": 400, "recipient": "bad@", "times": -1} one recipient is refused for ever
type Fault struct {
	// On is which calls fail: "messages" (default), "events" or "domains".
	On string `json:"on,omitempty"`
	// Times is how many calls fail (default 1); -1 means all until the faults are cleared.
	Times int `json:"times,omitempty"`
	// Recipient limits the fault to calls with a recipient that contains this.
	Recipient string `json:"recipient,omitempty"`
	// Accept takes the mails in spite of the fault. A fault that is only slow takes them anyway.
	Accept bool `json:"accept,omitempty"`
	// Delay is waited before the answer.
	Delay Duration `json:"delay,omitzero"`
	// Status, RetryAfter, Location and Body make the answer.
	Status     int    `json:"status,omitempty"`
	RetryAfter string `json:"retry_after,omitempty"`
	Location   string `json:"location,omitempty"`
	Body       string `json:"body,omitempty"`
	// Cut cuts the connection instead of answering.
	Cut string `json:"cut,omitempty"`
}

// Duration is a time.Duration that is written as "1m30s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Fail scripts a fault. Faults are used in the order they were scripted.
func (s *Server) Fail(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	if f.On == "" {
		f.On = "messages"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault is the fault that a call meets, or nil: one for anybody if recipients is nil, else one for a recipient.
func (s *Server) fault(on string, recipients []string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.On != on || (f.Recipient == "") != (recipients == nil) ||
			recipients != nil && !slices.ContainsFunc(recipients, func(r string) bool { return strings.Contains(r, f.Recipient) }) {
			continue
		}
		if f.Times--; f.Times == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		s.counters.Faults++
		met := *f
		return &met
	}
	return nil
}

// fail answers a call as the fault says. accept takes the mails, where the call has some.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, f *Fault, accept func() (string, error)) {
	if f.Cut == CutBeforeRead {
		cut(w)
	}
	id := ""
	if accept != nil && (f.Accept || f.Status == 0 && f.Cut == "") {
		var err error
		if id, err = accept(); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	_, _ = io.Copy(io.Discard, r.Body)
	select {
	case <-time.After(time.Duration(f.Delay)):
	case <-r.Context().Done():
	}
	switch {
	case f.Cut == CutBeforeAnswer:
		cut(w)
	case f.Cut == CutInAnswer:
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"id":"<2026`)
		_ = http.NewResponseController(w).Flush()
		cut(w)
	case f.Status == 0:
		queued(w, id)
	default:
		f.answer(w)
	}
}

func (f *Fault) answer(w http.ResponseWriter) {
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	if f.Location != "" {
		w.Header().Set("Location", f.Location)
	}
	w.WriteHeader(f.Status)
	if f.Body != "" {
		_, _ = io.WriteString(w, f.Body)
	} else {
		fmt.Fprintf(w, `{"message":"scripted %d"}`, f.Status)
	}
}

// cut resets the connection and ends the handler.
func cut(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, not a polite end
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}
