//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// manyKeys are of many lengths and scripts.
func manyKeys() []string {
	var keys []string
	for i, script := range []string{"sensor", "Gerät-ß", "地震", "🌋🌋", "\u0000\u007f", "землетрясение", "زلزال"} {
		for n := range 36 {
			keys = append(keys, script+strings.Repeat("x", n%9)+strconv.Itoa(i*1000+n*7))
		}
	}
	return keys
}

const trace = "0af7651916cd43dd8448eb211c80319c"

// What Python sends an agent handles, once for each ID, and Python reads what it
// sends in turn. A key's messages are in one partition, whoever sends them.
func TestPythonSendsAndReads(t *testing.T) {
	onEachBroker(t, func(t *testing.T, p *place) {
		py := newPython(t, p.broker, p.registry, string(p.namespace))
		p.run(t, "topics", "apply", "--agent", "listener", "--streams", "alerts", "--partitions", "2")
		var mu sync.Mutex
		handled := map[string]int{}
		keys := map[string]string{}
		ear := agents.New("ear", agents.Config{Streams: []string{"quakes"}})
		agents.On(ear, func(_ context.Context, m *agents.Message[quake.Reported]) error {
			mu.Lock()
			handled[m.Envelope.Source+"/"+m.ID()]++
			keys[m.Envelope.Source+"/"+m.ID()] = m.Key
			mu.Unlock()
			if m.Payload.Time.UnixMilli() != 1700000000123 || m.Payload.Magnitude == nil || *m.Payload.Magnitude != 4.5 {
				return agents.Permanent(fmt.Errorf("payload %+v", m.Payload))
			}
			if m.Envelope.Source != "console" {
				return nil
			}
			return m.Publish("alerts", &quake.Alert{Eventid: m.Payload.Eventid, Level: "advisory", Text: m.Payload.Place}, agents.Key(m.Key))
		})
		p.start(t, ear)

		sender, err := p.platform.Sender("feed")
		if err != nil {
			t.Fatal(err)
		}
		defer sender.Close()
		want, wantKeys := map[string]int{}, map[string]string{}
		var lines []pythonMessage
		var drafts []agents.Draft
		for i, key := range manyKeys() {
			id, place, magnitude := "id-"+strconv.Itoa(i), "Ort ü "+key, 4.5
			for _, source := range []string{"console/", "feed/"} {
				want[source+id], wantKeys[source+id] = 1, key
			}
			lines = append(lines, pythonMessage{
				ID: id, Key: key, Headers: map[string]string{"ce_correlationid": "talk-" + id, "traceparent": "00-" + trace + "-b7ad6b7169203331-01"},
				Payload: map[string]any{
					"eventid": id, "eventtype": "earthquake", "magnitude": magnitude, "place": place, "time": 1700000000123, "updated": 0,
					"longitude": -1.5, "latitude": 2.25, "depth": nil,
				},
			})
			drafts = append(drafts, sender.ToStream("quakes", &quake.Reported{
				Eventid: id, Magnitude: &magnitude, Time: time.UnixMilli(1700000000123), Updated: time.UnixMilli(0),
			}, agents.Key(key), agents.ID(id)))
		}
		topic := p.namespace.Events("quakes")
		py.send(t, topic, "reported.avsc", lines...)
		py.send(t, topic, "reported.avsc", lines...) // again, under the same IDs
		if err := sender.Send(t.Context(), drafts...); err != nil {
			t.Fatal(err)
		}
		p.settled(t, "ear", topic)
		mu.Lock()
		defer mu.Unlock()
		if !maps.Equal(handled, want) || !maps.Equal(keys, wantKeys) {
			t.Errorf("%d messages handled instead of %d, or not once each, or under other keys", len(handled), len(want))
		}

		partitions := map[string]map[int32]int{}
		for _, rec := range p.records(t, topic) {
			if partitions[string(rec.Key)] == nil {
				partitions[string(rec.Key)] = map[int32]int{}
			}
			partitions[string(rec.Key)][rec.Partition]++
		}
		used := map[int32]bool{}
		for key, in := range partitions {
			for partition, n := range in {
				used[partition] = true
				if n != 3 {
					t.Errorf("%d of 3 records of key %q are in partition %d", n, key, partition)
				}
			}
		}
		if len(partitions) != len(lines) || len(used) != 3 {
			t.Errorf("%d keys instead of %d, in partitions %v", len(partitions), len(lines), used)
		}

		read := py.read(t, "listener", p.namespace.Events("alerts"), strconv.Itoa(len(lines)))
		if got := len(p.records(t, p.namespace.Events("alerts"))); got != len(lines) {
			t.Errorf("%d alerts for %d messages", got, len(lines))
		}
		seen := map[string]bool{}
		for _, m := range read {
			id := fmt.Sprint(m.Headers["ce_causationid"])
			key := wantKeys["console/"+id]
			seen[id] = true
			got, _ := json.Marshal([]any{m.Key, m.Payload})
			expect, _ := json.Marshal([]any{key, map[string]any{"eventid": id, "level": "advisory", "text": "Ort ü " + key, "magnitude": 0, "team": "", "tsunami": false}})
			if string(got) != string(expect) {
				t.Errorf("Python reads %s instead of %s", got, expect)
			}
			for name, want := range map[string]any{
				"ce_id": schemas.DerivedID("console", id, "ear", 0), "ce_source": "ear", "ce_type": "quake.alert", "ce_kind": "event",
				"ce_correlationid": "talk-" + id, "ce_hops": 31.0, "parley-version": "1", "content-type": "application/avro",
			} {
				if m.Headers[name] != want {
					t.Errorf("Python reads %s %v instead of %v", name, m.Headers[name], want)
				}
			}
			if !strings.HasPrefix(fmt.Sprint(m.Headers["traceparent"]), "00-"+trace+"-") {
				t.Errorf("Python reads traceparent %v", m.Headers["traceparent"])
			}
		}
		if len(seen) != len(lines) {
			t.Errorf("Python reads %d alerts instead of %d", len(seen), len(lines))
		}
	})
}

