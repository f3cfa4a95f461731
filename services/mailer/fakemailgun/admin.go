package fakemailgun

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"github.com/usherhq/usher/services/mailer/mailview"
)

// mailJSON is a mail as /fake/mails shows it.
type mailJSON struct {
	mailview.Mail
	ID        string            `json:"id"`
	MessageID string            `json:"message_id"`
	Recipient string            `json:"recipient"`
	Together  int               `json:"together"`
	Variables map[string]string `json:"variables"`
	Options   map[string]string `json:"options"`
}

func (m Mail) json() mailJSON {
	return mailJSON{m.view(), m.ID, m.MessageID, m.Recipient, m.Together, m.Variables, m.Options}
}

// adminMails lists mails, oldest first: those to ?recipient=, of ?invitation=, after number ?after=, at most ?limit=.
func (s *Server) adminMails(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.FormValue("after"))
	limit, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil {
		limit = len(s.kept)
	}
	recipient, invitation := r.FormValue("recipient"), r.FormValue("invitation")
	items := []mailJSON{}
	for _, m := range s.Mails() {
		if m.Number > after && len(items) < limit && (recipient == "" || m.Recipient == recipient) &&
			(invitation == "" || m.Variables["invitation"] == invitation) {
			items = append(items, m.json())
		}
	}
	answer(w, http.StatusOK, map[string]any{"items": items, "total": s.Counters().Mails})
}

// adminArrivals lists mails for load runs, as adminMails does but one short line a mail: its number, when it came (unix
// nanoseconds), its recipient, its invitation, and its link where the texts are still kept.
func (s *Server) adminArrivals(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.FormValue("after"))
	limit, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil {
		limit = len(s.kept)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, m := range s.mailsAfter(after, limit) {
		_, _ = fmt.Fprintln(w, m.Number, m.At.UnixNano(), m.Recipient, m.Variables["invitation"], link.FindString(m.Text()))
	}
}

// link is an invitation's link in a text.
var link = regexp.MustCompile(`https?://\S+/i/[\w-]+`)

func (s *Server) mailsAfter(after, limit int) []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	var mails []Mail
	for n := max(after+1, s.last-len(s.kept)+1); n <= s.last && len(mails) < limit; n++ {
		if m := s.at(n); m != nil {
			mails = append(mails, *m)
		}
	}
	return mails
}

func (s *Server) adminMail(w http.ResponseWriter, r *http.Request) {
	number, _ := strconv.Atoi(r.PathValue("number"))
	m, ok := s.find(number)
	if !ok {
		refuse(w, http.StatusNotFound, ErrNoMail.Error())
		return
	}
	answer(w, http.StatusOK, m.json())
}

// adminMIME gives one mail as it arrives.
func (s *Server) adminMIME(w http.ResponseWriter, r *http.Request) {
	number, _ := strconv.Atoi(r.PathValue("number"))
	m, _ := s.find(number)
	raw := m.MIME()
	if raw == nil {
		refuse(w, http.StatusNotFound, ErrNoMail.Error())
		return
	}
	w.Header().Set("Content-Type", "message/rfc822")
	_, _ = w.Write(raw)
}

// adminFault scripts a Fault, given as JSON.
func (s *Server) adminFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if !decode(w, r, &f) {
		return
	}
	s.Fail(f)
	w.WriteHeader(http.StatusNoContent)
}

// adminReport posts a Report, given as JSON, and tells how the webhook was answered.
func (s *Server) adminReport(w http.ResponseWriter, r *http.Request) {
	var report Report
	if !decode(w, r, &report) {
		return
	}
	status, err := s.Report(r.Context(), report)
	switch {
	case errors.Is(err, ErrNoMail):
		refuse(w, http.StatusNotFound, err.Error())
	case errors.Is(err, ErrNoWebhook):
		refuse(w, http.StatusConflict, err.Error())
	case err != nil:
		refuse(w, http.StatusBadGateway, err.Error())
	default:
		answer(w, http.StatusOK, map[string]int{"status": status})
	}
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return false
	}
	return true
}

func (s *Server) find(number int) (Mail, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.at(number); m != nil {
		return *m, true
	}
	return Mail{}, false
}

// source is what the pages show.
type source struct{ s *Server }

// Mails implements mailview.Source.
func (src source) Mails(to string, limit int) ([]mailview.Mail, int) {
	src.s.mu.Lock()
	defer src.s.mu.Unlock()
	var mails []mailview.Mail
	for n := src.s.last; n > 0 && len(mails) < limit; n-- {
		m := src.s.at(n)
		if m == nil {
			break
		}
		if to == "" || m.Recipient == to {
			mails = append(mails, m.view())
		}
	}
	return mails, src.s.counters.Mails
}

// Mail implements mailview.Source.
func (src source) Mail(number int) (mailview.Mail, bool) {
	m, ok := src.s.find(number)
	return m.view(), ok
}
