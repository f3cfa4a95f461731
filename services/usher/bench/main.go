// Command bench measures Usher as its users run it: real processes on one machine, this load generator among them.
//
// It builds the binaries from the workspace and starts nats-server (JetStream on disk, every write synced), redis-server,
// the fake Mailgun and Usher, anew for each scenario. What it prints can be judged on any machine, because the disk and
// the bare broker are measured in the same run. It reads /proc, so it runs on Linux.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// options are what a run is asked to do.
type options struct {
	run        *regexp.Regexp // which scenarios
	dir        string         // where broker and Redis keep their files
	duration   time.Duration  // of each timed load
	clients    int            // connections of a full load
	rate       int            // requests a second of a paced load
	bulkRows   int
	importRows int
	accepts    int
	backlog    int           // requests that wait in the poison scenario
	crowd      int           // invitations of somebody else in the fair scenario
	waiting    int           // mails that wait in the backlog scenario
	mailRate   int           // mails a second that are allowed there
	open       int           // open invitations in the memory and list scenarios
	settle     time.Duration // how long memory may settle before it is read
	separate   bool          // API, mailer and acceptance as processes of their own
	profiles   string        // where to keep profiles of Usher; none if empty
	raw        time.Duration // of each raw measurement
	listSample int
}

func main() { os.Exit(command()) }

// command measures, prints, and gives the exit code.
func command() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, asJSON, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	r, err := run(ctx, o, os.Stderr)
	if asJSON {
		_ = json.NewEncoder(os.Stdout).Encode(r)
	} else {
		r.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func parse(args []string) (o options, asJSON bool, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	pattern := f.String("run", "", "only the scenarios whose name matches this regular expression")
	short := f.Bool("short", false, "little load: shows that everything works, and nothing about speed")
	f.BoolVar(&asJSON, "json", false, "write JSON")
	f.StringVar(&o.dir, "dir", "", "where broker and Redis keep their files (default: a folder in the user's cache)")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "length of each timed load")
	f.IntVar(&o.clients, "connections", 64, "connections of a full load")
	f.IntVar(&o.rate, "rate", 300, "requests a second of a paced load")
	f.IntVar(&o.bulkRows, "bulk", 50_000, "invitations of the bulk scenario")
	f.IntVar(&o.importRows, "import", 100_000, "rows of the import scenario")
	f.IntVar(&o.accepts, "accepts", 20_000, "invitations to accept")
	f.IntVar(&o.backlog, "backlog", 10_001, "requests that wait in the poison scenario")
	f.IntVar(&o.crowd, "crowd", 100_000, "invitations that another organization makes at once in the fair scenario")
	f.IntVar(&o.waiting, "waiting", 500_000, "mails that wait in the backlog scenario")
	f.IntVar(&o.mailRate, "mail-rate", 4000, "mails a second that are allowed in the backlog and fair scenarios")
	f.IntVar(&o.open, "open", 100_000, "open invitations in the memory and list scenarios")
	f.DurationVar(&o.settle, "settle", 160*time.Second, "how long memory may settle before it is read")
	f.BoolVar(&o.separate, "separate", false, "run API, mailer and acceptance as three processes, not as one \"usher up\"")
	f.StringVar(&o.profiles, "profiles", "", "keep CPU and heap profiles of Usher in this folder")
	if err := f.Parse(args); err != nil {
		return o, asJSON, err
	}
	o.raw, o.listSample = 2*time.Second, 300
	if *short {
		o.shorten()
	}
	o.run, err = regexp.Compile(*pattern)
	return o, asJSON, err
}

// shorten makes the load small enough for a test.
func (o *options) shorten() {
	o.duration, o.raw, o.settle = 500*time.Millisecond, 50*time.Millisecond, 0
	o.clients, o.rate, o.bulkRows, o.importRows, o.accepts, o.backlog, o.open, o.listSample = 16, 50, 1500, 500, 200, 200, 1000, 20
	o.crowd, o.waiting = 1000, 2000
}

// scenario is one thing to measure.
type scenario struct {
	name string
	run  func(context.Context, *bench) error
}

var scenarios = []scenario{
	{"raw", rawRates}, {"single", single}, {"paced", paced}, {"bulk", bulk}, {"import", importing}, {"accept", accept}, {"poison", poison}, {"fair", fair}, {"backlog", backlog}, {"list", list}, {"memory", memory},
}

// bench is one run.
type bench struct {
	options
	binaries
	report
	progress io.Writer
	said     string // the last words of Usher's processes, once they were stopped
}

// run does what is asked and gives what it measured, also where a scenario failed.
func run(ctx context.Context, o options, progress io.Writer) (report, error) {
	b := &bench{options: o, progress: progress}
	if b.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return b.report, err
		}
		b.dir = filepath.Join(cache, "usher-bench")
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return b.report, err
	}
	var err error
	if b.dir, err = os.MkdirTemp(b.dir, "run-"); err != nil {
		return b.report, err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	b.say("building")
	if b.binaries, err = build(ctx, b.dir); err != nil {
		return b.report, err
	}
	for _, s := range scenarios {
		if !o.run.MatchString(s.name) {
			continue
		}
		b.say(s.name)
		b.scenario = s.name
		if err := s.run(ctx, b); err != nil {
			return b.report, fmt.Errorf("%s: %w\n%s", s.name, err, b.said)
		}
	}
	return b.report, nil
}

func (b *bench) say(what string) { _, _ = fmt.Fprintln(b.progress, "bench:", what) }
