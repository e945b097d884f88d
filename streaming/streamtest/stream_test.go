//go:build synctests

package streamtest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// speaker answers in five parts. Each holds something of its run and the part before
// it, so that parts of two runs do not fit.
func speaker(a *agents.Agent) {
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
		parts, err := agents.Answering[schemas.Ack](ctx, m)
		if err != nil {
			return err
		}
		before := ""
		for {
			if sent := parts.Sent(); len(sent) > 0 {
				before = sent[len(sent)-1].Messageid
			}
			part := schemas.Ack{Messageid: schemas.NewID(), Source: before}
			if len(parts.Sent()) == 4 {
				return parts.End(part)
			}
			if err := parts.Send(part); err != nil {
				return err
			}
		}
	})
}

// TestStreamedAnswersUnderFaults: of an answer in parts a reader that takes the
// first of each number sees one sequence, whatever crashes.
func TestStreamedAnswersUnderFaults(t *testing.T) {
	var whole, repeated atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d answers, %d parts that were sent again", whole.Load(), repeated.Load())
		if whole.Load() == 0 {
			t.Error("no answer")
		}
	})
	underFaults(t, "StreamedAnswersUnderFaults", func(t *testing.T, seed uint64) {
		y := &team{exactlyOnce: seed%2 == 1}
		var wrong []string
		o := streamtest.Simulate(t, seed, streamtest.Simulation{
			Agents: []streamtest.Simulated{y.member("speaker", speaker)},
			Topics: []string{"parley.inbox.source"}, Messages: 40, Length: 30 * time.Second,
			Faults: faultsForState(y.exactlyOnce), TraceDir: *traces, KeepTrace: *keep,
			Message: func(r *rand.Rand, i int) streamtest.Message {
				return streamtest.Message{Key: fmt.Sprint(r.IntN(8)), Payload: &schemas.ErrorReply{Message: fmt.Sprint(i)}}
			},
			Check: func(topics map[string][]streaming.Record) []string {
				n, again, bad := y.checkParts(topics)
				whole.Add(n)
				repeated.Add(again)
				wrong = bad
				return nil
			},
		})
		if !y.exactlyOnce && o.Hits[weakened] > 0 {
			return // two owners may have been at work side by side
		}
		for _, w := range wrong {
			t.Errorf("seed %d: %s\n%s", seed, w, o.Plan)
		}
	})
}

func (y *team) checkParts(topics map[string][]streaming.Record) (whole, again int64, wrong []string) {
	type answer struct{ request, key string }
	type read struct {
		next   int64
		before string
		last   bool
	}
	answers := make(map[answer]*read)
	twins := twins(topics["parley.inbox.speaker"])
	for _, rec := range topics["parley.inbox.source"] {
		env, err := schemas.DecodeEnvelope(&rec)
		if err != nil || env.Kind != streaming.KindReply {
			continue
		}
		var part schemas.Ack
		if err := y.codec.Decode(context.Background(), rec.Value, &part, ""); err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		at := answer{env.CausationID, string(rec.Key)}
		if twins[at.request] {
			continue // the second is a duplicate, which gets the last part again
		}
		if answers[at] == nil {
			answers[at] = &read{next: 1}
		}
		a := answers[at]
		switch {
		case env.Sequence < a.next:
			again++
			if y.exactlyOnce {
				wrong = append(wrong, fmt.Sprintf("part %d of the answer to %s can be read twice", env.Sequence, at.request))
			}
		case env.Sequence > a.next:
			wrong = append(wrong, fmt.Sprintf("part %d of the answer to %s comes after part %d", env.Sequence, at.request, a.next-1))
		case part.Source != a.before:
			wrong = append(wrong, fmt.Sprintf("part %d of the answer to %s goes on with another part than was read", env.Sequence, at.request))
		default:
			a.next, a.before, a.last = a.next+1, part.Messageid, env.Last
			if env.Last {
				whole++
			}
		}
	}
	dead := make(map[string]bool)
	for _, rec := range topics["parley.inbox.speaker.dlq.speaker"] {
		if env, err := schemas.DecodeEnvelope(&rec); err == nil {
			dead[env.ID] = true
		}
	}
	for _, rec := range topics["parley.inbox.speaker"] {
		env, err := schemas.DecodeEnvelope(&rec)
		if err != nil || !strings.HasPrefix(env.ID, "m") || dead[env.ID] || twins[env.ID] {
			continue
		}
		if a := answers[answer{env.ID, string(rec.Key)}]; a == nil || !a.last || a.next != 6 {
			wrong = append(wrong, fmt.Sprintf("the answer to %s of key %s is not whole: %+v", env.ID, rec.Key, a))
		}
	}
	return whole, again, wrong
}
