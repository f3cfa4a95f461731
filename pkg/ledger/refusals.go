package ledger

import (
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/refusal"
)

// What is documented of the rules.
var (
	// ServerRules are the promises of a broker and of the clocks beside it.
	ServerRules = slices.Concat(refusal.Lines(brokerRules), refusal.Lines([]refusal.Rule[int]{clusterRule}), refusal.Lines(clockRules))
	// StreamRules are the promises of a stream, a bucket or an object store that is there already.
	StreamRules = refusal.Lines(streamRules)
	// ConsumerRules are the promises of a durable consumer that is there already.
	ConsumerRules = refusal.Lines(consumerRules)
)

// stream is one that is there beside the one that is needed.
type stream struct{ have, want jetstream.StreamConfig }

// Differences lists every setting in which a stream promises less than wanted, as "name: is X, needs Y".
func Differences(have, want jetstream.StreamConfig) []string {
	return refusal.Check(streamRules, stream{have, want})
}

var streamRules = []refusal.Rule[stream]{
	refusal.Of("subjects", "others than Usher publishes on", "subjects: is %v, needs %v", func(s stream) refusal.Values {
		return refusal.If(!sameSubjects(s.have.Subjects, s.want.Subjects), s.have.Subjects, s.want.Subjects)
	}),
	refusal.Of("retention", "work queue or interest: messages go once they were acknowledged", "retention: is %v, needs %v", func(s stream) refusal.Values {
		return refusal.If(s.have.Retention != s.want.Retention, s.have.Retention, s.want.Retention)
	}),
	refusal.Of("storage", "memory: gone with the process", "storage: is %v, needs %v", func(s stream) refusal.Values {
		return refusal.If(s.have.Storage != s.want.Storage, s.have.Storage, s.want.Storage)
	}),
	refusal.Of("persist_mode", "async: acknowledged before it is on disk, even where the broker syncs always", "persist mode: is %v, needs %v", func(s stream) refusal.Values {
		return refusal.If(s.have.PersistMode != jetstream.DefaultPersistMode, s.have.PersistMode, jetstream.DefaultPersistMode)
	}),
	refusal.Of("discard", "another policy than Usher sets", "discard: is %v, needs %v", func(s stream) refusal.Values {
		return refusal.If(s.have.Discard != s.want.Discard, s.have.Discard, s.want.Discard)
	}),
	refusal.Of("num_replicas", "fewer than USHER_REPLICAS", "replicas: is %v, needs %v", func(s stream) refusal.Values {
		return refusal.If(s.have.Replicas < s.want.Replicas, s.have.Replicas, s.want.Replicas)
	}),
	refusal.Of("max_msgs", "any limit: the oldest messages go", "max messages: is %v, needs unlimited", func(s stream) refusal.Values {
		return refusal.If(s.have.MaxMsgs > 0, s.have.MaxMsgs)
	}),
	refusal.Of("max_bytes", "any limit: the oldest messages go", "max bytes: is %v, needs unlimited", func(s stream) refusal.Values {
		return refusal.If(s.have.MaxBytes > 0, s.have.MaxBytes)
	}),
	refusal.Of("max_msgs_per_subject", "a limit, where every message on a subject counts", "max messages per subject: is %v, needs unlimited", func(s stream) refusal.Values {
		return refusal.If(s.want.MaxMsgsPerSubject <= 0 && s.have.MaxMsgsPerSubject > 0, s.have.MaxMsgsPerSubject)
	}),
	refusal.Of("max_msg_size", "any limit below the broker's own", "max message size: is %v, needs unlimited", func(s stream) refusal.Values {
		return refusal.If(s.have.MaxMsgSize > 0, s.have.MaxMsgSize)
	}),
	refusal.Of("max_age", "shorter than the stream has to remember (USHER_LEDGER_MAX_AGE for the ledger)", "max age: is %v, needs %v", func(s stream) refusal.Values {
		return refusal.If(s.have.MaxAge != 0 && (s.want.MaxAge == 0 || s.have.MaxAge < s.want.MaxAge), s.have.MaxAge, s.want.MaxAge)
	}),
	refusal.Of("max_consumers", "any limit", "max consumers: is %v, needs unlimited", func(s stream) refusal.Values {
		return refusal.If(s.have.MaxConsumers > 0, s.have.MaxConsumers)
	}),
	refusal.Of("duplicate_window", "shorter than Usher's, or for REQUESTS longer: one app's message id would swallow another's", "duplicate window: is %v, needs %v", func(s stream) refusal.Values {
		return refusal.If(!windowFits(s), s.have.Duplicates, s.want.Duplicates)
	}),
	refusal.Of("no_ack", "true: nobody learns whether a message was stored", "no acknowledgements: is %v, needs false", func(s stream) refusal.Values {
		return refusal.If(s.have.NoAck, true)
	}),
	refusal.Of("sealed", "true: nothing more can be stored", "sealed: is %v, needs false", func(s stream) refusal.Values {
		return refusal.If(s.have.Sealed, true)
	}),
	refusal.Of("deny_purge", "true: timers could not be stopped, nor rows that have served their time deleted", "deny purge: is %v, needs false", func(s stream) refusal.Values {
		return refusal.If(s.have.DenyPurge, true)
	}),
	refusal.Of("allow_direct", "false", "allow direct get: is %v, needs true", func(s stream) refusal.Values {
		return refusal.If(!s.have.AllowDirect, false)
	}),
	refusal.Of("allow_atomic", "false, where Usher publishes batches", "allow atomic publish: is %v, needs true", func(s stream) refusal.Values {
		return refusal.If(s.want.AllowAtomicPublish && !s.have.AllowAtomicPublish, false)
	}),
	refusal.Of("allow_msg_schedules", "false, where Usher keeps timers", "allow message schedules: is %v, needs true", func(s stream) refusal.Values {
		return refusal.If(s.want.AllowMsgSchedules && !s.have.AllowMsgSchedules, false)
	}),
	refusal.Of("allow_rollup_hdrs", "true, where one message could put itself in the place of all before it", "allow rollup: is %v, needs %v", func(s stream) refusal.Values {
		return refusal.If(s.have.AllowRollup != s.want.AllowRollup, s.have.AllowRollup, s.want.AllowRollup)
	}),
	refusal.Of("allow_msg_counter", "true: the stream takes numbers alone", "allow message counter: is %v, needs false", func(s stream) refusal.Values {
		return refusal.If(s.have.AllowMsgCounter, true)
	}),
	refusal.Of("consumer_limits", "any: consumers that are idle for a while would be deleted, or hand out too little", "consumer limits: is %v, needs none", func(s stream) refusal.Values {
		return refusal.If(s.have.ConsumerLimits != jetstream.StreamConsumerLimits{}, s.have.ConsumerLimits)
	}),
	refusal.Of("republish", "any: addresses would be copied to where nobody expects them", "republish: is %v, needs false", func(s stream) refusal.Values {
		return refusal.If(s.have.RePublish != nil, true)
	}),
	refusal.Of("subject_transform", "any: messages would be stored where nobody looks for them", "subject transform: is %v, needs false", func(s stream) refusal.Values {
		return refusal.If(s.have.SubjectTransform != nil, true)
	}),
	refusal.Of("mirror, sources", "any: somebody else writes the stream", "mirror or sources: is %v, needs false", func(s stream) refusal.Values {
		return refusal.If(s.have.Mirror != nil || len(s.have.Sources) > 0, true)
	}),
}

