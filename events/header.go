package events

import (
	"mime"
	"strings"
	"time"
)

// Headers of binary mode, as Encode writes them.
const (
	headerSpecVersion = "ce-specversion"
	headerID          = "ce-id"
	headerSource      = "ce-source"
	headerType        = "ce-type"
	headerSubject     = "ce-subject"
	headerTime        = "ce-time"
	headerCorrelation = "ce-correlationid"
	headerCausation   = "ce-causationid"
	headerContentType = "content-type"

	// The trace context travels under the names W3C gives it, so that tools which know nothing of CloudEvents find it.
	headerTraceParent = "traceparent"
	headerTraceState  = "tracestate"

	mostHeaders = 11 // all of the above
)

// Headers that others write.
const (
	headerMessageID       = "Nats-Msg-Id"
	headerDataContentType = "ce-datacontenttype" // the NATS binding's name for the body's content type
	headerCETraceParent   = "ce-traceparent"     // the CloudEvents extension for distributed tracing
	headerCETraceState    = "ce-tracestate"
)

func encodeHeader(e *Event) map[string][]string {
	w := headerWriter{header: make(map[string][]string, mostHeaders), values: make([]string, 0, mostHeaders)}
	w.set(headerSpecVersion, SpecVersion)
	w.attribute(headerID, e.ID)
	w.attribute(headerSource, e.Source)
	w.attribute(headerType, string(e.Type))
	w.attribute(headerSubject, e.Subject)
	if !e.Time.IsZero() {
		w.set(headerTime, e.Time.UTC().Format(time.RFC3339Nano))
	}
	w.attribute(headerCorrelation, e.CorrelationID)
	w.attribute(headerCausation, e.CausationID)
	w.trace(headerTraceParent, e.TraceParent)
	w.trace(headerTraceState, e.TraceState)
	w.set(headerContentType, ContentType)
	return w.header
}

// headerWriter builds a header whose values share one backing array, because this runs for every event.
type headerWriter struct {
	header map[string][]string
	values []string
}

func (w *headerWriter) set(name, value string) {
	w.values = append(w.values, value)
	n := len(w.values)
	w.header[name] = w.values[n-1 : n : n] // no spare capacity: a caller's append must not reach the neighbour
}

func (w *headerWriter) attribute(name, value string) {
	if value != "" {
		w.set(name, percentEncode(value))
	}
}

// trace writes trace context as it is, for the tools that read it raw. What could not be a header value is left out: a
// broken trace must not break the message.
func (w *headerWriter) trace(name, value string) {
	if value != "" && len(value) <= MaxAttribute && printable(value) {
		w.set(name, value)
	}
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// decodeHeader reads the attributes of binary mode, and what a bare message has of them.
func decodeHeader(header map[string][]string, subject string) (Event, error) {
	at, err := parseTime(attribute(header, headerTime))
	if err != nil {
		return Event{}, err
	}
	e := Event{
		ID:            attribute(header, headerID),
		Source:        attribute(header, headerSource),
		Type:          Type(attribute(header, headerType)),
		Subject:       attribute(header, headerSubject),
		Time:          at,
		CorrelationID: attribute(header, headerCorrelation),
		CausationID:   attribute(header, headerCausation),
	}
	e.traceFrom(header)
	if version := attribute(header, headerSpecVersion); version != "" {
		if err := checkSpecVersion(version); err != nil {
			return Event{}, err
		}
		return e, e.checkRequired()
	}
	e.fillBare(header, subject)
	return e, nil
}

// fillBare takes from the message what a message without an envelope cannot say itself.
func (e *Event) fillBare(header map[string][]string, subject string) {
	if e.ID == "" {
		e.ID = first(header, headerMessageID)
	}
	if e.Type == "" {
		e.Type, _ = TypeOfSubject(subject)
	}
}

// traceFrom reads the trace context, unless the envelope brought it.
func (e *Event) traceFrom(header map[string][]string) {
	if e.TraceParent != "" {
		return
	}
	if e.TraceParent = first(header, headerTraceParent); e.TraceParent != "" {
		e.TraceState = first(header, headerTraceState)
		return
	}
	if e.TraceParent = attribute(header, headerCETraceParent); e.TraceParent != "" {
		e.TraceState = attribute(header, headerCETraceState)
	}
}

// isStructured tells structured mode from the other two, and refuses what is not JSON.
func isStructured(header map[string][]string) (bool, error) {
	media, err := mediaType(first(header, headerContentType))
	if err != nil || strings.HasPrefix(media, "application/cloudevents") {
		return err == nil, err
	}
	_, err = mediaType(attribute(header, headerDataContentType))
	return false, err
}

// mediaType reads a content type that means JSON in UTF-8, under any of the names that goes by; none means JSON too.
func mediaType(contentType string) (string, error) {
	if contentType == "" || contentType == ContentType {
		return ContentType, nil
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", malformed("the content type cannot be read")
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return "", malformed("the content type's charset is not UTF-8")
	}
	switch {
	case media == "application/cloudevents-batch+json":
		return "", malformed("the content type is a batch, but one message is one event")
	// Some CloudEvents libraries leave the "+json" out on NATS, where JSON is the only format.
	case media == ContentType, media == "text/json", media == "application/cloudevents", strings.HasSuffix(media, "+json"):
		return media, nil
	default:
		return "", malformed("the content type is not JSON")
	}
}

// attribute reads a header as the CloudEvents HTTP binding asks: quotes off, then one round of percent-decoding.
func attribute(header map[string][]string, name string) string {
	return percentDecode(unquote(first(header, name)))
}

// first finds the first value of a header whatever the case of its name. Of several spellings the exact one counts, then
// the first in byte order, so that the answer never depends on the order of a map.
func first(header map[string][]string, name string) string {
	if values := header[name]; len(values) > 0 {
		return strings.TrimSpace(values[0])
	}
	var value, spelling string
	for k, values := range header {
		if len(k) == len(name) && strings.EqualFold(k, name) && len(values) > 0 && (spelling == "" || k < spelling) {
			value, spelling = values[0], k
		}
	}
	return strings.TrimSpace(value)
}

// unquote undoes the quoting that older versions of the HTTP binding allowed.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

const hexDigits = "0123456789ABCDEF"

// plain reports whether the HTTP binding lets a byte stand for itself in a header.
func plain(c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != '%' }

// percentEncode writes an attribute as a header value.
func percentEncode(s string) string {
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	b := append(make([]byte, 0, len(s)+16), s[:i]...)
	for ; i < len(s); i++ {
		if plain(s[i]) {
			b = append(b, s[i])
		} else {
			b = append(b, '%', hexDigits[s[i]>>4], hexDigits[s[i]&15])
		}
	}
	return string(b)
}

// percentDecode undoes percentEncode. A percent sign that starts no escape stands for itself: hand-made messages have it.
func percentDecode(s string) string {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s
	}
	b := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high >= 0 && low >= 0 {
				b = append(b, byte(high<<4|low))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// unhex is the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
