package deadletters

import (
	"context"
	"errors"
	"fmt"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/ledger"
)

// Box is where the dead letters are.
type Box struct{ ledger *ledger.Ledger }

// New opens the box of a ledger.
func New(l *ledger.Ledger) *Box { return &Box{l} }

// List gives the letters that match, oldest first, without their headers and bodies.
func (b *Box) List(ctx context.Context, f Filter) ([]*Letter, error) {
	all := stories{letters: map[uint64]*Letter{}, handed: map[uint64]*Letter{}}
	for r, err := range b.ledger.Scan(ctx, events.StreamDeadLetters, "", 1) {
		if err != nil {
			return nil, err
		}
		all.enter(r)
	}
	matching := []*Letter{} // JSON tells none from null
	for _, l := range all.order {
		if f.matches(l) {
			matching = append(matching, l)
		}
	}
	return matching, nil
}

// stories puts letters and acts together, as they come in the order of the stream.
type stories struct {
	order   []*Letter
	letters map[uint64]*Letter // by sequence
	handed  map[uint64]*Letter // by the sequence of the act that handed it out again
}

func (s *stories) enter(r ledger.Record) {
	if l, ok := read(r); ok {
		s.order = append(s.order, l)
		s.letters[r.Sequence] = l
		if _, stream, handed, _ := events.SplitDeadLetter(r.Subject); stream == events.StreamDeadLetters && s.handed[handed] != nil {
			s.handed[handed].became(handed, r.Sequence)
		}
		return
	}
	_, kind, sequence, ok := events.SplitDeadAct(r.Subject)
	l := s.letters[sequence]
	if !ok || l == nil {
		return
	}
	l.add(act(r, kind))
	if kind == events.DeadAgain {
		s.handed[r.Sequence] = l
	}
}

// Find gives one letter whole, with its story, or ErrNotFound.
func (b *Box) Find(ctx context.Context, sequence uint64) (*Letter, error) {
	r, err := b.ledger.At(ctx, events.StreamDeadLetters, sequence)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return nil, err
	}
	l, ok := read(r)
	if err != nil || !ok {
		return nil, b.missing(ctx, sequence)
	}
	l.whole(r)
	for r, err := range b.ledger.Scan(ctx, events.StreamDeadLetters, events.DeadActsFilter(l.Worker, sequence), sequence+1) {
		if err != nil {
			return nil, err
		}
		if err := b.tell(ctx, l, r); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// tell adds one act to a letter, and what came of it.
func (b *Box) tell(ctx context.Context, l *Letter, r ledger.Record) error {
	_, kind, _, _ := events.SplitDeadAct(r.Subject)
	l.add(act(r, kind))
	if kind != events.DeadAgain {
		return nil
	}
	again, err := b.ledger.Last(ctx, events.StreamDeadLetters, events.DeadLetterSubject(l.Worker, events.StreamDeadLetters, r.Sequence))
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	l.became(r.Sequence, again.Sequence)
	return nil
}

// missing says why there is no letter at a sequence.
func (b *Box) missing(ctx context.Context, sequence uint64) error {
	r, err := b.ledger.Last(ctx, events.StreamDeadLetters, events.DeadActSubject(events.AnyWorker, events.DeadPruned, sequence))
	if errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("%w: %d", ErrNotFound, sequence)
	}
	if err != nil {
		return err
	}
	a := act(r, events.DeadPruned)
	return fmt.Errorf("%w: %d was pruned by %s at %s", ErrNotFound, sequence, a.By, a.Time.Format("2006-01-02 15:04:05 MST"))
}
