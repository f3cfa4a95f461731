package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/usherhq/usher/events"
)

func TestLoggerWritesOneJSONObjectALine(t *testing.T) {
	var out bytes.Buffer
	log := Logger(&out, slog.LevelInfo)
	log.Debug("left out")
	log.Info("invitation sent", "invitation", "inv_1")

	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "invitation sent", line["msg"])
	require.Equal(t, "inv_1", line["invitation"])
}

func TestRegistriesAreApartAndKnowTheirBuild(t *testing.T) {
	for range 2 { // a second service in the process has the same names
		families, err := Registry().Gather()
		require.NoError(t, err)
		names := map[string]bool{}
		for _, f := range families {
			names[f.GetName()] = true
		}
		require.True(t, names["usher_build_info"])
		require.True(t, names["go_goroutines"])
		require.True(t, names["process_open_fds"])
	}
}

func TestVersionNamesTheCommitOfACheckout(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}
	require.Equal(t, "devel", versionOf(info))
	info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	require.Equal(t, "0123456789ab+dirty", versionOf(info))
	info.Main.Version = "v1.2.3"
	require.Equal(t, "v1.2.3", versionOf(info))
}

func TestTracesAreOffUnlessTheEnvironmentAsks(t *testing.T) {
	provider, shutdown, err := Tracing(context.Background(), "usher-api")
	require.NoError(t, err)
	_, span := provider.Tracer("t").Start(context.Background(), "s")
	require.False(t, span.SpanContext().IsValid())
	require.NoError(t, shutdown(context.Background()))

	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
	t.Setenv("OTEL_SDK_DISABLED", "true")
	require.False(t, tracingWanted())
}

func TestTracesReachTheCollector(t *testing.T) {
	arrived := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.URL.Path }))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)

	provider, shutdown, err := Tracing(context.Background(), "usher-api")
	require.NoError(t, err)
	_, span := provider.Tracer("t").Start(context.Background(), "s")
	span.End()
	require.NoError(t, shutdown(context.Background()))
	require.Len(t, arrived, 1, "a shutdown sends what is left")
	require.Equal(t, "/v1/traces", <-arrived)
}

func TestAnExporterThatIsNotBuiltInIsRefused(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "zipkin")
	_, _, err := Tracing(context.Background(), "usher-api")
	require.ErrorContains(t, err, "OTEL_TRACES_EXPORTER")
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	_, _, err = Tracing(context.Background(), "usher-api")
	require.ErrorContains(t, err, "OTEL_EXPORTER_OTLP_PROTOCOL")
}

func TestATraceTravelsInsideAnEvent(t *testing.T) {
	state, err := trace.ParseTraceState("vendor=1")
	require.NoError(t, err)
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state,
	})
	var e events.Event
	Inject(trace.ContextWithSpanContext(context.Background(), span), &e)
	require.Equal(t, "00-01000000000000000000000000000000-0200000000000000-01", e.TraceParent)
	require.Equal(t, "vendor=1", e.TraceState)

	heard := trace.SpanContextFromContext(Extract(context.Background(), &e))
	require.True(t, heard.IsRemote())
	require.Equal(t, span.TraceID(), heard.TraceID())
	require.Equal(t, span.SpanID(), heard.SpanID())
	require.Equal(t, "vendor=1", heard.TraceState().String())
}

func TestAnAnswerJoinsTheTraceOfWhatItAnswers(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	asked := events.Event{TraceParent: "00-01000000000000000000000000000000-0200000000000000-01"}
	ctx, request := tracer.Start(context.Background(), "POST /join")

	joined, end := Join(ctx, &asked, "outcome.accepted")
	var answer events.Event
	Inject(joined, &answer)
	end()

	step := spans.Ended()[0]
	require.Equal(t, "outcome.accepted", step.Name())
	require.Equal(t, "01000000000000000000000000000000", step.SpanContext().TraceID().String())
	require.Equal(t, "0200000000000000", step.Parent().SpanID().String())
	require.Equal(t, request.SpanContext(), step.Links()[0].SpanContext)
	require.Contains(t, answer.TraceParent, step.SpanContext().SpanID().String())

	same, end := Join(ctx, &events.Event{}, "outcome.accepted")
	end()
	require.Equal(t, ctx, same)
	require.Len(t, spans.Ended(), 1)
}

func TestNoTraceLeavesAnEventAsItIs(t *testing.T) {
	e := events.Event{TraceParent: "kept"}
	Inject(context.Background(), &e)
	require.Equal(t, "kept", e.TraceParent)
	require.False(t, trace.SpanContextFromContext(Extract(context.Background(), &events.Event{TraceParent: "garbage"})).IsValid())
}
