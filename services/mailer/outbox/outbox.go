// Package outbox keeps mails instead of sending them, and shows them: what development has in place of a provider.
package outbox

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/services/mailer/mail"
	"github.com/usherhq/usher/services/mailer/mailview"
)

// Path is where Handler expects to be reached: Path, Path + ".json", and everything below Path + "/".
const Path = "/outbox"

// Outbox keeps the newest mails in memory. It is a mail.Sender and a mail.Finder.
type Outbox struct {
	clock clock.Clock

	mu    sync.Mutex
	kept  []entry // a ring: mail n is at n % len
	total int
}

type entry struct {
	number int
	at     time.Time
	mail   mail.Mail
}

// New makes an Outbox that keeps the newest keep mails (1000, if 0). The clock may be nil.
func New(keep int, now clock.Clock) *Outbox {
	if keep == 0 {
		keep = 1000
	}
	if now == nil {
		now = clock.System
	}
	return &Outbox{clock: now, kept: make([]entry, keep)}
}

// Send implements mail.Sender: every mail is taken.
func (o *Outbox) Send(_ context.Context, mails []mail.Mail) []mail.Result {
	results := make([]mail.Result, len(mails))
	now := o.clock()
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, m := range mails {
		o.total++
		o.kept[o.total%len(o.kept)] = entry{o.total, now, m}
		results[i].ID = m.MessageID
	}
	return results
}

// Find implements mail.Finder.
func (o *Outbox) Find(_ context.Context, m mail.Mail, _ time.Time) (string, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.kept {
		if e.number > 0 && e.mail.MessageID == m.MessageID {
			return m.MessageID, true, nil
		}
	}
	return "", false, nil
}

// Handler shows the mails at Path, and as JSON at Path + ".json". It answers this machine alone, and only under a name of
// this machine: the links in the mails are secret, and a web page elsewhere could point its own name here.
func (o *Outbox) Handler() http.Handler {
	pages := mailview.Handler("Outbox", Path, o)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r.RemoteAddr) || !loopback(r.Host) {
			http.Error(w, "The outbox is shown on this machine only.", http.StatusForbidden)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Mails implements mailview.Source.
func (o *Outbox) Mails(to string, limit int) ([]mailview.Mail, int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var mails []mailview.Mail
	for n := o.total; n > 0 && n > o.total-len(o.kept) && len(mails) < limit; n-- {
		if e := o.kept[n%len(o.kept)]; to == "" || e.mail.To == to {
			mails = append(mails, e.view())
		}
	}
	return mails, o.total
}

// Mail implements mailview.Source.
func (o *Outbox) Mail(number int) (mailview.Mail, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if number < 1 || o.kept[number%len(o.kept)].number != number {
		return mailview.Mail{}, false
	}
	return o.kept[number%len(o.kept)].view(), true
}

func (e entry) view() mailview.Mail {
	m := e.mail
	v := mailview.Mail{Number: e.number, At: e.at, From: m.Letter.From, To: m.To, Subject: m.Subject(), Text: m.Text(), HTML: m.HTML()}
	for _, h := range m.Headers() {
		v.Headers = append(v.Headers, mailview.Header{Name: h.Name, Value: h.Value})
	}
	return v
}
