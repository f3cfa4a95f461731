package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/ledger"
)

var (
	errStreamGone   = errors.New("the stream does not exist") // never created here: an empty one would hide the loss
	errConsumerGone = errors.New("the consumer does not exist")
	errSilent       = errors.New("the broker is silent")
	errDisconnected = errors.New("there is no connection to the broker")
	errStarting     = errors.New("the consumer is being looked up")
	errStopping     = errors.New("the handler's time is over: the process is stopping")
)

const (
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 5 * time.Second   // of a request that nothing came for
	mostSilence   = 3 * pullHeartbeat // then the request or the consumer is gone
	inspectEvery  = 10 * time.Second  // how often the broker is asked about the consumer
	requestPrefix = "$JS.API.CONSUMER.MSG.NEXT."
	callTimeout   = 5 * time.Second
	attachMax     = 5 * time.Second
	// maxUnsettled bounds what one consumer may have handed out. Messages that wait for their next try count, so it must
	// be far above what processes handle at once, or an outage's leftovers would block the good ones.
	maxUnsettled = 100_000
)

// subscription is one running consumer.
//
// It asks for exactly as many messages as it has room for, so that none waits unseen in a buffer while its AckWait runs. It
// speaks the pull protocol itself rather than through the client's iterator, because that takes an empty message with a header
// "Status" for a word of the broker: anybody who may publish could stop the iterator with one.
type subscription struct {
	Subscription
	nc    *nats.Conn
	js    jetstream.JetStream
	grace time.Duration
	log   *slog.Logger
	// direct: whoever gets a message calls ack or nak of its delivery, which saves the goroutine that waits for Ack and Nack.
	direct bool

	out      chan *message.Message
	arrivals chan *nats.Msg
	inbox    *nats.Subscription
	room     chan struct{}    // something was settled
	looked   chan look        // how an inspection went
	status   chan nats.Status // the connection came back
	done     chan struct{}

	fetching context.Context // ends with the first step of a stop
	stop     context.CancelFunc
	working  context.Context // ends with the second, and is the parent of every message's
	abandon  context.CancelCauseFunc
	held     *holding

	// Only the loop touches these.
	queue  []*delivery // arrived, not yet emitted
	asked  int         // messages asked for that have not come
	heard  bool        // the broker said something since the last inspection
	missed int         // inspections since
	losses int         // since the last message

	origin   time.Time // when the stream was made that floor belongs to
	floor    atomic.Uint64
	last     atomic.Pointer[figures]
	consumer atomic.Pointer[consumer]
	trouble  atomic.Pointer[error]
}

type consumer struct {
	jetstream.Consumer
	stream jetstream.Stream
}

// figures are what the broker tells about a consumer.
type figures struct {
	pending, unsettled float64
	oldest             time.Time // when the oldest message that is not settled was stored; zero: none
	troubled           bool      // not consuming
}

func newSubscription(ctx context.Context, s *Subscriber, plan Subscription, log *slog.Logger) *subscription {
	sub := &subscription{
		Subscription: plan, nc: s.nc, js: s.js, grace: s.options.CloseGrace, log: log, direct: s.direct,
		out: make(chan *message.Message), arrivals: make(chan *nats.Msg, plan.InFlight),
		room: make(chan struct{}, 1), looked: make(chan look), done: make(chan struct{}),
		held: newHolding(plan.InFlight),
	}
	sub.fetching, sub.stop = context.WithCancel(ctx)
	sub.working, sub.abandon = context.WithCancelCause(context.WithoutCancel(ctx))
	sub.fail(errStarting)
	return sub
}

func (s *subscription) start() error {
	if err := s.attach(); err != nil {
		return err
	}
	var err error
	if s.inbox, err = s.nc.Subscribe(s.nc.NewInbox(), s.receive); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	s.status = s.nc.StatusChanged(nats.CONNECTED)
	go s.run()
	go s.keepAlive()
	go s.inspect()
	return nil
}

// receive runs in the client's goroutine for the inbox.
func (s *subscription) receive(m *nats.Msg) {
	select {
	case s.arrivals <- m:
	case <-s.done:
	}
}

