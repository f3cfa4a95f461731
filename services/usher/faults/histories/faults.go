package histories

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// disturb breaks something every now and then until ctx ends, and mends it again.
func (f *field) disturb(ctx context.Context, random *rand.Rand, log io.Writer) (faults int, err error) {
	faulty := []struct {
		name string
		do   func(context.Context, *rand.Rand) error
	}{
		{"cut a front's wire", f.cut}, {"cut a front's wire", f.cut}, {"let a front hear no answers", f.deafen},
		{"let a front hear no answers", f.deafen}, {"take a front's wire down", f.down}, {"crash a front", f.crash},
		{"cut the workers' wire", f.cutBack}, {"restart the broker", f.restart}, {"wipe Redis", f.wipe},
	}
	for {
		select {
		case <-ctx.Done():
			return faults, err
		case <-time.After(time.Duration(100+random.IntN(500)) * time.Millisecond):
		}
		one := faulty[random.IntN(len(faulty))]
		_, _ = fmt.Fprintf(log, "%s after %s\n", one.name, time.Since(f.began).Round(time.Millisecond))
		if err := one.do(context.WithoutCancel(ctx), random); err != nil {
			return faults, fmt.Errorf("%s: %w", one.name, err)
		}
		faults++
	}
}

func (f *field) cut(_ context.Context, random *rand.Rand) error {
	f.Front(random.IntN(fronts)).Wire.Cut()
	return nil
}

func (f *field) cutBack(context.Context, *rand.Rand) error {
	f.Back().Wire.Cut()
	return nil
}

func (f *field) deafen(_ context.Context, random *rand.Rand) error {
	w := f.Front(random.IntN(fronts)).Wire
	w.Deafen()
	time.Sleep(time.Duration(20+random.IntN(200)) * time.Millisecond)
	w.Cut()
	return nil
}

func (f *field) down(_ context.Context, random *rand.Rand) error {
	w := f.Front(random.IntN(fronts)).Wire
	w.Down()
	time.Sleep(time.Duration(50+random.IntN(500)) * time.Millisecond)
	w.Up()
	return nil
}

func (f *field) crash(ctx context.Context, random *rand.Rand) error {
	return f.CrashFront(ctx, random.IntN(fronts))
}

func (f *field) restart(context.Context, *rand.Rand) error {
	f.Broker.Stop()
	return f.Broker.Start()
}

func (f *field) wipe(context.Context, *rand.Rand) error { return f.WipeRedis() }

// age moves the clock: for a start it is behind, so that deadlines are near by the broker's clock and pass while its timers
// fire; then it is right; and then it is so far ahead that what was made since is over, too.
func (f *field) age(ctx context.Context, random *rand.Rand) {
	for _, ahead := range []time.Duration{0, shortest + time.Second, 3 * shortest} {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(3000+random.IntN(3000)) * time.Millisecond):
		}
		f.Clock.Ahead(ahead)
	}
}

// shortest is the shortest time that an invitation may stay open.
const shortest = 5 * time.Minute
