package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/usherhq/usher/services/usher/e2e/harness"
)

// collector takes traces as an OpenTelemetry collector does: protobuf over HTTP.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	raw   []byte
	spans []span
}

// span is one step of a trace: who reported it, what it is called, and its place.
type span struct{ service, name, trace, id, parent string }

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collectortrace.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &sent) != nil {
			t.Errorf("the collector cannot read what was sent: %v", err)
		}
		c.take(body, &sent)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) take(body []byte, sent *collectortrace.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, body...)
	for _, from := range sent.ResourceSpans {
		service := ""
		for _, attribute := range from.Resource.Attributes {
			if attribute.Key == "service.name" {
				service = attribute.Value.GetStringValue()
			}
		}
		for _, scope := range from.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, span{service, s.Name, string(s.TraceId), string(s.SpanId), string(s.ParentSpanId)})
			}
		}
	}
}

// text is all that was sent, for whoever looks for something in it.
func (c *collector) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.raw)
}

// line follows a trace up from the last step of that name to where it began, and gives the names on the way.
func (c *collector) line(name string) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byID := map[string]span{}
	var at span
	for _, s := range c.spans {
		byID[s.trace+s.id] = s
		if s.name == name {
			at = s
		}
	}
	for ; at.id != ""; at = byID[at.trace+at.parent] {
		names = append(names, at.service+": "+at.name)
	}
	return names
}

func TestOneTraceLeadsFromTheRequestToTheMembership(t *testing.T) {
	t.Parallel()
	traces := newCollector(t)
	d := harness.Deploy(t, "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT="+traces.URL,
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50")
	o := d.Organization(t)
	invitation, mail := o.Invited(t, "member")
	o.Accept(t, invitation, mail)

	const invite = "usher-api: POST /v1/organizations/{org}/invitations"
	leads := func(want ...string) {
		_, last, _ := strings.Cut(want[0], ": ")
		require.EventuallyWithT(t, func(c *assert.CollectT) { require.Equal(c, want, traces.line(last)) }, 20*time.Second, 20*time.Millisecond, last)
	}
	leads("usher-mailer: handle mailer", invite)
	leads("usher-acceptance: handle acceptance", "usher-api: outcome.accepted", invite)
}
