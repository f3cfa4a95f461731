package contract

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

// The parts of an AsyncAPI 3.0 document that Usher's has, in the order in which they are written.
type (
	document struct {
		AsyncAPI           string               `yaml:"asyncapi"`
		Info               info                 `yaml:"info"`
		DefaultContentType string               `yaml:"defaultContentType"`
		Servers            map[string]server    `yaml:"servers"`
		Channels           map[string]channel   `yaml:"channels"`
		Operations         map[string]operation `yaml:"operations"`
		Components         components           `yaml:"components"`
	}
	info struct {
		Title       string            `yaml:"title"`
		Version     string            `yaml:"version"`
		Description string            `yaml:"description"`
		License     map[string]string `yaml:"license"`
	}
	server struct {
		Host        string `yaml:"host"`
		Protocol    string `yaml:"protocol"`
		Description string `yaml:"description"`
	}
	channel struct {
		Address     string               `yaml:"address"`
		Description string               `yaml:"description"`
		Messages    map[string]reference `yaml:"messages"`
		Parameters  map[string]reference `yaml:"parameters"`
	}
	operation struct {
		Action   string      `yaml:"action"`
		Channel  reference   `yaml:"channel"`
		Title    string      `yaml:"title"`
		Summary  string      `yaml:"summary"`
		Messages []reference `yaml:"messages"`
	}
	message struct {
		Name          string     `yaml:"name"`
		Title         string     `yaml:"title"`
		Summary       string     `yaml:"summary"`
		ContentType   string     `yaml:"contentType"`
		CorrelationID reference  `yaml:"correlationId"`
		Headers       *yaml.Node `yaml:"headers"`
		Payload       reference  `yaml:"payload"`
		Examples      []example  `yaml:"examples"`
	}
	example struct {
		Name    string            `yaml:"name"`
		Headers map[string]string `yaml:"headers"`
		Payload *yaml.Node        `yaml:"payload"`
	}
	components struct {
		Messages       map[string]message           `yaml:"messages"`
		Parameters     map[string]map[string]string `yaml:"parameters"`
		CorrelationIDs map[string]map[string]string `yaml:"correlationIds"`
		Schemas        map[string]*yaml.Node        `yaml:"schemas"`
	}
	reference struct {
		Ref string `yaml:"$ref"`
	}
)

// parameters are the tokens of subjects, by their names in the catalogue.
var parameters = map[string]struct{ name, description string }{
	"<app>":    {"app", "The upstream app's short name. Each app may publish on its own subject only."},
	"<org>":    {"organization", "The organization's short name."},
	"<id>":     {"invitation", "The invitation's id, a TypeID with the prefix inv."},
	"<person>": {"person", "The keyed hash of the member's canonical address."},
}

const about = `The events of Usher's invitation pipeline, on NATS JetStream.

Upstream apps publish InvitationRequested on requests.<app> and hear what became of it on invitations.> and memberships.>.
Usher writes CloudEvents 1.0 in binary mode: the attributes are ce- headers (values percent-encoded as in the HTTP binding),
the body is the data as JSON. It reads binary mode, structured mode and the bare body. W3C trace context travels in the
headers traceparent and tracestate.

Fields may be added under the same version of an event: ignore what you don't know.
`

