package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/mod/semver"

	"github.com/usherhq/usher/pkg/problem"
)

// OldestServer is the first nats-server version with all that the ledger rests on: atomic batches, message schedules,
// and the mends to both.
const OldestServer = "2.14.3"

// Durability tells how it is known that the broker syncs every write before it acknowledges.
type Durability struct {
	// MonitoringURL is the broker's monitoring address ("http://nats:8222"), which is asked.
	MonitoringURL string
	// Declared is the operator's word (USHER_NATS_SYNC=always), or true where Usher itself started the broker so.
	Declared bool
	// Lax skips the question: development against a broker whose data nobody needs.
	Lax bool
}

func checkServer(ctx context.Context, nc *nats.Conn, d Durability) error {
	if !nc.IsConnected() {
		return problem.Unavailable("The ledger", fmt.Errorf("nats connection is %s", nc.Status()))
	}
	if have := nc.ConnectedServerVersion(); !newEnough(have) {
		return fmt.Errorf("ledger: nats-server %s is too old, %s or newer is needed: older ones lack mends to atomic batches and message schedules", have, OldestServer)
	}
	switch {
	case d.MonitoringURL != "":
		return askSync(ctx, d.MonitoringURL)
	case d.Declared, d.Lax:
		return nil
	}
	return fmt.Errorf("ledger: it is not known whether the broker syncs every write: set USHER_NATS_MONITORING_URL so that it can be asked, or declare USHER_NATS_SYNC=always")
}

func newEnough(version string) bool {
	version, _, _ = strings.Cut(version, "-") // a preview of a version counts as that version
	return semver.Compare("v"+version, "v"+OldestServer) >= 0
}

// askSync reads the broker's monitoring page (/varz, jetstream.config.sync_always).
func askSync(ctx context.Context, base string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/varz", nil)
	if err != nil {
		return fmt.Errorf("ledger: monitoring address: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return problem.Unavailable("The broker's monitoring address", err)
	}
	defer answer.Body.Close()
	var varz struct {
		JetStream struct {
			Config *struct {
				SyncAlways   bool          `json:"sync_always"`
				SyncInterval time.Duration `json:"sync_interval"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&varz); err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ledger: the broker's monitoring address does not answer as nats-server does (status %d)", answer.StatusCode)
	}
	if varz.JetStream.Config == nil {
		return fmt.Errorf("ledger: JetStream is off on the broker")
	}
	if !varz.JetStream.Config.SyncAlways {
		return fmt.Errorf("ledger: the broker syncs every %s, so what it acknowledged may be lost with its power; set jetstream { sync_interval: always }", varz.JetStream.Config.SyncInterval)
	}
	return nil
}
