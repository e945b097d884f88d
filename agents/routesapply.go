package agents

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/routes"
)

// typeFinder is what a registry must be able to do so that routes can be checked.
type typeFinder interface {
	LatestOfType(ctx context.Context, messageType string) ([]schemas.Registered, error)
}

// CheckRoutes says all that is wrong with a set of routes: a match that does not
// compile with the latest schemas of the types that its route names, a name that
// stands twice, a destination that does not exist (*UnknownAgentError,
// *UnknownStreamError). Nothing is written.
func (s *Sender) CheckRoutes(ctx context.Context, defs []schemas.Route) error {
	set, err := routes.New(schemas.RouteSet{Routes: defs})
	if err != nil {
		return err
	}
	var errs []error
	var down error
	seen := make(map[routes.Destination]bool)
	set.Destinations(func(route string, to routes.Destination) {
		if seen[to] || down != nil {
			return
		}
		seen[to] = true
		n, err := s.log.PartitionCount(ctx, to.Topic(s.p.cfg.Namespace))
		switch {
		case err != nil:
			down = err
		case n == 0:
			errs = append(errs, unknown(route, to, nil))
		}
	})
	if down != nil {
		return down
	}
	finder, ok := s.p.cfg.Schemas.(typeFinder)
	for _, t := range set.Types() {
		if !ok {
			return fmt.Errorf("routes cannot be checked: %T does not find the schemas of a message type", s.p.cfg.Schemas)
		}
		found, err := finder.LatestOfType(ctx, t)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			errs = append(errs, fmt.Errorf("a route looks at the payload of %s, and no schema names that type: register it with `parley schema register`, or correct the type", t))
		}
		for _, f := range found {
			errs = append(errs, set.Check(t, f.Schema))
		}
	}
	return errors.Join(errs...)
}

// ApplyRoutes puts a set of routes in force, in place of all others, and returns its
// version. What CheckRoutes refuses changes nothing. Where another set is applied at
// the same time, the first in the log counts; the error of the other is a
// *RouteConflictError. After any other error of sending it may or may not be in
// force. by and reason are for people.
func (s *Sender) ApplyRoutes(ctx context.Context, defs []schemas.Route, by, reason string) (version int64, err error) {
	if err := s.CheckRoutes(ctx, defs); err != nil {
		return 0, err
	}
	reader, err := s.readRoutes(ctx)
	if err != nil {
		return 0, err
	}
	return s.applyRoutes(ctx, reader, &schemas.RouteSet{Routes: defs, By: by, Reason: reason})
}

// RollbackRoutes applies the routes of an older version as a new one, with the same
// checks.
func (s *Sender) RollbackRoutes(ctx context.Context, version int64, by, reason string) (int64, error) {
	history, err := s.RouteHistory(ctx)
	if err != nil {
		return 0, err
	}
	for _, e := range history {
		switch {
		case e.Version != version:
		case e.Set == nil:
			return 0, fmt.Errorf("version %d of the routes cannot be read", version)
		default:
			return s.ApplyRoutes(ctx, e.Set.Routes, by, reason)
		}
	}
	return 0, fmt.Errorf("there is no version %d of the routes; `parley routes history` shows those that are kept", version)
}

// RouteHistory lists the sets of routes that are kept, the one in force first. A
// set that cannot be read is nil.
func (s *Sender) RouteHistory(ctx context.Context) ([]routes.Entry, error) {
	reader, err := s.readRoutes(ctx)
	if err != nil {
		return nil, err
	}
	reader.mu.Lock()
	defer reader.mu.Unlock()
	return reader.log.Latest(), nil
}

// readRoutes reads the topic of routes up to where it ends now.
func (s *Sender) readRoutes(ctx context.Context) (*routesReader, error) {
	reader, err := s.followRoutes(ctx)
	if err != nil {
		return nil, err
	}
	ends, err := s.log.EndOffsets(ctx, s.p.cfg.Namespace.Routes())
	if err != nil {
		return nil, err
	}
	return reader, s.awaitRoutes(ctx, reader, ends[s.routesPartition()])
}

func (s *Sender) routesPartition() streaming.TopicPartition {
	return streaming.TopicPartition{Topic: s.p.cfg.Namespace.Routes(), Partition: 0}
}

// applyRoutes appends the next version and reads on to see whether it was the first
// of its kind.
func (s *Sender) applyRoutes(ctx context.Context, reader *routesReader, set *schemas.RouteSet) (int64, error) {
	reader.mu.Lock()
	set.Version = reader.log.Version() + 1
	reader.mu.Unlock()
	key := schemas.RouteSetKey(set.Version, schemas.NewID())
	messageType, value, err := encode(ctx, s.p.codec, set)
	if err != nil {
		return 0, err
	}
	out := streaming.Outgoing{Topic: s.p.cfg.Namespace.Routes(), Partition: -1, Key: key, Value: value}
	out.Envelope.Type, out.Envelope.Kind = messageType, streaming.KindStateDiff
	if err := s.complete(&out); err != nil {
		return 0, err
	}
	offset, err := s.appendRoutes(ctx, pipeline.Record(&out.Envelope, &out))
	if err == nil {
		err = s.awaitRoutes(ctx, reader, offset+1)
	}
	if err != nil {
		return 0, fmt.Errorf("it is not known whether version %d is in force; `parley routes history` shows it: %w", set.Version, err)
	}
	reader.mu.Lock()
	first, _ := reader.log.Find(set.Version)
	outdated := reader.log.Outdated()
	reader.mu.Unlock()
	s.takeBack(ctx, outdated)
	if first.Key != key {
		e := &RouteConflictError{Version: set.Version}
		if first.Set != nil {
			e.By = first.Set.By
		}
		return 0, e
	}
	return set.Version, nil
}

// appendRoutes appends records and returns the offset of the last, or an error when ctx
// ends: the client itself waits for a broker that does not answer until it is closed.
func (s *Sender) appendRoutes(ctx context.Context, recs ...*streaming.Record) (int64, error) {
	type appended struct {
		offsets []int64
		err     error
	}
	done := make(chan appended, 1)
	go func() {
		offsets, err := s.log.AppendSync(ctx, recs...)
		done <- appended{offsets, err}
	}()
	select {
	case a := <-done:
		return a.offsets[len(a.offsets)-1], a.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// takeBack removes what no reader needs. What fails is done with the next set.
func (s *Sender) takeBack(ctx context.Context, keys []string) {
	var recs []*streaming.Record
	for _, key := range keys {
		recs = append(recs, &streaming.Record{Topic: s.p.cfg.Namespace.Routes(), Partition: -1, Key: []byte(key)})
	}
	if len(recs) == 0 {
		return
	}
	if _, err := s.appendRoutes(ctx, recs...); err != nil {
		s.p.cfg.Logger.Info("outdated routes stay in the topic until the next are applied", "error", err)
	}
}
