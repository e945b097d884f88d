package agents

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// DefaultRequestTimeout is the deadline of a request whose context has none.
const DefaultRequestTimeout = 30 * time.Second

// Requester asks agents and waits for their answers, outside a handler. An
// instance reads the answers from a partition of its own of the topic
// parley.replies.NAME: with more instances than partitions some share one, and
// pass over what is not theirs. A request that its process does not outlive is
// handled all the same; nobody reads the answer. In a handler use a Question, which
// waits in Kafka.
type Requester struct {
	sender    *Sender
	log       *kafka.Log
	partition streaming.TopicPartition
	dropped   func(why DroppedReply)
	count     func(why string) // of requests that failed
	stop      context.CancelFunc
	stopped   chan struct{}

	mu      sync.Mutex
	failure error
	pending map[string]*pendingRequest // by message ID
	over    recentIDs                  // requests that have ended
}

// DroppedReply is why an answer went to nobody.
type DroppedReply string

// The reasons. Unknown is an answer to a request of another instance or of an
// earlier process; an answer to what a handler has asked is late where nothing waits
// for it.
const (
	DroppedLate    DroppedReply = "late"
	DroppedUnknown DroppedReply = "unknown"
)

// RequestError is an agent's answer that it has failed: the request is a dead
// letter there, or its handler has said so. A redrive may handle it later.
type RequestError struct {
	Agent  string
	Reason streaming.Reason
	Text   string
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("%s cannot answer (%s): %s", e.Agent, e.Reason, e.Text)
}

// NoReplyError says that no answer came in time. The request may have been
// handled, or may still be: it ends by its own deadline, the same.
type NoReplyError struct {
	Agent string
	Err   error // of the context
}

func (e *NoReplyError) Error() string {
	return fmt.Sprintf("no answer of %s in time: %v; does it run, and handle this type? `parley agents list` shows", e.Agent, e.Err)
}

// Unwrap returns the context's error.
func (e *NoReplyError) Unwrap() error { return e.Err }

// Requester returns a requester with that agent name, and makes sure of its
// topic.
func (p *Platform) Requester(ctx context.Context, name string) (_ *Requester, err error) {
	sender, err := p.Sender(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			sender.Close()
		}
	}()
	topic := p.cfg.Namespace.Replies(name)
	partitions := p.cfg.Partitions
	if partitions == 0 {
		partitions = defaultReplyPartitions
	}
	if err := sender.ensure(ctx, kafka.TopicSpec{Name: topic, Partitions: partitions}); err != nil {
		return nil, err
	}
	n, err := sender.log.PartitionCount(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := sender.log.HighWatermarks(ctx, topic)
	if err != nil {
		return nil, err
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(schemas.NewID()))
	running, stop := context.WithCancel(context.Background())
	r := &Requester{
		sender: sender, log: sender.log, stop: stop, stopped: make(chan struct{}), dropped: func(DroppedReply) {}, count: func(string) {},
		partition: streaming.TopicPartition{Topic: topic, Partition: int32(hash.Sum32() % uint32(n))},
		pending:   make(map[string]*pendingRequest),
	}
	if p.cfg.Metrics != nil {
		count := p.cfg.Metrics.Replies(name)
		r.dropped = func(why DroppedReply) { count.Dropped(string(why)) }
		r.count = count.Failed
	}
	r.log.Follow(map[streaming.TopicPartition]int64{r.partition: ends[r.partition]})
	go r.read(running)
	return r, nil
}

const defaultReplyPartitions = 6

// Close ends the requester. Who waits for an answer gets an error.
func (r *Requester) Close() {
	r.stop()
	<-r.stopped
	r.sender.Close()
}

// errRequesterClosed ends requests of a requester that was closed.
var errRequesterClosed = errors.New("the requester was closed")

