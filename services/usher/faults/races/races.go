// Package races has many want different ends for the same invitation at the same time, over HTTP and several instances of the
// API, and looks whether each invitation ends exactly once and everybody was told the same.
package races

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

// Size of a unit.
const (
	perUnit  = 1000 // invitations
	perGroup = 50   // that are raced for at once
	fronts   = 2
)

// Parts are the experiments of this package.
func Parts() []campaign.Part {
	return []campaign.Part{
		{
			Name: "races", Units: 100, Slice: 1,
			Claim: "Of several accepts, a decline, a revoke and the deadline that race for an invitation exactly one wins, everybody " +
				"is told so, and there is one membership where an accept won and none otherwise. A unit is 1,000 invitations.",
			Run: func(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) { return run(ctx, u, perUnit, nil) },
		},
		{
			Name: "races-control", Units: 10, Slice: 1, Control: true,
			Claim: "The same where ends are checked first and then written without a condition: seen every time.",
			Run: func(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
				return run(ctx, u, 4*perGroup, pipeline.UnconditionalEnds)
			},
		},
		{
			Name: "defects", Units: len(defects), Slice: 2, Control: true, Run: spoil,
			Claim: "Whatever of the invariants is broken on purpose after a race (a membership lost, one too many, an acknowledged end " +
				"forgotten, an accept after the deadline, another role, a secret in the ledger, a mail too many, …) is seen.",
		},
	}
}

// race is one unit under way.
type race struct {
	*pipeline.Pipeline
	random *rand.Rand
	org    []string
	all    []*contest
}

// run races for so many invitations, with the API's instances saying to the broker what rewrite makes of it.
func run(ctx context.Context, u campaign.Unit, invitations int, rewrite pipeline.Rewriter) (out campaign.Outcome, err error) {
	r, err := begin(ctx, u, pipeline.Options{Front: rewrite})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for group := range invitations / perGroup {
		if err := r.group(ctx, group); err != nil {
			return out, err
		}
	}
	e, err := r.evidence(ctx)
	if err != nil {
		return out, err
	}
	out.Violations = judge(e)
	count(&out, e)
	return out, nil
}