// build makes the AsyncAPI document out of the catalogue and the schemas.
func build(t *testing.T) document {
	d := document{
		AsyncAPI: "3.0.0",
		Info: info{
			Title: "Usher events", Version: "1.0.0", Description: about,
			License: map[string]string{"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
		},
		DefaultContentType: events.ContentType,
		Servers:            map[string]server{"nats": {"localhost:4222", "nats", "The NATS server; JetStream holds the streams."}},
		Channels:           map[string]channel{},
		Operations:         map[string]operation{},
		Components: components{
			Messages:       map[string]message{},
			Parameters:     map[string]map[string]string{},
			CorrelationIDs: map[string]map[string]string{"invitation": {"description": "Shared by all events of one invitation.", "location": "$message.header#/ce-correlationid"}},
			Schemas:        map[string]*yaml.Node{"CloudEvent": node(t, headerSchema())},
		},
	}
	for _, p := range parameters {
		d.Components.Parameters[p.name] = map[string]string{"description": p.description}
	}
	all := schemas(t)
	for _, typ := range events.Types() {
		d.addMessage(t, typ, all[typ])
	}
	for _, r := range catalogue(t) {
		d.addOperation(r)
	}
	return d
}

func (d *document) addMessage(t *testing.T, typ events.Type, schema *jsonschema.Schema) {
	name, payload := nameOf(t, typ), *schema
	payload.Version, payload.ID, payload.Examples = "", "", nil
	d.Components.Schemas[name] = node(t, &payload)
	header, body, err := events.Encode(eventstest.Of(typ))
	require.NoError(t, err)
	d.Components.Messages[name] = message{
		Name: string(typ), Title: name, Summary: schema.Description, ContentType: events.ContentType,
		CorrelationID: component("correlationIds", "invitation"),
		Headers:       node(t, headersOf(typ)),
		Payload:       component("schemas", name),
		Examples:      []example{{Name: "full", Headers: firsts(header), Payload: node(t, json.RawMessage(body))}},
	}
}

// addOperation adds a line of the catalogue, seen from Usher: it receives requests, and sends everything else.
func (d *document) addOperation(r row) {
	action, name, verb := "send", channelName(r), "send"
	if r.publishedBy == "an upstream app" {
		action, verb = "receive", "receive"
	}
	c, ok := d.Channels[name]
	if !ok {
		c = newChannel(r.subject)
		d.Channels[name] = c
	}
	c.Messages[r.event] = component("messages", r.event)
	d.Operations[verb+strings.ToUpper(name[:1])+name[1:]+operationSuffix(r, name)] = operation{
		Action: action, Channel: reference{"#/channels/" + name}, Title: r.event,
		Summary:  "Published by " + r.publishedBy + ", heard by " + r.heardBy + ".",
		Messages: []reference{{"#/channels/" + name + "/messages/" + r.event}},
	}
}

// channelName is the subject's root where it has a channel of its own, and the event's name in the ledger.
func channelName(r row) string {
	root, _, _ := strings.Cut(r.subject, ".")
	if root == events.RootInvitations {
		return strings.ToLower(r.event[:1]) + r.event[1:]
	}
	return root
}

// operationSuffix tells the events of a shared channel apart.
func operationSuffix(r row, channel string) string {
	if channel == events.RootMemberships {
		return strings.TrimPrefix(r.event, "Membership")
	}
	return ""
}

var streams = map[string]string{
	events.RootRequests:    events.StreamRequests,
	events.RootInvitations: events.StreamInvitations,
	events.RootMemberships: events.StreamMemberships,
}

func newChannel(subject string) channel {
	root, _, _ := strings.Cut(subject, ".")
	c := channel{
		Address: subject, Description: "In the stream " + streams[root] + ".",
		Messages: map[string]reference{}, Parameters: map[string]reference{},
	}
	for token, p := range parameters {
		if strings.Contains(subject, token) {
			c.Address = strings.Replace(c.Address, token, "{"+p.name+"}", 1)
			c.Parameters[p.name] = component("parameters", p.name)
		}
	}
	return c
}

func component(kind, name string) reference { return reference{"#/components/" + kind + "/" + name} }

// firsts are the headers as AsyncAPI shows them, one value each.
func firsts(header map[string][]string) map[string]string {
	flat := map[string]string{}
	for name, values := range header {
		flat[name] = values[0]
	}
	return flat
}

// headerSchema describes what every message of Usher's has.
func headerSchema() map[string]any {
	text := func(description string) map[string]any {
		return map[string]any{"type": "string", "minLength": 1, "maxLength": events.MaxAttribute, "description": description}
	}
	return map[string]any{
		"type":     "object",
		"required": []string{"ce-specversion", "ce-id", "ce-source", "ce-type"},
		"properties": map[string]any{
			"ce-specversion":   map[string]any{"type": "string", "const": events.SpecVersion, "description": "The version of CloudEvents."},
			"ce-id":            text("The event's id; with the source it is unique."),
			"ce-source":        text("Who published the event."),
			"ce-type":          text("The event's public, versioned name."),
			"ce-subject":       text("What the event is about: the invitation, or the person for memberships."),
			"ce-time":          map[string]any{"type": "string", "format": "date-time", "description": "When the event was made."},
			"ce-correlationid": text("Shared by all events of one invitation."),
			"ce-causationid":   text("The id of the event that led to this one."),
			"content-type":     map[string]any{"type": "string", "const": events.ContentType, "description": "The form of the body."},
			"traceparent":      map[string]any{"type": "string", "description": "W3C trace context."},
			"tracestate":       map[string]any{"type": "string", "description": "W3C trace context."},
		},
	}
}

func headersOf(typ events.Type) map[string]any {
	return map[string]any{"allOf": []any{
		map[string]any{"$ref": "#/components/schemas/CloudEvent"},
		map[string]any{"type": "object", "properties": map[string]any{"ce-type": map[string]any{"const": typ}}},
	}}
}

// node turns a value into YAML by way of its JSON, and so keeps the order that its JSON has.
func node(t *testing.T, v any) *yaml.Node {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	var n yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &n))
	plain(&n)
	return n.Content[0]
}

// plain takes off the braces and quotes that JSON needs and YAML does not; the encoder puts quotes back where they matter.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plain(child)
	}
}

func documentText(t *testing.T, d document) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("# Made from the Go types of package events by `go generate`; a test fails when the two differ.\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	require.NoError(t, enc.Encode(d))
	require.NoError(t, enc.Close())
	return b.Bytes()
}
