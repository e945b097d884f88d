package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// No transaction ends before the client has put the partitions of each of its
// topics in place. That moment is some microseconds after the acknowledgement,
// and cannot be brought about from outside: one of 4,000 transactions lost its
// records by it.
func TestATransactionWaitsForTheClientsPartitions(t *testing.T) {
	tr := &Transactor{known: make(map[string]bool)}
	recs := []*streaming.Record{{Topic: "a"}, {Topic: "b"}, {Topic: "a"}}
	asked := map[string]int{}
	leader := func(topic string, _ int32) (int32, int32, error) {
		if asked[topic]++; topic == "b" && asked[topic] < 5 {
			return -1, -1, nil // not loaded
		}
		return 1, 0, nil
	}
	for range 2 {
		if err := tr.awaitPartitions(t.Context(), recs, leader); err != nil {
			t.Fatal(err)
		}
	}
	if asked["a"] != 1 || asked["b"] != 5 {
		t.Errorf("asked %v; want once of what is loaded, and of what is not until it is", asked)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	never := func(string, int32) (int32, int32, error) { return -1, -1, nil }
	if err := tr.awaitPartitions(ctx, []*streaming.Record{{Topic: "c"}}, never); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("where they never come it ends with %v", err)
	}
}
