package contractnet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// play has a referee decide a script, a message per word, and returns what was sent
// and the last decision. The words are
//
//	ann:3     ann bids 3            ann:no     ann refuses
//	ann=1     ann's result, round 1 ann!1      ann has failed, round 1
//	ann?      ann's result is bad   ann~call   the call is a dead letter at ann
//	ann~award the award is one      @0         the deadline of round 0
//	open      another opening       mallory@0  somebody else's deadline
func play(t *testing.T, script string) (log []string, last decision) {
	t.Helper()
	r := &referee{agent: "boss", group: "boss", remember: time.Hour}
	var n *Negotiation
	awards := map[string]string{}
	take := func(e *event) {
		last = r.decide(n, e)
		n = last.next
		for i, s := range last.send {
			log = append(log, shown(s))
			if _, ok := s.payload.(*Award); ok {
				awards[s.to] = schemas.DerivedID(e.source, e.id, r.group, i)
			}
		}
		if last.ignored != "" {
			log = append(log, "ignored "+string(last.ignored))
		}
		if last.again != "" {
			log = append(log, "again "+last.again)
		}
	}
	opening := func(id string) *event {
		return &event{source: "boss", id: id, payload: &Opening{Name: "n", Task: []byte("task"), Candidates: []string{"ann", "bob", "cid"}, Bids: 1000, Work: 2000}}
	}
	take(opening("opening"))
	log = nil
	for i, word := range strings.Fields(script) {
		at := strings.IndexAny(word, ":=!?~@")
		e := &event{source: "boss", id: fmt.Sprint("m", i)}
		if at > 0 {
			e.source = word[:at]
		}
		switch {
		case word == "open":
			e = opening("another")
		case word[at] == ':' && word[at+1:] == "no":
			e.payload = &Proposal{Refused: true, Reason: "busy"}
		case word[at] == ':':
			var cost float64
			if _, err := fmt.Sscan(word[at+1:], &cost); err != nil {
				t.Fatal(err)
			}
			e.payload = &Proposal{Cost: cost}
		case word[at] == '=':
			e.payload = &Report{Round: int32(word[at+1] - '0'), Result: []byte("result")}
		case word[at] == '!':
			e.payload = &Report{Round: int32(word[at+1] - '0'), Failed: true, Reason: "broken"}
		case word[at] == '?':
			e.payload, e.unreadable = &Report{Round: 1}, errors.New("not Avro")
		case word[at] == '@':
			round := int32(forgetting)
			if word[at+1] != 'x' {
				round = int32(word[at+1] - '0')
			}
			e.payload = &Deadline{Round: round, Opening: "opening", Due: true}
			if word[at+1:] == "0old" {
				e.payload.(*Deadline).Opening = "before"
			}
		case word[at:] == "~call":
			e.payload, e.cause = &schemas.ErrorReply{Reason: "no_handler"}, r.called(n, slices.IndexFunc(n.Standings, func(s Standing) bool { return s.Agent == e.source }))
		case word[at:] == "~award":
			e.payload, e.cause = &schemas.ErrorReply{Reason: "permanent", Message: "no"}, awards[e.source]
		}
		take(e)
	}
	return log, last
}

