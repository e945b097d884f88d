package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// demoPatterns is how the agents have coordinated, in all runs on the log. It is read
// from the topics alone; a message that stands there twice counts once.
type demoPatterns struct {
	Negotiations negotiationsResult `json:"negotiations"`
	Requests     requestsResult     `json:"requests"`
	Routes       routesResult       `json:"routes"`
	State        stateResult        `json:"state"`
}

// negotiationsResult counts those of dispatch: called = awarded + no_bids + failed, once
// all are concluded.
type negotiationsResult struct {
	Called    int            `json:"called"`
	Awarded   int            `json:"awarded"`   // somebody has done the task
	Reawarded int            `json:"reawarded"` // awards after the first of their negotiation
	NoBids    int            `json:"no_bids"`
	Failed    int            `json:"failed"`  // all who have bid have failed
	ByTeam    map[string]int `json:"by_team"` // who has done it
}

// requestsResult counts dispatch's questions to the analyst: asked = answered + late +
// failed, once all have come.
type requestsResult struct {
	Asked    int `json:"asked"`
	Answered int `json:"answered"` // in time
	Late     int `json:"late"`     // after the question's deadline
	Failed   int `json:"failed"`   // with an error
}

type routesResult struct {
	Version       int64          `json:"version"` // in force
	Routed        int            `json:"routed"`  // alerts that have found a destination
	ByDestination map[string]int `json:"by_destination"`
	NoRoute       int            `json:"no_route"` // dead letters of dispatch
}

type stateResult struct {
	Board     string `json:"board"`
	Keys      int    `json:"keys"`
	Updates   int64  `json:"updates"`   // versions of all keys
	Conflicts int    `json:"conflicts"` // proposals that somebody else was faster than
}

// patterns reads it.
func (d *demo) patterns(ctx context.Context) (demoPatterns, error) {
	ns := d.platform.Namespace()
	r := patternsReader{
		ctx: ctx, codec: d.platform.Codec(), ns: ns, board: ns.State(quake.Regions.Name()), dead: streaming.DeadLetterTopic(ns.Inbox(quake.DispatchAgent), quake.DispatchAgent),
		seen: make(map[string]bool), asked: make(map[string]streaming.Envelope), answers: make(map[string]streaming.Envelope), routed: make(map[string]bool), versions: make(map[string]int64), live: make(map[string]bool),
	}
	r.out.Negotiations.ByTeam, r.out.Routes.ByDestination, r.out.State.Board = make(map[string]int), make(map[string]int), quake.Regions.Name()
	history, err := d.sender.RouteHistory(ctx)
	if err != nil {
		return r.out, err
	}
	if len(history) > 0 {
		r.out.Routes.Version = history[0].Version
	}
	ranges, err := d.ranges(ctx, func(topic string) bool {
		_, _, destination := r.destination(topic)
		return destination || topic == r.board || topic == r.dead
	})
	if err != nil {
		return r.out, err
	}
	if err := d.log.Scan(ctx, ranges, r.take); err != nil {
		return r.out, err
	}
	return r.result(), r.err
}

// ranges are all records of the topics.
func (d *demo) ranges(ctx context.Context, of func(topic string) bool) ([]kafka.Range, error) {
	topics, err := d.log.Topics(ctx, string(d.platform.Namespace())+".")
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(topics)), func(t string) bool { return !of(t) })
	starts, err := d.log.StartOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	ends, err := d.log.EndOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	var ranges []kafka.Range
	for tp, end := range ends {
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: starts[tp], To: end})
	}
	return ranges, nil
}

type patternsReader struct {
	ctx         context.Context
	codec       *schemas.Codec
	ns          streaming.Namespace
	board, dead string // topics

	out      demoPatterns
	err      error
	seen     map[string]bool               // topic, source and ID
	asked    map[string]streaming.Envelope // by ID
	answers  map[string]streaming.Envelope // by the request's ID
	routed   map[string]bool               // by the ID of what was handled
	versions map[string]int64              // of the board's keys
	live     map[string]bool               // keys with a value
}

// destination is what a topic is to the routes: an inbox or a stream, and no companion
// of one.
func (r *patternsReader) destination(topic string) (kind, name string, ok bool) {
	if name, ok = strings.CutPrefix(topic, r.ns.Inbox("")); ok {
		kind = "agent"
	} else if name, ok = strings.CutPrefix(topic, r.ns.Events("")); ok {
		kind = "stream"
	}
	return kind, name, ok && !strings.Contains(name, ".")
}

