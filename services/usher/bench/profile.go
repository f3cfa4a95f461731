package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profile records where Usher and the broker spend their time while a load runs, and what Usher allocated, if the run is
// to keep profiles. The channel gives one error, nil where all went well or nothing was to be done.
func (s *stack) profile(ctx context.Context, during time.Duration) <-chan error {
	done := make(chan error, 2)
	if s.bench.profiles == "" {
		done <- nil
		return done
	}
	both := make(chan error, 2)
	cpu := fmt.Sprintf("profile?seconds=%d", max(1, int(during.Seconds())))
	go func() {
		err := s.keepProfile(ctx, s.profileAddr, cpu, "cpu")
		both <- errors.Join(err, s.keepProfile(ctx, s.profileAddr, "allocs", "allocs"))
	}()
	go func() { both <- s.keepProfile(ctx, fmt.Sprintf("127.0.0.1:%d", brokerProfiles), cpu, "broker.cpu") }()
	go func() { done <- errors.Join(<-both, <-both) }()
	return done
}

// heapProfile records what Usher's memory holds, garbage left out, if the run is to keep profiles.
func (s *stack) heapProfile(ctx context.Context, name string) error {
	if s.bench.profiles == "" {
		return nil
	}
	return s.keepProfile(ctx, s.profileAddr, "heap?gc=1", name)
}

func (s *stack) keepProfile(ctx context.Context, addr, what, kind string) error {
	asked, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/debug/pprof/"+what, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(asked)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := os.MkdirAll(s.bench.profiles, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(s.bench.profiles, s.bench.scenario+"."+kind+".pb.gz"))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, answer.Body)
	return errors.Join(err, f.Close())
}
