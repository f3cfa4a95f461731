package contract

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/events/eventstest"
)

// The CloudEvents SDK is the oracle here: what Usher writes, it must read, and the other way round. Its HTTP binding is
// used, because binary mode on NATS is the same headers under the same names.

// readBySDK hands a message to the SDK. The SDK wants header names in Go's canonical case, as net/http makes them.
func readBySDK(t *testing.T, header map[string][]string, body []byte) *ce.Event {
	t.Helper()
	canonical := http.Header{}
	for name, values := range header {
		canonical[http.CanonicalHeaderKey(name)] = values
	}
	e, err := binding.ToEvent(t.Context(), cehttp.NewMessage(canonical, io.NopCloser(bytes.NewReader(body))))
	require.NoError(t, err)
	require.NoError(t, e.Validate())
	return e
}

// writeBySDK lets the SDK write an event, in binary or structured mode.
func writeBySDK(t *testing.T, e *ce.Event, mode func(context.Context) context.Context) (http.Header, []byte) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, "/", nil)
	require.NoError(t, err)
	require.NoError(t, cehttp.WriteRequest(mode(t.Context()), binding.ToMessage(e), request))
	body, err := io.ReadAll(request.Body)
	require.NoError(t, err)
	return request.Header, body
}

var modes = map[string]func(context.Context) context.Context{
	"binary":     binding.WithForceBinary,
	"structured": binding.WithForceStructured,
}

func TestTheSDKReadsWhatUsherWrites(t *testing.T) {
	for _, typ := range events.Types() {
		e := eventstest.Of(typ)
		header, body, err := events.Encode(e)
		require.NoError(t, err)
		got := readBySDK(t, header, body)
		require.Equal(t, e.ID, got.ID())
		require.Equal(t, e.Source, got.Source())
		require.Equal(t, string(e.Type), got.Type())
		require.Equal(t, e.Subject, got.Subject())
		require.Equal(t, events.SpecVersion, got.SpecVersion())
		require.Equal(t, events.ContentType, got.DataContentType())
		require.True(t, e.Time.Equal(got.Time()), "%s, not %s", got.Time(), e.Time)
		require.Equal(t, map[string]any{"correlationid": e.CorrelationID, "causationid": e.CausationID}, got.Extensions())
		data, _ := events.New(typ)
		require.NoError(t, got.DataAs(data))
		require.Equal(t, e.Data, data)
	}
}

// sdkEvent is the SDK's own making of an event, with the trace as its extension for distributed tracing spells it.
func sdkEvent(t *testing.T, e events.Event) *ce.Event {
	t.Helper()
	s := ce.New()
	s.SetID(e.ID)
	s.SetSource(e.Source)
	s.SetType(string(e.Type))
	s.SetSubject(e.Subject)
	s.SetTime(e.Time)
	s.SetExtension("correlationid", e.CorrelationID)
	s.SetExtension("causationid", e.CausationID)
	s.SetExtension("traceparent", e.TraceParent)
	s.SetExtension("tracestate", e.TraceState)
	require.NoError(t, s.SetData(events.ContentType, e.Data))
	return &s
}

func TestUsherReadsWhatTheSDKWrites(t *testing.T) {
	for name, mode := range modes {
		for _, typ := range events.Types() {
			want := eventstest.Of(typ)
			header, body := writeBySDK(t, sdkEvent(t, want), mode)
			got, err := events.Decode(header, body, "")
			require.NoError(t, err, "%s, %s", typ, name)
			require.Equal(t, want, got, "%s, %s", typ, name)
		}
	}
}

// A message may pass through a bridge that speaks CloudEvents only.
func TestEventsSurviveTheSDKInBetween(t *testing.T) {
	for name, mode := range modes {
		for _, typ := range events.Types() {
			want := eventstest.Of(typ)
			header, body, err := events.Encode(want)
			require.NoError(t, err)
			header, body = writeBySDK(t, readBySDK(t, header, body), mode)
			got, err := events.Decode(header, body, "")
			require.NoError(t, err, "%s, %s", typ, name)
			want.TraceParent, want.TraceState = "", "" // these headers are none of CloudEvents': bridges copy them, or don't
			require.Equal(t, want, got, "%s, %s", typ, name)
		}
	}
}

// Data in base 64 is what the SDK makes of bytes.
func TestUsherReadsTheSDKsBase64(t *testing.T) {
	want := eventstest.Accepted()
	s := sdkEvent(t, want)
	s.DataEncoded, s.DataBase64 = body(t, want), true
	header, text := writeBySDK(t, s, binding.WithForceStructured)
	require.Contains(t, string(text), "data_base64")
	got, err := events.Decode(header, text, "")
	require.NoError(t, err)
	require.Equal(t, want, got)
}
