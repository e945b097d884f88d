package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// GroupProtocol is how the members of a group share its partitions: Kafka's
// group.protocol. With either, a rebalance moves single partitions, and all
// others go on. A group changes from one to the other member by member.
type GroupProtocol string

const (
	// ProtocolClassic lets a member of the group share them out.
	ProtocolClassic GroupProtocol = "classic"
	// ProtocolConsumer lets the coordinator share them out (KIP-848, Kafka 4.0 or
	// later; from 4.3 on, or a commit may be refused while the group moves, and is
	// tried again). A member that is slow to join holds nobody up. Where the
	// brokers do not have it, the member falls back to classic.
	ProtocolConsumer GroupProtocol = "consumer"
)

// GroupConfig is a worker's place in its consumer group.
type GroupConfig struct {
	Group    string
	Protocol GroupProtocol // default: classic
	Topics   []string      // the input topics

	// With the consumer protocol session timeout and heartbeat are the brokers' to
	// set, for all groups (group.consumer.session.timeout.ms) or for one
	// (consumer.session.timeout.ms).
	SessionTimeout   time.Duration
	Heartbeat        time.Duration // default 3 s, or a third of the session timeout
	RebalanceTimeout time.Duration

	// The callbacks run one at a time. Assigned must not block. Revoked may
	// take its time, within the rebalance timeout, and may commit. Lost may
	// not commit: somebody else may own the partitions already. A partition may
	// be assigned again right after it was lost.
	Assigned func([]streaming.TopicPartition)
	Revoked  func([]streaming.TopicPartition)
	Lost     func([]streaming.TopicPartition)
}

// Member is a member of a consumer group that fetches nothing.
type Member struct {
	client *kgo.Client
	cfg    GroupConfig
	topics topicIDs

	mu   sync.Mutex
	id   string                            // the member ID that held is held under
	held map[streaming.TopicPartition]bool // only the callbacks change it
}

const defaultHeartbeat = 3 * time.Second

