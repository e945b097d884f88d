//go:build synctests

package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// world is what a seed's agents are like: two of them, the second fed by the
// first. Handlers fail by a rule of the seed, and pass on one message for each.
type world struct {
	seed        uint64
	exactlyOnce bool
	protocol    kafka.GroupProtocol

	stream      bool // the second agent hears the first on a stream, not in its inbox
	steps       bool // handlers keep a durable step
	scheduled   bool // some messages are to be delivered later
	expiring    bool // some expire
	acks        bool // some want an ack
	hold        bool // a dead letter holds its key, at the first agent
	requests    bool // some are requests, and are answered
	keyless     bool // some have no key
	large       bool // some are large
	unordered   bool // the second agent lets messages overtake each other
	narrow      bool // little room: few handlers at once, few values in memory, fetching pauses
	limited     bool // handlers at once and requests per minute are limited
	timeouts    bool // handlers have a timeout
	rules       bool // the retry policy has rules per error
	unavailable bool // what handlers need is down at times
	trimming    bool // the ledger's window is short, so that it is trimmed meanwhile
	refused     bool // some outputs can not be written at first
	killer      bool // a message whose handler kills its process each time
}

func draw(seed uint64) world {
	r := rand.New(rand.NewPCG(seed, 4))
	one := func(in int) bool { return r.IntN(in) == 0 }
	w := world{
		seed: seed, exactlyOnce: seed%2 == 1, protocol: kafka.ProtocolClassic,
		stream: one(4), steps: one(2), scheduled: one(3), expiring: one(4), acks: one(4), keyless: one(4), large: one(8),
		unordered: one(6), narrow: one(4), limited: one(8), timeouts: one(6), rules: one(4), unavailable: one(6), killer: one(8), trimming: one(12),
		requests: one(4), hold: one(6), refused: one(4),
	}
	if one(4) {
		w.protocol = kafka.ProtocolConsumer
	}
	// Held keys fill the little room, and the input pauses for longer than the short
	// window: a duplicate that is read after it is not promised to be recognised.
	w.trimming = w.trimming && !(w.hold && w.narrow)
	return w
}

// features are counted, so that one sees what the seeds had.
func (w world) features() []string {
	var some []string
	for what, has := range map[string]bool{
		"exactly once": w.exactlyOnce, "consumer protocol": w.protocol == kafka.ProtocolConsumer, "stream": w.stream, "steps": w.steps,
		"scheduled": w.scheduled, "expiring": w.expiring, "acks": w.acks, "keyless": w.keyless, "large": w.large, "unordered": w.unordered,
		"narrow": w.narrow, "limited": w.limited, "timeouts": w.timeouts, "rules": w.rules, "unavailable": w.unavailable, "killer": w.killer, "trimming": w.trimming,
		"requests": w.requests, "hold": w.hold, "refused": w.refused,
	} {
		if has {
			some = append(some, "seeds with: "+what)
		}
	}
	return some
}

func (w world) simulation() streamtest.Simulation {
	pass := func(m *agents.Message[schemas.ErrorReply]) error {
		return m.Send("second", &m.Payload, agents.Key(m.Key))
	}
	topics := []string{"parley.events.results", "parley.inbox.source", "parley.replies.source"}
	if w.stream {
		pass = func(m *agents.Message[schemas.ErrorReply]) error {
			if len(m.Payload.Message)%7 == 3 { // not for the second agent
				if err := m.Publish("work", &schemas.Ack{Messageid: m.Envelope.ID}, agents.Key(m.Key)); err != nil {
					return err
				}
			}
			return m.Publish("work", &m.Payload, agents.Key(m.Key))
		}
	}
	length, faults := time.Duration(0), []streamtest.Fault(nil)
	if w.trimming { // checkpoints are a minute apart, and a clock that jumps would end the window
		length = 200 * time.Second
		faults = slices.DeleteFunc(streamtest.Faults(), func(f streamtest.Fault) bool { return f == streamtest.FaultClock })
	}
	return streamtest.Simulation{
		Length: length, Faults: faults,
		TraceDir: *traces, KeepTrace: *keep,
		Topics: topics,
		Agents: []streamtest.Simulated{
			{Workers: 3, Config: w.config("first", pass)},
			{Workers: 2, Config: w.config("second", func(m *agents.Message[schemas.ErrorReply]) error {
				return m.Publish("results", &m.Payload, agents.Key(m.Key))
			})},
		},
		Message: w.message,
	}
}

func (w world) message(r *rand.Rand, i int) streamtest.Message {
	size := r.IntN(3000)
	if w.large && r.IntN(20) == 0 {
		size = 200_000
	}
	text := anything(r, size)
	msg := streamtest.Message{
		Key:     fmt.Sprintf("key-%d", r.IntN(12)),
		NoKey:   w.keyless && r.IntN(15) == 0,
		Payload: &schemas.ErrorReply{Reason: fmt.Sprintf("%d %08x", i, crc32.ChecksumIEEE([]byte(text))), Message: text},
		Envelope: func(env *streaming.Envelope) {
			if w.scheduled && r.IntN(8) == 0 {
				env.DeliverAt = time.Now().Add(time.Duration(r.IntN(45_000)) * time.Millisecond)
			}
			if w.expiring && r.IntN(10) == 0 {
				env.Expiry = time.Now().Add(time.Duration(r.IntN(60_000)) * time.Millisecond)
			}
			if w.requests && r.IntN(5) == 0 {
				env.Kind, env.ReplyTo = streaming.KindRequest, "parley.replies.source"
			}
			if w.acks && r.IntN(5) == 0 {
				env.Ack = []streaming.AckMode{streaming.AckDelivered, streaming.AckHandled}[r.IntN(2)]
			}
		},
	}
	if r.IntN(10) == 0 {
		msg.Headers = []streaming.Header{{Key: "x-" + anything(r, 10), Value: []byte(anything(r, 100))}, {Key: "ce_unknown", Value: nil}}
	}
	return msg
}

