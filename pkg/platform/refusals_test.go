package platform_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/clock"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/links"
	"github.com/usherhq/usher/pkg/platform"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
	"github.com/usherhq/usher/pkg/refusal/refusaltest"
	"github.com/usherhq/usher/pkg/settings"
)

var update = flag.Bool("update", false, "write the refusals into the documentation")

func TestTheDocumentationListsTheRefusalsAsTheyAre(t *testing.T) {
	const path, begin, end = "../../docs/refusals.md", "<!-- refusals -->\n", "<!-- /refusals -->"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), begin)
	require.True(t, ok)
	have, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(before+begin+platform.RefusalsMarkdown()+end+after), 0o644))
		return
	}
	require.Equal(t, platform.RefusalsMarkdown(), have, "run: make generate")
}

// site is where a production service starts: a broker and a Redis, and its settings.
type site struct {
	broker *brokertest.Broker
	redis  string // its address
	clock  clock.Clock
	vars   map[string]string
}

const secret = "hunter2-of-the-broker"

// newSite is one at which a service starts.
func newSite(t *testing.T, redis string, options ...brokertest.Option) *site {
	t.Helper()
	b := brokertest.Run(t, append(options, brokertest.Config("authorization { user: usher, password: "+secret+" }"))...)
	return &site{broker: b, redis: redis, vars: map[string]string{
		"USHER_NATS_URL": strings.Replace(b.URL, "//", "//usher:"+secret+"@", 1), "USHER_NATS_MONITORING_URL": b.MonitoringURL,
		"USHER_REDIS_URL": redis, "USHER_PUBLIC_URL": "https://invite.example.com", "USHER_LINK_KEYS": links.NewKey(),
	}}
}

// newCluster is a site with a broker of three servers.
func newCluster(t *testing.T, redis string) *site {
	t.Helper()
	var ports [3]string
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, ports[i], err = net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	routes := "nats://127.0.0.1:" + strings.Join(ports[:], ", nats://127.0.0.1:")
	var s *site
	for i, port := range ports {
		s = newSite(t, redis, brokertest.Config(fmt.Sprintf(
			"server_name: n%d\ncluster { name: c, listen: \"127.0.0.1:%s\", routes: [%s] }", i, port, routes)))
	}
	conn := s.broker.Conn(t, nats.UserInfo("usher", secret))
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // until the servers have a leader
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "READY", Replicas: 3})
		return err == nil
	}, 30*time.Second, 100*time.Millisecond)
	return s
}

// start starts what every service stands on, as a service does, and stops it again.
func (s *site) start(t *testing.T) error {
	t.Helper()
	var environ []string
	for name, value := range s.vars {
		environ = append(environ, name+"="+value)
	}
	read, err := settings.Load(settings.Acceptance, environ)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := platform.Open(ctx, read, platform.Options{Name: "acceptance", Logs: io.Discard, Clock: s.clock})
	if err != nil {
		return err
	}
	return p.Close()
}

// jetStream is the site's, after a first start has made everything.
func (s *site) jetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	require.NoError(t, s.start(t), "it does not start as it is")
	conn, err := bus.Connect(t.Context(), bus.Options{URL: s.vars["USHER_NATS_URL"]})
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	return js
}

// as breaks the site, and gives the case in which the start must say so.
func as(redis, says string, broken func(*testing.T, *site), options ...brokertest.Option) refusaltest.Case {
	return refusaltest.Case{Says: says, Secrets: []string{secret}, Start: func(t *testing.T) error {
		s := newSite(t, redis, options...)
		broken(t, s)
		return s.start(t)
	}}
}

func kept(t *testing.T) string {
	return redistest.Run(t, "--appendonly", "yes").URL()
}

