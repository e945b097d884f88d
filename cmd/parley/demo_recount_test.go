package main_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// This file recounts the demo's terms from the topics, by the wire contract
// alone: it imports nothing of this module. It decodes the ledger by hand.

// terms are those of the demo's JSON.
type terms struct {
	Accepted     int            `json:"accepted"`
	Done         int            `json:"done"`
	DoneByType   map[string]int `json:"done_by_type"`
	Skipped      int            `json:"skipped"`
	Duplicates   int            `json:"duplicates"`
	Redeliveries int            `json:"redeliveries"`
	Retrying     int            `json:"retrying"`
	Scheduled    int            `json:"scheduled"`
	Dead         int            `json:"dead"`
	DeadByReason map[string]int `json:"dead_by_reason"`
	LatencyMS    latencyMS      `json:"latency_ms"`
}

type latencyMS struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// streams are those of each agent of the demo, with what it handles of them.
var streams = map[string]map[string]string{
	"triage": {"parley.events.quakes": "quake.reported"}, "broadcast": {"parley.events.warnings": "quake.alert"},
	"dispatch": nil, "analyst": nil, "notify": nil, "coastguard": nil, "registrar": nil, "board-regions": nil,
	"team-anchorage": nil, "team-jakarta": nil, "team-rome": nil, "team-santiago": nil, "team-tokyo": nil,
}

// everything is all records of the log, by topic and partition, in order.
type everything map[string]map[int32][]*kgo.Record

func readAll(t *testing.T, brokers []string) (everything, map[string]kadm.OffsetResponses) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	starts, err := admin.ListStartOffsets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all := everything{}
	left := map[string]map[int32]int64{}
	consume := map[string]map[int32]kgo.Offset{}
	count := 0
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		if start.Offset >= end.Offset || !strings.HasPrefix(end.Topic, "parley.") {
			return
		}
		if left[end.Topic] == nil {
			left[end.Topic], consume[end.Topic] = map[int32]int64{}, map[int32]kgo.Offset{}
			all[end.Topic] = map[int32][]*kgo.Record{}
		}
		left[end.Topic][end.Partition] = end.Offset
		consume[end.Topic][end.Partition] = kgo.NewOffset().At(start.Offset)
		count++
	})
	client.AddConsumePartitions(consume)
	for count > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			all[r.Topic][r.Partition] = append(all[r.Topic][r.Partition], r)
			if r.Offset == left[r.Topic][r.Partition]-1 {
				count--
			}
		})
	}
	committed := map[string]kadm.OffsetResponses{}
	for agent := range streams {
		if committed[agent], err = admin.FetchOffsets(ctx, agent); err != nil {
			t.Fatal(err)
		}
	}
	return all, committed
}

// recount is the terms of each agent, and the number of records in the stream.
func recount(t *testing.T, brokers []string) (map[string]terms, int) {
	t.Helper()
	all, committed := readAll(t, brokers)
	published := 0
	for _, recs := range all["parley.events.quakes"] {
		published += len(recs)
	}
	out := map[string]terms{}
	for agent := range streams {
		total := terms{DoneByType: map[string]int{}, DeadByReason: map[string]int{}}
		var latencies []float64
		inputs := []string{"parley.inbox." + agent}
		for topic := range streams[agent] {
			inputs = append(inputs, topic)
		}
		for _, topic := range inputs {
			for partition, recs := range all[topic] {
				latencies = append(latencies, recountPartition(t, &total, all, committed[agent], agent, topic, partition, recs)...)
			}
		}
		slices.Sort(latencies)
		if n := len(latencies); n > 0 {
			total.LatencyMS.P50 = latencies[int(math.Ceil(float64(n)*.5))-1]
			total.LatencyMS.P99 = latencies[int(math.Ceil(float64(n)*.99))-1]
		}
		out[agent] = total
	}
	return out, published
}

func recountPartition(t *testing.T, total *terms, all everything, committed kadm.OffsetResponses, agent, topic string, partition int32, recs []*kgo.Record) []float64 {
	t.Helper()
	below := func(topic string) int64 {
		at, ok := committed.Lookup(topic, partition)
		if !ok || at.At < 0 {
			return 0
		}
		return at.At
	}
	// Where each record ended, by its offset.
	done := map[int64]mark{}
	for _, r := range all[topic+".ledger."+agent][partition] {
		for _, m := range decodeMarks(t, r.Value) {
			if m.kind == "DONE" {
				done[m.origin] = m
			}
		}
	}
	type letter struct {
		reason   string
		attempts int
	}
	dead := map[int64]letter{}
	for _, r := range all[topic+".dlq."+agent][partition] {
		attempts, err := strconv.Atoi(last(r, "parley-attempt"))
		if err != nil {
			t.Fatal(err)
		}
		dead[originOf(t, r, topic)] = letter{last(r, "parley-reason"), attempts}
	}
	waiting, later := map[int64]bool{}, map[int64]bool{}
	for tier := range all {
		if strings.HasPrefix(tier, topic+".retry-") && strings.HasSuffix(tier, "."+agent) {
			for _, r := range all[tier][partition] {
				if r.Offset >= below(tier) {
					waiting[originOf(t, r, topic)] = true
					if due := first(r, "ce_deliverat"); due != "" && last(r, "parley-attempt") == "0" {
						at, err := time.Parse(time.RFC3339, due)
						if err != nil {
							t.Fatal(err)
						}
						later[originOf(t, r, topic)] = at.After(time.Now())
					}
				}
			}
		}
	}
	identity := func(r *kgo.Record) string { return first(r, "ce_source") + "\x00" + first(r, "ce_id") }
	ended := map[string]bool{} // identities of records that ended themselves
	for _, r := range recs {
		_, isDone := done[r.Offset]
		_, isDead := dead[r.Offset]
		if (isDone || isDead || waiting[r.Offset]) && first(r, "ce_id") != "" {
			ended[identity(r)] = true
		}
	}

	var latencies []float64
	for _, r := range recs {
		if r.Offset >= below(topic) {
			continue
		}
		total.Accepted++
		m, isDone := done[r.Offset]
		d, isDead := dead[r.Offset]
		switch {
		case isDone && isDead:
			t.Errorf("%s/%d offset %d is done and dead", topic, partition, r.Offset)
		case isDone:
			total.Done++
			total.DoneByType[first(r, "ce_type")]++
			total.Redeliveries += m.attempts - 1
			sent, err := time.Parse(time.RFC3339, first(r, "ce_time"))
			if err != nil {
				t.Fatal(err)
			}
			latencies = append(latencies, float64(max(m.time-sent.UnixMilli(), 0)))
		case isDead:
			total.Dead++
			total.DeadByReason[d.reason]++
			total.Redeliveries += max(d.attempts-1, 0)
		case waiting[r.Offset]:
			total.Retrying++
			if later[r.Offset] {
				total.Scheduled++
			}
		case streams[agent][topic] != "" && first(r, "ce_type") != "" && first(r, "ce_type") != streams[agent][topic]:
			total.Skipped++
		case ended[identity(r)]:
			total.Duplicates++
		default:
			t.Errorf("%s/%d offset %d ended nowhere at %s", topic, partition, r.Offset, agent)
		}
	}
	return latencies
}

