package agents

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/routes"
)

// Errors of routing.
type (
	// NoRouteError says that no route leads anywhere for a message. As a handler's
	// outcome it is a dead letter with the reason no_route.
	NoRouteError = routes.NoRouteError
	// UnknownAgentError says that the agent of a destination has no inbox.
	UnknownAgentError = routes.UnknownAgentError
	// UnknownStreamError says that the stream of a destination has no topic.
	UnknownStreamError = routes.UnknownStreamError
	// RouteConflictError says that another set of the same version came first.
	RouteConflictError = routes.ConflictError
)

// Routes declares that the agent's handlers use Message.Route. Its workers read the
// topic of routes before they start a handler, and follow it.
func Routes(a *Agent) { a.routed = true }

var errNotRouting = errors.New("the agent does not follow the routes: call agents.Routes(a) before it runs")

// Route stages a message for each destination that the routes in force choose for
// it, as an event unless an option says otherwise. All of them are chosen by one set
// of routes. Without a destination the error is a *NoRouteError, and nothing is
// staged; a handler that returns it dead-letters what it handles, as no_route. So does
// a destination that does not exist any more when the message is sent. The agent has
// to declare Routes.
func (m *Message[T]) Route(payload schemas.Message, opts ...Option) error {
	return m.out.route(payload, opts)
}

func (b *outbox) route(payload schemas.Message, opts []Option) error {
	if b.link.routing == nil {
		return errNotRouting
	}
	messageType, value, err := encode(b.ctx, b.link.codec, payload)
	if err != nil {
		return err
	}
	var probe streaming.Outgoing
	outgoing{partition: -1, kind: streaming.KindEvent}.fill(&probe, messageType, value, opts)
	cause, env := b.cause.Envelope, &probe.Envelope
	env.ID = schemas.DerivedID(cause.Source, cause.ID, b.cause.Claim.Group, len(b.cause.Outbox.Staged())) // of the first that is staged
	env.Source, env.Hops = b.link.agent, cause.Hops-1
	if b.asker != nil {
		env.CorrelationID = b.asker.CorrelationID
	}
	if env.CorrelationID == "" {
		env.CorrelationID = cause.CorrelationID
	}
	if env.CausationID == "" {
		env.CausationID = cause.ID
	}
	d, err := b.link.routing.decide(routed(b.ctx, b.link.codec, &probe))
	if err != nil {
		return err
	}
	for i, to := range d.Destinations {
		err := b.link.outputs.checkRouted(placeOf(to), payload)
		if err == nil {
			err = b.add(toRouted(to, b.link.namespace), messageType, value, opts)
		}
		if err != nil {
			for range i {
				b.cause.Outbox.Unstage()
			}
			return err
		}
	}
	return nil
}

// routed is a message that is about to be sent, as routes look at it.
func routed(ctx context.Context, codec *schemas.Codec, out *streaming.Outgoing) *routes.Message {
	return &routes.Message{
		Envelope: &out.Envelope, Key: out.Key,
		Open: func() (schemas.AvroSchema, []byte, error) { return codec.Open(ctx, out.Value) },
	}
}

// toRouted is where a route sends.
func toRouted(to routes.Destination, ns streaming.Namespace) outgoing {
	return outgoing{topic: to.Topic(ns), partition: -1, kind: streaming.KindEvent, to: to.Agent, routed: true}
}

func placeOf(to routes.Destination) contract.Place {
	if to.Agent != "" {
		return ToAgent(to.Agent)
	}
	return ToStream(to.Stream)
}

// senderRoutes is a sender's own reader of the routes; it starts with the first use.
type senderRoutes struct {
	mu     sync.Mutex
	reader *routesReader
	stop   context.CancelFunc
	ended  chan struct{}
	failed chan error
}

func (s *senderRoutes) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader != nil {
		s.stop()
		<-s.ended
	}
}

// followRoutes returns the sender's reader of the routes when it has read what stands
// there.
func (s *Sender) followRoutes(ctx context.Context) (*routesReader, error) {
	f := &s.routes
	f.mu.Lock()
	if f.reader == nil {
		if err := s.ensure(ctx, routesTopic(s.p.cfg.Namespace)); err != nil {
			f.mu.Unlock()
			return nil, err
		}
		running, stop := context.WithCancel(context.Background())
		reader := newRoutesReader(s.p.newRouting(s.name))
		f.reader, f.stop, f.ended, f.failed = reader, stop, make(chan struct{}), make(chan error, 1)
		go func() {
			defer close(f.ended)
			err := s.log.Tail(running, s.p.cfg.Namespace.Routes(), func(rec streaming.Record) { reader.take(running, rec) }, reader.caughtUp)
			if err == nil {
				err = errSenderClosed
			}
			f.failed <- err
		}()
	}
	reader := f.reader
	f.mu.Unlock()
	return reader, s.awaitRoutes(ctx, reader, 0)
}

var errSenderClosed = errors.New("the sender was closed")

// awaitRoutes waits until the reader has passed the offset.
func (s *Sender) awaitRoutes(ctx context.Context, reader *routesReader, offset int64) error {
	err := reader.await(ctx, offset, s.routes.failed)
	if err != nil && ctx.Err() == nil {
		select {
		case s.routes.failed <- err: // for whoever asks next
		default:
		}
	}
	if err != nil {
		return fmt.Errorf("read the routes: %w", err)
	}
	return nil
}

// Route sends a message to each destination that the routes in force choose for it,
// as an event unless an option says otherwise, and waits until all are durable. The
// copies have one ID. Without a destination the error is a *NoRouteError; where one
// does not exist it is an *UnknownAgentError or an *UnknownStreamError, and the
// others have been sent. The first call waits until the routes have been read.
func (s *Sender) Route(ctx context.Context, payload schemas.Message, opts ...Option) error {
	reader, err := s.followRoutes(ctx)
	if err != nil {
		return err
	}
	messageType, value, err := encode(ctx, s.p.codec, payload)
	if err != nil {
		return err
	}
	var out streaming.Outgoing
	outgoing{partition: -1, kind: streaming.KindEvent}.fill(&out, messageType, value, opts)
	if err := s.complete(&out); err != nil {
		return err
	}
	d, err := reader.routing.decide(routed(ctx, s.p.codec, &out))
	if err != nil {
		return err
	}
	recs := make([]*streaming.Record, len(d.Destinations))
	for i, to := range d.Destinations {
		copied := out
		copied.Topic, copied.Envelope.Recipient = to.Topic(s.p.cfg.Namespace), to.Agent
		recs[i] = pipeline.Record(&copied.Envelope, &copied)
	}
	errs := s.Forward(ctx, recs...)
	for i, err := range errs {
		if errors.Is(err, streaming.ErrUnknownTopic) {
			errs[i] = unknown("", d.Destinations[i], err)
		}
	}
	return errors.Join(errs...)
}

// unknown is the error for a destination that does not exist.
func unknown(route string, to routes.Destination, cause error) error {
	if to.Agent != "" {
		return &UnknownAgentError{Route: route, Agent: to.Agent, Err: cause}
	}
	return &UnknownStreamError{Route: route, Stream: to.Stream, Err: cause}
}
