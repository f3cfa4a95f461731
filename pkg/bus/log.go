package bus

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
)

// quiet is Watermill's logger over slog. What Watermill calls information is about its own workings, and what it traces comes
// several times a message: the first is debug output here, the second nothing.
type quiet struct{ log *slog.Logger }

func (q quiet) Error(msg string, err error, fields watermill.LogFields) {
	q.log.Error(msg, append(attributes(fields), "error", err)...) //nolint:sloglint // the message is Watermill's
}

func (q quiet) Info(msg string, fields watermill.LogFields) { q.Debug(msg, fields) }

func (q quiet) Debug(msg string, fields watermill.LogFields) {
	if q.log.Enabled(context.Background(), slog.LevelDebug) {
		q.log.Debug(msg, attributes(fields)...) //nolint:sloglint // the message is Watermill's
	}
}

func (quiet) Trace(string, watermill.LogFields) {}

func (q quiet) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return quiet{q.log.With(attributes(fields)...)}
}

func attributes(fields watermill.LogFields) []any {
	out := make([]any, 0, 2*len(fields)+2)
	for name, value := range fields {
		out = append(out, name, value)
	}
	return out
}
