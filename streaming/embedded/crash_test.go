package embedded_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

const (
	crashRounds     = 10
	crashPartitions = 3
	plainTopic      = "plain"   // only ever grows
	trimmedTopic    = "trimmed" // grows and is trimmed, often to its end
)

// promised is what the server has acknowledged to its clients. A request
// whose answer the crash took may or may not have had its effect, so for
// commits and trims it also has what was attempted.
type promised struct {
	mu        sync.Mutex
	records   map[string]map[int32]map[int64]string // by topic, partition, offset
	commit    [2]int64                              // acknowledged, attempted
	trim      [2]int64
	topics    []string
	schemas   map[string]int // by subject
	usedIDs   map[int]string
	nextValue int
}

// TestCrashes kills the server at random moments under a load of produce
// requests, commits, trims, new topics and new schemas, and compares.
func TestCrashes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	p := &promised{
		records: map[string]map[int32]map[int64]string{plainTopic: {}, trimmedTopic: {}},
		schemas: make(map[string]int),
		usedIDs: make(map[int]string),
	}
	for round := range crashRounds {
		c := startChild(t, dir)
		cl := client(t, c.Broker)
		if round == 0 {
			createTopic(t, cl, plainTopic, crashPartitions, nil)
			createTopic(t, cl, trimmedTopic, 1, nil)
		}
		p.verify(t, c, cl)
		cl.Close()

		ctx, cancel := context.WithCancel(t.Context())
		var load sync.WaitGroup
		for _, run := range []func(context.Context, *child, int){p.produce, p.commits, p.trims, p.createTopics, p.register} {
			load.Go(func() { run(ctx, c, round) })
		}
		time.Sleep(time.Duration(50+rnd.IntN(450)) * time.Millisecond) // the random moment
		c.kill()
		cancel()
		load.Wait()
		if t.Failed() {
			return
		}
	}
	c := startChild(t, dir)
	cl := client(t, c.Broker)
	p.verify(t, c, cl)
	t.Logf("records %d, committed %d, trimmed to %d, topics %d, schemas %d",
		p.nextValue, p.commit[0], p.trim[0], len(p.topics), len(p.schemas))
	if p.nextValue == 0 || p.commit[0] == 0 || p.trim[0] == 0 || len(p.topics) == 0 || len(p.schemas) == 0 {
		t.Error("one kind of load never got through")
	}
}

// loadClient is a client of one kind of load. It closes with the context: a
// batch that may have been written is otherwise sent again for ever.
func loadClient(ctx context.Context, c *child) *kgo.Client {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(c.Broker),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }))
	if err != nil {
		panic(err) // the options above are constant
	}
	context.AfterFunc(ctx, cl.Close)
	return cl
}

func (p *promised) produce(ctx context.Context, c *child, _ int) {
	cl := loadClient(ctx, c)
	defer cl.Close()
	for i := 0; ctx.Err() == nil; i++ {
		var batch []*kgo.Record
		p.mu.Lock()
		for range 1 + i%20 {
			p.nextValue++
			r := &kgo.Record{Topic: plainTopic, Partition: int32(p.nextValue % crashPartitions), Value: fmt.Appendf(nil, "value %d", p.nextValue)}
			if p.nextValue%4 == 0 {
				r.Topic, r.Partition = trimmedTopic, 0
			}
			batch = append(batch, r)
		}
		p.mu.Unlock()
		for _, res := range cl.ProduceSync(ctx, batch...) {
			if res.Err != nil {
				continue
			}
			r := res.Record
			p.mu.Lock()
			if p.records[r.Topic][r.Partition] == nil {
				p.records[r.Topic][r.Partition] = make(map[int64]string)
			}
			p.records[r.Topic][r.Partition][r.Offset] = string(r.Value)
			p.mu.Unlock()
		}
	}
}

func (p *promised) commits(ctx context.Context, c *child, _ int) {
	cl := loadClient(ctx, c)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for ctx.Err() == nil {
		p.mu.Lock()
		p.commit[1]++
		at := p.commit[1]
		p.mu.Unlock()
		if adm.CommitAllOffsets(ctx, "group", offsetsOf(plainTopic, 0, at)) == nil {
			p.mu.Lock()
			p.commit[0] = at
			p.mu.Unlock()
		}
	}
}

