package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// told is what a member was told, in order.
type told chan string

func (t told) next(tt *testing.T, want string) {
	tt.Helper()
	select {
	case got := <-t:
		if got != want {
			tt.Fatalf("the member is told %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		tt.Fatalf("the member is not told %q", want)
	}
}

// inEachProtocol runs a test with either protocol.
func inEachProtocol(t *testing.T, test func(*testing.T, kafka.GroupProtocol)) {
	for _, p := range []kafka.GroupProtocol{kafka.ProtocolClassic, kafka.ProtocolConsumer} {
		t.Run(string(p), func(t *testing.T) { test(t, p) })
	}
}

// join joins group g on topic t of two partitions.
func join(t *testing.T, c *kfake.Cluster, protocol kafka.GroupProtocol) (*kafka.Member, told) {
	t.Helper()
	heard := make(told, 100)
	tell := func(what string) func([]streaming.TopicPartition) {
		return func(tps []streaming.TopicPartition) {
			var ps []int32
			for _, tp := range tps {
				ps = append(ps, tp.Partition)
			}
			slices.Sort(ps)
			heard <- fmt.Sprint(what, " ", ps)
		}
	}
	m, err := kafka.Join(kafka.Config{Brokers: c.ListenAddrs()}, kafka.GroupConfig{
		Group: "g", Protocol: protocol, Topics: []string{"t"}, Heartbeat: 20 * time.Millisecond,
		Assigned: tell("assigned"), Revoked: tell("revoked"), Lost: tell("lost"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Leave)
	return m, heard
}

func fake(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "t"),
		kfake.BrokerConfigs(map[string]string{"group.consumer.heartbeat.interval.ms": "20"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func zero(p int32) map[streaming.TopicPartition]int64 {
	return map[streaming.TopicPartition]int64{{Topic: "t", Partition: p}: 0}
}

// A member that was thrown out of its group and learns it when it joins again
// has the same partitions as before, but they may have had another owner
// meanwhile: it must be told so, and nothing may be committed for what it held
// before it has been.
func TestWhatIsHeldUnderAFormerMemberIDIsLost(t *testing.T) {
	c := fake(t)
	m, heard := join(t, c, kafka.ProtocolClassic)
	heard.next(t, "assigned [0 1]")
	first := m.Membership()
	if err := m.Commit(t.Context(), zero(0)); err != nil {
		t.Fatal(err)
	}

	beats, thrownOut := make(chan struct{}), make(chan struct{})
	c.ControlKey(kmsg.Heartbeat.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		close(beats)
		c.SleepControl(func() { <-thrownOut })
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.RebalanceInProgress.Code
		return resp, nil, true
	})
	<-beats
	other, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	leave, gone := kmsg.NewPtrLeaveGroupRequest(), kmsg.NewLeaveGroupRequestMember()
	gone.MemberID = first.MemberID
	leave.Group, leave.Members = "g", append(leave.Members, gone)
	if resp, err := leave.RequestWith(t.Context(), other); err != nil || resp.Members[0].ErrorCode != 0 {
		t.Fatal(resp, err)
	}
	between, refused := kafka.Membership{}, error(nil)
	c.ControlKey(kmsg.SyncGroup.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.DropControl()
		c.SleepControl(func() { // the member has joined, and does not know yet what it holds
			between, refused = m.Membership(), m.Commit(context.Background(), zero(0))
		})
		return nil, nil, false
	})
	close(thrownOut)

	heard.next(t, "lost [0 1]")
	heard.next(t, "assigned [0 1]")
	if between.MemberID != "" || !errors.Is(refused, kafka.ErrFenced) {
		t.Errorf("between joining and knowing: %+v, %v", between, refused)
	}
	eventually(t, "the new member", func() bool { return m.Membership().MemberID != "" })
	if now := m.Membership(); now.MemberID == first.MemberID {
		t.Errorf("the member is %s still", now.MemberID)
	}
	if err := m.Commit(t.Context(), zero(0)); err != nil {
		t.Error(err)
	}
	m.Leave()
	heard.next(t, "revoked [0 1]")
}

// A rebalance that leaves a member what it has does not disturb it.
func TestWhatIsKeptThroughARebalanceIsNotTouched(t *testing.T) {
	inEachProtocol(t, testWhatIsKeptThroughARebalanceIsNotTouched)
}

func testWhatIsKeptThroughARebalanceIsNotTouched(t *testing.T, protocol kafka.GroupProtocol) {
	c := fake(t)
	m, heard := join(t, c, protocol)
	heard.next(t, "assigned [0 1]")
	first := m.Membership()
	second, heardSecond := join(t, c, protocol)
	got := <-heard
	if got != "revoked [0]" && got != "revoked [1]" {
		t.Fatalf("the first member is told %q", got)
	}
	heardSecond.next(t, "assigned"+got[len("revoked"):])
	eventually(t, "a commit under the new generation", func() bool { return m.Commit(t.Context(), zero(0)) == nil })
	if now := m.Membership(); now.MemberID != first.MemberID || now.Generation <= first.Generation {
		t.Errorf("%+v has become %+v", first, now)
	}
	second.Leave()
	heard.next(t, "assigned"+got[len("revoked"):])
	select {
	case more := <-heard:
		t.Errorf("the first member is told %q", more)
	default:
	}
}

// A member whose session has ended joins again: what it had is lost, and nothing
// is committed for it meanwhile. With the consumer protocol it keeps its ID.
func TestAMemberThatIsFencedLosesAllAndJoinsAgain(t *testing.T) {
	inEachProtocol(t, func(t *testing.T, protocol kafka.GroupProtocol) {
		c := fake(t)
		m, heard := join(t, c, protocol)
		heard.next(t, "assigned [0 1]")
		was := m.Membership()
		c.ControlKey(kmsg.Heartbeat.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
			resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
			resp.ErrorCode = kerr.IllegalGeneration.Code
			return resp, nil, true
		})
		c.ControlKey(kmsg.ConsumerGroupHeartbeat.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
			resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
			resp.ErrorCode = kerr.FencedMemberEpoch.Code
			return resp, nil, true
		})
		heard.next(t, "lost [0 1]")
		heard.next(t, "assigned [0 1]")
		eventually(t, "a commit", func() bool { return m.Commit(t.Context(), zero(0)) == nil })
		if now := m.Membership(); now.MemberID != was.MemberID {
			t.Errorf("%+v has become %+v", was, now)
		}
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) { // polls the fake broker
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
