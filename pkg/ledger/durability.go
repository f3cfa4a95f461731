package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/mod/semver"

	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/refusal"
)

// OldestServer is the first nats-server version with all that the ledger rests on: atomic batches, message schedules,
// and the mends to both.
const OldestServer = "2.14.3"

// Durability tells how it is known that the broker syncs every write before it acknowledges.
type Durability struct {
	// MonitoringURL is the broker's monitoring address ("http://nats:8222"), which is asked; of a cluster those of all its
	// servers, with commas between.
	MonitoringURL string
	// Declared is the operator's word (USHER_NATS_SYNC=always), or true where Usher itself started the broker so.
	Declared bool
	// Lax skips the question: development against a broker whose data nobody needs.
	Lax bool
}

// broker is what is known of the one that is connected.
type broker struct {
	version string
	// known is false where nobody said whether it syncs always, and it cannot be asked.
	known bool
	// asked are the answers of its monitoring addresses.
	asked []monitored
}

// monitored is what a monitoring address answers.
type monitored struct {
	status    int
	readable  bool
	jetStream *jetStreamConfig
}

type jetStreamConfig struct {
	SyncAlways   bool          `json:"sync_always"`
	SyncInterval time.Duration `json:"sync_interval"`
}

var brokerRules = []refusal.Rule[broker]{
	refusal.Of("nats-server", "older than "+OldestServer, "nats-server %s is too old, %s or newer is needed: older ones lack mends to atomic batches and message schedules", func(b broker) refusal.Values {
		return refusal.If(!newEnough(b.version), b.version, OldestServer)
	}),
	refusal.Of("USHER_NATS_MONITORING_URL", "unset, without USHER_NATS_SYNC=always",
		"it is not known whether the broker syncs every write: set USHER_NATS_MONITORING_URL so that it can be asked, or declare USHER_NATS_SYNC=always", func(b broker) refusal.Values {
			return refusal.If(!b.known)
		}),
	refusal.Of("USHER_NATS_MONITORING_URL", "answers as something else than a nats-server", "the broker's monitoring address does not answer as nats-server does (status %d)", func(b broker) refusal.Values {
		return b.any(func(m monitored) refusal.Values { return refusal.If(!m.readable, m.status) })
	}),
	refusal.Of("jetstream", "off", "JetStream is off on the broker", func(b broker) refusal.Values {
		return b.any(func(m monitored) refusal.Values { return refusal.If(m.readable && m.jetStream == nil) })
	}),
	refusal.Of("jetstream { sync_interval }", "anything but always, on any server that is asked",
		"the broker syncs every %s, so what it acknowledged may be lost with its power; set jetstream { sync_interval: always }", func(b broker) refusal.Values {
			return b.any(func(m monitored) refusal.Values {
				if m.jetStream == nil || m.jetStream.SyncAlways {
					return nil
				}
				return refusal.If(true, m.jetStream.SyncInterval)
			})
		}),
}

// clusterRule is the promise of a single server, which says itself how many replicas it cannot keep: the subject.
var clusterRule = refusal.Of("USHER_REPLICAS", "more than 1, at a broker that is no cluster",
	"USHER_REPLICAS is %d, and the broker is a single server: it keeps one copy of everything", func(replicas int) refusal.Values {
		return refusal.If(replicas > 1, replicas)
	})

// any gives what the first address that breaks a promise says.
func (b broker) any(broken func(monitored) refusal.Values) refusal.Values {
	for _, m := range b.asked {
		if values := broken(m); values != nil {
			return values
		}
	}
	return nil
}

func checkServer(ctx context.Context, nc *nats.Conn, d Durability) error {
	if !nc.IsConnected() {
		return problem.Unavailable("The ledger", fmt.Errorf("nats connection is %s", nc.Status()))
	}
	b := broker{version: nc.ConnectedServerVersion(), known: d.MonitoringURL != "" || d.Declared || d.Lax}
	if newEnough(b.version) && d.MonitoringURL != "" {
		for _, address := range strings.Split(d.MonitoringURL, ",") {
			answer, err := askMonitoring(ctx, strings.TrimSpace(address))
			if err != nil {
				return err
			}
			b.asked = append(b.asked, answer)
		}
	}
	for _, sentence := range refusal.Check(brokerRules, b) {
		return errors.New("ledger: " + sentence)
	}
	return nil
}

func newEnough(version string) bool {
	version, _, _ = strings.Cut(version, "-") // a preview of a version counts as that version
	return semver.Compare("v"+version, "v"+OldestServer) >= 0
}

// askMonitoring reads a monitoring page (/varz, jetstream.config). It returns problem.NotNow where nothing answers.
func askMonitoring(ctx context.Context, base string) (monitored, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/varz", nil)
	if err != nil {
		return monitored{}, errors.New("ledger: USHER_NATS_MONITORING_URL is no address")
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return monitored{}, problem.Unavailable("The broker's monitoring address", err)
	}
	defer answer.Body.Close()
	var varz struct {
		ServerID  string `json:"server_id"`
		JetStream struct {
			Config *jetStreamConfig `json:"config"`
		} `json:"jetstream"`
	}
	err = json.NewDecoder(io.LimitReader(answer.Body, 4<<20)).Decode(&varz)
	return monitored{
		status: answer.StatusCode, readable: err == nil && answer.StatusCode == http.StatusOK && varz.ServerID != "", jetStream: varz.JetStream.Config,
	}, nil
}