func (r *Requester) read(ctx context.Context) {
	defer close(r.stopped)
	err := r.log.Read(ctx, nil, func(_ streaming.TopicPartition, recs []streaming.Record) {
		for i := range recs {
			r.take(&recs[i])
		}
	}, nil)
	if err == nil {
		err = errRequesterClosed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = err
	for _, q := range r.pending {
		q.fail(err)
	}
}

// take hands an answer to who waits for it.
func (r *Requester) take(rec *streaming.Record) {
	env, err := schemas.DecodeEnvelope(rec)
	if err != nil || !isAnswer(&env) {
		r.dropped(DroppedUnknown)
		return
	}
	r.mu.Lock()
	q := r.pending[env.CausationID]
	late := q == nil && r.over.has(env.CausationID)
	r.mu.Unlock()
	switch {
	case q != nil:
		if !q.give(answer{env, rec.Clone().Value, rec.Offset}) {
			r.dropped(DroppedLate)
		}
	case late:
		r.dropped(DroppedLate)
	default:
		r.dropped(DroppedUnknown)
	}
}

// open enters a request before it is sent, so that no answer comes too early.
func (r *Requester) open() (*pendingRequest, error) {
	q := newPendingRequest()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return nil, r.failure
	}
	r.pending[q.id] = q
	return q, nil
}

func (r *Requester) end(q *pendingRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pending, q.id)
	r.over.add(q.id)
}

// Request asks an agent and waits for its answer until the context ends, for
// DefaultRequestTimeout if that has no deadline. The deadline travels with the
// request: past it nobody handles it, nor what it causes. Errors are *RequestError
// for an answer that says so, *NoReplyError, and those of Sender.Send. After an error
// of sending or waiting the request may have been handled; to ask again without a
// second effect give it the same ID.
func Request[Rep, Req schemas.Message](ctx context.Context, r *Requester, agent string, req Req, opts ...Option) (Rep, error) {
	reply, err := request[Rep](ctx, r, agent, req, opts)
	if err != nil {
		r.count(failure(err))
	}
	return reply, err
}

// failure is why a request has failed, for the counter.
func failure(err error) string {
	var none *NoReplyError
	var refused *RequestError
	switch {
	case errors.Is(err, streaming.ErrUnknownTopic):
		return telemetry.RequestNoAgent
	case errors.As(err, &none):
		return telemetry.RequestNoReply
	case errors.As(err, &refused):
		return telemetry.RequestRefused
	}
	return telemetry.RequestOther
}

func request[Rep, Req schemas.Message](ctx context.Context, r *Requester, agent string, req Req, opts []Option) (Rep, error) {
	var reply Rep
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	got, err := r.ask(ctx, agent, req, opts)
	if err != nil {
		return reply, err
	}
	if got.env.Kind == streaming.KindError {
		return reply, r.failed(ctx, agent, got)
	}
	err = r.sender.p.codec.Decode(ctx, got.value, &reply, got.env.Type)
	if err != nil {
		err = fmt.Errorf("the answer of %s: %w", agent, err)
	}
	return reply, err
}

// RequestAny is Request where the types are not known beforehand, as to a tool: value
// is the framed payload of that message type, and the answer is decoded by its
// writer's schema.
func RequestAny(ctx context.Context, r *Requester, agent, messageType string, value []byte, opts ...Option) (Any, error) {
	reply, err := requestAny(ctx, r, agent, encoded{messageType: messageType, value: value}, opts)
	if err != nil {
		r.count(failure(err))
	}
	return reply, err
}

func requestAny(ctx context.Context, r *Requester, agent string, req encoded, opts []Option) (Any, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	got, err := r.ask(ctx, agent, req, opts)
	if err != nil {
		return Any{}, err
	}
	if got.env.Kind == streaming.KindError {
		return Any{}, r.failed(ctx, agent, got)
	}
	reply := Any{Bytes: got.value}
	if reply.Name, reply.Value, err = r.sender.p.codec.DecodeAny(ctx, got.value); err != nil {
		return Any{}, fmt.Errorf("the answer of %s: %w", agent, err)
	}
	return reply, nil
}

// withDeadline gives a context the default deadline if it has none.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, DefaultRequestTimeout)
}

