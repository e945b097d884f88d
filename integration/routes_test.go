//go:build integration

package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

const (
	routedPerSecond = 5000
	routedFor       = 8 * time.Second
	routeNodes      = 3
	routeSenders    = 3
	changeEvery     = 1300 * time.Millisecond
	changeLive      = time.Second // at every node
)

// node notes when it has last sent by which pair.
type node struct {
	mu   sync.Mutex
	last map[string]time.Time // by the first topic of the pair
	runs int
}

func (n *node) sent(topic string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.runs++
	n.last[topic] = time.Now()
}

// TestRoutesChangeUnderLoad changes the routes while three senders send 5,000 messages
// a second to an agent of three nodes: each change is live at all of them within a
// second, no message is lost, and each goes where one set says, never where parts of
// two do.
func TestRoutesChangeUnderLoad(t *testing.T) {
	broker, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	ns := streaming.Namespace(cluster.Name(t))
	connect := func() *agents.Platform {
		p, err := agents.Connect(t.Context(), agents.PlatformConfig{
			Brokers: []string{broker.Bootstrap()}, Registry: registry.URL, Register: true, Partitions: 6, Namespace: ns,
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	log, err := kafka.NewLog(kafka.Config{Brokers: []string{broker.Bootstrap()}})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	pairs := [][]string{{"a", "b"}, {"c", "d"}}
	var specs []kafka.TopicSpec
	var topics []string
	for _, stream := range slices.Concat(pairs...) {
		topics = append(topics, ns.Events(stream))
		specs = append(specs, kafka.TopicSpec{Name: ns.Events(stream), Partitions: 3})
	}
	plan, err := log.PlanTopics(t.Context(), specs)
	if err == nil {
		err = log.ApplyTopics(t.Context(), plan, -1)
	}
	if err != nil {
		t.Fatal(err)
	}

	operator := senderOf(t, connect(), "operator")
	if _, err := connect().Codec().Encode(t.Context(), schemas.ErrorReply{}); err != nil { // registers it
		t.Fatal(err)
	}
	apply := func(n int) {
		t.Helper()
		var defs []schemas.Route
		for _, stream := range pairs[n%2] {
			defs = append(defs, schemas.Route{
				Name: "to-" + stream, Match: "payload.reason == 'load' && source.startsWith('sorter')", Types: []string{"agent.error"}, Mode: "fanout",
				Destinations: []schemas.RouteDestination{{To: "stream:" + stream, Weight: 1}},
			})
		}
		if _, err := operator.ApplyRoutes(t.Context(), defs, "load", fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	apply(0)

	nodes := make([]*node, routeNodes)
	var handled atomic.Int64
	var stops []func()
	for i := range nodes {
		n := &node{last: make(map[string]time.Time)}
		nodes[i] = n
		a := agents.New("sorter", agents.Config{})
		agents.Routes(a)
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			if err := m.Route(&m.Payload, agents.Key(m.Key)); err != nil {
				return err
			}
			n.sent(m.Delivery().Outbox.Staged()[0].Topic)
			handled.Add(1)
			return nil
		})
		w, err := connect().Worker(a)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		stops = append(stops, stop)
		select {
		case <-w.Ready():
		case <-time.After(30 * time.Second):
			t.Fatal("not ready")
		}
	}
	time.Sleep(3 * time.Second) // until the group has shared its partitions out

	var ids sync.Map
	var sent atomic.Int64
	var loading sync.WaitGroup
	end := time.Now().Add(routedFor)
	for i := range routeSenders {
		s := senderOf(t, connect(), fmt.Sprint("sender-", i))
		loading.Go(func() {
			const tick = 20 * time.Millisecond
			ticker := time.NewTicker(tick)
			defer ticker.Stop()
			for begin, n := time.Now(), 0; time.Now().Before(end); <-ticker.C {
				var drafts []agents.Draft
				for due := int(time.Since(begin).Seconds() * routedPerSecond / routeSenders); n < due; n++ {
					id := fmt.Sprintf("%d-%d", i, n)
					ids.Store(id, true)
					drafts = append(drafts, s.ToAgent("sorter", schemas.ErrorReply{Reason: "load", Message: id}, agents.ID(id), agents.Key(fmt.Sprint(n%500))))
				}
				if err := s.Send(t.Context(), drafts...); err != nil {
					t.Error(err)
					return
				}
				sent.Add(int64(len(drafts)))
			}
		})
	}
	var slowest time.Duration
	changes := 0
	for time.Now().Add(changeEvery * 3 / 2).Before(end) {
		time.Sleep(changeEvery / 4)
		changes++
		old := ns.Events(pairs[(changes+1)%2][0])
		apply(changes)
		history, err := operator.RouteHistory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		begin := history[0].Time // when it was appended: the checks before that are the operator's
		time.Sleep(changeEvery - changeEvery/4)
		for i, n := range nodes {
			n.mu.Lock()
			live := max(0, n.last[old].Sub(begin))
			n.mu.Unlock()
			slowest = max(slowest, live)
			if live > changeLive {
				t.Errorf("change %d is live at node %d after %s", changes, i, live)
			}
		}
	}
	loading.Wait()
	took := time.Since(end) + routedFor
	for deadline := time.Now().Add(30 * time.Second); handled.Load() < sent.Load() && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	for _, stop := range stops {
		stop()
	}

	at := make(map[string][]string)
	ends, err := log.EndOffsets(t.Context(), topics...)
	if err != nil {
		t.Fatal(err)
	}
	var ranges []kafka.Range
	for tp, to := range ends {
		ranges = append(ranges, kafka.Range{TopicPartition: tp, To: to})
	}
	if err := log.Scan(t.Context(), ranges, func(rec streaming.Record) {
		env, err := schemas.DecodeEnvelope(&rec)
		if err != nil {
			t.Error(err)
		}
		at[env.CausationID] = append(at[env.CausationID], rec.Topic)
	}); err != nil {
		t.Fatal(err)
	}
	lost, mixed, by := 0, 0, make(map[string]int)
	ids.Range(func(id, _ any) bool {
		places := at[id.(string)]
		slices.Sort(places)
		switch {
		case len(places) == 0:
			lost++
		case slices.Equal(places, topics[:2]):
			by["a, b"]++
		case slices.Equal(places, topics[2:]):
			by["c, d"]++
		default:
			mixed++
		}
		return true
	})
	shares := make([]int, routeNodes)
	for i, n := range nodes {
		shares[i] = n.runs
	}
	t.Logf("%d messages in %s, %.0f/s, at %d nodes (%v); %d changes, the slowest live everywhere after %s; %d lost, %d routed by a mix; %v",
		sent.Load(), took.Round(time.Millisecond), float64(sent.Load())/took.Seconds(), routeNodes, shares, changes, slowest.Round(time.Millisecond), lost, mixed, by)
	if lost > 0 || mixed > 0 {
		t.Error("messages were lost, or routed by parts of two sets")
	}
	if sent.Load() < int64(routedPerSecond*routedFor.Seconds()*8/10) {
		t.Error("too little load")
	}
	if slices.Contains(shares, 0) || len(slices.Collect(maps.Keys(by))) != 2 {
		t.Error("not all nodes, or not both pairs, were used")
	}
}

func senderOf(t *testing.T, p *agents.Platform, name string) *agents.Sender {
	t.Helper()
	s, err := p.Sender(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
