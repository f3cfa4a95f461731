package campaign

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Result is one unit in the record: a line of JSON.
type Result struct {
	Part string `json:"part"`
	Seed uint64 `json:"seed"`
	// Version names the code that was tested, At is when, Took how many seconds.
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	Took    float64   `json:"took"`
	OK      bool      `json:"ok"`

	Counts     map[string]int64   `json:"counts,omitempty"`
	Figures    map[string]float64 `json:"figures,omitempty"`
	Violations []string           `json:"violations,omitempty"`
}

// line is the result for whoever watches.
func (r Result) line(dir string) string {
	if r.OK {
		return fmt.Sprintf("%s %d: ok, %.1f s", r.Part, r.Seed, r.Took)
	}
	return fmt.Sprintf("%s %d: FAILED, %.1f s, files in %s\n  %s", r.Part, r.Seed, r.Took, dir, strings.Join(r.Violations, "\n  "))
}

// Record keeps results in a folder, a file for each part, a line for each unit.
type Record struct {
	dir string

	mu      sync.Mutex
	results map[string]map[uint64]Result
}

// OpenRecord reads the record in a folder, which need not exist yet. It returns an error for a line that is no result.
func OpenRecord(dir string) (*Record, error) {
	r := &Record{dir: dir, results: map[string]map[uint64]Result{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := r.read(file); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Record) read(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one Result
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		r.keep(one)
	}
	return lines.Err()
}

func (r *Record) keep(one Result) {
	if r.results[one.Part] == nil {
		r.results[one.Part] = map[uint64]Result{}
	}
	r.results[one.Part][one.Seed] = one // a later line is a later try
}

// Add stores a result.
func (r *Record) Add(one Result) error {
	line, err := json.Marshal(one)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(one)
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(r.dir, one.Part+".jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// Missing are the seeds of a part that have not succeeded yet, in order.
func (r *Record) Missing(p Part) []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var seeds []uint64
	for seed := uint64(1); seed <= uint64(p.Units); seed++ {
		if !r.results[p.Name][seed].OK {
			seeds = append(seeds, seed)
		}
	}
	return seeds
}

// Of are the results of a part, by seed.
func (r *Record) Of(part string) []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Result
	for _, one := range r.results[part] {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Result) int { return int(int64(a.Seed) - int64(b.Seed)) })
	return all
}