func TestABrokerThatPromisesTooLittleIsRefused(t *testing.T) {
	redis := kept(t)
	off := func(by time.Duration) func(*testing.T, *site) {
		return func(_ *testing.T, s *site) { s.clock = func() time.Time { return time.Now().Add(by) } }
	}
	refusaltest.Walk(t, ledger.ServerRules, map[string]refusaltest.Case{
		"an old server": as(redis, "nats-server 2.14.2 is too old, 2.14.3 or newer is needed: older ones lack mends to atomic batches and message schedules", func(t *testing.T, s *site) {
			s.vars["USHER_NATS_URL"] = oldBroker(t)
		}),
		"nobody says that it syncs": {
			Says: "it is not known whether the broker syncs every write: set USHER_NATS_MONITORING_URL so that it can be asked, or declare USHER_NATS_SYNC=always",
			Start: func(t *testing.T) error {
				_, err := ledger.Open(t.Context(), brokertest.Run(t).Conn(t), ledger.Options{})
				return err
			},
		},
		"another server's page": as(redis, "the broker's monitoring address does not answer as nats-server does (status 200)", func(t *testing.T, s *site) {
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
			t.Cleanup(other.Close)
			s.vars["USHER_NATS_MONITORING_URL"] = other.URL
		}),
		"JetStream off": as(redis, "JetStream is off on the broker", func(t *testing.T, s *site) {
			s.vars["USHER_NATS_MONITORING_URL"] = page(t, `{"server_id":"N1","jetstream":{}}`)
		}),
		"it syncs lazily": as(redis, "the broker syncs every 2m0s, so what it acknowledged may be lost with its power; set jetstream { sync_interval: always }", func(*testing.T, *site) {}, brokertest.Lazy()),
		"one of a cluster syncs lazily": as(redis, "the broker syncs every 2m0s, so what it acknowledged may be lost with its power; set jetstream { sync_interval: always }", func(t *testing.T, s *site) {
			s.vars["USHER_NATS_MONITORING_URL"] += ", " + brokertest.Run(t, brokertest.Lazy()).MonitoringURL
		}),
		"more replicas than servers": as(redis, "USHER_REPLICAS is 3, and the broker is a single server: it keeps one copy of everything", func(_ *testing.T, s *site) {
			s.vars["USHER_REPLICAS"] = "3"
		}),
		"a clock ahead":  as(redis, "this machine's clock is 6s ahead of the broker's, and may be 5s from it: deadlines would be decided wrongly; set both by NTP", off(6*time.Second+40*time.Millisecond)),
		"a clock behind": as(redis, "this machine's clock is 24h0m0s behind the broker's, and may be 5s from it: deadlines would be decided wrongly; set both by NTP", off(-24*time.Hour)),
	})
}

// page serves a monitoring page.
func page(t *testing.T, text string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
	t.Cleanup(server.Close)
	return server.URL
}

// served listens, and answers each line it gets.
func served(t *testing.T, greeting string, answer func(line string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, greeting)
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					_, _ = io.WriteString(conn, answer(lines.Text()))
				}
			}()
		}
	}()
	return l.Addr().String()
}

// oldBroker says of itself that it is an older nats-server.
func oldBroker(t *testing.T) string {
	info := `INFO {"server_id":"N1","version":"2.14.2","headers":true,"jetstream":true,"max_payload":1048576}` + "\r\n"
	return "nats://" + served(t, info, func(line string) string {
		if line == "PING" {
			return "PONG\r\n"
		}
		return ""
	})
}

