package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming"
)

func TestTopicsPlanApplyList(t *testing.T) {
	s := server(t)
	if got := runIn(t, s, "topics", "list").ok(t).stdout; got != "no topics in namespace parley\n" {
		t.Errorf("list of an empty broker: %q", got)
	}
	args := []string{"--agent", "triage", "--streams", "quakes", "--tiers", "1s", "--partitions", "2"}

	const planned = `STATE   TOPIC                                 
create  parley.agents                         1 partition
create  parley.inbox.triage                   2 partitions
create  parley.inbox.triage.retry-1s.triage   2 partitions
create  parley.inbox.triage.dlq.triage        2 partitions
create  parley.inbox.triage.ledger.triage     2 partitions
create  parley.events.quakes                  2 partitions
create  parley.events.quakes.retry-1s.triage  2 partitions
create  parley.events.quakes.dlq.triage       2 partitions
create  parley.events.quakes.ledger.triage    2 partitions
`
	if got := runIn(t, s, append([]string{"topics", "plan"}, args...)...).ok(t).stdout; got != planned {
		t.Errorf("plan:\n%s", got)
	}
	if got := runIn(t, s, "topics", "list").ok(t).stdout; !strings.HasPrefix(got, "no topics") {
		t.Errorf("plan has created topics:\n%s", got)
	}
	if got := runIn(t, s, append([]string{"topics", "apply"}, args...)...).ok(t).stdout; strings.Count(got, "created  ") != 9 {
		t.Errorf("apply:\n%s", got)
	}
	if got := runIn(t, s, append([]string{"topics", "apply"}, args...)...).ok(t).stdout; strings.Count(got, "exists  ") != 9 || strings.Contains(got, "created") {
		t.Errorf("apply again:\n%s", got)
	}

	write(t, s, &streaming.Record{Topic: "parley.inbox.triage", Partition: 0, Value: []byte("x")}, &streaming.Record{Topic: "parley.inbox.triage", Partition: 1, Value: []byte("x")})
	var listed struct{ Topics []topicRow }
	if err := json.Unmarshal([]byte(runIn(t, s, "topics", "list", "--json").ok(t).stdout), &listed); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, row := range listed.Topics {
		found = found || row == topicRow{Topic: "parley.inbox.triage", Partitions: 2, Records: 2}
	}
	if len(listed.Topics) != 9 || !found {
		t.Errorf("list: %+v", listed.Topics)
	}
	if got := runIn(t, s, "topics", "list", "--namespace", "other").ok(t).stdout; got != "no topics in namespace other\n" {
		t.Errorf("list of another namespace: %q", got)
	}
}

func TestTopicsMismatch(t *testing.T) {
	s := server(t)
	runIn(t, s, "topics", "apply", "--agent", "a", "--tiers", "1s", "--partitions", "2").ok(t)
	makeTopic(t, s, "parley.events.s", 3)
	makeTopic(t, s, "parley.events.s.dlq.a", 2)

	for _, verb := range []string{"plan", "apply"} {
		got := runIn(t, s, "topics", verb, "--agent", "a", "--streams", "s", "--tiers", "1s")
		if got.code != exitFailure {
			t.Errorf("%s: exit code %d", verb, got.code)
		}
		for _, want := range []string{"wrong ", "parley.events.s.dlq.a", "its partition count is 2, but 3, as parley.events.s has, is needed"} {
			if !strings.Contains(got.stdout, want) {
				t.Errorf("%s does not say %q:\n%s", verb, want, got.stdout)
			}
		}
		if strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "parley.events.s.dlq.a") {
			t.Errorf("%s: stderr %q", verb, got.stderr)
		}
	}
	if got := runIn(t, s, "topics", "list").ok(t).stdout; strings.Contains(got, "parley.events.s.ledger.a") {
		t.Errorf("apply created topics beside a wrong one:\n%s", got)
	}
	var report planReport
	if err := json.Unmarshal([]byte(runIn(t, s, "topics", "plan", "--agent", "a", "--streams", "s", "--tiers", "1s", "--json").stdout), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Wrong) == 0 || len(report.Create) != 2 || report.Applied {
		t.Errorf("report: %+v", report)
	}
}
