package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/links"
)

// Answer is what a caller was told.
type Answer struct {
	// Status is that of HTTP; 0 where no answer came, and the caller knows nothing.
	Status int
	// Code names the refusal, as in the last part of a problem's type.
	Code string
	Body []byte
}

// Read decodes the body.
func (a Answer) Read(into any) error { return json.Unmarshal(a.Body, into) }

// Unknown reports whether what was asked for may have happened or not: no answer, or one that says "not now", which a
// service also gives when the broker did not confirm a write in time.
func (a Answer) Unknown() bool { return a.Status == 0 || a.Status >= http.StatusInternalServerError }

// String is the answer in short.
func (a Answer) String() string {
	switch {
	case a.Status == 0:
		return "no answer"
	case a.Code != "":
		return fmt.Sprintf("%d %s", a.Status, a.Code)
	}
	return fmt.Sprint(a.Status)
}

// Call asks an instance of the API for something, once. The key goes along.
func (p *Pipeline) Call(ctx context.Context, to *Instance, method, path string, body any) Answer {
	content, err := json.Marshal(body)
	if err != nil {
		panic(err) // bodies are the experiments' own
	}
	r, err := http.NewRequestWithContext(ctx, method, to.URL+path, bytes.NewReader(content))
	if err != nil {
		panic(err)
	}
	r.GetBody = nil // so that the client never sends it twice
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+p.Key)
	answer, err := to.client.Do(r)
	if err != nil {
		return Answer{}
	}
	defer answer.Body.Close()
	a := Answer{Status: answer.StatusCode}
	if a.Body, err = io.ReadAll(answer.Body); err != nil {
		return Answer{}
	}
	var problem struct{ Type string }
	if a.Status >= 400 && json.Unmarshal(a.Body, &problem) == nil {
		a.Code = problem.Type[strings.LastIndexByte(problem.Type, ':')+1:]
	}
	return a
}

// Token is the secret of an invitation's link.
func (p *Pipeline) Token(invitation string, generation int) string {
	token, err := p.Links.Derive(links.PurposeInvite, invitation, generation)
	if err != nil {
		panic(err) // ids are the API's own
	}
	return token.Reveal()
}

// Owner is the owner of the organizations that Organization makes.
const Owner = "owner@example.org"

// Organization makes an organization.
func (p *Pipeline) Organization(ctx context.Context, id string, policy map[string]any) error {
	body := map[string]any{"name": "Name of " + id, "owner": map[string]string{"email": Owner, "name": "Olu Owner"}}
	if policy != nil {
		body["policy"] = policy
	}
	if a := p.Call(ctx, p.Front(0), http.MethodPut, "/v1/organizations/"+id, body); a.Status != http.StatusCreated {
		return fmt.Errorf("organization %s: %s %s", id, a, a.Body)
	}
	return nil
}

// Until looks again and again until something is so, for ten minutes at most: many experiments may share few processors.
func Until(ctx context.Context, what string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := so()
		if err != nil || ok {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: not so in time", what)
		}
	}
}

// Say stores a fact of an invitation as the service does whose fact it is.
func (p *Pipeline) Say(ctx context.Context, org, id, fact string, data events.Data) error {
	return p.Tell(ctx, events.InvitationSubject(org, id, fact), events.Event{
		ID: events.NewEventID(), Source: "/usher/api", Type: data.EventType(), Subject: id, Time: p.Clock.Now(), CorrelationID: id, Data: data,
	})
}

// Tell stores an event on a subject.
func (p *Pipeline) Tell(ctx context.Context, subject string, e events.Event) error {
	header, data, err := events.Encode(e)
	if err != nil {
		return err
	}
	_, err = p.JetStream.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: header, Data: data})
	return err
}
