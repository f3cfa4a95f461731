package api

import (
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// startSpan makes the request part of the caller's trace. The route stands in the span and never the path, which may
// hold a token.
func (s *Service) startSpan(r *http.Request, pattern string) (*http.Request, trace.Span) {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := s.tracer.Start(ctx, pattern, trace.WithSpanKind(trace.SpanKindServer))
	return r.WithContext(ctx), span
}
