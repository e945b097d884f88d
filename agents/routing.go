package agents

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/routes"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// routesTopic is the topic of routes as its readers need it: the order of its
// records decides, so it has one partition.
func routesTopic(ns streaming.Namespace) kafka.TopicSpec {
	return kafka.TopicSpec{Name: ns.Routes(), Partitions: 1, Compacted: true}
}

// routing is the routes that an agent or a sender goes by: one set at a time, as a
// whole.
type routing struct {
	codec  *schemas.Codec
	logger *slog.Logger
	agent  string
	count  func(route, why string)
	set    atomic.Pointer[routes.Set] // nil: the topic has not been read yet
}

func (p *Platform) newRouting(name string) *routing {
	r := &routing{codec: p.codec, logger: p.cfg.Logger, agent: name, count: func(string, string) {}}
	if p.cfg.Metrics != nil {
		r.count = p.cfg.Metrics.Routes(name).Failed
	}
	return r
}

// link gives an agent that routes what it needs of the platform.
func (p *Platform) link(a *Agent) {
	if a.routed && a.routing == nil {
		a.routing = p.newRouting(a.name)
	}
	a.link.routing = a.routing
}

// follow is the topic of routes as a worker follows it.
func (r *routing) follow(ns streaming.Namespace) worker.Follow {
	reader := newRoutesReader(r)
	return worker.Follow{Topic: routesTopic(ns), Each: reader.take, CaughtUp: reader.caughtUp}
}

// decide says where a message goes, all by one set, and counts the routes that
// could not be evaluated. Without a destination it is a *NoRouteError.
func (r *routing) decide(m *routes.Message) (routes.Decision, error) {
	set := r.set.Load()
	if set == nil {
		return routes.Decision{}, errNotRouting
	}
	d, err := set.Decide(m)
	if err != nil {
		return d, Unavailable(err)
	}
	for _, f := range d.Failed {
		r.count(f.Route, string(f.Why))
		r.logger.Debug("a route cannot be evaluated and does not match", "agent", r.agent, "route", f.Route, "version", d.Version, "why", f.Why, "error", f.Err)
	}
	if len(d.Destinations) == 0 {
		return d, streaming.DeadLetter(streaming.ReasonNoRoute, d.NoRoute(m.Envelope.Type))
	}
	return d, nil
}

// routesReader takes the records of the topic of routes in their order.
type routesReader struct {
	routing *routing

	mu      sync.Mutex
	log     routes.Log
	live    bool   // what stood there at the start has been read
	inForce string // the key of the set in force
	passed  int64  // the offset after the last record
	news    chan struct{}
}

func newRoutesReader(r *routing) *routesReader {
	return &routesReader{routing: r, news: make(chan struct{})}
}

// routesRetry is how long a set waits while the registry is down; the one before
// stays in force.
const routesRetry = time.Second

// take takes the next record. One that cannot be read is counted, and changes
// nothing but the version.
func (r *routesReader) take(ctx context.Context, rec streaming.Record) {
	set, ok, err := schemas.ParseRouteSet(ctx, r.routing.codec, &rec)
	for err != nil {
		if _, unreadable := schemas.ErrorReason(err); unreadable {
			r.unusable(&rec, err)
			break
		}
		r.routing.logger.Warn("the routes cannot be read yet; tried on", "agent", r.routing.agent, "offset", rec.Offset, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(routesRetry):
		}
		set, ok, err = schemas.ParseRouteSet(ctx, r.routing.codec, &rec)
	}
	if !ok {
		r.unusable(&rec, nil)
	}
	e := routes.Entry{Key: string(rec.Key), Offset: rec.Offset, Time: rec.Timestamp}
	if ok && rec.Value != nil {
		e.Version = set.Version
		if err == nil {
			e.Set = &set
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.Take(e)
	r.passed = rec.Offset + 1
	if r.live {
		r.publish()
	}
	close(r.news)
	r.news = make(chan struct{})
}

func (r *routesReader) unusable(rec *streaming.Record, err error) {
	r.routing.count("", string(routes.WhySet))
	r.routing.logger.Warn("a set of routes cannot be used; the one before stays in force", "agent", r.routing.agent, "topic", rec.Topic, "offset", rec.Offset,
		"key", string(rec.Key), "error", err)
}

func (r *routesReader) caughtUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = true
	r.publish()
	close(r.news)
	r.news = make(chan struct{})
}

// publish puts the latest set that can be used in force.
func (r *routesReader) publish() {
	for _, e := range r.log.Latest() {
		if e.Set == nil {
			continue
		}
		if e.Key == r.inForce {
			return
		}
		set, err := routes.New(*e.Set)
		if err != nil {
			r.unusable(&streaming.Record{Offset: e.Offset, Key: []byte(e.Key)}, err)
			continue
		}
		r.inForce = e.Key
		r.routing.set.Store(set)
		r.routing.logger.Info("routes are in force", "agent", r.routing.agent, "version", set.Version, "by", e.Set.By, "reason", e.Set.Reason)
		return
	}
	if r.inForce != "" || r.routing.set.Load() == nil {
		r.inForce = ""
		r.routing.set.Store(&routes.Set{})
	}
}

// await waits until what stood in the topic at the start, and what stands before
// the offset, has been taken.
func (r *routesReader) await(ctx context.Context, offset int64, failed <-chan error) error {
	for {
		r.mu.Lock()
		done, news := r.live && r.passed >= offset, r.news
		r.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-news:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
