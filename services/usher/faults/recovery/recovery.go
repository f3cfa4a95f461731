// Package recovery measures how long people wait after the worst: the leader of the ledger dies, everything is killed at once
// while very many invitations are open, Redis is wiped.
package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/cluster"
)

// Size of a unit.
const (
	many     = 100_000 // invitations that are open
	perCall  = 1000    // of them in one request
	links    = 10_000  // that are followed after Redis was wiped
	atOnce   = 16
	pageSize = 200
)

// Parts are the experiments of this package.
func Parts() []campaign.Part {
	return []campaign.Part{
		{
			Name: "recovery", Units: 5,
			Claim: "With 100,000 invitations open everything is killed at once, and is ready again within a minute. Then Redis is wiped: " +
				"10,000 links work at once, and after `usher rebuild`, which takes less than a minute, the lists are complete.",
			Run: recovery,
		},
		{
			Name: "leader-pause", Units: 20,
			Claim: "With three brokers, the leader of the ledger's stream is killed five times a unit while people invite twenty times a " +
				"second. Nobody waits longer than a minute, and nothing acknowledged is lost.",
			Run: leaderPause,
		},
	}
}

// world is a cluster with one organization.
type world struct {
	*cluster.Cluster
	out campaign.Outcome
}

const org = "acme"

func open(ctx context.Context, u campaign.Unit, shape cluster.Shape) (*world, error) {
	c, err := cluster.Start(ctx, u.Dir, shape)
	if err != nil {
		return nil, err
	}
	w := &world{Cluster: c}
	body := `{"name":"Acme","owner":{"email":"owner@example.org","name":"Olivia Owner"}}`
	if status, _, answer, err := w.Request(ctx, 0, http.MethodPut, "/v1/organizations/"+org, body); status != http.StatusCreated {
		c.Close()
		return nil, errors.Join(err, fmt.Errorf("the organization could not be made: %d %s", status, answer))
	}
	return w, nil
}

// recovery is a unit.
func recovery(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	w, err := open(ctx, u, cluster.Small())
	if err != nil {
		return campaign.Outcome{}, err
	}
	defer w.Close()
	for _, step := range []func(context.Context) error{w.invite, w.killAll, w.wipe, w.rebuild} {
		if err := step(ctx); err != nil {
			return w.out, err
		}
	}
	return w.out, nil
}

// invite has very many invited, and waits for their mails.
func (w *world) invite(ctx context.Context) error {
	for at := 0; at < many; at += perCall {
		rows := make([]map[string]string, perCall)
		for i := range rows {
			rows[i] = map[string]string{"organization": org, "email": fmt.Sprintf("p%d@example.org", at+i), "role": "member", "inviter": "owner@example.org"}
		}
		body, err := json.Marshal(map[string]any{"invitations": rows})
		if err != nil {
			return err
		}
		status, _, answer, err := w.Request(ctx, at/perCall, http.MethodPost, "/v1/invitations", string(body))
		if err != nil || status != http.StatusOK || strings.Count(string(answer), `"status":202`) != perCall {
			return errors.Join(err, fmt.Errorf("inviting: %d %.300s", status, answer))
		}
	}
	w.out.Count("invitations open", many)
	return w.awaitMails(ctx, many)
}

func (w *world) awaitMails(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for w.Mailgun.Counters().Mails < n {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d mails came: %w", w.Mailgun.Counters().Mails, n, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// killAll kills everything at once, starts it again, and looks when the next mail leaves.
func (w *world) killAll(ctx context.Context) error {
	var dying sync.WaitGroup
	for _, p := range w.All() {
		dying.Go(p.Kill)
	}
	dying.Wait()
	began := time.Now()
	if err := w.Restore(ctx); err != nil {
		w.out.Violate("it is not ready a minute after everything was killed: %v", err)
		return nil
	}
	w.out.Figure("seconds until ready after everything was killed", time.Since(began).Seconds())
	have := w.Mailgun.Counters().Mails
	body := `{"email":"one.more@example.org","role":"member","inviter":"owner@example.org"}`
	if status, _, answer, err := w.Request(ctx, 0, http.MethodPost, "/v1/organizations/"+org+"/invitations", body); status != http.StatusAccepted {
		w.out.Violate("after everything was killed one more invitation was answered %d %s %v", status, answer, err)
		return nil
	}
	if err := w.awaitMails(ctx, have+1); err != nil {
		return err
	}
	w.out.Figure("seconds until the next invitation's mail", time.Since(began).Seconds())
	return nil
}

// wipe wipes Redis and follows links.
func (w *world) wipe(ctx context.Context) error {
	mails := w.Mailgun.Mails()
	if _, err := w.Redis[0].Do("FLUSHALL"); err != nil {
		return err
	}
	took := make([]time.Duration, links)
	var lock sync.Mutex
	var following sync.WaitGroup
	for worker := range atOnce {
		following.Go(func() {
			for n := worker; n < links; n += atOnce {
				began := time.Now()
				status, _, answer, err := w.Request(ctx, n, http.MethodPost, "/v1/links/lookup", fmt.Sprintf(`{"token":%q}`, w.token(mails[n*len(mails)/links].Text())))
				took[n] = time.Since(began)
				if status != http.StatusOK {
					lock.Lock()
					w.out.Violate("after Redis was wiped a link was answered %d %.200s %v", status, answer, err)
					lock.Unlock()
				}
			}
		})
	}
	following.Wait()
	w.out.Count("links followed after Redis was wiped", links)
	w.out.Figure("seconds until the first link worked after Redis was wiped", took[0].Seconds())
	slices.Sort(took)
	w.out.Figure("seconds a link took after Redis was wiped, 99 of 100", took[links*99/100].Seconds())
	return nil
}

// token is the secret in a mail's link.
func (w *world) token(text string) string {
	_, rest, _ := strings.Cut(text, w.PublicURL+"/i/")
	return strings.Fields(rest + " -")[0]
}

// rebuild rebuilds the lists, and counts what they show.
func (w *world) rebuild(ctx context.Context) error {
	began := time.Now()
	if out, code, err := w.Command(ctx, "rebuild"); err != nil || code != 0 {
		w.out.Violate("usher rebuild ended with %d: %s %v", code, out, err)
		return nil
	}
	w.out.Figure("seconds that usher rebuild took", time.Since(began).Seconds())
	shown := map[string]bool{}
	for cursor := ""; ; {
		path := fmt.Sprintf("/v1/organizations/%s/invitations?limit=%d&cursor=%s", org, pageSize, cursor)
		status, _, answer, err := w.Request(ctx, len(shown), http.MethodGet, path, "")
		var page struct {
			Items []struct{ ID, Status string }
			Next  string `json:"next_cursor"`
		}
		if err := errors.Join(err, json.Unmarshal(answer, &page)); err != nil || status != http.StatusOK {
			return fmt.Errorf("the list: %d %.300s %w", status, answer, err)
		}
		for _, i := range page.Items {
			shown[i.ID] = i.Status == "pending"
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(shown) != many+1 {
		w.out.Violate("the list shows %d invitations of %d", len(shown), many+1)
	}
	for id, pending := range shown {
		if !pending {
			w.out.Violate("the list does not show %s as open", id)
		}
	}
	return nil
}