// ask sends a request and waits for its answer, or for the last part of it.
func (r *Requester) ask(ctx context.Context, agent string, req schemas.Message, opts []Option) (answer, error) {
	q, err := r.send(ctx, agent, req, opts)
	if err != nil {
		return answer{}, err
	}
	defer r.end(q)
	for {
		got, err := q.next(ctx, agent)
		if err != nil || !isPart(&got.env) {
			return got, err
		}
	}
}

// send sends a request that is waited for until end.
func (r *Requester) send(ctx context.Context, agent string, req schemas.Message, opts []Option) (*pendingRequest, error) {
	q, err := r.open()
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	own := []Option{ID(q.id), Kind(streaming.KindRequest), Expires(deadline), replyTo(r.partition)}
	draft := r.sender.ToAgent(agent, req, append(own, opts...)...)
	var probe streaming.Outgoing
	draft.to.fill(&probe, "", nil, draft.opts)
	if id := probe.Envelope.ID; id != q.id { // the caller's own: asked again, perhaps
		r.rename(q, id)
	}
	if err := r.sender.Send(ctx, draft); err != nil {
		r.end(q)
		return nil, err
	}
	return q, nil
}

// isAnswer reports whether a message answers a request.
func isAnswer(env *streaming.Envelope) bool {
	return env.Kind == streaming.KindReply || env.Kind == streaming.KindError
}

func (r *Requester) rename(q *pendingRequest, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pending, q.id)
	q.id = id
	r.pending[id] = q
}

func replyTo(tp streaming.TopicPartition) Option {
	return func(o *streaming.Outgoing) { o.Envelope.ReplyTo = fmt.Sprintf("%s/%d", tp.Topic, tp.Partition) }
}

func (r *Requester) failed(ctx context.Context, agent string, got answer) error {
	var e schemas.ErrorReply
	if err := r.sender.p.codec.Decode(ctx, got.value, &e, got.env.Type); err != nil {
		return fmt.Errorf("the error reply of %s: %w", agent, err)
	}
	return &RequestError{Agent: agent, Reason: streaming.ParseReason(e.Reason), Text: e.Message}
}

// Answer is what one of several agents has answered.
type Answer[Rep any] struct {
	Agent string
	Reply Rep
	Err   error // as Request's; Reply is empty then
}

// Gather asks several agents the same and returns when enough of them have
// answered without an error, when all have answered, or when the context ends:
// what has come until then, in the order in which it came. Fewer than enough is an
// error that joins those of the others. Options are of each request; an ID among
// them would make them one.
func Gather[Rep, Req schemas.Message](ctx context.Context, r *Requester, agents []string, enough int, req Req, opts ...Option) ([]Answer[Rep], error) {
	if enough < 1 || enough > len(agents) {
		return nil, fmt.Errorf("%d answers of %d agents are wanted", enough, len(agents))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	came := make(chan Answer[Rep], len(agents))
	for _, agent := range agents {
		go func() {
			reply, err := Request[Rep](ctx, r, agent, req, opts...)
			came <- Answer[Rep]{agent, reply, err}
		}()
	}
	var all []Answer[Rep]
	var errs []error
	good := 0
	for range agents {
		a := <-came
		all = append(all, a)
		if a.Err != nil {
			errs = append(errs, a.Err)
		} else if good++; good == enough {
			return all, nil
		}
	}
	return all, fmt.Errorf("%d of %d answers: %w", good, enough, errors.Join(errs...))
}

// recentIDs remembers some IDs, the latest.
type recentIDs struct {
	ids  map[string]bool
	ring []string
	next int
}

const maxRecentIDs = 4096

func (s *recentIDs) has(id string) bool { return s.ids[id] }

func (s *recentIDs) add(id string) {
	if s.ids == nil {
		s.ids = make(map[string]bool)
	}
	if s.ids[id] {
		return
	}
	if len(s.ring) < maxRecentIDs {
		s.ring = append(s.ring, id)
	} else {
		delete(s.ids, s.ring[s.next])
		s.ring[s.next] = id
		s.next = (s.next + 1) % maxRecentIDs
	}
	s.ids[id] = true
}