func pythonDispatch(eventID string) map[string]any {
	return map[string]any{
		"eventid": eventID, "eventtype": "earthquake", "place": "Tōhoku", "time": 1700000000123, "magnitude": 6.1, "size": "strong",
		"depthclass": "shallow", "level": "warning",
	}
}

// An agent in Python answers what agents ask, on whichever reply path, and once
// for each ID, also when it fails between its effect, its answer and its commit.
// What it cannot handle is a dead letter that the command reads.
func TestPythonAnswers(t *testing.T) {
	onEachBroker(t, func(t *testing.T, p *place) {
		py := newPython(t, p.broker, p.registry, string(p.namespace))
		p.run(t, "topics", "apply", "--agent", "herald", "--partitions", "3")
		inbox, replies := p.namespace.Inbox("herald"), p.namespace.Inbox("asker")
		answers := make(chan *agents.Message[quake.Alert], 16)
		asker := agents.New("asker", agents.Config{})
		agents.On(asker, func(_ context.Context, m *agents.Message[quake.Reported]) error {
			return m.Send("herald", &quake.Dispatch{
				Eventid: m.Payload.Eventid, Place: "Tōhoku", Time: m.Payload.Time, Magnitude: 6.1, Level: "warning",
			}, agents.Kind(streaming.KindRequest))
		})
		agents.On(asker, func(_ context.Context, m *agents.Message[quake.Alert]) error {
			answers <- m
			return nil
		})
		p.start(t, asker)
		sender, err := p.platform.Sender("feed")
		if err != nil {
			t.Fatal(err)
		}
		defer sender.Close()
		if err := sender.Send(t.Context(), sender.ToAgent("asker", &quake.Reported{Eventid: "us1", Time: time.UnixMilli(1700000000123)}, agents.ID("root"))); err != nil {
			t.Fatal(err)
		}

		// The first time it dies with its effect stored and no answer sent, then before its commit.
		for _, when := range []string{"before", "after"} {
			if _, stderr, err := py.try(t, "", "fail.py", when); err == nil || !strings.Contains(stderr, "fails on purpose") {
				t.Fatalf("fail.py %s: %v\n%s", when, err, stderr)
			}
		}
		py.start(t, "agent.py")
		m := await(t, answers, "answer")
		env, request := m.Envelope, schemas.DerivedID("feed", "root", "asker", 0)
		if env.Kind != streaming.KindReply || env.Source != "herald" || env.Recipient != "asker" || env.CausationID != request ||
			env.CorrelationID != "root" || env.Hops != 30 || m.Key != "root" || env.TraceParent == "" || m.Attempt != 1 {
			t.Errorf("the answer is %+v, key %q", env, m.Key)
		}
		if want := (quake.Alert{Eventid: "us1", Level: "warning", Text: "M6.1 Tōhoku, 22:13 UTC"}); m.Payload != want {
			t.Errorf("the answer is %+v instead of %+v", m.Payload, want)
		}

		// A request that names a partition, twice; it is told what is handed on.
		expiry := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		ask := pythonMessage{ID: "asked", Payload: pythonDispatch("us2"), Headers: map[string]string{
			"ce_source": "asker", "ce_kind": "request", "ce_replyto": replies + "/2", "ce_correlationid": "Gespräch", "ce_hops": "2",
			"ce_expirytime": expiry.Format(time.RFC3339), "ce_budget": "usd=1", "tracestate": "vendor=value", "traceparent": "00-" + trace + "-b7ad6b7169203331-01",
		}}
		py.send(t, inbox, "dispatch.avsc", ask, ask)
		m = await(t, answers, "answer to a partition")
		env = m.Envelope
		if env.CausationID != "asked" || env.CorrelationID != "Gespräch" || env.Hops != 1 || !env.Expiry.Equal(expiry) || env.Budget != "usd=1" ||
			env.TraceState != "vendor=value" || !strings.Contains(env.TraceParent, trace) || m.Key != "Gespräch" {
			t.Errorf("the answer is %+v, key %q", env, m.Key)
		}
		p.settled(t, "herald", inbox)
		p.settled(t, "asker", replies)
		if len(answers) > 0 {
			t.Error("a duplicate of a request has an effect at the asker")
		}
		sent := map[string]map[string]int{}
		for _, rec := range p.records(t, replies) {
			if header(rec, "ce_source") != "herald" {
				continue
			}
			cause := header(rec, "ce_causationid")
			if sent[cause] == nil {
				sent[cause] = map[string]int{}
			}
			sent[cause][header(rec, "ce_id")]++
			if cause == "asked" && rec.Partition != 2 {
				t.Errorf("the answer is in partition %d, not 2", rec.Partition)
			}
		}
		// One ID each: sent again after the second failure, and for the duplicate.
		if len(sent) != 2 || len(sent[request]) != 1 || len(sent["asked"]) != 1 || sent["asked"][m.ID()] != 2 {
			t.Errorf("answers by request and ID: %v", sent)
		}
		effects := py.run(t, "", "-c", `import sqlite3; print(sorted(r[0] for r in sqlite3.connect("herald.db").execute("SELECT eventid FROM heralded")))`)
		if strings.TrimSpace(effects) != "['us1', 'us2']" {
			t.Errorf("effects: %s", effects)
		}

		pythonRefuses(t, p, py, inbox)
		// And it goes on.
		ask.ID, ask.Payload = "last", pythonDispatch("us3")
		py.send(t, inbox, "dispatch.avsc", ask)
		if m := await(t, answers, "answer after dead letters"); m.Payload.Eventid != "us3" {
			t.Errorf("the answer is %+v", m.Payload)
		}
	})
}

