package fakemailgun

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/usherhq/usher/pkg/mailgunhook"
)

// Report is a webhook to post about a mail.
type Report struct {
	// Mail is the mail's number; 0 means the newest to Recipient, or the newest of all.
	Mail      int    `json:"mail,omitempty"`
	Recipient string `json:"recipient,omitempty"`
	// Kind is "delivered" (default), "deferred", "bounced", "complained", "unsubscribed", or any other event of Mailgun's.
	Kind   mailgunhook.Kind `json:"kind,omitempty"`
	Code   int              `json:"code,omitempty"`
	Reason string           `json:"reason,omitempty"`
	// Times posts the same body several times (default 1).
	Times int `json:"times,omitempty"`
	// ID, Token, Timestamp and Signature replace what would be right.
	ID        string `json:"id,omitempty"`
	Token     string `json:"token,omitempty"`
	Timestamp string `json:"timestamp,omitempty"`
	Signature string `json:"signature,omitempty"`
}

// report is a Report whose mail is known.
type report struct {
	Report
	mail *Mail
}

var (
	// ErrNoMail is returned by Report when no kept mail is meant.
	ErrNoMail = errors.New("no such mail is kept")
	// ErrNoWebhook is returned by Report when there is nowhere to post.
	ErrNoWebhook = errors.New("no webhook address is set")
)

// Report posts a signed webhook and adds it to the events. It returns the status of the last answer, or ErrNoMail,
// ErrNoWebhook, or the connection's error.
func (s *Server) Report(ctx context.Context, r Report) (status int, err error) {
	if s.o.WebhookURL == "" {
		return 0, ErrNoWebhook
	}
	m := s.meant(r)
	if m == nil {
		return 0, ErrNoMail
	}
	return s.post(ctx, report{r, m})
}

func (s *Server) meant(r Report) *Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Mail != 0 {
		return s.at(r.Mail)
	}
	var newest *Mail
	s.each(func(m *Mail) bool {
		if r.Recipient == "" || m.Recipient == r.Recipient {
			newest = m
		}
		return true
	})
	return newest
}

func (s *Server) post(ctx context.Context, r report) (status int, err error) {
	body, err := json.Marshal(s.webhook(r))
	if err != nil {
		return 0, fmt.Errorf("write webhook: %w", err)
	}
	for range max(r.Times, 1) {
		status, err = s.postBody(ctx, body)
		s.count(func(c *Counters) {
			if err == nil && status == http.StatusOK {
				c.Reports++
			} else {
				c.ReportsFailed++
			}
		})
	}
	return status, err
}

func (s *Server) postBody(ctx context.Context, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.WebhookURL, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("post webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("post webhook: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}

// webhook makes the body and remembers the event.
func (s *Server) webhook(r report) map[string]any {
	now := s.o.Clock()
	name, bad := severity(cmp.Or(r.Kind, mailgunhook.Delivered))
	e := r.mail.event(name, cmp.Or(r.ID, rand.Text()), now)
	if bad != "" {
		e["severity"], e["reason"] = bad, cmp.Or(r.Reason, "generic")
		e["delivery-status"] = map[string]any{"code": cmp.Or(r.Code, map[string]int{"permanent": 550, "temporary": 421}[bad]), "message": "scripted"}
	}
	s.mu.Lock()
	r.mail.reports = append(r.mail.reports, e)
	s.mu.Unlock()
	timestamp := cmp.Or(r.Timestamp, fmt.Sprint(now.Unix()))
	token := cmp.Or(r.Token, strings.ToLower(rand.Text() + rand.Text())[:50])
	return map[string]any{"event-data": e, "signature": map[string]string{
		"timestamp": timestamp, "token": token,
		"signature": cmp.Or(r.Signature, mailgunhook.Sign(s.o.SigningKey, timestamp, token)),
	}}
}

// byName is what becomes of mails by themselves, by the beginning of the address.
var byName = map[string]mailgunhook.Kind{
	"bounce": mailgunhook.Bounced, "defer": mailgunhook.Deferred,
	"complain": mailgunhook.Complained, "unsubscribe": mailgunhook.Unsubscribed,
}

// deliverLater lines up the reports of mails; what doesn't fit in the line is not reported.
func (s *Server) deliverLater(mails []*Mail) {
	for _, m := range mails {
		kind := mailgunhook.Delivered
		for name, k := range byName {
			if strings.HasPrefix(m.Recipient, name) {
				kind = k
			}
		}
		select {
		case s.queue <- report{Report{Kind: kind}, m}:
		default:
			s.count(func(c *Counters) { c.ReportsFailed++ })
		}
	}
}

func (s *Server) deliver(ctx context.Context) {
	for {
		select {
		case r := <-s.queue:
			if s.o.WebhookURL != "" {
				_, _ = s.post(ctx, r) // counted
			} else {
				s.webhook(r) // shows in the events all the same
			}
		case <-ctx.Done():
			return
		}
	}
}
