package streamtest

import (
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answersMember reports whether an answer to such a request may say that the
// group has thrown a member out.
func answersMember(key int16) bool {
	switch kmsg.Key(key) {
	case kmsg.Heartbeat, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.ConsumerGroupHeartbeat:
		return true
	}
	return false
}

// news is what an answer says of a member's place in its group.
type news struct {
	// expelled: it has lost partitions that it still works on, as it could not answer
	// in time. At least once that is a takeover like that from a zombie.
	expelled bool
	// rebalance: partitions may move.
	rebalance bool
}

func newsIn(frame []byte, key, version int16) news {
	resp := kmsg.ResponseForKey(key)
	resp.SetVersion(version)
	at := 8
	if resp.IsFlexible() {
		at++ // no tags
	}
	if len(frame) < at || resp.ReadFrom(frame[at:]) != nil {
		return news{}
	}
	var n news
	code := int16(0)
	switch r := resp.(type) {
	case *kmsg.HeartbeatResponse:
		code = r.ErrorCode
	case *kmsg.JoinGroupResponse:
		code, n.rebalance = r.ErrorCode, true
	case *kmsg.SyncGroupResponse:
		code = r.ErrorCode
	case *kmsg.ConsumerGroupHeartbeatResponse:
		code, n.rebalance = r.ErrorCode, r.Assignment != nil
	}
	err := kerr.ErrorForCode(code)
	n.expelled = errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.FencedMemberEpoch) || errors.Is(err, kerr.IllegalGeneration)
	return n
}

// unanswered is a process's writes whose answers it waits for, held against the
// rebalances of its group. A drain waits for them only so long. What is given up
// then is written all the same if the client sends it again: at least once that, too,
// is a takeover from a worker that is alive.
type unanswered struct {
	mu      sync.Mutex
	lost    time.Time // of the last answer that was lost
	changed time.Time // of the last rebalance
}

// lose reports whether the loss of an answer meets a drain.
func (u *unanswered) lose(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lost = now
	return now.Sub(u.changed) < drainTimeout
}

// change reports whether a rebalance meets a write without an answer.
func (u *unanswered) change(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.changed = now
	return now.Sub(u.lost) < lostFor
}
