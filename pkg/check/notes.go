package check

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/usherhq/usher/pkg/ledger"
)

// notes are what checks before this one wrote down, because the streams do not tell it.
type notes struct {
	// timers are the sequences of timers that a repair set or stopped: once they are gone, nothing else tells of them.
	timers map[uint64]bool
	// accepted are the gaps that an operator knows of.
	accepted map[gap]bool
}

// gap is a run of sequences at which a stream has nothing.
type gap struct {
	stream string
	span
}

// What begins the notes' keys: "timer.<sequence>", "gap.<stream>.<from>-<to>".
const (
	noteTimer = "timer."
	noteGap   = "gap."
)

func (g gap) key() string { return noteGap + g.stream + "." + decimal(g.from) + "-" + decimal(g.to) }

// lookAtNotes reads them.
func (l *look) lookAtNotes(ctx context.Context) error {
	l.notes = notes{timers: map[uint64]bool{}, accepted: map[gap]bool{}}
	bucket, err := l.Ledger.Bucket(ctx, ledger.BucketChecks)
	if err != nil {
		return err
	}
	keys, err := bucket.Keys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if text, ok := strings.CutPrefix(k, noteTimer); ok {
			if sequence, err := strconv.ParseUint(text, 10, 64); err == nil {
				l.notes.timers[sequence] = true
			}
		}
		if stream, run, ok := strings.Cut(strings.TrimPrefix(k, noteGap), "."); ok && strings.HasPrefix(k, noteGap) {
			g := gap{stream: stream}
			if _, err := fmt.Sscanf(run, "%d-%d", &g.from, &g.to); err == nil {
				l.notes.accepted[g] = true
			}
		}
	}
	return nil
}

func (c *Checker) note(ctx context.Context, key string) error {
	bucket, err := c.Ledger.Bucket(ctx, ledger.BucketChecks)
	if err != nil {
		return err
	}
	_, err = bucket.Put(ctx, key, []byte(c.Ledger.Now().UTC().Format(time.RFC3339)))
	return err
}

// accept writes down that the gaps a look found are known.
func (c *Checker) accept(ctx context.Context, l *look) error {
	for _, g := range l.gaps {
		if _, lasted := l.found[key{SequenceGap, "", "", g.stream + decimal(g.from)}]; !lasted {
			continue
		}
		if err := c.note(ctx, g.key()); err != nil {
			return err
		}
	}
	return nil
}
