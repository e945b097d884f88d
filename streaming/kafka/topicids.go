package kafka

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// topicIDs are the IDs of topics: who commits or fetches offsets names a topic
// or gives its ID, whichever the version of the broker asks for (KIP-848,
// KIP-1319).
type topicIDs struct {
	mu    sync.Mutex
	known map[string][16]byte
}

// of returns the IDs of the topics of those partitions, and looks up what is
// not known yet.
func (ids *topicIDs) of(ctx context.Context, cl *kgo.Client, partitions iter.Seq[streaming.TopicPartition]) (map[string][16]byte, error) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.known == nil {
		ids.known = make(map[string][16]byte)
	}
	out := make(map[string][16]byte)
	var unknown []string
	for tp := range partitions {
		if _, seen := out[tp.Topic]; seen {
			continue
		}
		id, ok := ids.known[tp.Topic]
		if !ok {
			unknown = append(unknown, tp.Topic)
		}
		out[tp.Topic] = id
	}
	if len(unknown) == 0 {
		return out, nil
	}
	details, err := kadm.NewClient(cl).ListTopics(ctx, unknown...)
	for _, topic := range unknown {
		d, ok := details[topic]
		if err != nil || !ok || d.Err != nil {
			err = errors.Join(err, d.Err)
			continue
		}
		ids.known[topic], out[topic] = d.ID, d.ID
	}
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	return out, nil
}

// forget makes the next request look all topics up again: one was made anew.
func (ids *topicIDs) forget() {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.known = nil
}