// sameSubjects compares without regard to the order.
func sameSubjects(have, want []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(want)))
}

// windowFits: for requests a longer window lets one app's id swallow another's, for the rest a shorter one is weaker.
func windowFits(s stream) bool {
	if s.want.Name == events.StreamRequests {
		return s.have.Duplicates > 0 && s.have.Duplicates <= s.want.Duplicates
	}
	return s.have.Duplicates >= s.want.Duplicates
}

// consumer is a durable one that is there, and how many replicas its stream has.
type consumer struct {
	have     jetstream.ConsumerConfig
	replicas int
}

// ConsumerDifferences lists every setting in which a durable consumer of a stream with so many replicas promises less than
// Usher's handlers rest on, as "name: is X, needs Y". What can be set right without losing its place (filters, waiting times)
// is not among them: whoever subscribes sets it.
func ConsumerDifferences(have jetstream.ConsumerConfig, replicas int) []string {
	return refusal.Check(consumerRules, consumer{have, replicas})
}

var consumerRules = []refusal.Rule[consumer]{
	refusal.Of("mem_storage", "true: what was done is forgotten with the process", "memory storage: is %v, needs false", func(c consumer) refusal.Values {
		return refusal.If(c.have.MemoryStorage, true)
	}),
	refusal.Of("num_replicas", "fewer than the stream's", "replicas: is %v, needs %v", func(c consumer) refusal.Values {
		return refusal.If(c.have.Replicas != 0 && c.have.Replicas < c.replicas, c.have.Replicas, c.replicas)
	}),
	refusal.Of("ack_policy", "none or all: what was handed out would count as done", "acknowledgements: is %v, needs %v", func(c consumer) refusal.Values {
		return refusal.If(c.have.AckPolicy != jetstream.AckExplicitPolicy, c.have.AckPolicy, jetstream.AckExplicitPolicy)
	}),
	refusal.Of("deliver_subject", "any: a push consumer hands out without being asked", "delivery: is push to %s, needs pull", func(c consumer) refusal.Values {
		return refusal.If(c.have.DeliverSubject != "", c.have.DeliverSubject)
	}),
	refusal.Of("headers_only", "true: every message would look damaged, and go to the dead letters", "headers only: is %v, needs false", func(c consumer) refusal.Values {
		return refusal.If(c.have.HeadersOnly, true)
	}),
	refusal.Of("replay_policy", "original: a backlog would take as long as it took to arise", "replay: is %v, needs %v", func(c consumer) refusal.Values {
		return refusal.If(c.have.ReplayPolicy != jetstream.ReplayInstantPolicy, c.have.ReplayPolicy, jetstream.ReplayInstantPolicy)
	}),
	refusal.Of("backoff", "any: Usher's own delays would not be kept", "back-off: is %v, needs none", func(c consumer) refusal.Values {
		return refusal.If(len(c.have.BackOff) > 0, c.have.BackOff)
	}),
	refusal.Of("inactive_threshold", "any: the consumer, and with it its place, goes while Usher is stopped", "inactive threshold: is %v, needs none", func(c consumer) refusal.Values {
		return refusal.If(c.have.InactiveThreshold != 0, c.have.InactiveThreshold)
	}),
}
