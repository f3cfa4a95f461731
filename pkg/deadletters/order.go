package deadletters

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/bus"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/ledger"
)

// Order is what an operator wants done about letters.
type Order struct {
	// By names the operator, Note says why. Both are kept.
	By, Note string
	// Again hands out letters that were handed out, done, failed or dismissed already, too.
	Again bool
	// Rate is the most letters a second; 0 for as fast as they can be stored.
	Rate float64
	// DryRun only reports what would be done.
	DryRun bool
}

// Result is what became of an order about one letter.
type Result struct {
	Letter *Letter
	// Acted is whether it was done now. Where it was not, Refused says why, and Already whether it was done before.
	Acted   bool
	Refused string
	Already bool
}

// handedOut are the states in which a letter was handed out, whatever came of it.
var handedOut = []State{Handed, Done, Failed}

// standing is the result where a letter is not as an order needs it.
func standing(l *Letter, already ...State) Result {
	r := Result{Letter: l, Refused: "it is " + string(l.State) + " already", Already: slices.Contains(already, l.State)}
	if l.State == Failed {
		r.Refused = fmt.Sprintf("it was handed out already, and given up again as dead letter %d", l.Acts[len(l.Acts)-1].Became)
	}
	return r
}

// chunk is how many letters are worked on at once: few enough that a command that is ended has little under way.
const chunk = 100

// Redrive hands letters to their workers again, as what they were: a worker sees the original subject and sequence, and so
// recognises what it had done already. It reports every letter, and returns an error where it had to stop. Asked again, it
// goes on with what is left: a letter that was handed out is not open any more.
func (b *Box) Redrive(ctx context.Context, letters []*Letter, o Order, report func(Result)) error {
	heard, err := b.ledger.Heard(ctx, events.StreamDeadLetters)
	if err != nil {
		return err
	}
	return b.carryOut(ctx, letters, o, report, func(l *Letter) (*ledger.Message, Result, error) {
		refused := func(why string) (*ledger.Message, Result, error) { return nil, Result{Letter: l, Refused: why}, nil }
		switch {
		case l.State != Open && !o.Again:
			return nil, standing(l, handedOut...), nil
		case !slices.Contains(heard, events.RedriveFilter(l.Worker)):
			return refused("nobody listens for dead letters of " + l.Worker)
		case l.Subject == "":
			return refused("the message itself is gone")
		}
		stored, err := b.ledger.At(ctx, events.StreamDeadLetters, l.Sequence)
		if errors.Is(err, ledger.ErrNotFound) {
			return refused("it is gone")
		}
		m := b.message(l, events.DeadAgain, o)
		m.Data = stored.Data
		maps.Copy(m.Header, bus.Handed(stored.Header))
		return &m, Result{}, err
	})
}

// Dismiss puts down that nothing needs to be done about letters. The note says why.
func (b *Box) Dismiss(ctx context.Context, letters []*Letter, o Order, report func(Result)) error {
	return b.carryOut(ctx, letters, o, report, func(l *Letter) (*ledger.Message, Result, error) {
		if l.State != Open && l.State != Handed {
			return nil, standing(l, Dismissed), nil
		}
		m := b.message(l, events.DeadDismissed, o)
		return &m, Result{}, nil
	})
}

// Prune removes letters that are over, with what was done about them; one message stays for each that tells all of it.
func (b *Box) Prune(ctx context.Context, letters []*Letter, o Order, report func(Result)) error {
	var failed error
	remove := func(r Result) {
		if (r.Acted || r.Letter.State == Pruned) && !o.DryRun && failed == nil {
			failed = b.remove(ctx, r.Letter)
		}
		report(r)
	}
	err := b.carryOut(ctx, letters, o, remove, func(l *Letter) (*ledger.Message, Result, error) {
		switch l.State {
		case Open, Handed:
			return nil, Result{Letter: l, Refused: "it is not over: it is " + string(l.State)}, nil
		case Pruned: // by a command that was ended before it had removed all
			return nil, standing(l, Pruned), nil
		}
		m := b.message(l, events.DeadPruned, o)
		m.Header[headerStory] = append([]string{fmt.Sprintf("%s gave up %s (%s)", l.Worker, l.Subject, l.Reason)}, storyOf(l)...)
		return &m, Result{}, nil
	})
	return errors.Join(err, failed)
}

