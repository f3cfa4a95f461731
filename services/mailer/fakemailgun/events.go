package fakemailgun

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usherhq/usher/pkg/mailgunhook"
)

// event is one entry of the events API, and the event-data of a webhook.
type event map[string]any

// accepted is the event that stands for a mail having been taken.
func (m *Mail) accepted() event {
	return m.event("accepted", fmt.Sprintf("accepted-%d", m.Number), m.At)
}

func (m *Mail) event(name, id string, at time.Time) event {
	return event{
		"event": name, "id": id, "timestamp": float64(at.UnixMicro()) / 1e6, "recipient": m.Recipient, "method": "HTTP",
		"message": map[string]any{"headers": map[string]any{
			"message-id": strings.Trim(m.MessageID, "<>"), "to": m.To, "from": m.From, "subject": m.Subject,
		}},
		"user-variables": m.Variables,
		"flags":          map[string]any{"is-test-mode": m.Options["testmode"] == "yes"},
	}
}

// events lists what happened, a page at a time. The page's token is the offset.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	if f := s.fault("events", nil); f != nil {
		s.fail(w, r, f, nil)
		return
	}
	query := r.URL.Query()
	offset, _ := strconv.Atoi(r.PathValue("page"))
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > 300 {
		limit = 100
	}
	all := s.search(query)
	items := all[min(offset, len(all)):min(offset+limit, len(all))]
	if items == nil {
		items = []event{}
	}
	page := func(offset int) string { return s.pageURL(r, max(offset, 0)) }
	answer(w, http.StatusOK, map[string]any{"items": items, "paging": map[string]string{
		"first": page(0), "previous": page(offset - limit), "next": page(offset + len(items)), "last": page(len(all) - limit),
	}})
}

func (s *Server) pageURL(r *http.Request, offset int) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: fmt.Sprintf("/v3/%s/events/%d", r.PathValue("domain"), offset), RawQuery: r.URL.RawQuery}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}

// search gives the events that pass the filters, in the order asked for.
func (s *Server) search(query url.Values) []event {
	now := s.o.Clock()
	begin, _ := parseTime(query.Get("begin"))
	end, err := parseTime(query.Get("end"))
	if err != nil {
		end = now
	}
	var found []event
	s.mu.Lock()
	s.each(func(m *Mail) bool {
		if !m.matches(query) || m.At.Add(s.o.EventsLag).After(now) {
			return true
		}
		for _, e := range append([]event{m.accepted()}, m.reports...) {
			at := e.time()
			if !at.Before(begin) && !at.After(end.Add(time.Second)) && oneOf(query.Get("event"), e["event"]) {
				found = append(found, e)
			}
		}
		return true
	})
	s.mu.Unlock()
	slices.SortStableFunc(found, func(a, b event) int { return cmp.Compare(a["timestamp"].(float64), b["timestamp"].(float64)) })
	if query.Get("ascending") != "yes" {
		slices.Reverse(found)
	}
	return found
}

func (m *Mail) matches(query url.Values) bool {
	return oneOf(query.Get("message-id"), strings.Trim(m.MessageID, "<>")) && oneOf(query.Get("recipient"), m.Recipient)
}

func (e event) time() time.Time { return time.UnixMicro(int64(e["timestamp"].(float64) * 1e6)) }

// oneOf reports whether value passes a filter: empty, a value, or values with OR between them.
func oneOf(filter string, value any) bool {
	return filter == "" || slices.Contains(strings.Split(filter, " OR "), fmt.Sprint(value))
}

// parseTime reads the two forms of time that Mailgun takes.
func parseTime(s string) (time.Time, error) {
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		return time.UnixMicro(int64(seconds * 1e6)), nil
	}
	return time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", s)
}

// severity is how Mailgun spells a kind: its event and, for failures, how bad it is.
func severity(k mailgunhook.Kind) (name, severity string) {
	switch k {
	case mailgunhook.Bounced:
		return "failed", "permanent"
	case mailgunhook.Deferred:
		return "failed", "temporary"
	}
	return string(k), ""
}
