package disks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/usherhq/usher/services/usher/faults/trial"
)

// probes are invitations that are asked for while a disk is in trouble, beside those of the people of the trial.
type probes struct {
	*experiment
	chaos *trial.Chaos
	asked int
	// longest is the longest that an answer took.
	longest time.Duration
	// acknowledged are the invitations for which the answer was yes.
	acknowledged []string
	// refused counts clean refusals: 503 with a time to come back.
	refused int64
}

// until asks again and again for so long. Whatever is neither yes nor a clean refusal is a violation.
func (p *probes) until(ctx context.Context, long time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	for ctx.Err() == nil {
		p.ask(ctx)
		wait(ctx, 20*time.Millisecond)
	}
}

func wait(ctx context.Context, long time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(long):
	}
}

func (p *probes) ask(ctx context.Context) {
	p.asked++
	org := fmt.Sprintf("t%d", p.unit.Seed) // the trial's
	body := fmt.Sprintf(`{"email":"probe%d@example.org","role":"viewer","inviter":"owner.%s@example.org"}`, p.asked, org)
	began := time.Now()
	status, header, answer, err := p.chaos.Cluster().Request(context.WithoutCancel(ctx), p.asked, http.MethodPost, "/v1/organizations/"+org+"/invitations", body)
	p.longest = max(p.longest, time.Since(began))
	p.chaos.Say("probe %d: %d after %s", p.asked, status, time.Since(began))
	switch {
	case err != nil:
		p.outcome.Violate("a request that met a bad disk was not answered: %v", err)
	case status == http.StatusServiceUnavailable && header.Get("Retry-After") != "":
		p.refused++
	case status == http.StatusAccepted:
		var made struct{ ID string }
		if err := json.Unmarshal(answer, &made); err != nil || made.ID == "" {
			p.outcome.Violate("a request that met a bad disk was answered 202 %s", answer)
		}
		p.acknowledged = append(p.acknowledged, made.ID)
	default:
		p.outcome.Violate("a request that met a bad disk was answered %d %s", status, answer)
	}
}

// found requires that whatever was acknowledged is there.
func (p *probes) found(ctx context.Context) {
	for _, id := range p.acknowledged {
		if status, _, answer, err := p.chaos.Cluster().Request(ctx, p.asked, http.MethodGet, "/v1/invitations/"+id, ""); status != http.StatusOK {
			p.outcome.Violate("%s was acknowledged while the disk was bad, and now there is %d %s %v", id, status, answer, err)
		}
	}
	p.outcome.Figure("seconds until answered in trouble, at most", p.longest.Seconds())
	p.outcome.Count("acknowledged in trouble", int64(len(p.acknowledged)))
	p.outcome.Count("refused in trouble", p.refused)
}