func shown(s sent) string {
	switch p := s.payload.(type) {
	case *CallForProposals:
		return "call " + s.to
	case *Award:
		return fmt.Sprintf("award%d %s", p.Round, s.to)
	case *Rejection:
		return "reject " + s.to + " " + p.Reason
	case *Deadline:
		return fmt.Sprintf("wait%d %s", p.Round, s.after)
	case *Negotiation:
		return "over " + p.Phase + " " + p.Winner
	}
	return fmt.Sprintf("%T", s.payload)
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, script, want string }{
		{"the lowest cost wins", "ann:3 bob:1 cid:2", "award1 bob, wait1 2s"},
		{"of equal costs the first name", "cid:1 bob:1 ann:2", "award1 bob, wait1 2s"},
		{"zero has no sign", "cid:-0 bob:0 ann:2", "award1 bob, wait1 2s"},
		{"a cost may be negative", "ann:0 bob:-1 cid:no", "award1 bob, wait1 2s"},
		{"nothing before all have answered", "ann:3 bob:1", ""},
		{"the deadline ends bidding", "ann:3 @0", "award1 ann, wait1 2s"},
		{"a bid after it is late", "ann:3 @0 bob:1", "award1 ann, wait1 2s, reject bob late, ignored late"},
		{"a refusal after it needs no answer", "ann:3 @0 bob:no", "award1 ann, wait1 2s, ignored late"},
		{"of an agent the first bid counts", "ann:3 ann:1 bob:2 cid:no", "ignored duplicate, award1 bob, wait1 2s"},
		{"who was not asked has no part", "mallory:0 ann:3 @0", "ignored not_asked, award1 ann, wait1 2s"},
		{"not a number", "ann:NaN bob:2 cid:no", "reject ann invalid, ignored invalid, award1 bob, wait1 2s"},
		{"infinite", "ann:no bob:2 cid:-Inf", "reject cid invalid, award1 bob, wait1 2s, ignored invalid"},
		{"all refuse", "ann:no bob:no cid:no", "over no_bids , wait-1 1h0m0s"},
		{"nobody answers", "@0", "over no_bids , wait-1 1h0m0s"},
		{"a dead call is a refusal", "ann~call bob:1 cid:no", "award1 bob, wait1 2s"},
		{"a dead call after the bid", "ann:1 ann~call", "ignored duplicate"},
		{"a dead call after the deadline", "bob:1 @0 ann~call", "award1 bob, wait1 2s, ignored late"},
		{"done", "ann:1 bob:2 cid:no ann=1", "award1 ann, wait1 2s, over done ann, reject bob lost, wait-1 1h0m0s"},
		{"failed", "ann:1 bob:2 cid:no ann!1 bob=2", "award1 ann, wait1 2s, award2 bob, wait2 2s, again failed, over done bob, wait-1 1h0m0s"},
		{"an unreadable result is a failure", "ann:1 bob:2 cid:no ann?", "award1 ann, wait1 2s, award2 bob, wait2 2s, again failed"},
		{"a dead award is a failure", "ann:1 bob:2 cid:no ann~award", "award1 ann, wait1 2s, award2 bob, wait2 2s, again failed"},
		{"another dead request is none", "ann:1 bob:2 cid:no ann~call", "award1 ann, wait1 2s, ignored duplicate"},
		{"silent", "ann:1 bob:2 cid:no @1", "award1 ann, wait1 2s, reject ann withdrawn, award2 bob, wait2 2s, again silent"},
		{"a replaced winner is late", "ann:1 bob:2 cid:no @1 ann=1 bob=2", "award1 ann, wait1 2s, reject ann withdrawn, award2 bob, wait2 2s, again silent, ignored replaced, over done bob, wait-1 1h0m0s"},
		{"its failure too", "ann:1 bob:2 cid:no @1 ann~award", "award1 ann, wait1 2s, reject ann withdrawn, award2 bob, wait2 2s, again silent, ignored replaced"},
		{"the deadline of a round that is over", "ann:1 bob:2 cid:no ann!1 @1 @0", "award1 ann, wait1 2s, award2 bob, wait2 2s, again failed"},
		{"the deadline of an earlier negotiation", "ann:1 @0old", ""},
		{"somebody else's deadline", "ann:1 mallory@0", "ignored foreign"},
		{"all fail", "ann:1 bob:2 cid:no ann!1 @2", "award1 ann, wait1 2s, award2 bob, wait2 2s, again failed, reject bob withdrawn, over all_failed , wait-1 1h0m0s"},
		{"a result of who was not awarded", "ann:1 bob:2 cid:no bob=1", "award1 ann, wait1 2s, ignored not_awarded"},
		{"a result of another round", "ann:1 bob:2 cid:no ann=2", "award1 ann, wait1 2s, ignored not_awarded"},
		{"a second result", "ann:1 @0 ann=1 ann=1", "award1 ann, wait1 2s, over done ann, wait-1 1h0m0s, ignored duplicate"},
		{"a stranger's result", "mallory=1", "ignored not_asked"},
		{"the ID is in use", "open", "ignored duplicate"},
		{"forgotten", "@0 @x ann:1", "over no_bids , wait-1 1h0m0s, ignored unknown"},
		{"not forgotten before it is over", "@x ann:1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log, _ := play(t, c.script)
			if got := strings.Join(log, ", "); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.script, got, c.want)
			}
		})
	}
}

func TestADecisionChangesNothingBefore(t *testing.T) {
	t.Parallel()
	r := &referee{agent: "boss", group: "boss"}
	n := &Negotiation{Phase: phaseBidding, Standings: []Standing{{Agent: "ann"}}}
	r.decide(n, &event{source: "ann", id: "1", payload: &Proposal{Cost: 1}})
	if n.Phase != phaseBidding || n.Standings[0] != (Standing{Agent: "ann"}) {
		t.Errorf("changed to %+v", n)
	}
}

func TestConclusionsSayWhy(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		"ann:no bob~call @0":            "no bids: ann has refused (busy), bob has refused (dead letter (no_handler): ), cid has not answered in time",
		"ann:NaN @0":                    "no bids: ann has refused (the cost NaN is not a finite number), bob has not answered in time, cid has not answered in time",
		"ann:2 bob:1 @0 bob!1 @2":       "all bidders have failed: bob has failed (broken), ann was silent for too long",
		"ann:2 bob:no cid:no ann~award": "all bidders have failed: ann has failed (dead letter (permanent): no)",
	} {
		_, last := play(t, script)
		err := last.over.err()
		var none *NoBidsError
		var failed *AllFailedError
		if !errors.As(err, &none) && !errors.As(err, &failed) || err.Error() != want {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
	if got := (&NoBidsError{}).Error(); !strings.Contains(got, "no candidates") {
		t.Error(got)
	}
}