// run is the loop that asks, receives and emits.
func (s *subscription) run() {
	defer s.finish()
	for s.fetching.Err() == nil {
		held := s.held.len()
		s.ask(s.InFlight - s.asked - held)
		out, next := s.next(held)
		select {
		case out <- next:
			s.emitted()
		case m := <-s.arrivals:
			s.arrived(m)
			for len(s.arrivals) > 0 { // most come in bursts
				s.arrived(<-s.arrivals)
			}
		case <-s.room:
		case <-s.status:
			s.asked = 0 // requests die with the connection
		case l := <-s.looked:
			s.inspected(l)
		case <-s.fetching.Done():
		}
	}
}

// ask requests messages for the slots that are free, once they are worth a request: an eighth of all.
func (s *subscription) ask(free int) {
	if free < max(1, s.InFlight/8) {
		return
	}
	body := make([]byte, 0, 80)
	body = strconv.AppendInt(append(body, `{"batch":`...), int64(free), 10)
	body = strconv.AppendInt(append(body, `,"expires":`...), int64(pullExpiry), 10)
	body = strconv.AppendInt(append(body, `,"idle_heartbeat":`...), int64(pullHeartbeat), 10)
	if err := s.nc.PublishRequest(requestPrefix+s.Stream+"."+s.Durable, s.inbox.Subject, append(body, '}')); err != nil {
		s.lost(err)
		return
	}
	s.asked += free
}

// next is the channel to emit on and the message to emit; a nil channel when there is none, or no room: around a
// reconnection two requests for the same slots may both be served.
func (s *subscription) next(held int) (chan<- *message.Message, *message.Message) {
	if len(s.queue) == 0 || held-len(s.queue) >= s.InFlight {
		return nil, nil
	}
	return s.out, s.queue[0].message
}

func (s *subscription) emitted() {
	d := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	if !s.direct {
		go d.wait()
	}
}

// arrived takes in one message, or a word from the broker. Only the broker can publish to the inbox itself.
func (s *subscription) arrived(m *nats.Msg) {
	s.heard = true
	if m.Subject == s.inbox.Subject {
		s.told(m)
		return
	}
	s.asked = max(0, s.asked-1)
	d, err := s.newDelivery(m)
	if err != nil { // not from a consumer: nobody waits for an answer
		s.log.Warn("a message came that no consumer sent", "subject", m.Subject, "error", err)
		return
	}
	s.losses = 0
	s.held.add(d)
	s.queue = append(s.queue, d)
}

// told reads what the broker says about a request.
func (s *subscription) told(m *nats.Msg) {
	status, description := m.Header.Get("Status"), strings.ToLower(m.Header.Get("Description"))
	unsent, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	switch {
	case status == "100": // a sign of life
		s.losses = 0
	case err == nil: // the request has ended, with so many not sent
		s.asked = max(0, s.asked-unsent)
	case status == "503", strings.Contains(description, "consumer deleted"):
		s.lost(errConsumerGone)
	default:
		s.lost(fmt.Errorf("the broker answers %s %s", status, description))
	}
}

// inspected takes in how an inspection went.
func (s *subscription) inspected(l look) {
	s.missed++
	if s.heard {
		s.heard, s.missed = false, 0
	}
	switch {
	case l.gone != nil && l.at == s.consumer.Load(): // and not at one that was made anew meanwhile
		s.lost(l.gone)
	case time.Duration(s.missed)*s.inspectEvery > mostSilence && s.asked > 0 && s.nc.IsConnected():
		s.lost(errSilent)
	}
}

// lost looks the consumer up again, and makes it anew where it is gone, as often as it takes.
func (s *subscription) lost(cause error) {
	for err := cause; err != nil; err = s.attach() {
		if last := s.trouble.Load(); last == nil || (*last).Error() != err.Error() { // said once
			s.log.Error("not consuming", "stream", s.Stream, "durable", s.Durable, "error", err)
		}
		s.fail(err)
		if !s.waitToAttach() {
			return
		}
	}
	for len(s.arrivals) > 0 { // what was said so far was about the consumer that is gone
		s.arrivedLate(<-s.arrivals)
	}
	s.asked, s.missed = 0, 0
	s.log.Info("consuming again", "stream", s.Stream, "durable", s.Durable)
}