// Join enters the group.
func Join(c Config, g GroupConfig) (*Member, error) {
	m := &Member{cfg: g, held: make(map[streaming.TopicPartition]bool)}
	opts := append(c.options(),
		kgo.ConsumerGroup(g.Group),
		kgo.ConsumeTopics(g.Topics...),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(m.assigned),
		kgo.OnPartitionsRevoked(m.revoked),
		kgo.OnPartitionsLost(m.lost),
	)
	if g.Protocol == ProtocolConsumer {
		opts = append(opts, kgo.ServerSideBalancer()) // the client's default balancer makes it the uniform assignor
	}
	if g.SessionTimeout > 0 {
		opts = append(opts, kgo.SessionTimeout(g.SessionTimeout))
	}
	if g.RebalanceTimeout > 0 {
		opts = append(opts, kgo.RebalanceTimeout(g.RebalanceTimeout))
	}
	if g.Heartbeat == 0 && g.SessionTimeout > 0 {
		g.Heartbeat = min(defaultHeartbeat, g.SessionTimeout/3)
	}
	if g.Heartbeat > 0 {
		opts = append(opts, kgo.HeartbeatInterval(g.Heartbeat))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	cl.PauseFetchTopics(g.Topics...)
	m.client = cl
	return m, nil
}

// The client calls assigned at the end of each rebalance, with what is new, if
// anything. What a member keeps it is not told: the client compares its new
// assignment with the old one. It does so, too, where the member was thrown out
// of the group and has come back under a new ID: its partitions may have had
// other owners meanwhile, and may be its own again without a word. So what was
// held under another ID is lost, and what is still assigned then is new.
//
// Under one and the same ID nothing that is held can have had another owner,
// however many generations have passed: a member stays in a group only if it
// joins each of them and says what it owns, and others get nothing of that
// before it has said that it gave it up (KIP-429; KIP-848 likewise).

func (m *Member) assigned(_ context.Context, cl *kgo.Client, added map[string][]int32) {
	tps := partitions(added)
	id, _ := cl.GroupMetadata()
	if kept := m.holds(); len(kept) > 0 && !m.is(id) {
		m.cfg.Lost(kept)
		tps = append(kept, tps...)
	}
	m.mu.Lock()
	m.id = id
	for _, tp := range tps {
		m.held[tp] = true
	}
	m.mu.Unlock()
	if len(tps) > 0 {
		m.cfg.Assigned(tps)
	}
}

func (m *Member) revoked(_ context.Context, cl *kgo.Client, taken map[string][]int32) {
	tps := partitions(taken)
	if len(tps) == 0 {
		return
	}
	if id, _ := cl.GroupMetadata(); m.is(id) {
		m.cfg.Revoked(tps)
	} else {
		m.cfg.Lost(tps)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, tp := range tps {
		delete(m.held, tp)
	}
}

func (m *Member) lost(context.Context, *kgo.Client, map[string][]int32) {
	tps := m.holds()
	m.mu.Lock()
	m.id = "" // it may join again under the same one
	clear(m.held)
	m.mu.Unlock()
	if len(tps) > 0 {
		m.cfg.Lost(tps)
	}
}

// is reports whether what is held is held under that member ID.
func (m *Member) is(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id == id
}

func (m *Member) holds() []streaming.TopicPartition {
	m.mu.Lock()
	defer m.mu.Unlock()
	var tps []streaming.TopicPartition
	for tp := range m.held {
		tps = append(tps, tp)
	}
	return tps
}

func partitions(m map[string][]int32) []streaming.TopicPartition {
	var tps []streaming.TopicPartition
	for topic, ps := range m {
		for _, p := range ps {
			tps = append(tps, streaming.TopicPartition{Topic: topic, Partition: p})
		}
	}
	return tps
}

// Membership is the group member and generation under which offsets may be
// committed. In KIP-848 the generation is the member's epoch.
type Membership struct {
	Group      string
	MemberID   string
	Generation int32
}

// Membership is the member as the group knows it. The ID is the one that all
// that is held is held under (rule F4): while the member is in the group under
// another, and the callbacks have not said yet what is lost by that, there is
// none and nothing may be committed.
func (m *Member) Membership() Membership {
	id, generation := m.client.GroupMetadata()
	if !m.is(id) {
		return Membership{Group: m.cfg.Group}
	}
	return Membership{Group: m.cfg.Group, MemberID: id, Generation: generation}
}

// ErrFenced says that the group has gone on without this member, or that it is
// about to: what it commits is refused until it knows what it holds.
var ErrFenced = errors.New("the member is not in the group's current generation")

// none reports whether there is nothing to commit under. A broker would accept
// such a commit: no member, no check.
func (m Membership) none() bool { return m.MemberID == "" || m.Generation < 0 }

// Commit commits offsets under the member's generation, and waits. It does not
// wait for a rebalance that is under way: until the others have joined the
// group accepts the former generation.
func (m *Member) Commit(ctx context.Context, offsets map[streaming.TopicPartition]int64) error {
	if len(offsets) == 0 {
		return nil
	}
	member := m.Membership()
	if member.none() {
		return ErrFenced
	}
	ids, err := m.topics.of(ctx, m.client, maps.Keys(offsets))
	if err != nil {
		return err
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = member.Group, member.MemberID, member.Generation
	byTopic := make(map[string]int)
	for tp, at := range offsets {
		n, ok := byTopic[tp.Topic]
		if !ok {
			n = len(req.Topics)
			byTopic[tp.Topic] = n
			topic := kmsg.NewOffsetCommitRequestTopic()
			topic.Topic, topic.TopicID = tp.Topic, ids[tp.Topic]
			req.Topics = append(req.Topics, topic)
		}
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = tp.Partition, at
		req.Topics[n].Partitions = append(req.Topics[n].Partitions, p)
	}
	err = m.send(ctx, req)
	for errors.Is(err, kerr.StaleMemberEpoch) { // it was the former epoch: a heartbeat has brought the next meanwhile
		next := m.Membership()
		if next.none() || next.Generation == req.Generation {
			break
		}
		req.MemberID, req.Generation = next.MemberID, next.Generation
		err = m.send(ctx, req)
	}
	switch {
	case err == nil:
		return nil
	case fenced(err):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	case errors.Is(err, kerr.UnknownTopicID):
		m.topics.forget()
	}
	return fmt.Errorf("commit offsets: %w", err)
}

func (m *Member) send(ctx context.Context, req *kmsg.OffsetCommitRequest) error {
	resp, err := req.RequestWith(ctx, m.client)
	if err != nil {
		return err
	}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

func fenced(err error) bool {
	return errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.UnknownMemberID) ||
		errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.StaleMemberEpoch) || errors.Is(err, kerr.FencedMemberEpoch)
}

// Leave leaves the group, with Revoked called for what is still owned.
func (m *Member) Leave() { m.client.Close() }