func TestAStreamThatPromisesTooLittleIsRefused(t *testing.T) {
	redis := kept(t)
	cases := map[string]refusaltest.Case{}
	for _, c := range []struct {
		stream, says string
		weaken       func(*jetstream.StreamConfig)
	}{
		{"INVITATIONS", "subjects: is [invitations.*], needs [invitations.>]", func(c *jetstream.StreamConfig) { c.Subjects = []string{"invitations.*"} }},
		{"INVITATIONS", "retention: is WorkQueue, needs Limits", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }},
		{"DEADLETTERS", "retention: is Interest, needs Limits", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }},
		{"INVITATIONS", "storage: is Memory, needs File", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }},
		{"KV_organizations", "storage: is Memory, needs File", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }},
		{"OBJ_logos", "storage: is Memory, needs File", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }},
		{"INVITATIONS", "persist mode: is Async, needs Default", func(c *jetstream.StreamConfig) {
			c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
		}},
		{"KV_apikeys", "persist mode: is Async, needs Default", func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }},
		{"MEMBERSHIPS", "discard: is DiscardNew, needs DiscardOld", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew }},
		{"INVITATIONS", "max messages: is 10, needs unlimited", func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 }},
		{"INVITATIONS", "max bytes: is 1048576, needs unlimited", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }},
		{"KV_suppressions", "max bytes: is 1048576, needs unlimited", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }},
		{"INVITATIONS", "max messages per subject: is 1, needs unlimited", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }},
		{"DEADLETTERS", "max message size: is 1024, needs unlimited", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1024 }},
		{"INVITATIONS", "max age: is 1h0m0s, needs 9600h0m0s", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		{"MEMBERSHIPS", "max age: is 87600h0m0s, needs 0s", func(c *jetstream.StreamConfig) { c.MaxAge = 10 * 365 * 24 * time.Hour }},
		{"KV_imports", "max age: is 1h0m0s, needs 720h0m0s", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		{"REQUESTS", "max consumers: is 2, needs unlimited", func(c *jetstream.StreamConfig) { c.MaxConsumers = 2 }},
		{"INVITATIONS", "duplicate window: is 1s, needs 20s", func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }},
		{"REQUESTS", "duplicate window: is 2m0s, needs 100ms", func(c *jetstream.StreamConfig) { c.Duplicates = 2 * time.Minute }},
		{"INVITATIONS", "no acknowledgements: is true, needs false", func(c *jetstream.StreamConfig) { c.NoAck, c.AllowAtomicPublish = true, false }},
		{"MEMBERSHIPS", "deny purge: is true, needs false", func(c *jetstream.StreamConfig) { c.DenyPurge = true }},
		{"INVITATIONS", "allow direct get: is false, needs true", func(c *jetstream.StreamConfig) { c.AllowDirect = false }},
		{"INVITATIONS", "allow atomic publish: is false, needs true", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }},
		{"INVITATIONS", "allow message schedules: is false, needs true", func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = false }},
		{"MEMBERSHIPS", "allow rollup: is true, needs false", func(c *jetstream.StreamConfig) { c.AllowRollup = true }},
		{"KV_preferences", "allow rollup: is false, needs true", func(c *jetstream.StreamConfig) { c.AllowRollup = false }},
		{"DEADLETTERS", "allow message counter: is true, needs false", func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true }},
		{"INVITATIONS", "consumer limits: is {1h0m0s 0}, needs none", func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = time.Hour }},
		{"INVITATIONS", "republish: is true, needs false", func(c *jetstream.StreamConfig) {
			c.RePublish = &jetstream.RePublish{Source: ">", Destination: "leak.>"}
		}},
		{"INVITATIONS", "subject transform: is true, needs false", func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		}},
		{"DEADLETTERS", "mirror or sources: is true, needs false", func(c *jetstream.StreamConfig) {
			c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}}
		}},
		{"MEMBERSHIPS", "mirror or sources: is true, needs false", func(c *jetstream.StreamConfig) {
			*c = jetstream.StreamConfig{Name: c.Name, Mirror: &jetstream.StreamSource{Name: "OTHER"}}
		}},
	} {
		cases[c.stream+" "+c.says] = as(redis, c.says, func(t *testing.T, s *site) { s.remade(t, c.stream, c.weaken) })
	}
	cases["sealed"] = as(redis, "sealed: is true, needs false", func(t *testing.T, s *site) {
		js := s.jetStream(t)
		have, err := js.Stream(t.Context(), events.StreamMemberships)
		require.NoError(t, err)
		sealed := have.CachedInfo().Config
		sealed.Sealed = true
		_, err = js.UpdateStream(t.Context(), sealed)
		require.NoError(t, err)
	})
	cases["replicas"] = refusaltest.Case{Says: "replicas: is 1, needs 3", Secrets: []string{secret}, Start: func(t *testing.T) error {
		s := newCluster(t, redis)
		require.NoError(t, s.start(t))
		s.vars["USHER_REPLICAS"] = "3"
		return s.start(t)
	}}
	refusaltest.Walk(t, ledger.StreamRules, cases)
}

// remade has a stream made anew, with other settings than Usher's.
func (s *site) remade(t *testing.T, name string, weaken func(*jetstream.StreamConfig)) {
	t.Helper()
	js := s.jetStream(t)
	stream, err := js.Stream(t.Context(), name)
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	require.NoError(t, js.DeleteStream(t.Context(), name))
	weaken(&config)
	_, err = js.CreateStream(t.Context(), config)
	require.NoError(t, err)
}

