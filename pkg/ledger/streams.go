package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/problem"
)

// Buckets hold what must outlive the ledger's age and is no event.
const (
	BucketOrganizations = "organizations"
	BucketAPIKeys       = "apikeys"
	BucketSuppressions  = "suppressions"
	BucketPreferences   = "preferences"
	BucketImports       = "imports"      // bulk jobs
	BucketImportPages   = "import-pages" // their rows
	BucketChecks        = "checks"       // what repairs did to timers
)

// buckets are all buckets, with how long each keeps a key that is not written again; 0 for ever.
var buckets = map[string]time.Duration{
	BucketOrganizations: 0, BucketAPIKeys: 0, BucketSuppressions: 0, BucketPreferences: 0, BucketChecks: 0,
	BucketImports: importsAge, BucketImportPages: importsAge,
}

// ConsumerMailer is the durable consumer of INVITATIONS behind which first mails wait to leave.
const ConsumerMailer = "mailer"

const (
	// requestsAge is how long an app's request may wait for an Usher that is down.
	requestsAge = 7 * 24 * time.Hour
	// requestsWindow is the smallest duplicate window the server allows: ids are the apps' own.
	requestsWindow = 100 * time.Millisecond
	// ledgerWindow is kept short, because every id in it costs the broker memory and nothing rests on it.
	ledgerWindow = 20 * time.Second
	// DeadLettersAge bounds what nobody looks at.
	DeadLettersAge = 90 * 24 * time.Hour
	// importsAge is how long the rows of a bulk job, addresses among them, are kept for its report.
	importsAge = 30 * 24 * time.Hour
	// personKeyName cannot be an organization's: those start with a letter or digit.
	personKeyName = "_person_key"
)

func (l *Ledger) streams() []jetstream.StreamConfig {
	base := func(name, root, about string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: []string{root + ".>"}, Description: about,
			Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld,
			MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
			Replicas: l.options.Replicas, AllowDirect: true, AllowAtomicPublish: true, Duplicates: ledgerWindow,
		}
	}
	requests := base(events.StreamRequests, events.RootRequests, "What upstream apps ask for")
	requests.Subjects = []string{events.RootRequests + ".*"}
	requests.MaxAge, requests.Duplicates = requestsAge, requestsWindow
	invitations := base(events.StreamInvitations, events.RootInvitations, "The ledger: everything said about invitations")
	invitations.MaxAge, invitations.AllowMsgSchedules, invitations.AllowRollup = l.options.MaxAge, true, true
	memberships := base(events.StreamMemberships, events.RootMemberships, "The last message on a subject is the membership")
	deadLetters := base(events.StreamDeadLetters, events.RootDeadLetters, "What could not be handled, and why")
	deadLetters.MaxAge = DeadLettersAge
	undelivered := base(events.StreamUndelivered, "", "What the broker will not hand out again, until it is a dead letter")
	undelivered.MaxAge, undelivered.Subjects = DeadLettersAge, nil
	for _, stream := range []string{requests.Name, invitations.Name, memberships.Name, deadLetters.Name} {
		undelivered.Subjects = append(undelivered.Subjects, events.UndeliveredSubjects(stream)...)
	}
	return []jetstream.StreamConfig{requests, invitations, memberships, deadLetters, undelivered}
}

func (l *Ledger) provision(ctx context.Context) error {
	for _, want := range l.streams() {
		failpoint.Here(failpoint.StartStream)
		_, err := l.js.CreateStream(ctx, want)
		if err == nil {
			continue
		}
		if c, _ := code(err); c == codeNoCluster {
			return fmt.Errorf("ledger: "+clusterRule.Says, l.options.Replicas)
		}
		if c, ok := code(err); ok && c == codeSubjectsOverlap {
			return fmt.Errorf("ledger: create stream %s: another stream keeps some of its subjects already (%s); each message can be kept by one: give them free there",
				want.Name, strings.Join(want.Subjects, ", "))
		}
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return fmt.Errorf("ledger: create stream %s: %w", want.Name, unavailable(err))
		}
		if err := l.checkStream(ctx, want); err != nil {
			return err
		}
	}
	for name, age := range buckets {
		failpoint.Here(failpoint.StartBucket)
		if err := l.provisionBucket(ctx, name, age); err != nil {
			return err
		}
	}
	for _, name := range objectStores {
		failpoint.Here(failpoint.StartObjects)
		if err := l.provisionObjects(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) provisionBucket(ctx context.Context, name string, age time.Duration) error {
	want := jetstream.KeyValueConfig{Bucket: name, Storage: jetstream.FileStorage, Replicas: l.options.Replicas, History: 1, TTL: age}
	_, err := l.js.CreateKeyValue(ctx, want)
	if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
		return fmt.Errorf("ledger: create bucket %s: %w", name, unavailable(err))
	}
	return l.checkStore(ctx, "bucket "+name, l.store("KV_"+name, age, 1, "$KV."+name+".>"))
}

// store is what a bucket or an object store needs of its stream, as the client library makes it.
func (l *Ledger) store(name string, age time.Duration, perSubject int64, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Subjects: subjects, Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: perSubject, MaxMsgSize: -1, MaxConsumers: -1,
		MaxAge: age, Replicas: l.options.Replicas, AllowDirect: true, AllowRollup: true,
	}
}

// checkStore refuses a bucket or an object store that keeps less than it should.
func (l *Ledger) checkStore(ctx context.Context, what string, want jetstream.StreamConfig) error {
	stream, err := l.js.Stream(ctx, want.Name)
	if err != nil {
		return fmt.Errorf("ledger: %s: %w", what, unavailable(err))
	}
	return weaker(what, Differences(stream.CachedInfo().Config, want))
}

func (l *Ledger) checkStream(ctx context.Context, want jetstream.StreamConfig) error {
	stream, err := l.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("ledger: stream %s is gone; it is not made anew by itself, because its messages would be missing silently", want.Name)
	}
	if err != nil {
		return fmt.Errorf("ledger: stream %s: %w", want.Name, unavailable(err))
	}
	return weaker("stream "+want.Name, Differences(stream.CachedInfo().Config, want))
}

func weaker(what string, diff []string) error {
	if len(diff) == 0 {
		return nil
	}
	return fmt.Errorf("ledger: %s exists with weaker settings (%s); mend it with the nats command line, it is never changed silently",
		what, strings.Join(diff, "; "))
}

// ensurePersonKey reads the key of the person hash, or makes it where the ledger is new. Of several processes that start
// at once, the first to create it wins.
func (l *Ledger) ensurePersonKey(ctx context.Context) ([]byte, error) {
	bucket, err := l.Bucket(ctx, BucketOrganizations)
	if err != nil {
		return nil, err
	}
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return nil, fmt.Errorf("ledger: person key: %w", err)
	}
	_, err = bucket.Create(ctx, personKeyName, fresh)
	if err != nil && !errors.Is(err, ErrConflict) {
		return nil, err
	}
	entry, err := bucket.Get(ctx, personKeyName)
	if err != nil {
		return nil, err
	}
	if len(entry.Value) != len(fresh) {
		return nil, problem.New(problem.NotNow, "the person key in bucket %s is damaged", BucketOrganizations)
	}
	return entry.Value, nil
}
