package api

import (
	"context"
	"errors"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/admission"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/telemetry"
)

// unknownOrganization stands in subjects of rejections for a name that could be no organization's.
const unknownOrganization = "_unknown"

func (s *Service) openBusDoor() {
	s.router.Handle("admission", bus.Subscription{
		Stream: events.StreamRequests, Durable: "admission", InFlight: 256, Filters: []string{events.RootRequests + ".*"},
	}, s.requested)
}

// requested admits what an upstream app asked for over the bus. The invitation's id follows from the app and the event's
// id, so a repeat is the same invitation; a refusal is an event too. Only what passes is tried again.
func (s *Service) requested(ctx context.Context, m *bus.Received) error {
	app, ok := events.SplitRequest(m.Subject)
	asked, isRequest := m.Event.Data.(*events.InvitationRequested)
	if !ok || !isRequest {
		return bus.Never("unexpected-event", errors.New("not a request on requests.<app>"))
	}
	failpoint.Here(failpoint.BusDoorReceived)
	eventID := m.Event.ID
	if eventID == "" { // bare JSON without an id: each message is a request of its own
		eventID = events.DerivedEventID("requests", m.Subject, m.Event.Time.String(), uitoa(m.Sequence))
	}
	id := events.DerivedInvitationID("bus", app, eventID)
	data := *asked
	data.App, data.Request, data.Replaces, data.Renewal = app, eventID, "", false
	record, err := s.admission.Admit(ctx, admission.Request{InvitationRequested: data, ID: id, Source: source, Causation: eventID})
	if err == nil {
		failpoint.Here(failpoint.BusDoorAdmitted)
		s.Views.Learn(ctx, record)
		return nil
	}
	if p := problem.As(err); !p.Passing() {
		return s.reject(ctx, m, data, id, p)
	}
	return err
}

// reject tells the app, on the ledger, that and why its request was refused.
func (s *Service) reject(ctx context.Context, m *bus.Received, data events.InvitationRequested, id string, p *problem.Error) error {
	org := data.Organization
	if !events.ValidOrganization(org) {
		org = unknownOrganization
	}
	e := events.Event{
		ID: events.DerivedEventID("rejected", id), Source: source, Type: events.TypeInvitationRejected, Subject: id, Time: s.Ledger.Now(),
		CorrelationID: id, CausationID: data.Request, TraceParent: m.Event.TraceParent, TraceState: m.Event.TraceState,
		Data: &events.InvitationRejected{
			Invitation: id, Organization: org, App: data.App, Request: data.Request, Reason: string(p.Code), Detail: p.Detail, Fields: p.Fields,
		},
	}
	telemetry.Inject(ctx, &e)
	message, err := ledger.Fact(events.InvitationSubject(org, id, events.FactRejected), e)
	if err != nil {
		return err
	}
	failpoint.Here(failpoint.BusDoorRejecting)
	_, err = s.Ledger.Publish(ctx, events.StreamInvitations, message.Expecting(events.OutcomeFilter(org, id), 0))
	failpoint.Here(failpoint.BusDoorRejected)
	if errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrDuplicate) {
		return nil // rejected before
	}
	return err
}