// waitToAttach waits longer each time, but not longer than for the connection to come back. It is false when we are to stop.
func (s *subscription) waitToAttach() bool {
	timer := time.NewTimer(min(50*time.Millisecond<<min(s.losses, 10), attachMax))
	defer timer.Stop()
	s.losses++
	select {
	case <-timer.C:
	case <-s.status:
	case <-s.fetching.Done():
		return false
	}
	return true
}

// attach finds or makes the consumer.
func (s *subscription) attach() error {
	ctx, cancel := context.WithTimeout(s.fetching, callTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: %s", errStreamGone, s.Stream)
	} else if err != nil {
		return fmt.Errorf("stream %s: %w", s.Stream, err)
	}
	if made := stream.CachedInfo().Created; !made.Equal(s.origin) {
		s.origin = made
		s.floor.Store(0)
	}
	c, err := s.ensure(ctx, stream)
	if err != nil {
		return fmt.Errorf("consumer %s: %w", s.Durable, err)
	}
	failpoint.Here(failpoint.StartConsumer)
	s.consumer.Store(&consumer{c, stream})
	s.trouble.Store(nil)
	return nil
}

// ensure finds the consumer, changes it where it differs, or makes it. Where a consumer starts can't be changed, so that of an
// existing one is kept. One that was lost while we consumed starts after the last message that it was done with, not with the
// stream's first. One that is as it should be is left alone: an update right after a deletion has been seen to fail for good. One
// that promises less than handlers rest on is refused.
func (s *subscription) ensure(ctx context.Context, stream jetstream.Stream) (jetstream.Consumer, error) {
	want := jetstream.ConsumerConfig{
		Durable: s.Durable, FilterSubjects: s.Filters, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.AckWait,
		MaxDeliver: -1, MaxAckPending: maxUnsettled, DeliverPolicy: s.Start,
	}
	have, err := stream.Consumer(ctx, s.Durable)
	switch {
	case err == nil:
		old := have.CachedInfo().Config
		if err := refuseWeaker(old, stream); err != nil {
			return nil, err
		}
		if sameConsumer(old, want) {
			return have, nil
		}
		want.DeliverPolicy, want.OptStartSeq, want.OptStartTime = old.DeliverPolicy, old.OptStartSeq, old.OptStartTime
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		if push, lookErr := stream.PushConsumer(ctx, s.Durable); lookErr == nil {
			err = cmp.Or(refuseWeaker(push.CachedInfo().Config, stream), err)
		}
		return nil, err
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, err
	case s.floor.Load() > 0:
		want.DeliverPolicy, want.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.floor.Load()+1
	}
	return stream.CreateOrUpdateConsumer(ctx, want)
}

// refuseWeaker returns an error for a consumer that is there and promises too little.
func refuseWeaker(have jetstream.ConsumerConfig, stream jetstream.Stream) error {
	weak := ledger.ConsumerDifferences(have, stream.CachedInfo().Config.Replicas)
	if len(weak) == 0 {
		return nil
	}
	return fmt.Errorf("it exists with weaker settings (%s); mend it with the nats command line, it is never changed silently", strings.Join(weak, "; "))
}

// sameConsumer compares what ensure sets, but for the start.
func sameConsumer(a, b jetstream.ConsumerConfig) bool {
	return slices.Equal(filters(a), filters(b)) && a.AckPolicy == b.AckPolicy && a.AckWait == b.AckWait &&
		a.MaxDeliver == b.MaxDeliver && a.MaxAckPending == b.MaxAckPending
}

