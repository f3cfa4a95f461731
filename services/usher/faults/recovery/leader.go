package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/faults/campaign"
	"github.com/usherhq/usher/services/usher/faults/cluster"
)

const (
	kills    = 5                     // of a leader in a unit
	every    = 50 * time.Millisecond // somebody is invited
	around   = 2 * time.Second       // before and after a kill
	patience = time.Minute           // of whoever invites
)

// waits are how long people waited for a yes.
type waits struct {
	mu      sync.Mutex
	longest time.Duration
	ids     []string
	given   []string // up
}

// leaderPause is a unit.
func leaderPause(ctx context.Context, u campaign.Unit) (campaign.Outcome, error) {
	w, err := open(ctx, u, cluster.Large())
	if err != nil {
		return campaign.Outcome{}, err
	}
	defer w.Close()
	waited := &waits{}
	going, stop := context.WithCancel(ctx)
	var inviting sync.WaitGroup
	inviting.Go(func() { w.inviteSteadily(going, waited) })
	err = w.killLeaders(ctx)
	stop()
	inviting.Wait()
	if err != nil {
		return w.out, err
	}
	for _, gone := range waited.given {
		w.out.Violate("%s", gone)
	}
	for n, id := range waited.ids {
		if status, _, answer, err := w.Request(ctx, n, http.MethodGet, "/v1/invitations/"+id, ""); status != http.StatusOK {
			w.out.Violate("%s was acknowledged, and there is %d %s %v", id, status, answer, err)
		}
	}
	w.out.Count("leaders of the ledger killed", kills)
	w.out.Count("invitations acknowledged", int64(len(waited.ids)))
	w.out.Figure("seconds somebody waited at most, of five kills", waited.longest.Seconds())
	return w.out, nil
}

// inviteSteadily invites one after the other, whether or not those before were answered, and waits for all of them.
func (w *world) inviteSteadily(ctx context.Context, waited *waits) {
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			asking.Go(func() { w.ask(context.WithoutCancel(ctx), n, waited) })
		}
	}
}

// ask repeats a request until the answer is yes.
func (w *world) ask(ctx context.Context, n int, waited *waits) {
	began := time.Now()
	body := fmt.Sprintf(`{"email":"p%d@example.org","role":"member","inviter":"owner@example.org"}`, n)
	for try := n; ; try++ {
		status, _, answer, err := w.Request(ctx, try, http.MethodPost, "/v1/organizations/"+org+"/invitations", body)
		took := time.Since(began)
		var made struct{ ID, Other string }
		_ = json.Unmarshal(answer, &made) // an answer that is none is asked again
		waited.mu.Lock()
		waited.longest = max(waited.longest, took)
		switch {
		case status == http.StatusAccepted:
			waited.ids = append(waited.ids, made.ID)
		case status == http.StatusConflict && try > n: // an earlier try was stored and not answered
		case took > patience:
			waited.given = append(waited.given, fmt.Sprintf("p%d waited for %s: %d %.200s %v", n, took, status, answer, err))
		default:
			waited.mu.Unlock()
			time.Sleep(every)
			continue
		}
		waited.mu.Unlock()
		return
	}
}

// killLeaders kills the leader of the ledger's stream again and again, and starts it again each time.
func (w *world) killLeaders(ctx context.Context) error {
	for range kills {
		if err := pause(ctx, around); err != nil {
			return err
		}
		leader, err := w.leader(ctx)
		if err != nil {
			return err
		}
		leader.Kill()
		if err := pause(ctx, around); err != nil {
			return err
		}
		if err := errors.Join(leader.Start(), w.StartStores(ctx)); err != nil {
			return err
		}
	}
	return pause(ctx, around)
}

// leader is the broker that leads the ledger's stream now.
func (w *world) leader(ctx context.Context) (*cluster.Broker, error) {
	nc, err := nats.Connect("nats://"+cluster.Addr(w.Brokers[0].Port), nats.Timeout(5*time.Second))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, events.StreamInvitations)
	if err != nil {
		return nil, err
	}
	for _, b := range w.Brokers {
		if b.Name == stream.CachedInfo().Cluster.Leader {
			return b, nil
		}
	}
	return nil, errors.New("the stream has no leader")
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
