package telemetry

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/usherhq/usher/events"
)

// Tracing gives a service its tracer provider, and the function that sends what is left at the end. Everything is set by
// the OTEL_* variables; without an endpoint or an exporter among them traces are off: the provider does nothing, and costs
// nothing. It returns an error when the variables ask for an exporter or a protocol that is not built in.
func Tracing(ctx context.Context, service string) (trace.TracerProvider, func(context.Context) error, error) {
	if !tracingWanted() {
		return noop.NewTracerProvider(), func(context.Context) error { return nil }, nil
	}
	if err := checkExporter(); err != nil {
		return nil, nil, err
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("telemetry: trace exporter: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", Version()),
	), resource.WithFromEnv()) // last, so that OTEL_SERVICE_NAME wins
	if err != nil {
		return nil, nil, fmt.Errorf("telemetry: resource: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return provider, provider.Shutdown, nil
}

func tracingWanted() bool {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

func checkExporter() error {
	if e := os.Getenv("OTEL_TRACES_EXPORTER"); e != "" && e != "otlp" {
		return fmt.Errorf("telemetry: OTEL_TRACES_EXPORTER: only otlp and none are built in")
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != "http/protobuf" {
			return fmt.Errorf("telemetry: %s: only http/protobuf is built in", name)
		}
	}
	return nil
}

// w3c reads and writes the trace context. Baggage stays out: it could carry anything, into every event.
var w3c propagation.TraceContext

// Inject writes the trace that ctx is part of into the event, for whoever hears it. Without one the event stays as it is.
func Inject(ctx context.Context, e *events.Event) {
	if trace.SpanContextFromContext(ctx).IsValid() {
		w3c.Inject(ctx, (*carrier)(e))
	}
}

// Extract makes what is done with ctx part of the trace that the event came from.
func Extract(ctx context.Context, e *events.Event) context.Context {
	if e.TraceParent == "" {
		return ctx
	}
	return w3c.Extract(ctx, (*carrier)(e))
}

// Join makes what is done with ctx part of the trace that the event came from, as a step of that name which is linked to
// the trace that ctx was part of: a request of somebody who answers an event long after. end ends the step.
func Join(ctx context.Context, e *events.Event, name string) (joined context.Context, end func()) {
	there := Extract(context.Background(), e)
	if !trace.SpanContextFromContext(there).IsValid() {
		return ctx, func() {}
	}
	here := trace.SpanFromContext(ctx)
	ctx, span := here.TracerProvider().Tracer("usher").Start(
		trace.ContextWithRemoteSpanContext(ctx, trace.SpanContextFromContext(there)), name,
		trace.WithLinks(trace.Link{SpanContext: here.SpanContext()}))
	return ctx, func() { span.End() }
}

// carrier lets the propagator see an event as headers.
type carrier events.Event

const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

// Get implements propagation.TextMapCarrier.
func (c *carrier) Get(key string) string {
	switch key {
	case traceParent:
		return c.TraceParent
	case traceState:
		return c.TraceState
	default:
		return ""
	}
}

// Set implements propagation.TextMapCarrier.
func (c *carrier) Set(key, value string) {
	switch key {
	case traceParent:
		c.TraceParent = value
	case traceState:
		c.TraceState = value
	}
}

// Keys implements propagation.TextMapCarrier.
func (c *carrier) Keys() []string { return []string{traceParent, traceState} }