// filters are a consumer's, in either of the forms the broker keeps them.
func filters(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

// release gives a delivery's slot back.
func (s *subscription) release(d *delivery) {
	s.held.remove(d)
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// keepAlive tells the broker, for all messages that are ours, that they are being worked on.
func (s *subscription) keepAlive() {
	tick := time.NewTicker(s.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, d := range s.held.all() {
				_ = d.answer(answerProgress, false) // the next one, or a redelivery, makes up for it
			}
		case <-s.done:
			return
		}
	}
}

// inspect asks the broker about the consumer now and then.
func (s *subscription) inspect() {
	for pause(s.fetching, s.inspectEvery) == nil {
		select {
		case s.looked <- s.lookAt(s.consumer.Load()):
		case <-s.fetching.Done():
		}
	}
}

// look is one inspection of a consumer; gone tells that it, or its stream, no longer exists.
type look struct {
	at   *consumer
	gone error
}

// lookAt keeps the consumer's figures. That the broker did not answer is no loss: the missing heartbeats tell.
func (s *subscription) lookAt(c *consumer) look {
	ctx, cancel := context.WithTimeout(s.fetching, callTimeout)
	defer cancel()
	info, err := c.Info(ctx)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return look{c, errConsumerGone}
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return look{c, errStreamGone}
	case err != nil:
		return look{at: c}
	}
	s.floor.Store(info.AckFloor.Stream)
	f := figures{pending: float64(info.NumPending), unsettled: float64(info.NumAckPending)}
	if info.NumPending > 0 || info.NumAckPending > 0 {
		f.oldest = s.oldest(ctx, c.stream, info.AckFloor.Stream+1)
	}
	s.last.Store(&f)
	return look{at: c}
}

// oldest is when the first message from that sequence on was stored.
func (s *subscription) oldest(ctx context.Context, stream jetstream.Stream, from uint64) (oldest time.Time) {
	filters := s.Filters
	if len(filters) == 0 {
		filters = []string{">"}
	}
	for _, filter := range filters {
		m, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(filter))
		if err == nil && (oldest.IsZero() || m.Time.Before(oldest)) {
			oldest = m.Time
		}
	}
	return oldest
}

func (s *subscription) figures() (f figures) {
	if last := s.last.Load(); last != nil {
		f = *last
	}
	f.troubled = s.healthy() != nil
	return f
}

func (s *subscription) fail(err error) { s.trouble.Store(&err) }

func (s *subscription) healthy() error {
	if !s.nc.IsConnected() {
		return errDisconnected
	}
	if err := s.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// finish is the stop. What was not emitted goes back at once; what was is waited for; then its contexts end.
func (s *subscription) finish() {
	defer close(s.done)
	s.fail(ErrClosed)
	s.nc.RemoveStatusListener(s.status)
	s.drain()
	failpoint.Here(failpoint.StopDrained)
	for _, d := range s.queue {
		d.nak(0)
	}
	close(s.out)
	force := time.NewTimer(s.grace)
	defer force.Stop()
	for s.held.len() > 0 && s.working.Err() == nil {
		select {
		case <-s.room:
		case <-force.C:
			s.abandon(errStopping)
		}
	}
	s.abandon(errStopping)
	for _, d := range s.held.all() {
		d.nak(0)
	}
	failpoint.Here(failpoint.StopHandled)
	// The broker reads in order: once it has answered, it has every ack too.
	if err := s.nc.FlushTimeout(callTimeout); err != nil && !s.nc.IsClosed() {
		s.log.Warn("the last acks may not have arrived: their messages would be handled again", "error", err)
	}
}

// drain gives up the inbox, and takes in what the broker had sent by then: left to AckWait, it would come again much later.
func (s *subscription) drain() {
	drained := make(chan struct{})
	s.inbox.SetClosedHandler(func(string) { close(drained) })
	if s.inbox.Drain() != nil {
		return // no connection: nothing more can come
	}
	late := time.NewTimer(callTimeout)
	defer late.Stop()
	for {
		select {
		case m := <-s.arrivals:
			s.arrivedLate(m)
		case <-drained:
			for len(s.arrivals) > 0 {
				s.arrivedLate(<-s.arrivals)
			}
			return
		case <-late.C:
			return
		}
	}
}

// arrivedLate takes in a message, and no word from the broker.
func (s *subscription) arrivedLate(m *nats.Msg) {
	if m.Subject != s.inbox.Subject {
		s.arrived(m)
	}
}