func first(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func last(r *kgo.Record, key string) string {
	value := ""
	for _, h := range r.Headers {
		if h.Key == key {
			value = string(h.Value)
		}
	}
	return value
}

// originOf reads parley-origin: topic/partition/offset/timestamp.
func originOf(t *testing.T, r *kgo.Record, topic string) int64 {
	t.Helper()
	parts := strings.Split(last(r, "parley-origin"), "/")
	if len(parts) != 4 || parts[0] != topic || parts[1] != fmt.Sprint(r.Partition) {
		t.Fatalf("%s/%d offset %d has origin %v", r.Topic, r.Partition, r.Offset, parts)
	}
	offset, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return offset
}

type mark struct {
	kind          string
	attempts      int
	origin, epoch int64
	time          int64 // Unix milliseconds
}

// decodeMarks decodes a parley.LedgerEntry: Confluent's frame, then Avro.
func decodeMarks(t *testing.T, value []byte) []mark {
	t.Helper()
	if len(value) < 5 || value[0] != 0 {
		t.Fatalf("a ledger record is not framed: %x", value)
	}
	in := avroBytes{t: t, rest: value[5:]}
	var marks []mark
	for n := in.long(); n != 0; n = in.long() {
		if n < 0 {
			n = -n
			in.long() // the block's size in bytes
		}
		for range n {
			kinds := []string{"DONE", "DEAD", "CLAIM", "CHECKPOINT"}
			var m mark
			m.kind = kinds[in.long()]
			in.take(16)
			in.long() // moves
			m.attempts = int(in.long())
			in.take(int(in.long())) // log
			in.long()               // offset
			m.origin, m.epoch, m.time = in.long(), in.long(), in.long()
			if in.long() == 1 { // a checkpoint
				in.skipMap()
				in.skipMap()
			}
			marks = append(marks, m)
		}
	}
	in.skipBlocks(func() { // steps
		in.take(16)
		for range 3 { // origin, epoch, time
			in.long()
		}
		for range 2 { // name, result
			in.take(int(in.long()))
		}
	})
	in.skipBlocks(func() { // begun in doubt, after a kill
		in.take(16)
		for range 4 { // moves, origin, epoch, time
			in.long()
		}
	})
	in.skipBlocks(func() { // released
		for range 2 { // epoch, time
			in.long()
		}
	})
	in.skipBlocks(func() { // answers to requests
		in.take(16)
		in.take(int(in.long())) // topic
		in.long()               // partition
		in.long()               // time
		for range 2 {           // key, value
			in.take(int(in.long()))
		}
		in.skipBlocks(func() { // headers
			for range 2 {
				in.take(int(in.long()))
			}
		})
	})
	for _, b := range in.rest { // other arrays, which the demo leaves empty
		if b != 0 {
			t.Fatalf("%x follows the answers", in.rest)
		}
	}
	return marks
}

type avroBytes struct {
	t    *testing.T
	rest []byte
}

func (b *avroBytes) long() int64 {
	v, n := binary.Varint(b.rest) // Avro's zigzag is Go's
	if n <= 0 {
		b.t.Fatal("a ledger record is cut")
	}
	b.rest = b.rest[n:]
	return v
}

func (b *avroBytes) take(n int) {
	if n < 0 || n > len(b.rest) {
		b.t.Fatal("a ledger record is cut")
	}
	b.rest = b.rest[n:]
}

func (b *avroBytes) skipMap() {
	b.skipBlocks(func() {
		b.take(int(b.long()))
		b.long()
	})
}

func (b *avroBytes) skipBlocks(item func()) {
	for n := b.long(); n != 0; n = b.long() {
		if n < 0 {
			n = -n
			b.long()
		}
		for range n {
			item()
		}
	}
}

func sameTerms(a, b terms) bool {
	if !maps.Equal(a.DoneByType, b.DoneByType) || !maps.Equal(a.DeadByReason, b.DeadByReason) {
		return false
	}
	a.DoneByType, b.DoneByType, a.DeadByReason, b.DeadByReason = nil, nil, nil, nil
	return fmt.Sprint(a) == fmt.Sprint(b)
}
