package histories

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

const (
	org     = "acme"
	fronts  = 3
	clients = 12
	// seats is how many addresses are fought over at a time. Who is a member, or was fought over long enough, gives way to
	// somebody new.
	seats       = 8
	fights      = 120 // operations on an address
	mostRotated = 8   // generations that clients ask for
)

// known is what clients know of one invitation, from answers to any of them.
type known struct {
	id         string
	generation int
	ended      bool
}

// seat is an address, with its invitations.
type seat struct {
	address     string
	invitations []*known
	operations  int
	member      bool
}

// field is what all clients share.
type field struct {
	*pipeline.Pipeline
	began time.Time

	mu      sync.Mutex
	seats   []*seat
	invited int
	ops     []*op
	told    int // how many of them were answered
}

// client does one thing after another.
type client struct {
	*field
	number int
	random *rand.Rand
}

// work does so many things in all, together with the other clients, or until ctx ends.
func (f *field) work(ctx context.Context, seed uint64, operations int) {
	var all sync.WaitGroup
	for n := range clients {
		c := &client{field: f, number: n, random: rand.New(rand.NewPCG(seed, uint64(n)))}
		all.Go(func() {
			for ctx.Err() == nil && f.done() < operations {
				c.once(ctx)
			}
		})
	}
	all.Wait()
}

// done is how many things were asked for and answered.
func (f *field) done() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told
}

// once does one thing.
func (c *client) once(ctx context.Context) {
	o := c.choose()
	c.do(ctx, o)
	c.mu.Lock()
	c.ops = append(c.ops, o)
	if !o.unknown {
		c.told++
	}
	c.mu.Unlock()
	pause := 4 * time.Millisecond
	if o.unknown {
		pause = 400 * time.Millisecond // there may be more of the kind; not all of the history shall be
	}
	time.Sleep(rand.N(pause))
}

// choose thinks of something to do.
func (c *client) choose() *op {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.random.IntN(seats)
	s := c.seats[n]
	if s.member || s.operations > fights {
		c.invited++
		s = &seat{address: fmt.Sprintf("p%d@example.org", c.invited)}
		c.seats[n] = s
	}
	s.operations++
	o := &op{what: invite, client: c.number, address: s.address}
	if len(s.invitations) == 0 {
		return o
	}
	of := s.invitations[len(s.invitations)-1]
	if c.random.IntN(6) == 0 {
		of = s.invitations[c.random.IntN(len(s.invitations))]
	}
	if of.ended && c.random.IntN(3) > 0 {
		return o
	}
	o.what, o.invitation = c.wish(), of.id
	switch o.what {
	case accept, decline, lookup:
		if o.generation = of.generation; o.generation > 1 && c.random.IntN(4) == 0 {
			o.generation--
		}
	case resend:
		o.rotate = of.generation < mostRotated && c.random.IntN(2) == 0
	case invite:
		o.invitation = ""
	}
	return o
}

// wish is one of the things to do: looking and resending more often than ending.
func (c *client) wish() what {
	wishes := []what{
		accept, accept, decline, revoke, resend, resend, resend, resend, lookup, lookup, lookup, lookup, show, show, show, invite,
	}
	return wishes[c.random.IntN(len(wishes))]
}

// allowed is how long a client waits for an answer.
const allowed = 8 * time.Second

// do asks for it, and writes down what came back.
func (c *client) do(ctx context.Context, o *op) {
	method, path, body := c.request(o)
	front := c.Front(c.random.IntN(fronts))
	asking, cancel := context.WithTimeout(ctx, allowed)
	defer cancel()
	o.called = c.Clock.Now()
	o.call = int64(time.Since(c.began))
	a := c.Call(asking, front, method, path, body)
	o.ret = int64(time.Since(c.began))
	o.returned = c.Clock.Now()
	c.read(o, a)
	c.learn(o)
}

func (c *client) request(o *op) (method, path string, body map[string]any) {
	o.number = strconv.FormatUint(c.random.Uint64(), 36)
	switch o.what {
	case invite:
		ttl := "5m"
		if c.random.IntN(3) == 0 {
			ttl = "1h"
		}
		return http.MethodPost, "/v1/organizations/" + org + "/invitations", map[string]any{
			"email": o.address, "role": "member", "name": "Nell", "expires_in": ttl, "metadata": map[string]string{"number": o.number},
		}
	case accept:
		return http.MethodPost, "/v1/links/accept", map[string]any{"token": c.Token(o.invitation, o.generation), "name": o.number}
	case decline:
		return http.MethodPost, "/v1/links/decline", map[string]any{"token": c.Token(o.invitation, o.generation), "reason": o.number}
	case lookup:
		return http.MethodPost, "/v1/links/lookup", map[string]any{"token": c.Token(o.invitation, o.generation)}
	case revoke:
		return http.MethodPost, "/v1/invitations/" + o.invitation + "/revoke", map[string]any{"reason": o.number}
	case resend:
		return http.MethodPost, "/v1/invitations/" + o.invitation + "/resend", map[string]any{"rotate": o.rotate}
	}
	return http.MethodGet, "/v1/invitations/" + o.invitation, nil
}

// read takes from an answer what the model compares.
func (c *client) read(o *op, a pipeline.Answer) {
	if o.unknown = a.Unknown(); o.unknown {
		return
	}
	if a.Status >= http.StatusBadRequest {
		c.readRefusal(o, a)
		return
	}
	var said struct {
		ID         string    `json:"id"`
		Status     string    `json:"status"`
		Generation int       `json:"generation"`
		ExpiresAt  time.Time `json:"expires_at"`
	}
	if err := a.Read(&said); err != nil {
		o.code = "unreadable: " + string(a.Body)
		return
	}
	o.told = standing{outcome: said.Status, generation: said.Generation, deadline: said.ExpiresAt}
	switch {
	case o.what == invite:
		o.invitation = said.ID
	case o.what == resend && said.ID != o.invitation:
		o.made = said.ID
	case o.what == lookup:
		o.told.generation = o.generation
	}
}

func (c *client) readRefusal(o *op, a pipeline.Answer) {
	var said struct{ Other string }
	_ = a.Read(&said) // where it cannot be read it names nobody, which is seen
	if o.code = cmp.Or(a.Code, a.String()); o.code == refusedInvited && o.what == invite {
		o.invitation = said.Other
	}
}

// learn tells the other clients what one was told.
func (c *client) learn(o *op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.seats {
		if s.address != o.address {
			continue
		}
		if o.unknown || o.code == refusedMember {
			s.member = s.member || o.code == refusedMember
			return
		}
		for _, id := range []string{o.invitation, o.made} {
			if id == "" {
				continue
			}
			k := s.of(id)
			if o.what != lookup && id == o.invitation {
				k.generation = max(k.generation, o.told.generation)
			}
			switch o.code {
			case expired, accepted, declined, revoked, refusedEnded:
				k.ended = true
			case "":
				k.ended = k.ended || o.what == accept || o.what == decline || o.what == revoke
				s.member = s.member || o.what == accept
			}
		}
		return
	}
}

func (s *seat) of(id string) *known {
	for _, k := range s.invitations {
		if k.id == id {
			return k
		}
	}
	k := &known{id: id, generation: 1}
	s.invitations = append(s.invitations, k)
	return k
}
