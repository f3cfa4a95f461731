package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profile records where Usher spends its time while a load runs, if the run is to keep profiles. The channel gives one
// error, nil where all went well or nothing was to be done.
func (s *stack) profile(ctx context.Context, during time.Duration) <-chan error {
	done := make(chan error, 1)
	if s.bench.profiles == "" {
		done <- nil
		return done
	}
	go func() {
		done <- s.keepProfile(ctx, fmt.Sprintf("profile?seconds=%d", max(1, int(during.Seconds()))), "cpu")
	}()
	return done
}

// heapProfile records what is in Usher's memory, if the run is to keep profiles.
func (s *stack) heapProfile(ctx context.Context) error {
	if s.bench.profiles == "" {
		return nil
	}
	return s.keepProfile(ctx, "heap", "heap")
}

func (s *stack) keepProfile(ctx context.Context, what, kind string) error {
	asked, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.profileAddr+"/debug/pprof/"+what, nil)
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
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}