// anything is a text of that many bytes, about.
func anything(r *rand.Rand, size int) string {
	var b strings.Builder
	for b.Len() < size {
		if size > 10_000 {
			b.WriteString(strings.Repeat(string(rune('a'+r.IntN(26))), 1000))
			continue
		}
		b.WriteRune(rune(r.IntN(0x800)))
	}
	return b.String()
}

var errBusy = errors.New("busy")

func (w world) config(name string, pass func(*agents.Message[schemas.ErrorReply]) error) func(*streamtest.Cluster) (worker.Config, error) {
	cfg := agents.Config{
		ExactlyOnce: w.exactlyOnce, GroupProtocol: w.protocol,
		Retry: retry.Policy{Tiers: []time.Duration{time.Second, 4 * time.Second}, Attempts: 3},
	}
	if w.trimming {
		cfg.LedgerWindow = time.Minute
	}
	if w.rules {
		cfg.Retry.Rules = []retry.Rule{
			{Match: retry.Is(errBusy), Attempts: 5, Delays: []time.Duration{1500 * time.Millisecond, 300 * time.Millisecond}},
			{Match: retry.Because(streaming.ReasonPanic), Attempts: 1},
		}
	}
	if w.limited {
		cfg.Limits = streaming.Limits{Handlers: 3, RequestsPerMinute: 1200}
	}
	if w.timeouts {
		cfg.HandlerTimeout = 300 * time.Millisecond
	}
	cfg.Hold = w.hold && name == "first"
	if name == "second" {
		cfg.Unordered = w.unordered
		if w.stream {
			cfg.Streams = []string{"work"}
		}
	}
	return func(c *streamtest.Cluster) (worker.Config, error) {
		p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
		if err != nil {
			return worker.Config{}, err
		}
		a := agents.New(name, cfg)
		agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
			if err := w.handle(ctx, name, m); err != nil {
				return err
			}
			if err := pass(m); err != nil {
				return err
			}
			if w.refused && m.Attempt == 1 && crc32.ChecksumIEEE([]byte(m.ID()))%40 == 0 {
				if err := m.Publish("nowhere", &schemas.Ack{Messageid: m.ID()}); err != nil {
					return err
				}
			}
			if m.Envelope.Kind == streaming.KindRequest {
				return m.Reply(&schemas.Ack{Messageid: m.ID()})
			}
			return nil
		})
		wc, err := p.WorkerConfig(a)
		if w.narrow {
			wc.Parallel, wc.MaxPending, wc.MaxHeld, wc.MaxWaiting, wc.HeldStepBytes = 2, 12, 2, 20, 8
			wc.MaxBytes = 12_000 // one large message is more than its partition's part
		}
		return wc, err
	}
}

// handle is how a message fares, by its ID: the same at each run.
func (w world) handle(ctx context.Context, agent string, m *agents.Message[schemas.ErrorReply]) error {
	var number, sum uint32
	if n, err := fmt.Sscanf(m.Payload.Reason, "%d %x", &number, &sum); err != nil || n != 2 || sum != crc32.ChecksumIEEE([]byte(m.Payload.Message)) {
		return streamtest.Violation(ctx, "payload: message %s has arrived changed", m.ID())
	}
	h := rand.New(rand.NewPCG(w.seed, hash(agent+m.Payload.Reason)))
	took := time.Duration(h.IntN(20)) * time.Millisecond
	if h.IntN(50) == 0 {
		took = time.Duration(h.IntN(1000)) * time.Millisecond
	}
	if w.killer && agent == "first" && number == 70 {
		return streamtest.Kill(ctx)
	}
	if w.steps && h.IntN(3) == 0 {
		if _, err := agents.Step(ctx, m, "draw", func(context.Context) (uint64, error) { return rand.Uint64(), nil }); err != nil {
			return err
		}
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return ctx.Err()
	}
	if w.unavailable && h.IntN(100) == 0 && m.Attempt == 1 && time.Now().Unix()%11 < 4 { // of seven, pauses of 1, 2, 4 … s never met the others
		return agents.Unavailable(errors.New("down for four seconds of eleven"))
	}
	switch n := h.IntN(100); {
	case n < 6 && m.Attempt == 1, n < 9 && m.Attempt <= 2:
		return errors.New("not yet")
	case n < 11:
		return errBusy
	case n < 13 && m.Attempt == 1:
		panic("once")
	case n < 14:
		panic("always")
	case n < 15:
		return agents.Permanent(errors.New("refused"))
	case n < 16 && m.Attempt == 1:
		return agents.RetryAfter(time.Duration(h.IntN(6000))*time.Millisecond, errors.New("in a while"))
	}
	return nil
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