// begin starts a pipeline with the organizations.
func begin(ctx context.Context, u campaign.Unit, o pipeline.Options) (*race, error) {
	o.Dir, o.Fronts, o.Logs = u.Dir, fronts, u.Log
	p, err := pipeline.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &race{Pipeline: p, random: rand.New(rand.NewPCG(u.Seed, 0)), org: []string{"acme", "umbrella"}}
	for _, org := range r.org {
		if err := p.Organization(ctx, org, nil); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return r, nil
}

func count(out *campaign.Outcome, e evidence) {
	out.Count("invitations", int64(len(e.contests)))
	for _, s := range e.ledger {
		if how := outcome(s); how != "" {
			out.Count(how, 1)
		}
	}
	for _, c := range e.contests {
		for _, t := range c.tries {
			out.Count("racing "+t.what+"s", 1)
			if t.answer.Unknown() {
				out.Count("unknown answers", 1)
			}
		}
	}
}

// group makes some invitations and races for all of them at once. In half of the groups the deadline passes meanwhile.
func (r *race) group(ctx context.Context, number int) error {
	expiring := r.random.IntN(2) == 0
	contests, err := r.invite(ctx, number, expiring)
	if err != nil {
		return err
	}
	r.all = append(r.all, contests...)
	var racing sync.WaitGroup
	var lock sync.Mutex
	answered := make(chan struct{}, 10*perGroup)
	for _, c := range contests {
		for _, what := range r.contenders() {
			front, late := r.Front(r.random.IntN(fronts)), r.soon()
			racing.Go(func() {
				time.Sleep(late)
				t := r.try(ctx, front, c, what)
				lock.Lock()
				defer lock.Unlock()
				c.tries = append(c.tries, t)
				answered <- struct{}{}
			})
		}
	}
	if expiring {
		err = r.pass(ctx, contests, answered)
	}
	racing.Wait()
	if err != nil || !expiring {
		return err
	}
	return r.due(ctx, contests) // those that found the clock before the deadline are tried again, as the broker would
}

// contenders are who race for one invitation.
func (r *race) contenders() []string {
	all := []string{decline, revoke}
	for range 2 + r.random.IntN(3) {
		all = append(all, accept)
	}
	r.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// soon is how late somebody comes: most at once.
func (r *race) soon() time.Duration {
	if r.random.IntN(3) > 0 {
		return 0
	}
	return time.Duration(r.random.IntN(30)) * time.Millisecond
}

const (
	shortest = 5 * time.Minute // that an invitation may stay open
	longest  = 168 * time.Hour
)

func (r *race) invite(ctx context.Context, group int, expiring bool) ([]*contest, error) {
	ttl := longest
	if expiring {
		ttl = shortest
	}
	contests := make([]*contest, perGroup)
	rows := make([]map[string]string, perGroup)
	for i := range contests {
		c := &contest{
			org: r.org[r.random.IntN(len(r.org))], email: fmt.Sprintf("p%d-%d@example.org", group, i),
			role: []string{"admin", "member", "viewer"}[r.random.IntN(3)],
		}
		contests[i] = c
		rows[i] = map[string]string{
			"organization": c.org, "email": c.email, "role": c.role, "name": "Nell", "inviter": pipeline.Owner, "expires_in": ttl.String(),
		}
	}
	answer := r.Call(ctx, r.Front(group), http.MethodPost, "/v1/invitations", map[string]any{"invitations": rows})
	var told struct {
		Results []struct {
			Invitation struct {
				ID        string    `json:"id"`
				ExpiresAt time.Time `json:"expires_at"`
			} `json:"invitation"`
		} `json:"results"`
	}
	if err := answer.Read(&told); err != nil || len(told.Results) != perGroup {
		return nil, fmt.Errorf("inviting: %s %s", answer, answer.Body)
	}
	for i, c := range contests {
		c.id, c.deadline = told.Results[i].Invitation.ID, told.Results[i].Invitation.ExpiresAt
		if c.id == "" {
			return nil, fmt.Errorf("inviting: %s", answer.Body)
		}
		c.tokens = []string{r.Token(c.id, 1)}
	}
	return contests, nil
}

func (r *race) try(ctx context.Context, front *pipeline.Instance, c *contest, what string) try {
	path, body := "/v1/links/"+what, map[string]string{"token": c.tokens[0]}
	if what == revoke {
		path, body = "/v1/invitations/"+c.id+"/revoke", map[string]string{}
	}
	t := try{what: what, called: r.Clock.Now()}
	t.answer = r.Call(ctx, front, http.MethodPost, path, body)
	t.returned = r.Clock.Now()
	return t
}

// pass lets the deadline pass in the middle of the race: once so many have been answered, of three hundred or so.
func (r *race) pass(ctx context.Context, contests []*contest, answered <-chan struct{}) error {
	for range r.random.IntN(4 * perGroup) {
		<-answered
	}
	r.Clock.Pass(shortest)
	return r.due(ctx, contests)
}

// due says what the broker says when the deadlines' timers fire: its clock is not the one that was moved.
func (r *race) due(ctx context.Context, contests []*contest) error {
	for _, c := range contests {
		due := &events.InvitationExpiryDue{Invitation: c.id, ExpiresAt: c.deadline}
		if err := r.Say(ctx, c.org, c.id, events.FactExpiryDue, due); err != nil {
			return err
		}
	}
	return nil
}

// evidence gathers what there is to judge by, once everything is quiet.
func (r *race) evidence(ctx context.Context) (e evidence, err error) {
	if err := r.Quiet(ctx); err != nil {
		return e, err
	}
	e.contests, e.lists = r.all, map[string]map[string]shown{}
	if e.ledger, err = r.Stored(ctx, events.StreamInvitations); err != nil {
		return e, err
	}
	if e.memberships, err = r.Stored(ctx, events.StreamMemberships); err != nil {
		return e, err
	}
	mails, _ := r.Mails.Mails("", 1<<20)
	for _, m := range mails {
		e.mails = append(e.mails, sentMail{to: m.To, at: m.At})
	}
	for _, org := range r.org {
		if e.lists[org], err = r.list(ctx, org); err != nil {
			return e, err
		}
	}
	return e, nil
}

// list reads all that an organization is shown.
func (r *race) list(ctx context.Context, org string) (map[string]shown, error) {
	all := map[string]shown{}
	for cursor := ""; ; {
		answer := r.Call(ctx, r.Front(0), http.MethodGet, "/v1/organizations/"+org+"/invitations?limit=200&cursor="+cursor, nil)
		var page struct {
			Items []struct {
				ID, Status, Membership string
			}
			Next string `json:"next_cursor"`
		}
		if err := answer.Read(&page); err != nil || answer.Status != http.StatusOK {
			return nil, fmt.Errorf("list of %s: %s %s", org, answer, answer.Body)
		}
		for _, i := range page.Items {
			all[i.ID] = shown{status: i.Status, membership: i.Membership}
		}
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}
