package events

import "time"

// ContentType of an event's body in binary mode.
const ContentType = "application/json"

// Event is one CloudEvents 1.0 event as Usher reads and writes it.
type Event struct {
	// ID names the event; the pair of Source and ID is unique.
	ID string
	// Source is who published it: "/usher/api", "/usher/mailer", "/usher/acceptance", or the app's own.
	Source string
	// Type is the event's public name.
	Type Type
	// Subject is what the event is about: the invitation's id, or the person for a membership.
	Subject string
	// Time is when it was made.
	Time time.Time
	// CorrelationID is shared by all events of one invitation; CausationID is the id of the event that led to this one.
	CorrelationID, CausationID string
	// TraceParent and TraceState are the W3C trace context.
	TraceParent, TraceState string
	// Data is the decoded body: a pointer to the struct that Type names.
	Data Data
}

// FieldError tells what is wrong with one field of a request or an event.
type FieldError struct {
	// Location is the path of the field ("email", "body.invitations[3].role").
	Location string `json:"location"`
	// Message is the complaint, without the offending value.
	Message string `json:"message"`
}

// Error implements error.
func (e *FieldError) Error() string { return e.Location + ": " + e.Message }