func (r *patternsReader) take(rec streaming.Record) {
	switch rec.Topic {
	case r.board:
		r.takeEntry(&rec)
		return
	case r.dead:
		if _, hop, ok, err := schemas.SplitHop(rec.Headers); ok && err == nil && hop.Reason == streaming.ReasonNoRoute {
			r.out.Routes.NoRoute++
		}
		return
	}
	env, err := schemas.DecodeEnvelope(&rec)
	if err != nil { // one of the feed's malformed ones
		return
	}
	id := rec.Topic + "\x00" + env.Source + "\x00" + env.ID
	if r.seen[id] {
		return
	}
	r.seen[id] = true
	kind, name, _ := r.destination(rec.Topic)
	if kind == "agent" {
		r.takeMessage(name, &rec, env)
	}
	if env.Source == quake.DispatchAgent && env.Type == messageType[quake.Alert]() {
		r.routed[env.CausationID] = true
		r.out.Routes.ByDestination[kind+":"+name]++
	}
}

// takeMessage takes a message in an agent's inbox.
func (r *patternsReader) takeMessage(agent string, rec *streaming.Record, env streaming.Envelope) {
	of := struct{ agent, source, messageType string }{agent, env.Source, env.Type}
	is := func(agent, source, messageType string) bool {
		of := of
		return of.agent == agent && of.source == source && of.messageType == messageType
	}
	switch {
	case is(quake.DispatchAgent, quake.DispatchAgent, messageType[contractnet.Opening]()):
		r.out.Negotiations.Called++
	case is(quake.DispatchAgent, quake.DispatchAgent, messageType[contractnet.Negotiation]()):
		var n contractnet.Negotiation
		if r.decode(rec, &n) {
			r.out.Negotiations.add(&n)
		}
	case is(quake.AnalystAgent, quake.DispatchAgent, messageType[quake.Assess]()):
		r.asked[env.ID] = env
	case is(quake.DispatchAgent, quake.AnalystAgent, messageType[quake.Assessment]()), is(quake.DispatchAgent, quake.AnalystAgent, schemas.TypeErrorReply):
		r.answers[env.CausationID] = env
	case is(quake.RegistrarAgent, quake.Regions.Agent(), schemas.TypeBoardAnswer):
		var a schemas.BoardAnswer
		if r.decode(rec, &a) && !a.Accepted {
			r.out.State.Conflicts++
		}
	}
}

func (r *patternsReader) decode(rec *streaming.Record, into any) bool {
	if err := r.codec.Decode(r.ctx, rec.Value, into, ""); err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("%s/%d offset %d: %w", rec.Topic, rec.Partition, rec.Offset, err))
		return false
	}
	return true
}

// takeEntry takes a record of the board, whose ce_sequence is the version.
func (r *patternsReader) takeEntry(rec *streaming.Record) {
	env, err := schemas.DecodeEnvelope(rec)
	if key := string(rec.Key); err == nil && env.Sequence >= r.versions[key] {
		r.versions[key], r.live[key] = env.Sequence, rec.Value != nil
	}
}

func (r *patternsReader) result() demoPatterns {
	for id, request := range r.asked {
		answer, ok := r.answers[id]
		switch q := &r.out.Requests; {
		case !ok:
		case answer.Type == schemas.TypeErrorReply:
			q.Failed++
		case answer.Time.After(request.Expiry):
			q.Late++
		default:
			q.Answered++
		}
	}
	r.out.Requests.Asked, r.out.Routes.Routed = len(r.asked), len(r.routed)
	for key, version := range r.versions {
		if r.out.State.Updates += version; r.live[key] {
			r.out.State.Keys++
		}
	}
	return r.out
}

func (n *negotiationsResult) add(c *contractnet.Negotiation) {
	n.Reawarded += max(int(c.Round)-1, 0)
	switch c.Phase {
	case contractnet.OutcomeDone:
		n.Awarded++
		n.ByTeam[c.Winner]++
	case contractnet.OutcomeNoBids:
		n.NoBids++
	case contractnet.OutcomeAllFailed:
		n.Failed++
	}
}

func messageType[T schemas.Message]() string {
	var zero T
	return schemas.MessageType(zero.Schema())
}

// lines says it to people.
func (p *demoPatterns) lines(w io.Writer) {
	n, q, r, s := &p.Negotiations, &p.Requests, &p.Routes, &p.State
	_, _ = fmt.Fprintf(w, "Negotiations: %d called, %d awarded (%s), %d times the next best went; %d without bids, %d failed.\n",
		n.Called, n.Awarded, counts(n.ByTeam), n.Reawarded, n.NoBids, n.Failed)
	_, _ = fmt.Fprintf(w, "Requests: %d asked, %d answered, %d late, %d failed.\n", q.Asked, q.Answered, q.Late, q.Failed)
	_, _ = fmt.Fprintf(w, "Routes, version %d: %d alerts routed (%s), %d without a route.\n", r.Version, r.Routed, counts(r.ByDestination), r.NoRoute)
	_, _ = fmt.Fprintf(w, "Board %s: %d regions, %d updates, %d conflicts.\n", s.Board, s.Keys, s.Updates, s.Conflicts)
}

// counts lists counts by name.
func counts(of map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, fmt.Sprintf("%s %d", name, of[name]))
	}
	return strings.Join(all, ", ")
}
