package replays

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

// state is all that came of a story, in words that are the same in every telling: who was invited for the how-manieth time
// stands for the ids, and instants are left out.
type state map[string]string

// different lists what is not the same in another state.
func (s state) different(other state) (all []string) {
	keys := maps.Clone(s)
	maps.Copy(keys, other)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if s[key] != other[key] {
			all = append(all, fmt.Sprintf("%s: once only it is %q, and here %q", key, s[key], other[key]))
		}
	}
	return all
}

// reader reads a pipeline's state.
type reader struct {
	*pipeline.Pipeline
	state state
	names map[string]string // invitation to who it is for
}

func stateOf(ctx context.Context, p *pipeline.Pipeline) (state, error) {
	r := &reader{Pipeline: p, state: state{}, names: map[string]string{}}
	for _, read := range []func(context.Context) error{r.ledger, r.memberships, r.list, r.members, r.mails, r.deadLetters} {
		if err := read(ctx); err != nil {
			return nil, err
		}
	}
	return r.state, nil
}

// ledger reads what was said of each invitation. That a timer was set, or fired, is no fact.
func (r *reader) ledger(ctx context.Context) error {
	stored, err := r.Stored(ctx, events.StreamInvitations)
	if err != nil {
		return err
	}
	times, facts := map[string]int{}, map[string][]string{}
	for _, s := range stored {
		at, id, fact, ok := events.SplitInvitation(s.Subject)
		if q, isRequest := s.Event.Data.(*events.InvitationRequested); isRequest {
			times[q.Email]++
			r.names[id] = fmt.Sprintf("%s, invitation %d", q.Email, times[q.Email])
		}
		if ok && !strings.HasPrefix(fact, "timer.") && !strings.HasPrefix(fact, "due.") {
			key := r.name(at, id)
			facts[key] = append(facts[key], fact)
		}
	}
	for key, said := range facts {
		sort.Strings(said) // who of several wrote first is left to them
		r.state["said of "+key] = strings.Join(said, " ")
	}
	return nil
}

func (r *reader) name(at, id string) string {
	if name, ok := r.names[id]; ok && at == org {
		return name
	}
	return "somebody unknown in " + at
}

// memberships reads every event of every member.
func (r *reader) memberships(ctx context.Context) error {
	stored, err := r.Stored(ctx, events.StreamMemberships)
	if err != nil {
		return err
	}
	for _, s := range stored {
		text := ""
		email := ""
		switch d := s.Event.Data.(type) {
		case *events.MembershipProvisioned:
			email, text = d.Email, "joined as "+d.Role+" by "+r.name(d.Organization, d.Invitation)
		case *events.MembershipRoleChanged:
			email, text = d.Email, "became "+d.Role
		case *events.MembershipRemoved:
			email, text = d.Email, "left"
		}
		r.state["membership of "+email] += text + "; "
	}
	return nil
}

// list reads what the organization is shown, page by page.
func (r *reader) list(ctx context.Context) error {
	for cursor := ""; ; {
		var page struct {
			Items []struct {
				ID, Role, Status, Delivery, Membership, Reason string
				Generation                                     int
			}
			Next string `json:"next_cursor"`
		}
		if err := r.get(ctx, "invitations?limit=200&cursor="+cursor, &page); err != nil {
			return err
		}
		for _, i := range page.Items {
			name := r.name(org, i.ID)
			i.ID = ""
			r.state["shown of "+name] += fmt.Sprintf("%+v", i)
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

func (r *reader) members(ctx context.Context) error {
	var page struct {
		Items []struct{ Email, Name, Role string }
	}
	if err := r.get(ctx, "members?limit=200", &page); err != nil {
		return err
	}
	for _, m := range page.Items {
		r.state["member "+m.Email] += fmt.Sprintf("%+v", m)
	}
	return nil
}

func (r *reader) get(ctx context.Context, path string, into any) error {
	a := r.Call(ctx, r.Front(0), http.MethodGet, "/v1/organizations/"+org+"/"+path, nil)
	if a.Status != http.StatusOK {
		return fmt.Errorf("%s: %s %s", path, a, a.Body)
	}
	return json.Unmarshal(a.Body, into)
}

func (r *reader) mails(context.Context) error {
	mails, _ := r.Mails.Mails("", 1<<20)
	subjects := map[string][]string{}
	for _, m := range mails {
		subjects[m.To] = append(subjects[m.To], m.Subject)
	}
	for to, all := range subjects {
		sort.Strings(all)
		r.state["mails to "+to] = fmt.Sprintf("%q", all)
	}
	return nil
}

// deadLetters reads what was given up, by worker and reason.
func (r *reader) deadLetters(ctx context.Context) error {
	reasons, err := r.DeadLetters(ctx)
	for what, n := range reasons {
		r.state["dead letters "+what] = fmt.Sprint(n)
	}
	return err
}
