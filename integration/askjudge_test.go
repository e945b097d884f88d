//go:build integration

package integration

import (
	"bytes"
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// askCounts are what a run's topics hold.
type askCounts struct {
	Answered, Silent int // results, by message
	RacedSilent      int // of an agent that answers, past the deadline
	ResultsAgain     int // records of a result beyond its first, under its ID
	Requests         int // by ID
	RequestsAgain    int
	Expired          int // of them

	Missing, Twice, Wrong, Visible, Strangers, Dead int // must be 0
}

// judge reads what is there. What it knows of a record are its key, its ce_id and
// the last field of its value.
func (r *askRun) judge(ctx context.Context, results, requests string, dead ...string) {
	r.t.Helper()
	var n askCounts
	odd := func(counter *int, format string, args ...any) {
		if *counter++; *counter <= 3 {
			r.t.Errorf(format, args...)
		}
	}
	byMessage := make(map[string]map[string][]*kgo.Record) // then by the results' IDs
	for _, rec := range r.committed(ctx, results) {
		message := string(rec.Key)
		if r.sent[message] == "" {
			odd(&n.Strangers, "a result of %q, which was not sent", message)
			continue
		}
		if byMessage[message] == nil {
			byMessage[message] = make(map[string][]*kgo.Record)
		}
		id := header(rec, "ce_id")
		byMessage[message][id] = append(byMessage[message][id], rec)
	}
	for message, what := range r.sent {
		all := byMessage[message]
		switch {
		case len(all) == 0:
			odd(&n.Missing, "%s (%s) has no result", message, what)
		case len(all) > 1:
			odd(&n.Twice, "%s (%s) has %d results", message, what, len(all))
		}
		for id, recs := range all {
			n.ResultsAgain += len(recs) - 1
			if r.exactlyOnce && len(recs) > 1 {
				odd(&n.Visible, "%s (%s): result %s stands in the topic %d times", message, what, id, len(recs))
			}
			// At least once what a process has written before it died, its successor writes
			// again under the same ID: the first is what readers act upon.
			value := recs[0].Value
			answered := bytes.HasSuffix(value, []byte(askAnswer(message)))
			silent := bytes.HasSuffix(value, []byte(askSilence))
			switch {
			case answered && what != askMute:
				n.Answered++
			case silent && what != askPlain:
				n.Silent++
				if what == askRaced {
					n.RacedSilent++
				}
			default:
				odd(&n.Wrong, "%s (%s): the result is %q", message, what, value)
			}
		}
	}
	byRequest := make(map[string]int)
	for _, rec := range r.committed(ctx, requests) {
		if header(rec, "ce_kind") != "request" {
			continue
		}
		id := header(rec, "ce_id")
		if byRequest[id]++; byRequest[id] > 1 {
			n.RequestsAgain++
			if r.exactlyOnce {
				odd(&n.Visible, "request %s stands in the topic %d times", id, byRequest[id])
			}
		}
	}
	n.Requests = len(byRequest)
	asked := 0
	for _, what := range r.sent {
		if what != askMute {
			asked++
		}
	}
	if n.Requests != asked {
		r.t.Errorf("%d requests stand in the topic, of %d that were to be asked", n.Requests, asked)
	}
	for _, rec := range r.committed(ctx, dead...) {
		// A request that its agent had no time for: the asker has gone on without.
		message := rec.Value[max(0, len(rec.Value)-len(askID(0))):]
		if header(rec, "parley-reason") == string(streaming.ReasonExpired) && r.sent[string(message)] == askRaced {
			n.Expired++
			continue
		}
		odd(&n.Dead, "dead in %s: %s: %s", rec.Topic, header(rec, "ce_id"), header(rec, "parley-error"))
	}
	if n.Silent == 0 || n.Answered == 0 {
		r.t.Errorf("%d with an answer, %d without: one of both was not put to the test", n.Answered, n.Silent)
	}
	r.t.Logf("%+v", n)
}
