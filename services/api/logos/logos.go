package logos

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/roster"
)

// kept is how many pictures are remembered, at most MaxBytes each.
const kept = 128

// Logos keeps the organizations' pictures.
type Logos struct {
	store  *ledger.Objects
	roster *roster.Roster
	log    *slog.Logger

	mu     sync.Mutex
	recent map[string][]byte
}

// Open opens the pictures in the ledger.
func Open(ctx context.Context, l *ledger.Ledger, r *roster.Roster, log *slog.Logger) (*Logos, error) {
	store, err := l.Objects(ctx, ledger.ObjectsLogos)
	if err != nil {
		return nil, err
	}
	return &Logos{store: store, roster: r, log: log, recent: map[string][]byte{}}, nil
}

// Put keeps a picture for an organization.
func (l *Logos) Put(ctx context.Context, org string, p Picture) error {
	return l.store.Put(ctx, org+"/"+p.Name, p.Data)
}

// Delete removes a picture of an organization. Memory of it goes with time: nobody is led to it any more.
func (l *Logos) Delete(ctx context.Context, org, name string) error {
	l.forget(org + "/" + name)
	return l.store.Delete(ctx, org+"/"+name)
}

// ServeHTTP serves GET /logos/{org}/{logo} to everybody. A picture that was replaced leads to the one in its place, so
// that mails from before show that; nothing is read for a name that is not the organization's present one.
func (l *Logos) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin") // mailboxes in the browser show it on pages of their own
	o, err := l.roster.Organization(r.Context(), r.PathValue("org"))
	switch name := o.Branding.Logo; {
	case err != nil || name == "":
		http.NotFound(w, r)
	case r.PathValue("logo") != name:
		h.Set("Cache-Control", "no-cache") // another process may not know of the newest one yet
		h.Set("Location", name)            // beside this one
		w.WriteHeader(http.StatusFound)
	default:
		l.serve(w, r, o.ID, name)
	}
}

func (l *Logos) serve(w http.ResponseWriter, r *http.Request, org, name string) {
	data, err := l.get(r.Context(), org+"/"+name)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		http.NotFound(w, r)
		return
	case err != nil:
		l.log.Warn("a logo cannot be read", "organization", org, "error", err)
		w.Header().Set("Retry-After", "2")
		http.Error(w, "Not now.", http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "image/png")
	if strings.HasSuffix(name, ".jpg") {
		h.Set("Content-Type", "image/jpeg")
	}
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // the reader has gone; there is nobody to tell
}

func (l *Logos) get(ctx context.Context, key string) ([]byte, error) {
	l.mu.Lock()
	data, ok := l.recent[key]
	l.mu.Unlock()
	if ok {
		return data, nil
	}
	data, err := l.store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) >= kept {
		clear(l.recent)
	}
	l.recent[key] = data
	return data, nil
}

func (l *Logos) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.recent, key)
}
