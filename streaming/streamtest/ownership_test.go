package streamtest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Two owners have been at work side by side when both have acted, the former after
// the later one's claim; else nothing is forgiven.
func TestOwners(t *testing.T) {
	const ledger, retries = "in.ledger.g", "in.retry-1s.g"
	// a has claimed at 0, and b claims where the ledger has 10 records and the retry topic 5.
	claimed := func(os *owners) {
		os.claims("a", nil)
		os.claimed("a", 0)
		os.begins("a", 0)
		os.wrote("a", 0, ledger, 3)
		os.claims("b", map[string]int64{ledger: 10, retries: 5})
		os.claimed("b", 12)
	}
	for _, c := range []struct {
		name string
		then func(os *owners)
		want bool
	}{
		{"a hands over, b works", func(os *owners) {
			os.begins("b", 12)
			os.wrote("b", 12, ledger, 13)
		}, false},
		{"a begins a handler, b works", func(os *owners) {
			os.begins("a", 0)
			os.begins("b", 12)
		}, true},
		{"b works, a begins a handler", func(os *owners) {
			os.begins("b", 12)
			os.begins("a", 0)
		}, true},
		{"b works, a marks", func(os *owners) {
			os.begins("b", 12)
			os.wrote("a", 0, ledger, 14)
		}, true},
		{"a marks before b's claim stands and after it was sent", func(os *owners) {
			os.wrote("a", 0, ledger, 11)
			os.begins("b", 12)
		}, true},
		{"a hears late of what stood there before", func(os *owners) {
			os.begins("b", 12)
			os.wrote("a", 0, ledger, 9)
			os.wrote("a", unknown, retries, 4)
		}, false},
		{"a appends a copy that b has not read", func(os *owners) {
			os.begins("b", 12)
			os.wrote("a", unknown, retries, 5)
		}, true},
		{"b has lost the lane before its claim, and drops it", func(os *owners) {
			os.begins("a", 0)
			os.wrote("a", 0, ledger, 14)
			os.wrote("a", unknown, retries, 6)
		}, false},
		{"b has lost it and later gets it from a", func(os *owners) {
			os.begins("a", 0)
			os.wrote("a", 0, ledger, 14)
			os.claims("b", map[string]int64{ledger: 15, retries: 5})
			os.claimed("b", 15)
			os.begins("b", 15)
			os.wrote("b", unknown, retries, 5)
		}, false},
		{"b's claim is sent again", func(os *owners) {
			os.claims("c", map[string]int64{ledger: 15, retries: 5})
			os.wrote("b", 12, ledger, 15)
			os.claims("c", map[string]int64{ledger: 16, retries: 5})
			os.claimed("c", 16)
			os.begins("c", 16)
		}, true},
		{"a gets it back itself, and what it was before goes on", func(os *owners) {
			os.claims("a", map[string]int64{ledger: 15, retries: 5})
			os.claimed("a", 15)
			os.begins("a", 15)
			os.begins("a", 0)
		}, true},
		{"a gets it back itself", func(os *owners) {
			os.begins("b", 12)
			os.claims("a", map[string]int64{ledger: 15, retries: 5})
			os.claimed("a", 15)
			os.begins("a", 15)
			os.wrote("a", unknown, retries, 5)
		}, false},
	} {
		var os owners
		claimed(&os)
		c.then(&os)
		if got := os.two(); got != c.want {
			t.Errorf("%s: two owners at work side by side: %t", c.name, got)
		}
	}
}

// A mark that the broker has refused stands nowhere: the message may be handled again.
func TestARefusedMarkIsNone(t *testing.T) {
	done := func(id string) []markAt {
		return []markAt{{Mark: streaming.Mark{Kind: streaming.MarkDone, ID: streaming.HashID("s", id)}}}
	}
	writes := []written{
		{topic: "in.ledger.g", partition: 0, marks: done("taken")},
		{topic: "in.ledger.g", partition: 1, marks: done("refused")},
		{topic: "in.ledger.g", partition: 2, marks: done("unanswered")},
	}
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(7)
	inLedger := kmsg.NewProduceResponseTopic()
	inLedger.Topic = "in.ledger.g"
	for partition, code := range []int16{0, kerr.NotLeaderForPartition.Code} {
		p := kmsg.NewProduceResponseTopicPartition()
		p.Partition, p.ErrorCode, p.BaseOffset = int32(partition), code, 40
		inLedger.Partitions = append(inLedger.Partitions, p)
	}
	resp.Topics = append(resp.Topics, inLedger)
	(&wire{}).answered(writes, resp.AppendTo(make([]byte, 8)), 7)
	h := newHistory()
	h.wrote(writes)
	for id, want := range map[string]bool{"taken": true, "refused": false, "unanswered": false} {
		if _, got := h.marked[msgHash{"in.ledger.g", streaming.HashID("s", id)}]; got != want {
			t.Errorf("the mark of %s counts: %v", id, got)
		}
	}
	if writes[0].base != 40 {
		t.Errorf("it stands at %d, not 40", writes[0].base)
	}
}
