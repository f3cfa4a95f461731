package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// SpecVersion is the version of CloudEvents that Usher writes, and the only one it reads.
const SpecVersion = "1.0"

// MaxAttribute is the most bytes that one attribute of the envelope may hold.
const MaxAttribute = MaxText

var (
	// ErrMalformed is returned by Decode when a message cannot be read as an event: broken or incomplete CloudEvents
	// attributes, a body that is not the JSON it should be, or JSON of the wrong shape. Trying again will not help. Where one
	// field is to blame, the error also wraps a *FieldError. Encode returns it for an event that lacks a required attribute.
	// The text never holds a value from the message.
	ErrMalformed = errors.New("malformed event")

	// ErrUnknownType is returned by Decode when the message names a type that is not Usher's, or names none and its
	// subject does not tell. A reader of a stream that newer versions write to skips such messages.
	ErrUnknownType = errors.New("unknown event type")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// Encode writes an event in CloudEvents binary mode: the attributes as headers, the data as a JSON body. The type is
// taken from the data where e.Type is empty. It returns ErrMalformed when ID, source or data are missing, when type and
// data differ, or when an attribute could not be read back; it does not call Validate.
func Encode(e Event) (header map[string][]string, body []byte, err error) {
	if err := e.complete(); err != nil {
		return nil, nil, err
	}
	if body, err = encodeJSON(e.Data); err != nil {
		return nil, nil, err
	}
	return encodeHeader(&e), body, nil
}

// complete fills in the type, and refuses what Decode would refuse.
func (e *Event) complete() error {
	if e.Data == nil {
		return malformed("there is no data")
	}
	if e.Type == "" {
		e.Type = e.Data.EventType()
	} else if e.Type != e.Data.EventType() {
		return malformed("the attribute type does not go with data of type %s", e.Data.EventType())
	}
	if !writable(e.Time) {
		return malformed("the attribute time is outside the years 0 to 9999")
	}
	if err := e.checkRequired(); err != nil {
		return err
	}
	return e.checkAttributes()
}

// checkRequired wants what CloudEvents asks every event to have.
func (e *Event) checkRequired() error {
	for _, a := range [...]struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", string(e.Type)}} {
		if a.value == "" {
			return malformed("the attribute %s is missing", a.name)
		}
	}
	return nil
}

// checkAttributes holds the attributes to what CloudEvents calls a String, and to a size.
func (e *Event) checkAttributes() error {
	for _, a := range [...]struct{ name, value string }{
		{"id", e.ID}, {"source", e.Source}, {"type", string(e.Type)}, {"subject", e.Subject},
		{"correlationid", e.CorrelationID}, {"causationid", e.CausationID},
	} {
		if complaint := textComplaint(a.value, MaxAttribute); complaint != "" {
			return malformed("the attribute %s %s", a.name, complaint)
		}
	}
	return nil
}

// Decode reads a message as an event, in any of the forms in which events arrive:
//
//   - structured: the content type is application/cloudevents+json, and the body holds attributes and data;
//   - binary: there is a ce-specversion header, the attributes are ce- headers, and the body is the data;
//   - bare: neither, and the body is the data. The type comes from the subject unless ce-type names it, the id from ce-id
//     or Nats-Msg-Id. ID and Source are left empty where nothing gives them: the caller decides.
//
// Header names match in any case, of repeated headers the first counts, and unknown fields and attributes are ignored.
// It returns ErrMalformed or ErrUnknownType, and where only the data is at fault, the attributes with it, so that the
// refusal can name the event. It does not call Validate.
func Decode(header map[string][]string, body []byte, subject string) (Event, error) {
	structured, err := isStructured(header)
	if err != nil {
		return Event{}, err
	}
	var e Event
	if structured {
		e, body, err = decodeEnvelope(body)
		e.traceFrom(header)
	} else {
		e, err = decodeHeader(header, subject)
	}
	if err != nil {
		return Event{}, err
	}
	err = e.decodeData(body)
	return e, err
}

// decodeData reads the body, once the attributes are known.
func (e *Event) decodeData(body []byte) error {
	if err := e.checkAttributes(); err != nil {
		return err
	}
	if e.Type == "" {
		return fmt.Errorf("%w: the message names no type, and its subject tells none", ErrUnknownType)
	}
	data, ok := New(e.Type)
	if !ok {
		return fmt.Errorf("%w: the attribute type names none of Usher's events", ErrUnknownType)
	}
	if err := decodeJSON(body, data); err != nil {
		return err
	}
	e.Data = data
	return nil
}

// decodeEnvelope reads structured mode: the event without its data, and the data.
func decodeEnvelope(body []byte) (Event, []byte, error) {
	var in envelope
	if err := decodeJSON(body, &in); err != nil {
		return Event{}, nil, err
	}
	if err := checkSpecVersion(in.SpecVersion); err != nil {
		return Event{}, nil, err
	}
	if _, err := mediaType(in.DataContentType); err != nil {
		return Event{}, nil, err
	}
	at, err := parseTime(in.Time)
	if err != nil {
		return Event{}, nil, err
	}
	e := Event{
		ID: in.ID, Source: in.Source, Type: in.Type, Subject: in.Subject, Time: at,
		CorrelationID: in.CorrelationID, CausationID: in.CausationID,
		TraceParent: in.TraceParent, TraceState: in.TraceState,
	}
	if err := e.checkRequired(); err != nil {
		return Event{}, nil, err
	}
	data, err := in.data()
	return e, data, err
}

// envelope is the CloudEvents JSON format.
type envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            Type            `json:"type"`
	Subject         string          `json:"subject"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	CorrelationID   string          `json:"correlationid"`
	CausationID     string          `json:"causationid"`
	TraceParent     string          `json:"traceparent"`
	TraceState      string          `json:"tracestate"`
	Data            json.RawMessage `json:"data"`
	DataBase64      []byte          `json:"data_base64"`
}

// data is the body of the event, which the JSON format may carry as JSON or in base 64.
func (in *envelope) data() ([]byte, error) {
	switch {
	case in.Data != nil && in.DataBase64 != nil:
		return nil, malformed("there is both data and data_base64")
	case in.DataBase64 != nil:
		return in.DataBase64, nil
	case in.Data != nil:
		return in.Data, nil
	default:
		return nil, malformed("there is no data")
	}
}

func checkSpecVersion(version string) error {
	switch version {
	case SpecVersion:
		return nil
	case "":
		return malformed("the attribute specversion is missing")
	default:
		return malformed("the attribute specversion is not %s", SpecVersion)
	}
}

// parseTime reads an RFC 3339 time; T and Z may be in lower case there, which Go's parser does not know.
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
	if err != nil {
		return time.Time{}, malformed("the attribute time is not an RFC 3339 time") // err would repeat the value
	}
	return at.UTC(), nil
}
