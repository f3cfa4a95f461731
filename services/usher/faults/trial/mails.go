package trial

import (
	"sync"

	"github.com/usherhq/usher/services/mailer/fakemailgun"
)

// mails are the mails that the provider took, by recipient.
type mails struct {
	server *fakemailgun.Server

	mu   sync.Mutex
	seen int
	by   map[string][]fakemailgun.Mail
}

// to gives all mails to an address, oldest first.
func (m *mails) to(address string) []fakemailgun.Mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server.Counters().Mails != m.seen {
		all := m.server.Mails()
		m.by = map[string][]fakemailgun.Mail{}
		for _, one := range all {
			m.by[one.Recipient] = append(m.by[one.Recipient], one)
		}
		m.seen = len(all)
	}
	return m.by[address]
}