func TestAConsumerThatPromisesTooLittleIsRefused(t *testing.T) {
	redis := kept(t)
	cases := map[string]refusaltest.Case{}
	for says, weaken := range map[string]func(*jetstream.ConsumerConfig){
		"memory storage: is true, needs false":            func(c *jetstream.ConsumerConfig) { c.MemoryStorage = true },
		"acknowledgements: is AckNone, needs AckExplicit": func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckNonePolicy },
		"acknowledgements: is AckAll, needs AckExplicit":  func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckAllPolicy },
		"delivery: is push to elsewhere, needs pull":      func(c *jetstream.ConsumerConfig) { c.DeliverSubject = "elsewhere" },
		"headers only: is true, needs false":              func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true },
		"replay: is original, needs instant":              func(c *jetstream.ConsumerConfig) { c.ReplayPolicy = jetstream.ReplayOriginalPolicy },
		"back-off: is [1s 1m0s], needs none": func(c *jetstream.ConsumerConfig) {
			c.BackOff, c.MaxDeliver = []time.Duration{time.Second, time.Minute}, 5
		},
		"inactive threshold: is 1h0m0s, needs none": func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Hour },
	} {
		cases[says] = refusaltest.Case{Says: says, Secrets: []string{secret}, Start: func(t *testing.T) error {
			js := newSite(t, redis).jetStream(t)
			config := jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy}
			weaken(&config)
			var err error
			if config.DeliverSubject != "" {
				_, err = js.CreatePushConsumer(t.Context(), events.StreamInvitations, config)
			} else {
				_, err = js.CreateConsumer(t.Context(), events.StreamInvitations, config)
			}
			require.NoError(t, err)
			return subscribe(t, js, "worker")
		}}
	}
	cases["replicas"] = refusaltest.Case{Says: "replicas: is 1, needs 3", Secrets: []string{secret}, Start: func(t *testing.T) error {
		s := newCluster(t, redis)
		s.vars["USHER_REPLICAS"] = "3"
		js := s.jetStream(t)
		_, err := js.CreateConsumer(t.Context(), events.StreamInvitations, jetstream.ConsumerConfig{
			Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, Replicas: 1,
		})
		require.NoError(t, err)
		return subscribe(t, js, "worker")
	}}
	refusaltest.Walk(t, ledger.ConsumerRules, cases)
}

// subscribe listens as a service's router does.
func subscribe(t *testing.T, js jetstream.JetStream, durable string) error {
	t.Helper()
	s, err := bus.NewSubscriber(js.Conn(), bus.SubscriberOptions{Plan: func(string) (bus.Subscription, error) {
		return bus.Subscription{Stream: events.StreamInvitations, Durable: durable}, nil
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, err = s.Subscribe(t.Context(), "worker")
	return err
}

func TestARedisThatPromisesTooLittleIsRefused(t *testing.T) {
	cases := map[string]refusaltest.Case{}
	with := func(args ...string) func(*testing.T) string {
		return func(t *testing.T) string { return redistest.Run(t, args...).URL() }
	}
	add := func(name, says string, redis func(*testing.T) string) {
		cases[name] = refusaltest.Case{Says: says, Secrets: []string{secret}, Start: func(t *testing.T) error { return newSite(t, redis(t)).start(t) }}
	}
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		add(policy, fmt.Sprintf(`Redis has maxmemory-policy %q, and must have "noeviction": others forget keys silently when memory runs short`, policy), with("--appendonly", "yes", "--maxmemory-policy", policy))
	}
	add("no append-only file", `Redis has appendonly "no", and must have "yes" in production: without it a restart comes up empty`, with())
	add("never synced", `Redis has appendfsync "no", and must have "everysec" or "always" in production: claims made in the last half minute would be lost with the power, and mails sent twice`,
		with("--appendonly", "yes", "--appendfsync", "no"))
	add("a replica", `Redis is a replica (role "slave"), and must be the primary`, func(t *testing.T) string {
		primary := redistest.Run(t, "--appendonly", "yes")
		return redistest.Run(t, "--appendonly", "yes", "--replicaof", "127.0.0.1 "+fmt.Sprint(primary.Port)).URL()
	})
	add("too old", `Redis is version "6.2.14", and must be 7 or newer`, oldRedis)
	refusaltest.Walk(t, redisdb.Rules, cases)
}

// oldRedis answers as an older Redis does.
func oldRedis(t *testing.T) string {
	bulk := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
	info := "redis_version:6.2.14\r\nrole:master\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n"
	return "redis://" + served(t, "", func(line string) string {
		switch strings.ToUpper(line) {
		case "PING":
			return "+PONG\r\n"
		case "INFO":
			return bulk(info)
		case "CONFIG":
			return "*2\r\n" + bulk("appendfsync") + bulk("everysec")
		case "HELLO", "CLIENT":
			return "-ERR unknown command\r\n"
		}
		return "" // a word of a command that was answered
	})
}

func TestARedisThatDoesNotTellItsFsyncIsTaken(t *testing.T) {
	server := redistest.Run(t, "--appendonly", "yes")
	server.Do(t, "ACL", "SETUSER", "usher", "on", ">pass", "~*", "+@all", "-config")
	require.NoError(t, newSite(t, "redis://usher:pass@"+server.Addr()).start(t))
}
