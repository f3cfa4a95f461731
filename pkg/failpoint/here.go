//go:build failpoints

package failpoint

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Compiled tells whether this process was built with failpoints.
const Compiled = true

// Here is a point: where it is armed, this is as far as the process or the goroutine gets.
func Here(name Name) { spots[name].pass() }

// The actions of an armed point.
const (
	actionKill  = "kill"  // SIGKILL to this process, at once
	actionStop  = "stop"  // SIGSTOP to this process, which goes on after SIGCONT
	actionPause = "pause" // this goroutine waits until it is released
	actionPanic = "panic"
)

// spots are the points by name; the map itself never changes.
var spots = newSpots()

func newSpots() map[Name]*spot {
	all := make(map[Name]*spot, len(Points))
	for _, p := range Points {
		all[p.Name] = &spot{name: p.Name, reached: make(chan struct{}), gate: make(chan struct{})}
	}
	return all
}

// spot is what is known of one point.
type spot struct {
	name Name

	mu     sync.Mutex
	passed uint64
	action string // empty: not armed
	left   uint64 // passes until it acts

	waiting int
	reached chan struct{} // closed while somebody waits
	gate    chan struct{} // closed to let them go
}

// pass counts, and acts where it is this pass that was meant.
func (s *spot) pass() {
	s.mu.Lock()
	s.passed++
	if s.action == "" {
		s.mu.Unlock()
		return
	}
	if s.left--; s.left > 0 {
		s.mu.Unlock()
		return
	}
	action, gate := s.action, s.gate
	s.action = ""
	if action == actionPause {
		if s.waiting++; s.waiting == 1 {
			close(s.reached)
		}
	}
	s.mu.Unlock()
	s.act(action, gate)
}

func (s *spot) act(action string, gate <-chan struct{}) {
	switch action {
	case actionKill:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way to all threads; this one does nothing more
	case actionStop:
		awake := make(chan os.Signal, 1)
		signal.Notify(awake, syscall.SIGCONT)
		defer signal.Stop(awake)
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		<-awake // another thread may take the signal a moment later than this one would go on
	case actionPause:
		<-gate
	case actionPanic:
		panic(fmt.Sprintf("failpoint %s", s.name))
	}
}

// arm makes the after-th pass from now act, once. It takes the place of what was armed before.
func (s *spot) arm(action string, after uint64) error {
	switch action {
	case actionKill, actionStop, actionPause, actionPanic:
	default:
		return fmt.Errorf("%q is no action: kill, stop, pause or panic", action)
	}
	if after == 0 {
		return errors.New("the first pass is number 1")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.action, s.left = action, after
	return nil
}

// disarm takes back what was armed, and releases whoever waits.
func (s *spot) disarm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.action = ""
	if s.waiting > 0 {
		close(s.gate)
		s.waiting, s.reached, s.gate = 0, make(chan struct{}), make(chan struct{})
	}
}

// reach is closed while somebody waits at the point.
func (s *spot) reach() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached
}

// armAll reads what USHER_FAILPOINTS says.
func armAll(said string) error {
	for _, one := range strings.Split(said, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		name, action, _ := strings.Cut(one, "=")
		s, ok := spots[Name(name)]
		if !ok {
			return fmt.Errorf("%s: there is no point %q", EnvArm, name)
		}
		action, nth, counted := strings.Cut(action, "@")
		after := uint64(1)
		if counted {
			var err error
			if after, err = strconv.ParseUint(nth, 10, 64); err != nil {
				return fmt.Errorf("%s: %q is no number of a pass", EnvArm, nth)
			}
		}
		if err := s.arm(action, after); err != nil {
			return fmt.Errorf("%s: %w", EnvArm, err)
		}
	}
	return nil
}