// headerStory is what a pruned letter was, and all that was done about it.
const headerStory = "Usher-Act-Story"

func storyOf(l *Letter) []string {
	story := make([]string, len(l.Acts))
	for i, a := range l.Acts {
		story[i] = fmt.Sprintf("%s %s %s: %s", a.Time.UTC().Format(time.RFC3339), a.By, a.Kind, a.Note)
	}
	return story
}

// remove takes a pruned letter and its acts out of the stream. The letter goes last: until then another prune finds it.
func (b *Box) remove(ctx context.Context, l *Letter) error {
	sequences := make([]uint64, 0, len(l.Acts)+1)
	for _, a := range l.Acts {
		if a.Kind != events.DeadPruned {
			sequences = append(sequences, a.Sequence)
		}
	}
	for _, sequence := range append(sequences, l.Sequence) {
		if err := b.ledger.Remove(ctx, events.StreamDeadLetters, sequence); err != nil {
			return err
		}
	}
	return nil
}

// deed makes the message that an order about a letter comes to, or says in the result why there is none.
type deed func(*Letter) (*ledger.Message, Result, error)

// carryOut publishes one act for each letter, on condition that nothing was done about the letter since it was read.
func (b *Box) carryOut(ctx context.Context, letters []*Letter, o Order, report func(Result), do deed) error {
	size, limit := pace(o.Rate)
	for some := range slices.Chunk(letters, size) {
		if err := limit.WaitN(ctx, len(some)); err != nil {
			return err
		}
		var units [][]ledger.Message
		var wanted []*Letter
		for _, l := range some {
			m, result, err := do(l)
			switch {
			case err != nil:
				return err
			case m == nil:
				report(result)
			case o.DryRun:
				report(Result{Letter: l, Acted: true})
			default:
				units, wanted = append(units, []ledger.Message{*m}), append(wanted, l)
			}
		}
		if err := b.publish(ctx, wanted, units, report); err != nil {
			return err
		}
	}
	return nil
}

// pace is how many letters go at once, and what holds them to a rate: a second's worth never comes at once.
func pace(perSecond float64) (size int, limit *rate.Limiter) {
	if perSecond <= 0 {
		return chunk, rate.NewLimiter(rate.Inf, chunk)
	}
	size = min(chunk, max(1, int(perSecond/4)))
	return size, rate.NewLimiter(rate.Limit(perSecond), size)
}

func (b *Box) publish(ctx context.Context, letters []*Letter, units [][]ledger.Message, report func(Result)) error {
	failpoint.Here(failpoint.RedriveFound)
	results := b.ledger.PublishAll(ctx, events.StreamDeadLetters, units)
	failpoint.Here(failpoint.RedrivePublished)
	for i, r := range results {
		switch {
		case r.Err == nil, errors.Is(r.Err, ledger.ErrDuplicate): // the same act, whose answer was lost
			report(Result{Letter: letters[i], Acted: true})
		case errors.Is(r.Err, ledger.ErrConflict):
			now, err := b.Find(ctx, letters[i].Sequence)
			if err != nil {
				return err
			}
			report(standing(now, handedOut...))
		default:
			return fmt.Errorf("dead letter %d: %w", letters[i].Sequence, r.Err)
		}
	}
	return nil
}

// message is an act about a letter. The last sequence among the letter's acts is its condition.
func (b *Box) message(l *Letter, act events.DeadAct, o Order) ledger.Message {
	m := ledger.Message{
		Subject: events.DeadActSubject(l.Worker, act, l.Sequence),
		Header: map[string][]string{
			bus.ActBy: {bus.OneLine(o.By)}, bus.ActAt: {b.ledger.Now().UTC().Format(time.RFC3339Nano)},
			"Nats-Msg-Id": {string(act) + "." + strconv.FormatUint(l.Sequence, 10) + "." + strconv.FormatUint(l.last(), 10)},
		},
	}
	if o.Note != "" {
		m.Header[bus.ActNote] = []string{bus.OneLine(o.Note)}
	}
	return m.Expecting(events.DeadActsFilter(l.Worker, l.Sequence), l.last())
}
