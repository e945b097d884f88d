package kafka

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestPartitionerAgreesWithJava proves that a key's partition is the one that
// Java's default partitioner gives it. The vectors come from Kafka's own client.
func TestPartitionerAgreesWithJava(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../schemas/testdata/murmur2.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Vectors []struct {
			Key       string
			Partition map[string]int
		}
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Vectors) < 30 {
		t.Fatalf("%d vectors are too few", len(golden.Vectors))
	}
	topic := newPartitioner().ForTopic("topic")
	for _, v := range golden.Vectors {
		key, err := hex.DecodeString(v.Key)
		if err != nil {
			t.Fatal(err)
		}
		rec := &kgo.Record{Key: key, Partition: -1}
		if len(v.Partition) != 5 {
			t.Errorf("key %s has %d partition counts instead of 5", v.Key, len(v.Partition))
		}
		if !topic.RequiresConsistency(rec) {
			t.Errorf("key %s may move between partitions", v.Key)
		}
		for count, want := range v.Partition {
			n, err := strconv.Atoi(count)
			if err != nil {
				t.Fatal(err)
			}
			if got := topic.Partition(rec, n); got != want {
				t.Errorf("key %s of %d partitions: %d, Java has %d", v.Key, n, got, want)
			}
		}
	}
}