// pythonRefuses sends what herald cannot handle, and reads its dead letters.
func pythonRefuses(t *testing.T, p *place, py *python, inbox string) {
	with := func(name, value string) pythonMessage {
		return pythonMessage{Payload: pythonDispatch("refused"), Headers: map[string]string{"ce_source": "asker", name: value}}
	}
	py.send(t, inbox, "dispatch.avsc",
		with("ce_expirytime", "2023-11-14T22:13:20.123Z"), with("ce_hops", "0"), with("ce_recipient", "somebody"),
		with("ce_replyto", p.namespace.Inbox("asker")+"/99"), with("ce_type", "quake.other"), with("parley-version", "2"),
		with("ce_expirytime", "2123-11-14T22:13:20.123"), with("ce_source", "urn:sensor:7"))
	recs := p.records(t, inbox)
	good := recs[slices.IndexFunc(recs, func(rec *kgo.Record) bool { return header(rec, "ce_id") == "asked" })]
	client := p.client(t)
	var sent []*kgo.Record
	for i, value := range [][]byte{good.Value[:len(good.Value)-1], append(good.Value[:len(good.Value):len(good.Value)], 0), {0, 0x7f, 0xff, 0xff, 0xff, 0}, {1, 2}} {
		rec := &kgo.Record{Topic: inbox, Key: good.Key, Value: value, Headers: append([]kgo.RecordHeader{{Key: "ce_id", Value: []byte("bad-" + strconv.Itoa(i))}}, good.Headers...)}
		if err := client.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, rec)
	}
	p.settled(t, "herald", inbox)
	var list struct {
		ByReason map[string]int `json:"by_reason"`
	}
	if err := json.Unmarshal([]byte(p.run(t, "dlq", "list", "--agent", "herald", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"expired": 1, "hops": 1, "contract": 3, "no_route": 2, "no_handler": 1, "decode": 3, "schema": 1}
	if !maps.Equal(list.ByReason, want) {
		t.Errorf("dead letters %v instead of %v", list.ByReason, want)
	}
	dead := map[string]*kgo.Record{}
	for _, rec := range p.records(t, streaming.DeadLetterTopic(inbox, "herald")) {
		dead[header(rec, "ce_id")] = rec
	}
	for _, rec := range sent {
		d := dead[header(rec, "ce_id")]
		if d == nil {
			t.Errorf("%s is no dead letter", header(rec, "ce_id"))
			continue
		}
		var headers []streaming.Header
		for _, h := range d.Headers {
			headers = append(headers, streaming.Header(h))
		}
		original, hop, ok, err := schemas.SplitHop(headers)
		if !ok || err != nil || len(original) != len(rec.Headers) || string(d.Value) != string(rec.Value) || string(d.Key) != string(rec.Key) || d.Partition != rec.Partition ||
			hop.Origin.Topic != inbox || hop.Origin.Partition != rec.Partition || hop.Origin.Offset != rec.Offset || hop.Moves != 1 || hop.Error == "" {
			t.Errorf("dead letter of %s: %+v, %v, %+v", header(rec, "ce_id"), hop, err, d)
		}
	}
}
