package console

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/problem"
)

// How the pages are kept current. What happens is not sent to them: they are told to look again, a few times a second at
// most, however much happens, and look with their own reader's rights.
const (
	// settle is how long after something happened the pages are told: the views have taken it in by then.
	settle = 300 * time.Millisecond
	// rest is the least time between two tellings.
	rest = 500 * time.Millisecond
	// again is how long after the last event the pages are told once more, in case the views were late.
	again = 2 * time.Second
	// onceMore is how long after that they are told for the last time: the views may be far behind.
	onceMore = 10 * time.Second
	// watchRight is how often it is asked whether the reader may still look.
	watchRight = 3 * time.Second
	// heartbeat keeps proxies from closing a quiet stream, and finds readers that have gone.
	heartbeat = 20 * time.Second
	// patience is how long a reader may take to read what it is told.
	patience = 10 * time.Second
	// mostStreams bounds the streams of the process, mostOwn those of one person.
	mostStreams, mostOwn = 4000, 20
)

// listener is one open page. Its channel holds one telling: a reader who is slow gets one for many.
type listener struct {
	person string
	told   chan struct{}
	ended  chan struct{}
}

// hub tells the open pages of each organization when to look again. An organization is followed while somebody looks.
type hub struct {
	follow func(ctx context.Context, org string, changed func()) error

	mu    sync.Mutex
	orgs  map[string]*audience
	total int
	own   map[string]int
}

// audience are the open pages of one organization.
type audience struct {
	listeners map[*listener]struct{}
	happened  chan struct{}
	stop      context.CancelFunc
}

func newHub(follow func(context.Context, string, func()) error) *hub {
	return &hub{follow: follow, orgs: map[string]*audience{}, own: map[string]int{}}
}

// join adds a page. It returns problem.NotNow when there are too many, or the broker is down.
func (h *hub) join(org, person string) (*listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total >= mostStreams || h.own[person] >= mostOwn {
		return nil, problem.Unavailable("The live view", nil)
	}
	a := h.orgs[org]
	if a == nil {
		ctx, stop := context.WithCancel(context.Background())
		a = &audience{listeners: map[*listener]struct{}{}, happened: make(chan struct{}, 1), stop: stop}
		if err := h.follow(ctx, org, func() { poke(a.happened) }); err != nil {
			stop()
			return nil, err
		}
		h.orgs[org] = a
		go h.tell(ctx, a)
	}
	l := &listener{person: person, told: make(chan struct{}, 1), ended: make(chan struct{})}
	a.listeners[l] = struct{}{}
	h.total++
	h.own[person]++
	return l, nil
}

// leave takes a page away; the last one ends the following.
func (h *hub) leave(org string, l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.orgs[org]
	if a == nil {
		return
	}
	if _, there := a.listeners[l]; !there {
		return
	}
	delete(a.listeners, l)
	h.total--
	if h.own[l.person]--; h.own[l.person] == 0 {
		delete(h.own, l.person)
	}
	if len(a.listeners) == 0 {
		a.stop()
		delete(h.orgs, org)
	}
}

// end closes a person's pages of an organization at once.
func (h *hub) end(org, person string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.orgs[org]; a != nil {
		for l := range a.listeners {
			if l.person == person {
				l.end()
			}
		}
	}
}

func (l *listener) end() {
	select {
	case <-l.ended:
	default:
		close(l.ended)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tell waits for something to happen, lets it settle, and pokes every page; and twice more when it has become quiet.
func (h *hub) tell(ctx context.Context, a *audience) {
	quiet := time.NewTimer(again)
	quiet.Stop()
	defer quiet.Stop()
	last := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-quiet.C:
			h.pokeAll(a)
			if !last {
				quiet.Reset(onceMore)
			}
			last = true
			continue
		case <-a.happened:
		}
		if !sleep(ctx, settle) {
			return
		}
		select { // what came meanwhile is told now
		case <-a.happened:
		default:
		}
		h.pokeAll(a)
		quiet.Reset(again)
		last = false
		if !sleep(ctx, rest-settle) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (h *hub) pokeAll(a *audience) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range a.listeners {
		poke(l.told)
	}
}

// live tells an open page when to look again, until its reader may no longer look.
func (c *Console) live(w http.ResponseWriter, r *http.Request, v visit) error {
	l, err := c.hub.join(v.org.ID, v.person)
	if err != nil {
		return err
	}
	defer c.hub.leave(v.org.ID, l)
	s := &stream{w: w, control: http.NewResponseController(w)}
	if err := s.control.SetReadDeadline(time.Time{}); err != nil { // the server's own is for requests
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	right, alive := time.NewTicker(watchRight), time.NewTicker(heartbeat)
	defer right.Stop()
	defer alive.Stop()
	text := ": here\n\n"
	for s.write(text) {
		select {
		case <-r.Context().Done():
			return nil
		case <-c.stopping:
			return nil
		case <-l.ended:
			s.write(streamEnd)
			return nil
		case <-l.told:
			text = "event: changed\ndata: .\n\n"
		case <-alive.C:
			text = ": here\n\n"
		case <-right.C:
			text = ""
		}
		if !c.stillMay(r, v) {
			s.write(streamEnd)
			return nil
		}
	}
	return nil
}

// streamEnd tells the page that this was all; it then asks for itself again, and is told why.
const streamEnd = "event: ended\ndata: .\n\n"

// isLive reports whether a request is an open page asking to be kept current.
func isLive(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/live") && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// endLive tells a page that may not be kept current to ask for itself again, where it is told why.
func endLive(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = w.Write([]byte(streamEnd)) // the page has gone; there is nobody to tell
}

// stillMay reports whether the reader is still signed in, and in the role in which the page was opened. While Redis cannot be
// asked, nothing is told.
func (c *Console) stillMay(r *http.Request, v visit) bool {
	m, ok := c.Roster.Member(v.org.ID, v.person)
	if !ok || m.Role != v.role {
		return false
	}
	lasts, err := c.SignIn.Lasts(r)
	return err == nil && lasts
}

// stream writes to a page that may have gone or stopped reading.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// write sends a text within its time, and reports whether the reader took it.
func (s *stream) write(text string) bool {
	if text == "" {
		return true
	}
	if err := s.control.SetWriteDeadline(clock.System().Add(patience)); err != nil {
		return false
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	return s.control.Flush() == nil
}