func (p *promised) trims(ctx context.Context, c *child, _ int) {
	cl := loadClient(ctx, c)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for ctx.Err() == nil {
		p.mu.Lock()
		to := p.trim[1]
		for offset := range p.records[trimmedTopic][0] {
			to = max(to, offset+1)
		}
		grown := to > p.trim[1]
		p.trim[1] = to
		p.mu.Unlock()
		if !grown {
			time.Sleep(time.Millisecond) // let it grow
			continue
		}
		resps, err := adm.DeleteRecords(ctx, offsetsOf(trimmedTopic, 0, to))
		if err == nil && resps.Error() == nil {
			p.mu.Lock()
			p.trim[0] = to
			p.mu.Unlock()
		}
	}
}

func (p *promised) createTopics(ctx context.Context, c *child, round int) {
	cl := loadClient(ctx, c)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("topic-%d-%d", round, i)
		if resp, err := adm.CreateTopic(ctx, 1, 1, nil, name); err == nil && resp.Err == nil {
			p.mu.Lock()
			p.topics = append(p.topics, name)
			p.mu.Unlock()
		}
		pause(ctx, 20*time.Millisecond)
	}
}

func (p *promised) register(ctx context.Context, c *child, round int) {
	cl, err := sr.NewClient(sr.URLs(c.Registry))
	if err != nil {
		panic(err)
	}
	for i := 0; ctx.Err() == nil; i++ {
		subject := fmt.Sprintf("subject.S%d_%d", round, i)
		if id, err := cl.RegisterSchema(ctx, subject, record(subject), -1, -1); err == nil {
			p.mu.Lock()
			p.schemas[subject] = id
			p.mu.Unlock()
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// pause keeps the number of topics and schemas small.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func record(name string) sr.Schema {
	return sr.Schema{Schema: fmt.Sprintf(`{"type":"record","name":%q,"fields":[{"name":"a","type":"long"}]}`, name)}
}

func (p *promised) verify(t *testing.T, c *child, cl *kgo.Client) {
	t.Helper()
	adm := kadm.NewClient(cl)

	begin, end := bounds(t, cl, trimmedTopic, 0)
	if begin < p.trim[0] || begin > p.trim[1] {
		t.Errorf("log start %d, want %d to %d", begin, p.trim[0], p.trim[1])
	}
	if end < begin {
		t.Errorf("end %d before start %d", end, begin)
	}
	for topic, partitions := range p.records {
		for partition, want := range partitions {
			got := make(map[int64]string)
			for _, r := range fetchAll(t, c.Broker, topic, partition) {
				got[r.Offset] = string(r.Value)
			}
			for offset, value := range want {
				switch {
				case topic == trimmedTopic && offset < begin:
					if _, back := got[offset]; back {
						t.Errorf("deleted record %s/%d/%d is back", topic, partition, offset)
					}
				case got[offset] != value:
					t.Errorf("%s/%d/%d is %q, acknowledged was %q", topic, partition, offset, got[offset], value)
				}
			}
		}
	}

	if p.commit[0] > 0 { // before the first commit there is no group
		offsets, err := adm.FetchOffsets(t.Context(), "group")
		must(t, err)
		if o, _ := offsets.Lookup(plainTopic, 0); o.At < p.commit[0] || o.At > p.commit[1] {
			t.Errorf("committed offset %d, want %d to %d", o.At, p.commit[0], p.commit[1])
		}
	}

	topics, err := adm.ListTopics(t.Context(), p.topics...)
	must(t, err)
	for _, name := range p.topics {
		if len(topics[name].Partitions) != 1 {
			t.Errorf("topic %s is gone: %v", name, topics[name].Err)
		}
	}

	reg, err := sr.NewClient(sr.URLs(c.Registry))
	must(t, err)
	all, err := reg.AllSchemas(t.Context())
	must(t, err)
	found := make(map[string]int)
	for _, s := range all {
		found[s.Subject] = s.ID
		if other, ok := p.usedIDs[s.ID]; ok && other != s.Subject {
			t.Errorf("ID %d was the schema of %s, now of %s", s.ID, other, s.Subject)
		}
		p.usedIDs[s.ID] = s.Subject
	}
	for subject, id := range p.schemas {
		if found[subject] != id {
			t.Errorf("schema of %s has ID %d, was %d", subject, found[subject], id)
		}
	}
}
